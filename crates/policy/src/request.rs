//! A call as Cedar is asked of it: principal, action, resource, context, and the few entities that these are related by.
use crate::schema::Action;
use crate::uses::Uses;
use crate::vocabulary::{ACTION, AGENT, ARGV_MAX, Attribute, LABEL, PROJECT, THE_PROJECT};
use cedar_policy::{Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use tenure_core::actor::Actor;
use tenure_core::capability::Argument;
use tenure_core::judge::{Ask, Circumstances};

struct Types {
    agent: EntityTypeName,
    label: EntityTypeName,
    action: EntityTypeName,
    project: EntityUid,
}

static TYPES: LazyLock<Types> = LazyLock::new(|| {
    let named = |name: &str| name.parse::<EntityTypeName>().expect("invariant: our types have names of Cedar's");
    Types {
        agent: named(AGENT),
        label: named(LABEL),
        action: named(ACTION),
        project: EntityUid::from_type_name_and_id(named(PROJECT), EntityId::new(THE_PROJECT)),
    }
});

pub(crate) fn agent_uid(name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(TYPES.agent.clone(), EntityId::new(name))
}

pub(crate) fn label_uid(label: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(TYPES.label.clone(), EntityId::new(label))
}

pub(crate) fn action_uid(name: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(TYPES.action.clone(), EntityId::new(name))
}

pub(crate) fn project_uid() -> EntityUid {
    TYPES.project.clone()
}

/// The labels of an agent as rules name them.
pub(crate) fn labels(context: &Circumstances) -> impl Iterator<Item = String> {
    context.labels.iter().map(|(key, value)| format!("{key}={value}"))
}

/// The agent with its labels, and the action with its groups.
pub(crate) fn entities(ask: &Ask<'_>, action: &Action) -> Entities {
    let parents: HashSet<EntityUid> = labels(ask.context).map(|label| label_uid(&label)).collect();
    let attributes = HashMap::from([
        ("name".to_string(), text(&ask.context.agent_name)),
        ("revision".to_string(), RestrictedExpression::new_long(ask.revision.into())),
    ]);
    let agent = Entity::new(agent_uid(&ask.context.agent_name), attributes, parents)
        .expect("invariant: a text and a number need no evaluation");
    let groups = action.groups.iter().map(|group| action_uid(group)).collect();
    let action = Entity::new_no_attrs(action_uid(&action.name), groups);
    Entities::from_entities([agent, action], None).expect("invariant: agent and action are two and in no circle")
}

/// A call as Cedar is asked of it, made once for all whom it is asked of, and not before somebody is.
pub(crate) struct Question<'a> {
    ask: Ask<'a>,
    action: &'a Action,
    /// What of the context any of them looks at.
    uses: Uses,
    known: Option<&'a mut KnownEntities>,
    made: Option<(Request, Arc<Entities>)>,
}

/// Entities of agents whose calls come again and again.
#[derive(Default)]
pub(crate) struct KnownEntities(HashMap<EntitiesKey, Arc<Entities>>);

type EntitiesKey = (String, u32, String, BTreeMap<String, String>);

const ENTITIES_KNOWN_MAX: usize = 4_096;

impl<'a> Question<'a> {
    pub(crate) fn new(ask: Ask<'a>, action: &'a Action, uses: Uses) -> Question<'a> {
        Question { ask, action, uses, known: None, made: None }
    }

    pub(crate) fn among(self, known: &'a mut KnownEntities) -> Question<'a> {
        Question { known: Some(known), ..self }
    }

    pub(crate) fn made(&mut self) -> (&Request, &Entities) {
        let (ask, action, uses, known) = (&self.ask, self.action, self.uses, &mut self.known);
        let (request, entities) = &*self.made.get_or_insert_with(|| {
            let entities = match known {
                Some(known) => known.of(ask, action),
                None => Arc::new(entities(ask, action)),
            };
            (request(ask, action, uses), entities)
        });
        (request, entities.as_ref())
    }
}

impl KnownEntities {
    fn of(&mut self, ask: &Ask<'_>, action: &Action) -> Arc<Entities> {
        let (name, labels) = (ask.context.agent_name.clone(), ask.context.labels.clone());
        let key = (action.name.clone(), ask.revision, name, labels);
        if let Some(known) = self.0.get(&key) {
            return Arc::clone(known);
        }
        if self.0.len() >= ENTITIES_KNOWN_MAX {
            self.0.clear();
        }
        let made = Arc::new(entities(ask, action));
        self.0.insert(key, Arc::clone(&made));
        made
    }
}

/// `uses`: what of the context is looked at; the rest is not made.
pub(crate) fn request(ask: &Ask<'_>, action: &Action, uses: Uses) -> Request {
    let context = Context::from_pairs(pairs(ask, uses)).expect("invariant: names of attributes differ");
    let (principal, action) = (agent_uid(&ask.context.agent_name), action_uid(&action.name));
    Request::new(principal, action, project_uid(), context, None)
        .expect("invariant: without a schema every request is one")
}

fn pairs(ask: &Ask<'_>, uses: Uses) -> Vec<(String, RestrictedExpression)> {
    let mut pairs = Vec::with_capacity(8);
    let mut add = |attribute: Attribute, value: Option<RestrictedExpression>| {
        if let Some(value) = value {
            pairs.push((attribute.as_str().to_string(), value));
        }
    };
    for attribute in Attribute::ALL.into_iter().filter(|attribute| uses.has(*attribute)) {
        let value = match attribute {
            Attribute::Input => Some(input(ask)),
            attribute => context_text(ask, attribute)
                .map(|given| text(&given))
                .or_else(|| context_texts(ask, attribute).map(texts))
                .or_else(|| context_number(ask, attribute).map(RestrictedExpression::new_long)),
        };
        add(attribute, value);
    }
    if uses.has(Attribute::Argv) {
        let words = ask.attributes.argv.iter().flatten().take(ARGV_MAX).enumerate();
        pairs.extend(words.map(|(number, word)| (format!("argv{number}"), text(word))));
    }
    pairs
}

/// The value of an attribute that is a text.
pub(crate) fn context_text<'a>(ask: &Ask<'a>, attribute: Attribute) -> Option<Cow<'a, str>> {
    let (seen, context) = (ask.attributes, ask.context);
    let text = match attribute {
        Attribute::Path => seen.path.as_deref(),
        Attribute::Host => seen.host.as_deref(),
        Attribute::Key => seen.key.as_deref(),
        Attribute::Program => seen.argv.as_ref().map(|argv| argv.first().map_or("", String::as_str)),
        Attribute::Command => return seen.argv.as_ref().map(|argv| Cow::Owned(argv.join(" "))),
        Attribute::Caller => Some(context.caller.into()),
        Attribute::Trigger => context.trigger.as_deref(),
        Attribute::Actor => Some(actor_word(ask.actor)),
        Attribute::Level => context.level.as_deref(),
        Attribute::Port
        | Attribute::Bytes
        | Attribute::Words
        | Attribute::Argv
        | Attribute::Argc
        | Attribute::Input
        | Attribute::Hour
        | Attribute::Minute
        | Attribute::Weekday
        | Attribute::CallsMinute
        | Attribute::CallsHour
        | Attribute::CallsDay
        | Attribute::SpentDay
        | Attribute::SpentMonth => None,
    };
    text.map(Cow::Borrowed)
}

/// The value of an attribute that is a set of texts.
pub(crate) fn context_texts<'a>(ask: &Ask<'a>, attribute: Attribute) -> Option<&'a [String]> {
    if attribute == Attribute::Words { ask.attributes.argv.as_deref() } else { None }
}

/// The value of an attribute that is a number.
pub(crate) fn context_number(ask: &Ask<'_>, attribute: Attribute) -> Option<i64> {
    let (seen, context) = (ask.attributes, ask.context);
    let count = |number: u64| Some(i64::try_from(number).unwrap_or(i64::MAX));
    match attribute {
        Attribute::Port => seen.port.map(i64::from),
        Attribute::Bytes => seen.bytes.and_then(count),
        Attribute::Argc => seen.argv.as_ref().and_then(|argv| count(argv.len() as u64)),
        Attribute::Hour => count(hour(context)),
        Attribute::Minute => count(minutes(context).rem_euclid(60).unsigned_abs()),
        Attribute::Weekday => count(weekday(context)),
        Attribute::CallsMinute => count(context.counters.calls_minute),
        Attribute::CallsHour => count(context.counters.calls_hour),
        Attribute::CallsDay => count(context.counters.calls_day),
        Attribute::SpentDay => count(context.counters.spent_day_micro_usd),
        Attribute::SpentMonth => count(context.counters.spent_month_micro_usd),
        Attribute::Path
        | Attribute::Host
        | Attribute::Key
        | Attribute::Program
        | Attribute::Command
        | Attribute::Words
        | Attribute::Argv
        | Attribute::Input
        | Attribute::Caller
        | Attribute::Trigger
        | Attribute::Actor
        | Attribute::Level => None,
    }
}

/// The kind of whoever asks; which agent it is, the principal says.
pub(crate) fn actor_word(actor: Actor) -> &'static str {
    match actor {
        Actor::Owner { .. } => "owner",
        Actor::Key(_) => "key",
        Actor::Link(_) => "link",
        Actor::Agent(_) => "agent",
        Actor::Worker(_) => "worker",
        Actor::Daemon => "daemon",
        Actor::Validator => "validator",
    }
}

fn input(ask: &Ask<'_>) -> RestrictedExpression {
    let fields = ask.attributes.input.iter().map(|(name, value)| {
        let value = match value {
            Argument::Flag(flag) => RestrictedExpression::new_bool(*flag),
            Argument::Number(number) => RestrictedExpression::new_long(*number),
            Argument::Text(given) => text(given),
            Argument::Texts(given) => texts(given),
        };
        (name.clone(), value)
    });
    RestrictedExpression::new_record(fields).expect("invariant: names of arguments differ")
}

fn text(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_string())
}

fn texts(texts: &[String]) -> RestrictedExpression {
    RestrictedExpression::new_set(texts.iter().map(|word| text(word)))
}

fn minutes(context: &Circumstances) -> i64 {
    context.at.millis().div_euclid(60_000)
}

fn hour(context: &Circumstances) -> u64 {
    minutes(context).div_euclid(60).rem_euclid(24).unsigned_abs()
}

/// From 1 on Mondays to 7; 1970-01-01 was a Thursday.
fn weekday(context: &Circumstances) -> u64 {
    let day = minutes(context).div_euclid(60 * 24);
    (day + 3).rem_euclid(7).unsigned_abs() + 1
}
