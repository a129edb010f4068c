//! What a policy that loads hardly means: each is told with its place and the near word, and what is meant is left alone.
use std::collections::BTreeSet;
use tenure_policy::{Bundle, KnownNames, Layer, Policy, Template, review};

fn known() -> KnownNames {
    let names = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<BTreeSet<_>>());
    KnownNames { agents: names(&["coder", "clerk"]), servers: names(&["notes", "mail"]) }
}

fn team(layer: Layer, text: &str) -> Bundle {
    let bundle = Template::Permissive.bundle().with(layer, "team.cedar", text);
    Policy::compile(&bundle).unwrap_or_else(|faults| panic!("{faults:#?}\n{text}"));
    bundle
}

fn warned(text: &str) -> Vec<String> {
    let review = review(&team(Layer::Project, text), &known());
    assert_eq!(review.faults, [], "{text}");
    review.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_name_that_nobody_bears_and_a_host_that_no_call_has_are_warned_of_where_they_stand() {
    for (text, place, words) in [
        (
            "\nforbid(principal, action == Action::\"mcp.nots.read\", resource);",
            "team.cedar:2:37:",
            "did you mean `mcp.notes.read`?",
        ),
        (
            "forbid(principal, action in Action::\"mcp.github.*\", resource);",
            "team.cedar:1:",
            "manifests name mail, notes",
        ),
        (
            "forbid(principal == Agent::\"codr\", action, resource);",
            "team.cedar:1:28:",
            "no agent is called `codr`; did you mean `coder`?",
        ),
        (
            "forbid(principal, action, resource)\nunless { principal == Agent::\"clrk\" };",
            "team.cedar:2:",
            "did you mean `clerk`?",
        ),
        (
            "forbid(principal, action in Action::\"network.*\", resource)\nwhen { context has host && context.host == \"API.Example\" };",
            "team.cedar:2:",
            "write \"api.example\"",
        ),
        (
            "forbid(principal, action == Action::\"network.dns_lookup\", resource) when { context has host && context.host like \"*.Example\" };",
            "team.cedar:1:",
            "`*.Example`",
        ),
        (
            "forbid(principal, action == Action::\"network.dns_lookup\", resource) when { context has host && [\"a.example\", \"B.example\"].contains(context.host) };",
            "team.cedar:1:",
            "`B.example`",
        ),
        (
            "forbid(principal, action == Action::\"network.dns_lookup\", resource) when { context has host && context.host == \"bücher.example\" };",
            "team.cedar:1:",
            "xn--",
        ),
    ] {
        let warned = warned(text);
        let fits = warned.len() == 1 && warned[0].starts_with(place) && warned[0].contains(words);
        assert!(fits, "{text}\n{warned:#?}");
    }
    let elsewhere = review(&team(Layer::Agent("codr".into()), "permit(principal, action, resource);"), &known());
    let told: Vec<String> = elsewhere.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["team.cedar: no agent is called `codr`; did you mean `coder`?"]);
}

#[test]
fn what_is_meant_is_warned_of_nowhere_and_nothing_is_said_of_names_that_nobody_knows() {
    let meant = "@id(\"a\")
        forbid(principal == Agent::\"coder\", action in [Action::\"mcp.notes.*\", Action::\"mcp.*\"], resource);
        @match(\"{capability = 'network.dns_lookup', input = {name = 'a.example'}, agent = 'nobody'}\")
        forbid(principal, action in Action::\"network.*\", resource)
        when { context has host && (context.host == \"a.example\" || context.host like \"*.a.example\") };
        forbid(principal, action == Action::\"process.run\", resource) when { context.program == \"Rscript\" };";
    assert_eq!(warned(meant), Vec::<String>::new());
    let misspelt = "forbid(principal == Agent::\"codr\", action == Action::\"mcp.nots.read\", resource);";
    assert_eq!(warned(misspelt).len(), 2, "the control");
    assert_eq!(review(&team(Layer::Project, misspelt), &KnownNames::default()).warnings, []);
}

#[test]
fn two_rules_of_one_name_in_a_layer_are_refused_and_in_two_layers_are_not() {
    let one = "@id(\"same\")\nforbid(principal, action, resource);\n";
    let both = team(Layer::Project, one).with(Layer::Project, "a.cedar", one);
    let faults: Vec<String> = review(&both, &KnownNames::default()).faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "team.cedar:1:5: two rules of the layer project are called `same`; the other is a.cedar:1: give one of them another name"
        ]
    );
    let apart = team(Layer::Project, one).with(Layer::Agent("coder".into()), "a.cedar", one);
    assert_eq!(review(&apart, &known()).faults, []);
    Policy::compile(&both).expect("one that was applied before is still loaded");
}
