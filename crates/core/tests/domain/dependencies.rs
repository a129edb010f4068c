//! What an agent depends on must be registered when it is deployed: at its version, as what it is taken for, and in no circle.
use crate::office::{Office, plan};
use tenure_core::agent::{self, dependency::Lack};
use tenure_core::aggregate::{Command, Refusal, Stream};
use tenure_core::id::AgentId;
use tenure_core::manifest::{DependencyType, Persona};
use tenure_core::plan::{Dependency, Plan};

fn on(name: &str, range: &str, kind: DependencyType) -> Dependency {
    Dependency { name: name.into(), version: Some(range.parse().expect("a range")), kind, required: true }
}

/// A plan of this version that depends on these.
fn released(version: &str, dependencies: Vec<Dependency>) -> Plan {
    Plan { release: Some(version.parse().expect("a version")), dependencies, ..plan(0) }
}

/// Deploys an agent of this name: a new one, or a revision of the one that has it.
fn deploy(office: &mut Office, name: &str, plan: &Plan) -> Result<(), Vec<Lack>> {
    let known = office.world.memory.folds.iter().find_map(|(stream, fold)| match stream {
        Stream::Agent(id) => fold.as_a::<agent::Agent>().filter(|agent| agent.name == name).map(|_| *id),
        Stream::Project(_)
        | Stream::Execution(_)
        | Stream::Worker(_)
        | Stream::Session(_)
        | Stream::Secret(_)
        | Stream::Package(_)
        | Stream::Instance(_) => None,
    });
    office.agent = known.unwrap_or_else(|| AgentId::mint(&mut office.world.mint()));
    let text = String::from_utf8(plan.to_bytes()).expect("a plan is text");
    match office.deploy_plan(name, plan, &format!("{name} {text}")) {
        Ok(_) => Ok(()),
        Err(Refusal::Agent(agent::Refusal::DependenciesUnmet { unmet })) => {
            Err(unmet.into_iter().map(|unmet| unmet.lack).collect())
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn an_agent_is_deployed_once_what_it_depends_on_is_registered_at_a_matching_version() {
    let mut office = Office::new(0);
    let wanted = released("1.0.0", vec![on("Librarian", "^1.2", DependencyType::Agent)]);
    assert_eq!(deploy(&mut office, "reader", &wanted), Err(vec![Lack::Missing]));
    deploy(&mut office, "librarian", &plan(0)).unwrap();
    assert_eq!(deploy(&mut office, "reader", &wanted), Err(vec![Lack::Unversioned { wanted: "^1.2".into() }]));
    deploy(&mut office, "librarian", &released("1.1.0", vec![])).unwrap();
    let lack = Lack::OtherVersion { has: "1.1.0".into(), wanted: "^1.2".into() };
    assert_eq!(deploy(&mut office, "reader", &wanted), Err(vec![lack]));
    deploy(&mut office, "librarian", &released("1.3.0", vec![])).unwrap();
    assert_eq!(deploy(&mut office, "reader", &wanted), Ok(()));
}

#[test]
fn a_service_is_a_utility_and_what_can_be_done_without_is_not_asked_for() {
    let mut office = Office::new(0);
    deploy(&mut office, "clock", &released("1.0.0", vec![])).unwrap();
    let service = released("1.0.0", vec![on("clock", "1", DependencyType::Service)]);
    assert_eq!(deploy(&mut office, "reader", &service), Err(vec![Lack::NoService { persona: None }]));
    deploy(&mut office, "clock", &Plan { persona: Some(Persona::Utility), ..released("1.0.1", vec![]) }).unwrap();
    assert_eq!(deploy(&mut office, "reader", &service), Ok(()));
    let optional = Dependency { required: false, ..on("nobody", "1", DependencyType::Agent) };
    let module = on("date-fns", "^2", DependencyType::Module);
    assert_eq!(deploy(&mut office, "writer", &released("1.0.0", vec![optional, module])), Ok(()));
}

#[test]
fn a_circle_of_agents_is_refused_however_long_and_also_where_one_link_is_optional() {
    let mut office = Office::new(0);
    let on = |name: &str| on(name, "1", DependencyType::Agent);
    deploy(&mut office, "c", &released("1.0.0", vec![])).unwrap();
    deploy(&mut office, "b", &released("1.0.0", vec![on("c")])).unwrap();
    deploy(&mut office, "a", &released("1.0.0", vec![on("b")])).unwrap();
    let back = Dependency { required: false, ..on("a") };
    let circle = Lack::Circle { names: ["c", "a", "b", "c"].map(String::from).to_vec() };
    assert_eq!(deploy(&mut office, "c", &released("1.0.1", vec![back])), Err(vec![circle]));
    // The control: what is no circle is taken.
    assert_eq!(deploy(&mut office, "d", &released("1.0.0", vec![on("a"), on("b"), on("c")])), Ok(()));
}

#[test]
fn an_agent_that_was_revoked_is_depended_on_by_none_that_comes_later() {
    let mut office = Office::new(0);
    deploy(&mut office, "old", &released("1.0.0", vec![])).unwrap();
    let old = office.agent;
    let revoke = Command::Agent(old, agent::Command::Revoke { note: None });
    office.world.commit(crate::office::OWNER, revoke).unwrap();
    let wanted = released("1.0.0", vec![on("old", "1", DependencyType::Agent)]);
    assert_eq!(deploy(&mut office, "young", &wanted), Err(vec![Lack::Gone]));
}
