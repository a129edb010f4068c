//! Cedar's own corpus, where it applies: its documents are split into statements as Cedar's parser does, and what each rule says
//! alone adds up to Cedar's decision, reasons and errors. Its types and actions are not ours, so that it says nothing of the schema
//! and the index. It is not kept here: `TENURE_CEDAR_CORPUS` names the folder `corpus-tests` of cedar-integration-tests.
use crate::annotation::Annotations;
use crate::explain::{Answer, alone};
use crate::fault::place;
use crate::layer::Layer;
use crate::rule::Rule;
use crate::statement::begins;
use cedar_policy::{
    Authorizer, Context, Effect, Entities, EntityId, EntityTypeName, EntityUid, PolicyId, PolicySet, Request, Schema,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Case {
    requests: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    principal: Uid,
    action: Uid,
    resource: Uid,
    context: Value,
    decision: String,
    reason: BTreeSet<String>,
    errors: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Uid {
    #[serde(rename = "type")]
    kind: String,
    id: String,
}

impl Uid {
    fn read(&self) -> Option<EntityUid> {
        let kind = self.kind.parse::<EntityTypeName>().ok()?;
        Some(EntityUid::from_type_name_and_id(kind, EntityId::new(&self.id)))
    }
}

#[derive(Default, Debug)]
struct Figures {
    documents: u64,
    rules: u64,
    plain: u64,
    requests: u64,
    /// Not to be made with this version of Cedar.
    unreadable: u64,
}

#[test]
fn what_each_rule_of_cedars_own_corpus_says_alone_adds_up_to_what_cedar_decided() {
    let Some(folder) = std::env::var_os("TENURE_CEDAR_CORPUS").map(PathBuf::from) else {
        println!("skipped: TENURE_CEDAR_CORPUS names no folder with Cedar's corpus");
        return;
    };
    let mut figures = Figures::default();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "cedar") {
            document(&path, &mut figures);
        }
    }
    println!("{figures:?}");
    assert!(figures.documents > 0 && figures.requests > 0, "{figures:?}");
}

fn document(path: &Path, figures: &mut Figures) {
    let read = |ending: &str| std::fs::read_to_string(path.with_extension(ending)).unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let Ok(set) = text.parse::<PolicySet>() else {
        figures.unreadable += 1;
        return;
    };
    let starts = begins(&text);
    assert_eq!(starts.len(), set.policies().count() + set.templates().count(), "{}", path.display());
    figures.documents += 1;
    let number = |id: &PolicyId| AsRef::<str>::as_ref(id).strip_prefix("policy").and_then(|n| n.parse::<usize>().ok());
    let rules: Vec<(String, Rule)> = set
        .policies()
        .map(|policy| {
            let at = place(&text, starts[number(policy.id()).expect("a number")]);
            let id = policy.id().to_string();
            (id, Rule::new(Layer::System, "corpus".into(), at, Annotations::default(), policy.clone()))
        })
        .collect();
    figures.rules += rules.len() as u64;
    figures.plain += rules.iter().filter(|(_, rule)| rule.is_plain()).count() as u64;
    let schema = Schema::from_cedarschema_str(&read("cedarschema")).ok().map(|(schema, _)| schema);
    let Ok(entities) = Entities::from_json_str(&read("entities.json"), schema.as_ref()) else {
        figures.unreadable += 1;
        return;
    };
    let case: Case = serde_json::from_str(&read("json")).unwrap();
    for asked in &case.requests {
        match request(asked, schema.as_ref()) {
            Some(request) => {
                figures.requests += 1;
                decided(path, &rules, asked, &request, &entities);
            }
            None => figures.unreadable += 1,
        }
    }
}

fn request(asked: &Asked, schema: Option<&Schema>) -> Option<Request> {
    let (principal, action, resource) = (asked.principal.read()?, asked.action.read()?, asked.resource.read()?);
    let context = Context::from_json_value(asked.context.clone(), schema.map(|schema| (schema, &action))).ok()?;
    Request::new(principal, action, resource, context, None).ok()
}

fn decided(path: &Path, rules: &[(String, Rule)], asked: &Asked, request: &Request, entities: &Entities) {
    let authorizer = Authorizer::new();
    let (mut permits, mut forbids, mut errors) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (id, rule) in rules {
        let answer = alone(&authorizer, rule, request, entities);
        assert!(!rule.is_plain() || answer == Answer::Yes, "{}: {id} is plain and says {answer:?}", path.display());
        match (answer, rule.effect()) {
            (Answer::Yes, Effect::Permit) => permits.insert(id.clone()),
            (Answer::Yes, Effect::Forbid) => forbids.insert(id.clone()),
            (Answer::Erred(_), Effect::Permit | Effect::Forbid) => errors.insert(id.clone()),
            (Answer::No, Effect::Permit | Effect::Forbid) => false,
        };
    }
    let (decision, reason) = match (permits.is_empty(), forbids.is_empty()) {
        (false, true) => ("allow", permits),
        (true | false, false) | (true, true) => ("deny", forbids),
    };
    assert_eq!(
        (decision, &reason, &errors),
        (asked.decision.as_str(), &asked.reason, &asked.errors),
        "{}",
        path.display()
    );
}
