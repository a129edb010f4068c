use super::*;
use std::fmt::Write;
use std::path::PathBuf;

fn environment(variables: &[(&str, &str)]) -> Environment {
    let find = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    Environment::read(find, Path::new("/opt/tenure"), PathBuf::from("/nonexistent/models"))
}

fn tls() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

const ANTHROPIC: (&str, &str) = ("ANTHROPIC_API_KEY", "sk-ant-secret");
const OPENAI: (&str, &str) = ("OPENAI_API_KEY", "sk-openai-secret");
const SERVER: (&str, &str) = ("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1");

#[test]
fn each_environment_resolves_each_word_as_the_table_says() {
    let default = |value| ("TENURE_DEFAULT_MODEL", value);
    let environments: &[&[(&str, &str)]] = &[
        &[],
        &[ANTHROPIC],
        &[OPENAI],
        &[ANTHROPIC, OPENAI],
        &[("ANTHROPIC_API_KEY", "  ")],
        &[OPENAI, SERVER],
        &[SERVER],
        &[("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080")],
        &[ANTHROPIC, default("local")],
        &[ANTHROPIC, OPENAI, default("openai/gpt-5-mini")],
        &[default("openai/gpt-5-mini")],
        &[default("openai-gpt4o-mini"), OPENAI],
        &[default("default")],
        &[default("gpt-4o-mini")],
        &[("OPENAI_BASE_URL", "127.0.0.1:8080")],
        &[("TENURE_CASSETTE", "play:x")],
        &[("TENURE_CASSETTE", "replay:/nonexistent/x.jsonl")],
    ];
    let mut table = String::new();
    for variables in environments {
        let names: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        writeln!(table, "[{}]", names.join(" ")).unwrap();
        match Router::new(&environment(variables)) {
            Err(failure) => writeln!(table, "  refused: {failure}\n  {}", failure.hint).unwrap(),
            Ok(router) => {
                writeln!(table, "  because {}", router.default_route_and_reason().1).unwrap();
                for alias in router.aliases() {
                    let missing = alias.missing.map(|failure| format!("  ({failure})")).unwrap_or_default();
                    writeln!(table, "  {:18} {}{missing}", alias.word, alias.route).unwrap();
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn an_unknown_word_gets_the_near_word_and_the_list() {
    let router = Router::new(&environment(&[])).unwrap();
    let mut table = String::new();
    for word in [
        "opena-gpt4o-mini",
        "locl",
        "gpt-4o-mini",
        "azure/gpt",
        "local/qwen",
        "cassette/x",
        "ollama/llama3",
        "",
        "openai/",
    ] {
        let failure = router.route(word).unwrap_err();
        assert_eq!(failure.kind, Kind::UnknownModel);
        writeln!(table, "{failure}\n  {}", failure.hint).unwrap();
    }
    insta::assert_snapshot!(table);
    assert_eq!(router.route("openai/Org/Model-7B").unwrap().to_string(), "openai/Org/Model-7B");
    assert_eq!(router.route("local/local-default").unwrap(), router.route("local").unwrap());
}

#[tokio::test]
async fn a_model_without_its_key_is_refused_when_it_is_asked_for_and_not_before() {
    tls();
    let router = Router::new(&environment(&[OPENAI])).unwrap();
    assert_eq!(router.resolve("openai-gpt4o-mini").await.unwrap().name().to_string(), "openai/gpt-4o-mini");
    let failure = router.resolve("anthropic").await.err().unwrap();
    assert_eq!(failure.kind, Kind::Auth);
    assert!(failure.hint.contains("ANTHROPIC_API_KEY"));
}

#[tokio::test]
async fn a_replay_answers_for_every_model_that_could_be_meant_and_for_no_other_word() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("demo.jsonl");
    std::fs::write(&file, "{\"cassette\":1}\n").unwrap();
    let replay = format!("replay:{}", file.display());
    let router = Router::new(&environment(&[("TENURE_CASSETTE", &replay)])).unwrap();
    for word in ["default", "anthropic", "openai/gpt-5"] {
        assert_eq!(router.resolve(word).await.unwrap().name().to_string(), "cassette/demo");
    }
    assert!(router.resolve("nonsense").await.is_err());
    assert!(router.cassette().unwrap().contains("demo.jsonl"));
}

#[test]
fn a_key_is_not_shown_by_what_holds_it() {
    let shown = format!("{:?}", environment(&[ANTHROPIC, OPENAI]));
    assert!(shown.contains("REDACTED") && !shown.contains("secret"), "{shown}");
}
