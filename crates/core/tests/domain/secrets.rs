//! Secrets: what each state answers, and that a call uses what was bound to its agent for its host, and nothing else.
use crate::office::{OWNER, Office, plan};
use crate::transitions::{Command1, Setup, table_of};
use serde_json::json;
use tenure_core::aggregate::{Command, Event, FOLD_BYTES_MAX, Fold, Refusal, Stream};
use tenure_core::call::{self, Blocked, Proposal};
use tenure_core::capability;
use tenure_core::execution::{self, Answer, Usage};
use tenure_core::id::SecretId;
use tenure_core::secret::{self, BINDINGS_MAX, Binding};

const HOST: &str = "api.example.com";

/// The one that is there, or a fresh id.
fn id(office: &mut Office) -> SecretId {
    let known = office.world.memory.folds.keys().find_map(|stream| match stream {
        Stream::Secret(id) => Some(*id),
        Stream::Project(_)
        | Stream::Agent(_)
        | Stream::Execution(_)
        | Stream::Worker(_)
        | Stream::Session(_)
        | Stream::Package(_)
        | Stream::Instance(_) => None,
    });
    known.unwrap_or_else(|| SecretId::mint(&mut office.world.mint()))
}

fn tell(office: &mut Office, command: secret::Command) -> Result<Vec<Event>, Refusal> {
    let id = id(office);
    office.world.commit(OWNER, Command::Secret(id, command))
}

fn set(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    let sealed = office.world.payload("sealed 1");
    tell(office, secret::Command::Set { name: "github".into(), sealed })
}

fn rotate(office: &mut Office, version: u32) -> Result<Vec<Event>, Refusal> {
    let sealed = office.world.payload(&format!("sealed {version}"));
    tell(office, secret::Command::Rotate { version, sealed })
}

fn bind_at(office: &mut Office, host: &str) -> Result<Vec<Event>, Refusal> {
    let agent = office.agent;
    let binding = Binding { agent, capability: "network.credentialed_request".into(), host: host.into() };
    tell(office, secret::Command::Bind { binding })
}

fn bind(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    bind_at(office, HOST)
}

fn unbind(office: &mut Office) -> Result<Vec<Event>, Refusal> {
    let agent = office.agent;
    tell(office, secret::Command::Unbind { agent, host: None })
}

fn live() -> Office {
    let mut office = Office::new(0);
    set(&mut office).expect("a new name");
    office
}

fn bound() -> Office {
    let mut office = live();
    bind(&mut office).expect("an agent that is there");
    office
}

fn rotated() -> Office {
    let mut office = bound();
    rotate(&mut office, 2).expect("the next version");
    rotate(&mut office, 3).expect("the next version");
    office
}

fn revoked() -> Office {
    let mut office = rotated();
    tell(&mut office, secret::Command::Revoke {}).expect("it is live");
    office
}

/// A history with every kind of event of secrets.
pub fn every_kind(office: &mut Office) {
    set(office).expect("a new name");
    bind(office).expect("an agent that is there");
    rotate(office, 2).expect("the next version");
    unbind(office).expect("it is bound");
    tell(office, secret::Command::Revoke {}).expect("it is live");
}

#[test]
fn a_secret_answers_every_command_in_every_state_as_the_table_says() {
    let states: [(&str, Setup); 5] = [
        ("none", || Office::new(0)),
        ("live", live),
        ("bound", bound),
        ("rotated twice", rotated),
        ("revoked", revoked),
    ];
    let commands: [(&str, Command1); 9] = [
        ("set", set),
        ("rotate to 2", |office| rotate(office, 2)),
        ("rotate to 4", |office| rotate(office, 4)),
        ("revoke", |office| tell(office, secret::Command::Revoke {})),
        ("bind", bind),
        ("bind a range", |office| bind_at(office, "10.0.0.0/8")),
        ("bind a revoked agent", |office| {
            office.revoke().expect("it is deployed");
            bind_at(office, "other.example.com")
        }),
        ("unbind", unbind),
        ("unbind another host", |office| {
            let agent = office.agent;
            tell(office, secret::Command::Unbind { agent, host: Some("other.example.com".into()) })
        }),
    ];
    let stream = |office: &Office| {
        let known = office.world.memory.folds.keys().find(|stream| matches!(stream, Stream::Secret(_)));
        known.copied().unwrap_or(Stream::Agent(office.agent))
    };
    insta::assert_snapshot!("secret", table_of(&states, &commands, stream));
}

#[test]
fn a_name_is_one_secrets_whatever_its_case_until_that_is_revoked() {
    let mut office = live();
    let again = |office: &mut Office| {
        let (id, sealed) = (SecretId::mint(&mut office.world.mint()), office.world.payload("other"));
        office.world.commit(OWNER, Command::Secret(id, secret::Command::Set { name: "GitHub".into(), sealed }))
    };
    let taken = Refusal::Secret(secret::Refusal::NameTaken { name: "GitHub".into() });
    assert_eq!(again(&mut office), Err(taken));
    tell(&mut office, secret::Command::Revoke {}).expect("it is live");
    again(&mut office).expect("the name is free");
}

#[test]
fn sealed_bytes_are_erased_two_values_later_or_with_the_secret_and_the_fold_stays_small() {
    let mut office = rotated();
    let erased = |office: &Office| office.world.memory.erased.len();
    assert_eq!(erased(&office), 1, "the first of three: the second is scrubbed still");
    for number in 1..BINDINGS_MAX {
        let host = format!("{number}.{}", "a-long-name.".repeat(18) + "example");
        bind_at(&mut office, &host).expect("there is room");
    }
    let full = bind_at(&mut office, "one-more.example.com");
    assert_eq!(full, Err(Refusal::Secret(secret::Refusal::BindingsFull {})));
    let stream = Stream::Secret(id(&mut office));
    let bytes = serde_json::to_vec::<Fold>(&office.world.memory.folds[&stream]).unwrap();
    assert!(bytes.len() < FOLD_BYTES_MAX, "{}", bytes.len());
    tell(&mut office, secret::Command::Revoke {}).expect("it is live");
    assert_eq!(erased(&office), 3);
    assert!(office.world.memory.secret_bindings.is_empty());
}

/// A model asks for a request with the secret.
fn ask(office: &mut Office, url: &str, name: &str) -> Vec<Event> {
    let arguments = json!({"url": url, "secret": name});
    let known = capability::find("network.credentialed_request").expect("it is in the catalogue");
    let attributes = call::attributes_json(&known.attributes(&arguments)).expect("they are few");
    let proposal = Proposal {
        capability: known.name.to_string(),
        arguments: office.world.payload(&arguments.to_string()),
        attributes: office.world.payload(&String::from_utf8(attributes).expect("JSON")),
        misfit: None,
    };
    let (delta, turn) = (office.world.payload("{}"), office.turn());
    let usage = Usage { input: 1, output: 1, ..Usage::default() };
    let answer = Answer { model: "local/x".into(), delta, output: None, calls: vec![proposal], usage, cassette: false };
    office.apply(execution::Command::AnswerModel { turn, answer }).expect("it was asked")
}

fn asked_by(tools: &[&str]) -> Office {
    let mut office = Office::new(0);
    let mut plan = plan(0);
    plan.tools = tools.iter().map(|tool| tool.to_string()).collect();
    office.deploy_plan("clerk", &plan, "another").expect("a changed plan");
    set(&mut office).expect("a new name");
    let start = office.start();
    office.must(start);
    for step in [Office::bind as fn(&Office) -> execution::Command, Office::call_model] {
        let command = step(&office);
        office.must(command);
    }
    office
}

fn why_blocked(events: &[Event]) -> Option<Vec<String>> {
    events.iter().find_map(|event| match event {
        Event::Execution(execution::Event::CallBlocked { blocked: Blocked::Policy { judgement }, .. }) => {
            Some(judgement.rules.clone())
        }
        _ => None,
    })
}

#[test]
fn a_call_uses_what_is_bound_to_its_agent_and_host_and_nothing_else() {
    let url = format!("https://{HOST}/v1");
    let unbound = vec![call::SECRET_UNBOUND.to_string()];
    let mut office = asked_by(&["network.*"]);
    assert_eq!(why_blocked(&ask(&mut office, &url, "github")), Some(unbound.clone()), "nobody bound it");
    let mut office = asked_by(&["network.*"]);
    bind(&mut office).expect("an agent that is there");
    let called = ask(&mut office, &url, "github");
    assert_eq!(why_blocked(&called), None, "the control");
    for (url, name) in [
        ("https://example.com/", "github"),
        ("https://api.example.com.evil.example/", "github"),
        (url.as_str(), "gitlab"),
        ("no url", "github"),
    ] {
        let mut office = asked_by(&["network.*"]);
        bind(&mut office).expect("an agent that is there");
        assert_eq!(why_blocked(&ask(&mut office, url, name)), Some(unbound.clone()), "{url} {name}");
    }
    let mut office = asked_by(&["filesystem.*"]);
    bind(&mut office).expect("an agent that is there");
    let blocked = why_blocked(&ask(&mut office, &url, "github"));
    assert!(blocked.is_some_and(|rules| rules != unbound), "a binding is no permission: the policy says no");
    let mut office = asked_by(&["network.*"]);
    bind(&mut office).expect("an agent that is there");
    unbind(&mut office).expect("it is bound");
    assert_eq!(why_blocked(&ask(&mut office, &url, "github")), Some(unbound), "taken back");
}
