//! The manifest: what is read, what is refused and in which words, and that the canonical form holds.

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use tenure_core::manifest::{
    AgentName, Backend, Bytes, Duration, Engine, Guard, Host, Manifest, Money, Problem, Quota, Score, Target,
    ToolPattern, Toolchain, Validator, schema,
};
use tenure_core::plan::{Limits, Plan};
use tenure_core::retention::Retention;
use tenure_core::template::{self, Vars};

const PR_REVIEWER: &str = include_str!("../../../examples/aegis/pr-reviewer.yaml");
const PYTHON_CODER: &str = include_str!("../../../examples/aegis/python-coder.yaml");
const EVERY_FIELD: &str = include_str!("data/every-field.yaml");

fn told(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("[{}] {problem}\n", problem.code.as_str())).collect()
}

fn refused(text: &str) -> String {
    match Manifest::parse(text) {
        Ok(_) => "accepted\n".to_owned(),
        Err(problems) => told(&problems),
    }
}

/// A manifest whose `spec` is `spec`, a block of YAML.
fn with_spec(spec: &str) -> String {
    let spec: String = spec.trim_matches('\n').lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: tenure.dev/v1\nkind: Agent\nmetadata:\n  name: a\nspec:\n{spec}")
}

fn able_host() -> Host {
    let python = Toolchain { language: "python".to_owned(), version: "3.11.7".to_owned() };
    Host {
        toolchains: vec![python],
        cpu: true,
        memory: true,
        pids: true,
        quota: Quota::Soft,
        guards: vec![Guard::Landlock],
        ..Host::default()
    }
}

fn parsed(text: &str) -> Manifest {
    Manifest::parse(text).unwrap_or_else(|problems| panic!("{}", told(&problems)))
}

#[test]
fn how_long_and_how_much_of_executions_is_kept_is_compiled_and_nothing_where_it_is_silent() {
    let retention = |spec: &str| parsed(&with_spec(spec)).retention();
    let both = retention("task: {instruction: x}\nretention: {age: 30d, size: 1Gi}\n");
    assert_eq!(both, Retention { age_ms: Some(30 * 24 * 60 * 60 * 1000), bytes: Some(1 << 30) });
    assert!(retention("task: {instruction: x}").is_off());
    let text = with_spec("task: {instruction: x}\nretention: {age: 5s, sice: 1Gi}\n");
    let problems = Manifest::parse(&text).expect_err("too short, and misspelt");
    let told: Vec<String> = problems.iter().map(|problem| format!("{} {}", problem.path, problem.reason)).collect();
    assert_eq!(
        told,
        ["spec.retention.age 5s is out of range", "spec.retention.sice spec.retention has no field `sice`"]
    );
}

#[test]
fn the_seed_example_becomes_this_canonical_form() {
    insta::assert_snapshot!(parsed(PR_REVIEWER).canonical_yaml());
}

#[test]
fn the_seed_example_is_wholly_enforced_where_an_engine_holds_its_image_and_told_what_it_takes_elsewhere() {
    let images = vec!["python:3.11".to_owned()];
    let guards = vec![Guard::CpuGroup];
    let engine = |name: &str, guards: &[Guard]| Engine::Present {
        name: name.to_owned(),
        version: "20.10".to_owned(),
        images: images.clone(),
        guards: guards.to_vec(),
    };
    let lacks = |engine| told(&parsed(PR_REVIEWER).unenforced(&Host { engine, ..able_host() }));
    assert_eq!(lacks(engine("docker", &guards)), "");
    assert!(lacks(engine("docker", &[])).contains("spec.security.resources.cpu"));
    assert!(lacks(engine("podman", &guards)).contains("podman cannot show parts"));
    insta::assert_snapshot!("the_seed_example_elsewhere", told(&parsed(PR_REVIEWER).unenforced(&Host::default())));
}

#[test]
fn the_runnable_aegis_example_is_wholly_enforced_on_an_able_host() {
    let manifest = parsed(PYTHON_CODER);
    assert_eq!(manifest.unenforced(&able_host()), []);
    assert_eq!(manifest.tools(), ["filesystem.read", "filesystem.write", "filesystem.list", "process.run"]);
    let target = Some(Target::File("/workspace/result.json".to_owned()));
    assert!(matches!(&manifest.validators()[1], Validator::JsonSchema { target: t, .. } if *t == target));
    let python = Toolchain { language: "python".to_owned(), version: "3.1.17".to_owned() };
    let older = Host { toolchains: vec![python], ..Host::default() };
    insta::assert_snapshot!(told(&manifest.unenforced(&older)));
}

#[test]
fn every_field_is_read_and_every_unenforced_one_is_listed() {
    let manifest = parsed(EVERY_FIELD);
    insta::assert_snapshot!("every_field_canonical", manifest.canonical_yaml());
    insta::assert_snapshot!("every_field_unenforced", told(&manifest.unenforced(&able_host())));
}

#[test]
fn the_canonical_form_is_read_back_as_the_same_manifest() {
    for text in [PR_REVIEWER, PYTHON_CODER, EVERY_FIELD] {
        let manifest = parsed(text);
        assert_eq!(parsed(&manifest.canonical_yaml()), manifest);
        let json = manifest.canonical_json();
        assert_eq!(Manifest::parse_bytes(&json), Ok(manifest.clone()));
        assert_eq!(parsed(text).canonical_json(), json);
    }
}

/// What is stored beside a revision embeds these types: plain serde reads back what was written, whatever today's rules
/// for manifests are.
#[test]
fn plain_serde_reads_back_what_it_wrote() {
    fn holds<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
        let bytes = serde_json_canonicalizer::to_vec(value).unwrap();
        assert_eq!(&serde_json::from_slice::<T>(&bytes).unwrap(), value);
    }
    for text in [PR_REVIEWER, PYTHON_CODER, EVERY_FIELD] {
        holds(&parsed(text));
    }
    let spec = parsed(EVERY_FIELD).spec;
    spec.execution.iter().flat_map(|execution| &execution.validation).for_each(holds);
    spec.volumes.iter().for_each(holds);
    spec.security.iter().flat_map(|security| &security.require).for_each(holds);
    holds(&spec.schedule);
    holds(&Backend::Container { image: "python:3.11".to_owned() });
    holds(&[Target::Output, Target::File("/workspace/result.json".to_owned())]);
    (0..=1000).for_each(|thousandths| holds(&Score::from_thousandths(thousandths)));
    for millis in [0, 1, 1_500, 90_000, 86_400_000, 172_800_000, (1 << 53) - 1] {
        holds(&Duration::from_millis(millis));
        holds(&Bytes::new(millis));
    }
    // Checkpoint what a manifest may state.
    let unruly = r#"{"type":"command","command":[],"timeout":"0s"}"#;
    assert!(serde_json::from_str::<Validator>(unruly).is_ok_and(|validator| validator.as_str() == "command"));
    assert!(serde_json::from_str::<Validator>(&unruly.replace("timeout", "timeuot")).is_err());
}

#[test]
fn two_spellings_of_one_manifest_have_equal_bytes() {
    let one = with_spec("security: {resources: {timeout: 300s, memory: 1Gi}}\nlimits: {max_turns: 7}");
    let other = with_spec("execution: {max_turns: 7}\nsecurity:\n  resources:\n    memory: 1024Mi\n    timeout: 5m");
    assert_eq!(parsed(&one).canonical_json(), parsed(&other).canonical_json());
    let different = with_spec("execution: {max_turns: 8}\nsecurity: {resources: {timeout: 300s, memory: 1Gi}}");
    assert_ne!(parsed(&one).canonical_json(), parsed(&different).canonical_json());
}

#[test]
fn a_silent_manifest_has_the_defaults_and_states_nothing() {
    let manifest = parsed(&with_spec("task: {instruction: Say hello.}"));
    let limits = Limits {
        max_iterations: 10,
        max_turns: 50,
        tool_calls: 200,
        tokens: 200_000,
        iteration_timeout_ms: 300_000,
        timeout_ms: 1_800_000,
        micro_usd: None,
    };
    assert_eq!(manifest.limits(), limits);
    assert_eq!(manifest.tools(), ["filesystem.read", "filesystem.list", "filesystem.stat"]);
    assert_eq!((manifest.model(), manifest.views().write), ("default", vec!["/workspace"]));
    assert_eq!(manifest.unenforced(&Host::default()), []);
    assert_eq!(parsed(&with_spec("execution: {mode: one-shot}")).limits().max_iterations, 1);
}

#[test]
fn a_version_without_quotes_is_read_as_it_is_written() {
    let manifest = parsed(&with_spec("runtime: {language: python, version: 3.10}"));
    assert_eq!(manifest.spec.runtime.and_then(|runtime| runtime.version), Some("3.10".to_owned()));
    let anchored = "apiVersion: tenure.dev/v1\nkind: Agent\nmetadata:\n  name: a\n  description: größer 🦀\n  labels: {v: &v 1.10, w: *v}\n\
                    spec:\n  runtime: {language: python, version: *v}\n";
    let manifest = parsed(anchored);
    assert_eq!(manifest.metadata.labels["w"], "1.10");
    assert_eq!(manifest.spec.runtime.and_then(|runtime| runtime.version), Some("1.10".to_owned()));
}

#[test]
fn unknown_fields_are_refused_with_the_near_word() {
    insta::assert_snapshot!(refused(
        "
apiVersion: tenure.dev/v1
kind: Agent
metdata: {}
metadata:
  name: a
  lables: {team: x}
spec:
  runtime: {isolaton: native}
  execution:
    max_iteration: 3
    validation:
      - {type: regex, pattern: x, patern: y}
      - {type: exitcode}
  quux: 1
"
    ));
}

#[test]
fn wrong_units_and_types_are_refused_with_what_was_meant() {
    insta::assert_snapshot!(refused(&with_spec(
        "
execution:
  iteration_timeout: 300
  max_turns: \"50\"
  max_iterations: 2.5
security:
  filesystem: {read: /workspace, write: [workspace], temp: yes}
  network: {mode: nothing}
  resources:
    cpu: 2
    memory: 512MB
    disk: 1024
    pids: 014
    files: 1_000
    output: 5 apples
    timeout: 5min
limits: {money: 5}
tools: filesystem.read
runtime: {command: python3 main.py, isolation: [docker]}
task:
"
    )));
}

#[test]
fn numbers_out_of_range_are_refused_with_the_range() {
    insta::assert_snapshot!(refused(&with_spec(
        "
execution:
  iteration_timeout: 2d
  max_turns: 0
  max_iterations: 99999999999999999999
  validation:
    - {type: exit_code, expected: 256}
    - {type: semantic, criteria: good, min_score: 1.5, min_confidence: 0.12345}
security:
  resources: {cpu: -1000, memory: 1Ki, timeout: 99999999999999999999s, pids: 0}
"
    )));
}

#[test]
fn bad_names_versions_paths_and_hosts_are_refused() {
    insta::assert_snapshot!(refused(
        "
apiVersion: tenure.dev/v1
kind: Agent
metadata:
  name: my agent!
  version: \"1.0\"
  labels: {\"bad key\": x}
spec:
  runtime: {language: python, version: latest, model: \"a b\"}
  security:
    filesystem: {read: [/workspace/../etc, relative]}
    network: {mode: allow, allowlist: [\"https://api.github.com/v1\", \"a b\", \"*.ok.org:8443\", \"10.0.0.1\"]}
  execution:
    validation:
      - {type: json_schema, schema: true, target: /etc/passwd}
  schedule: {cron: \"every day\", timezone: \"Mars; rm\"}
  dependencies: [{name: date-fns, version: newest, type: module}]
"
    ));
}

#[test]
fn contradictions_are_refused() {
    insta::assert_snapshot!(refused(&with_spec(
        "
execution: {mode: one-shot, max_iterations: 3, max_turns: 5}
limits: {max_turns: 6, max_iterations: 3, timeout: 10m}
security:
  resources: {timeout: 600s}
  network: {mode: none, allowlist: [a.org]}
memory: {type: volatile, persistent: true}
triggers: [schedule]
tools:
  - {name: github, command: [npx], url: \"https://x.org\"}
supervision: {autoRestart: false, backoff: 1s}
task:
  instruction: Do it.
  prompt_template: \"{{input}}\"
"
    )));
    insta::assert_snapshot!("memory_that_cannot_persist", refused(&with_spec("memory: {backend: memory}")));
}

#[test]
fn tools_that_do_not_exist_are_refused_and_unbuilt_ones_are_unenforced() {
    insta::assert_snapshot!(refused(&with_spec(
        "tools: [fs.read, cmd.run, filesytem.read, read, \"web.*\", shell, \"\"]"
    )));
    let manifest = parsed(&with_spec("tools: [\"filesystem.*\", git.clone, \"comms.*\", \"*\"]"));
    insta::assert_snapshot!("tools_not_built", told(&manifest.unenforced(&able_host())));
}

#[test]
fn validators_of_the_wrong_shape_are_refused() {
    insta::assert_snapshot!(refused(&with_spec(
        "
execution:
  validation:
    - {type: regex, pattern: \"(unclosed\"}
    - {type: regex, pattern: \"(?=look)\"}
    - {type: regex, pattern: \"((a{1000}){1000}){10}\"}
    - {type: json_schema, schema: result.schema.json}
    - {type: json_schema, schema: {maximum: 0x1F}}
    - {type: command, command: python3 check.py --strict}
    - {type: command, command: []}
    - {type: multi_judge, judges: [one], strategy: majorty, criteria: good}
    - {pattern: x}
    - regex
"
    )));
}

#[test]
fn templates_with_unknown_variables_or_foreign_forms_are_refused() {
    let templates = [
        "{{instruktion}} {{input}}",
        "{{#if previous_error}}x{{/if}}",
        "{{/if}}",
        "{{{input}}}",
        "{{else}}",
        "{{ input | upper }}",
        "{{ input ~ input }}",
        "{% for x in input %}{{x}}{% endfor %}",
        "{% set a = input %}",
        "{% if previous_error %}never closed",
        "{{ input",
        "{% if input.__class__ %}{% endif %}",
        "{% raw %}{{x}}",
    ];
    let answers: String = templates
        .iter()
        .map(|template| match template::check(template) {
            Ok(used) => format!("{template}\n    accepted, {used:?}\n"),
            Err(fault) => {
                format!("{template}\n    {}", told(&[fault.at("")]))
            }
        })
        .collect();
    insta::assert_snapshot!(answers);
    let inside = with_spec("task: {prompt_template: \"{{instruktion}}\"}");
    insta::assert_snapshot!("unknown_variable_in_a_manifest", refused(&inside));
}

#[test]
fn files_that_are_no_manifest_are_refused() {
    let deep_yaml = format!("a: {}1{}", "[".repeat(40), "]".repeat(40));
    let deep_json = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let deepest_json = format!("{{\"a\":{}", "[".repeat(100_000));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
    let huge = format!("a: {}", "x".repeat(300_000));
    let many = format!("a: [{}]", "1,".repeat(60_000));
    let files: [(&str, &str); 18] = [
        ("empty", ""),
        ("text", "hello"),
        ("a list", "- a\n- b\n"),
        ("bad YAML", "a: [1\nb: }"),
        ("bad JSON", "{\"apiVersion\": \"tenure.dev/v1\", }"),
        ("two documents", "a: 1\n---\nb: 2\n"),
        ("deep YAML", &deep_yaml),
        ("deep JSON", &deep_json),
        ("deepest JSON", &deepest_json),
        ("alias bomb", bomb),
        ("huge", &huge),
        ("many", &many),
        ("no version", "kind: Agent\nmetadata: {name: a}\nspec: {}\n"),
        ("other version", "apiVersion: tenure.dev/v2\nkind: Agent\n"),
        ("other kind", "apiVersion: tenure.dev/v1\nkind: Pod\n"),
        ("AEGIS node", "apiVersion: 100monkeys.ai/v1\nkind: NodeConfig\nspec: {}\n"),
        ("kAI", "{\"id\": \"calendarAgent\", \"entry\": \"main.ts\", \"persona\": \"assistant\"}"),
        ("no sections", "apiVersion: tenure.dev/v1\nkind: Agent\n"),
    ];
    let told: String = files.iter().map(|(name, text)| format!("# {name}\n{}", refused(text))).collect();
    insta::assert_snapshot!(told);
    let latin = Manifest::parse_bytes(b"apiVersion: \xff").unwrap_err();
    insta::assert_snapshot!("bytes_that_are_no_text", self::told(&latin));
}

#[test]
fn a_tag_that_nothing_acts_on_is_refused_where_it_stands_and_one_that_says_what_is_read_anyway_passes() {
    for tag in ["!secret", "!env", "!include", "!vault", "!!int", "!", "!<tag:example.com,2026:x>"] {
        let told = refused(&with_spec(&format!("task: {{instruction: {tag} \"5\"}}")));
        assert!(told.contains("means nothing here") && told.contains("line 6"), "{tag}: {told}");
    }
    let told = refused(&with_spec("task: {instruction: !!int 5}"));
    assert!(told.contains("spec.task.instruction (line 6") && told.contains("`!!int`"), "{told}");
    let told = refused(&with_spec("task: {!x instruction: a}"));
    assert!(told.contains("`!x` means nothing here"), "{told}");
    assert!(refused(&with_spec("tools: !a [filesystem.read]")).contains("`!a`"));
    parsed(&with_spec("task: !!map {instruction: !!str 5}\ntools: !!seq [filesystem.read]"));
}

#[test]
fn an_empty_document_at_the_end_is_nothing_and_a_second_one_is_refused() {
    let text = with_spec("task: {instruction: x}");
    for end in ["---\n", "---", "--- # the end\n", "---\n# a comment\n\n# another\n", "# first\n---\n"] {
        assert_eq!(parsed(&format!("{text}{end}")), parsed(&text), "{end:?}");
    }
    assert_eq!(parsed(&format!("---\n{text}---\n")), parsed(&text));
    for end in ["---\na: 1\n", "---\n---\n", "---\n...\n---\nb: 2\n"] {
        assert_ne!(refused(&format!("{text}{end}")), "accepted\n", "{end:?}");
    }
    let block = with_spec("task:\n  instruction: |\n    a\n    ---\n    b");
    assert_eq!(parsed(&block).spec.task.unwrap().instruction.unwrap(), "a\n---\nb\n", "the control: a text keeps it");
}

#[test]
fn what_people_bring_from_other_tools_is_told_in_plain_words() {
    let spec = |spec: &str| with_spec(spec);
    let base = with_spec("task: {instruction: x}");
    let texts = [
        spec("execution: &e {max_iterations: 2}\nlimits:\n  <<: *e"),
        spec("task:\n  instruction: {{input}}"),
        spec("task:\n  instruction: {{instruction}} and {{input}}"),
        spec("security: {resources: {memory: 1.5Gi}}"),
        spec("security: {resources: {memory: 1.3Ki, disk: 0.5}}"),
        spec("execution: {iteration_timeout: 1m30s}"),
        spec("execution: {iteration_timeout: 120 s}"),
        spec("execution: {iteration_timeout: -5s}"),
        base.replace("  task", "\u{a0}\u{a0}task"),
        base.replace("  task", "\ttask"),
        base.replace("kind:", "Kind:"),
        base.replace("apiVersion:", "apiversion:"),
    ];
    let told: String = texts.iter().map(|text| refused(text)).collect();
    insta::assert_snapshot!(told);
}

#[test]
fn long_comments_are_no_problem_wherever_they_stand() {
    let comment = "# A line of a licence.\n".repeat(200);
    let text = with_spec("task: {instruction: x}").replace("spec:\n", &format!("spec:\n{comment}"));
    parsed(&format!("{comment}{text}{comment}"));
}

#[test]
fn keys_given_twice_are_refused_beside_what_else_is_wrong() {
    insta::assert_snapshot!(refused(
        "
apiVersion: tenure.dev/v1
kind: Agent
metadata: {name: a, name: b}
spec:
  runtime: {isolation: dokcer}
  execution:
    max_turns: 1
    max_turns: 2
"
    ));
    let json = r#"{"apiVersion":"tenure.dev/v1","kind":"Agent","kind":"Agent","metadata":{"name":"a"},"spec":{}}"#;
    insta::assert_snapshot!("keys_given_twice_in_json", refused(json));
}

#[test]
fn lists_and_texts_beyond_their_bounds_are_refused() {
    let tools = format!("tools: [{}]", vec!["filesystem.read"; 65].join(", "));
    let validators = format!("execution: {{validation: [{}]}}", vec!["{type: exit_code}"; 17].join(", "));
    let instruction = format!("task: {{instruction: {}}}", "x".repeat(65 * 1024));
    let pattern = format!("tools: [\"{}*\"]", "f".repeat(200));
    let spec = [tools, validators, instruction, pattern].map(|spec| refused(&with_spec(&spec))).concat();
    insta::assert_snapshot!(spec);
}

#[test]
fn many_problems_are_bounded() {
    let fields: String = (0..500).map(|n| format!("unknown{n}: 1\n")).collect();
    assert_eq!(Manifest::parse(&with_spec(&fields)).unwrap_err().len(), tenure_core::manifest::PROBLEMS_MAX);
}

#[test]
fn a_template_renders_both_kinds_of_braces_unescaped() {
    let template = "{{instruction}}\nUser: {{input}}\n{% if previous_error %}\nFix it:\n{{previous_error}}\n{% endif %}\nReviewer:\n";
    let mut vars =
        Vars { instruction: "Review <b>", input: "{\"a\": \"{{x}}\"}", iteration_number: 1, previous_error: "" };
    let first = template::render(template, &vars).unwrap();
    assert_eq!(first, "Review <b>\nUser: {\"a\": \"{{x}}\"}\nReviewer:\n");
    vars.previous_error = "it failed & died";
    let second = template::render(template, &vars).unwrap();
    assert_eq!(second, "Review <b>\nUser: {\"a\": \"{{x}}\"}\nFix it:\nit failed & died\nReviewer:\n");
    assert!(template::check(template).unwrap().previous_error);
    assert!(!template::check(template::DEFAULT).unwrap().previous_error);
    assert_eq!(template::render("{% raw %}{{x}}{% endraw %}", &vars).unwrap(), "{{x}}");
}

#[test]
fn a_prompt_beyond_its_bound_is_refused_and_one_within_is_not() {
    let input = "x".repeat(600 * 1024);
    let vars = Vars { instruction: "", input: &input, iteration_number: 1, previous_error: "" };
    assert!(matches!(template::render("{{input}}{{input}}", &vars), Err(template::Error::TooLong)));
    assert!(template::render("{{input}}", &vars).is_ok());
}

#[test]
fn a_whole_number_of_a_schema_is_kept_exactly_or_refused() {
    let with = |number: &str| {
        with_spec(&format!("execution:\n  validation: [{{type: json_schema, schema: {{maximum: {number}}}}}]"))
    };
    for number in ["9007199254740991", "-9007199254740991", "0.1", "1000.0"] {
        let manifest = parsed(&with(number));
        let plan = Plan::read(&Plan::compile(&manifest).to_bytes()).unwrap();
        let Some(Validator::JsonSchema { schema, .. }) = plan.validators.first() else { panic!("{plan:?}") };
        assert_eq!(schema["maximum"].as_f64(), number.parse().ok(), "{number}");
        assert_eq!(schema["maximum"].as_i64(), number.parse().ok().or(schema["maximum"].as_i64()), "{number}");
    }
    for number in ["9007199254740993", "-9007199254740992", "18446744073709551615", "1e300"] {
        let told = refused(&with(number));
        assert!(told.contains("too large to be kept exactly") && told.contains("9007199254740991"), "{number}: {told}");
    }
}

#[test]
fn a_glob_matches_what_it_says() {
    let pattern = ToolPattern::parse("filesystem.*").unwrap();
    assert!(pattern.matches("filesystem.read"));
    assert!(!pattern.matches("process.run"));
    assert!(!pattern.matches("filesystem"));
    assert!(ToolPattern::parse("*.run").is_err());
    assert!(ToolPattern::parse("*").unwrap().matches("process.run"));
}

#[test]
fn names_are_one_regardless_of_case() {
    assert_eq!(AgentName::parse("Python-Coder").unwrap().folded(), AgentName::parse("python-coder").unwrap().folded());
    assert!(AgentName::parse("-a").is_err());
    assert!(AgentName::parse(&"a".repeat(64)).is_err());
    assert!(AgentName::parse(&"a".repeat(63)).is_ok());
}

/// Every property of the schema, as a path; list entries and variants fold into their parent.
fn properties(schema: &serde_json::Value, node: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    if let Some(name) = node.get("$ref").and_then(|name| name.as_str()) {
        let target = schema.pointer(name.trim_start_matches('#')).expect("a reference leads somewhere");
        return properties(schema, target, path, found);
    }
    for (name, inner) in node.get("properties").and_then(|inner| inner.as_object()).into_iter().flatten() {
        found.push(format!("{path}.{name}"));
        properties(schema, inner, &format!("{path}.{name}"), found);
    }
    for word in ["anyOf", "oneOf"] {
        for inner in node.get(word).and_then(|inner| inner.as_array()).into_iter().flatten() {
            properties(schema, inner, path, found);
        }
    }
    if let Some(inner) = node.get("items") {
        properties(schema, inner, path, found);
    }
}

fn stated(node: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    match node {
        serde_json::Value::Array(items) => items.iter().for_each(|item| stated(item, path, found)),
        serde_json::Value::Object(entries) if !path.ends_with(".schema") => {
            for (name, inner) in entries {
                found.push(format!("{path}.{name}"));
                stated(inner, &format!("{path}.{name}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_schema_and_the_reader_know_the_same_fields() {
    let mut known = Vec::new();
    properties(schema(), schema(), "", &mut known);
    let mut full = Vec::new();
    stated(&serde_json::from_slice(&parsed(EVERY_FIELD).canonical_json()).unwrap(), "", &mut full);
    // Labels and annotations have names of the user's own.
    full.retain(|path| !path.starts_with(".metadata.labels.") && !path.starts_with(".metadata.annotations."));
    // An allowlist and a blocklist exclude each other; the file has the first.
    full.push(".spec.security.network.blocklist".to_owned());
    // A mode is for agents of kind `acp` alone; the file has hooks.
    full.push(".spec.runtime.mode".to_owned());
    for list in [&mut known, &mut full] {
        list.sort();
        list.dedup();
    }
    assert_eq!(known, full);
    assert_eq!(schema()["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema()["additionalProperties"], false);
}

#[test]
fn the_schema_takes_canonical_forms_and_refuses_unknown_fields() {
    let validator = jsonschema::validator_for(schema()).unwrap();
    for text in [PR_REVIEWER, PYTHON_CODER, EVERY_FIELD] {
        let mut canonical: serde_json::Value = serde_json::from_slice(&parsed(text).canonical_json()).unwrap();
        let errors: Vec<String> = validator.iter_errors(&canonical).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0]);
        canonical["spec"]["execution"]["max_iteration"] = 3.into();
        assert!(!validator.is_valid(&canonical));
    }
    let mut canonical: serde_json::Value = serde_json::from_slice(&parsed(PYTHON_CODER).canonical_json()).unwrap();
    canonical["spec"]["execution"]["validation"][0]["expect"] = 0.into();
    assert!(!validator.is_valid(&canonical));
}

#[test]
fn quantities_print_as_they_are_read() {
    for text in ["500ms", "300s", "5m", "24h", "7d"] {
        assert_eq!(Duration::parse(&Duration::parse(text).unwrap().to_string()), Duration::parse(text));
    }
    assert_eq!(Duration::parse("300s").unwrap().to_string(), "5m");
    assert_eq!(Duration::parse("1d").unwrap().to_string(), "24h");
    assert_eq!(Bytes::parse("1024Mi").unwrap().to_string(), "1Gi");
    assert_eq!(Bytes::parse("1000B").unwrap().get(), 1000);
    assert_eq!(Money::parse("0.000001 USD").unwrap().to_string(), "0.000001 USD");
    assert_eq!(Money::parse("1.5 USD").unwrap().as_micros(), 1_500_000);
}

/// One line or piece of a manifest changed, doubled, dropped or spliced with another.
fn mangled() -> impl Strategy<Value = String> {
    let source = prop::sample::select(vec![PR_REVIEWER, PYTHON_CODER, EVERY_FIELD]);
    let splice = prop::sample::select(vec![
        "", "{", "[", "&a ", "*a", "- ", "<<: *a", "\t", "|\n", "'", "!!int ", "1e999", "~", "{{",
    ]);
    (source, any::<prop::sample::Index>(), any::<prop::sample::Index>(), splice).prop_map(
        |(source, from, to, splice)| {
            let chars: Vec<char> = source.chars().collect();
            let (from, to) = (from.index(chars.len()), to.index(chars.len()));
            let mut text: String = chars[..from].iter().collect();
            text.push_str(splice);
            text.extend(&chars[to..]);
            text
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,400}") {
        let _ = Manifest::parse(&text);
        let _ = template::check(&text);
    }

    #[test]
    fn no_mangled_manifest_makes_the_reader_panic_and_what_passes_round_trips(text in mangled()) {
        if let Ok(manifest) = Manifest::parse(&text) {
            prop_assert_eq!(Manifest::parse(&manifest.canonical_yaml()), Ok(manifest.clone()));
            prop_assert_eq!(Manifest::parse_bytes(&manifest.canonical_json()), Ok(manifest));
        }
    }

    #[test]
    fn any_texts_survive_the_canonical_form(
        description in "[^\\x00]{0,80}",
        instruction in "[ \\t\\n\\r-:#'\"|>{}a-z\u{85}\u{a0}\u{2028}é🦀]{0,80}",
        label in "[^\\x00-\\x1f\\x7f-\\x9f]{0,40}",
    ) {
        let value = serde_json::json!({
            "apiVersion": "tenure.dev/v1", "kind": "Agent",
            "metadata": {"name": "a", "description": description, "labels": {"k": label}},
            "spec": {"task": {"instruction": instruction}},
        });
        if let Ok(manifest) = Manifest::parse(&value.to_string()) {
            prop_assert_eq!(Manifest::parse(&manifest.canonical_yaml()), Ok(manifest.clone()), "{}", manifest.canonical_yaml());
            prop_assert_eq!(Manifest::parse_bytes(&manifest.canonical_json()), Ok(manifest));
        }
    }
}
