//! A call as people describe it, in examples and test cases. Its input goes through the capability's own attributes, so that what
//! is tested is what is judged.
use crate::layer::Layer;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use tenure_core::actor::Actor;
use tenure_core::call::HolderKind;
use tenure_core::capability::{self, ATTRIBUTES_BYTES_MAX, Attributes, catalogue, mcp};
use tenure_core::fault::nearest;
use tenure_core::id::{AgentId, Mint};
use tenure_core::judge::{Ask, Circumstances, Counters, Digest};
use tenure_core::time::Time;

/// What stands for an agent where none is named.
const SOMEBODY: &str = "example";

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Situation {
    pub capability: String,
    #[serde(default)]
    pub input: Value,
    pub agent: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub revision: Option<u32>,
    /// `agent`, or `validator` for a check of the manifest's own.
    pub actor: Option<String>,
    /// `execution` or `session`.
    pub caller: Option<HolderKind>,
    pub opener: Option<String>,
    pub trigger: Option<String>,
    pub level: Option<String>,
    /// As in `2026-03-01T22:30:00Z`.
    pub at: Option<String>,
    #[serde(default)]
    pub calls_minute: u64,
    #[serde(default)]
    pub calls_hour: u64,
    #[serde(default)]
    pub calls_day: u64,
    #[serde(default)]
    pub spent_day_micro_usd: u64,
    #[serde(default)]
    pub spent_month_micro_usd: u64,
    /// The manifest's list; without one it lists all.
    pub tools: Option<Vec<String>>,
}

/// A call that a judge can be asked of.
#[derive(Debug, Clone)]
pub struct Asked {
    pub agent: AgentId,
    pub revision: u32,
    pub actor: Actor,
    pub capability: String,
    pub attributes: Attributes,
    pub tools: Vec<String>,
    pub context: Circumstances,
}

impl Asked {
    pub fn ask(&self, policy: Option<Digest>) -> Ask<'_> {
        Ask {
            actor: self.actor,
            agent: self.agent,
            revision: self.revision,
            capability: &self.capability,
            attributes: &self.attributes,
            tools: &self.tools,
            context: &self.context,
            policy,
        }
    }
}

impl Situation {
    /// From JSON, or from an inline table of TOML, which needs no quotes that Cedar would want escaped.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(text: &str) -> Result<Situation, String> {
        if let Ok(read) = serde_json::from_str(text) {
            return Ok(read);
        }
        #[derive(Deserialize)]
        struct Only {
            it: Situation,
        }
        let read: Result<Only, _> = toml::from_str(&format!("it = {text}"));
        read.map(|only| only.it).map_err(|error| error.message().to_string())
    }

    /// Makes it one of a rule's own layer and scope, where it says nothing else.
    pub(crate) fn fit(&mut self, layer: &Layer, agent: Option<&String>, label: Option<&String>) {
        match layer {
            Layer::Agent(name) => self.agent = self.agent.take().or_else(|| Some(name.clone())),
            Layer::Session(opener) => {
                self.caller = self.caller.or(Some(HolderKind::Session));
                self.opener = self.opener.take().or_else(|| Some(opener.clone()));
            }
            Layer::Floor | Layer::System | Layer::Project => {}
        }
        self.agent = self.agent.take().or_else(|| agent.cloned());
        if let Some((key, value)) = label.and_then(|label| label.split_once('=')).filter(|_| self.labels.is_empty()) {
            self.labels.insert(key.to_string(), value.to_string());
        }
    }

    /// # Errors
    /// Why there is no such call.
    pub fn asked(&self) -> Result<Asked, String> {
        let agent = AgentId::mint(&mut Mint::new(Time::from_millis(0), 0));
        let actor = match self.actor.as_deref() {
            None | Some("agent") => Actor::Agent(agent),
            Some("validator") => Actor::Validator,
            Some(_) => return Err("actor is `agent` or `validator`".to_string()),
        };
        let caller = self.caller.unwrap_or(HolderKind::Execution);
        Ok(Asked {
            agent,
            revision: self.revision.unwrap_or(1),
            actor,
            capability: self.capability.clone(),
            attributes: self.attributes()?,
            tools: self.tools.clone().unwrap_or_else(|| ["*", "mcp.*"].map(str::to_string).to_vec()),
            context: Circumstances {
                agent_name: self.agent.clone().unwrap_or_else(|| SOMEBODY.to_string()),
                labels: self.labels.clone(),
                caller,
                opener: self.opener.clone(),
                trigger: self.trigger.clone(),
                level: self.level.clone(),
                at: self.time()?,
                counters: Counters {
                    calls_minute: self.calls_minute,
                    calls_hour: self.calls_hour,
                    calls_day: self.calls_day,
                    spent_day_micro_usd: self.spent_day_micro_usd,
                    spent_month_micro_usd: self.spent_month_micro_usd,
                },
            },
        })
    }

    fn time(&self) -> Result<Time, String> {
        let Some(at) = &self.at else { return Ok(Time::from_millis(0)) };
        let read = at.parse::<jiff::Timestamp>().map(|stamp| Time::from_millis(stamp.as_millisecond()));
        read.map_err(|_| format!("`{}` is no time; write as in 2026-03-01T22:30:00Z", capability::clip(at)))
    }

    fn attributes(&self) -> Result<Attributes, String> {
        let empty = Value::Object(serde_json::Map::new());
        let input = if self.input.is_null() { &empty } else { &self.input };
        let Some(given) = input.as_object() else { return Err("input is a table of arguments".to_string()) };
        if mcp::Name::parse(&self.capability).is_some() {
            // What it takes, its server says.
            let attributes = capability::attributes(&self.capability, input).unwrap_or_default();
            tenure_core::call::attributes_json(&attributes)?;
            return Ok(attributes);
        }
        let Some(known) = capability::find(&self.capability) else {
            let near = nearest(&self.capability, catalogue().map(|known| known.name));
            let near = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!("`{}` is not a capability{near}", capability::clip(&self.capability)));
        };
        let schema = known.input();
        let names = schema.get("properties").and_then(Value::as_object);
        let names: Vec<&str> = names.into_iter().flat_map(|names| names.keys().map(String::as_str)).collect();
        if let Some(wrong) = given.keys().find(|name| !names.contains(&name.as_str())) {
            let near = nearest(wrong, names.iter().copied());
            let near =
                near.map_or_else(|| format!("it takes {}", names.join(", ")), |near| format!("did you mean `{near}`?"));
            return Err(format!("`{}` is no argument of {}; {near}", capability::clip(wrong), known.name));
        }
        let attributes = known.attributes(input);
        let bytes = tenure_core::call::attributes_json(&attributes)?.len();
        debug_assert!(bytes <= ATTRIBUTES_BYTES_MAX);
        Ok(attributes)
    }
}
