use super::*;
use crate::model::answer::Answer;
use crate::model::settings::AddedModel;
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
        &[("OLLAMA_HOST", "box:1")],
        &[OPENAI, ("OLLAMA_HOST", "box:1")],
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
        "olama/llama3",
        "reasoning",
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

/// A server that speaks as OpenAI's does and answers `requests` questions with the status.
fn server(status: &'static str, requests: usize) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for _ in 0..requests {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 65536]);
            let body = r#"{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"ready"}}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = std::io::Write::write_all(&mut stream, format!("{head}{body}").as_bytes());
        }
    });
    url
}

fn added(url: &str, model: &str) -> AddedModel {
    let access = Access { key: None, base_url: Some(url.to_owned()) };
    AddedModel { provider: Provider::OpenAi, model: model.to_owned(), access, lacking: None }
}

fn settings(models: &[(&str, AddedModel)], aliases: &[(&str, &[&str])]) -> ModelSettings {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    ModelSettings {
        prices: Vec::new(),
        aliases: aliases.iter().map(|(word, names)| ((*word).to_owned(), list(names))).collect(),
        models: models.iter().map(|(word, model)| ((*word).to_owned(), model.clone())).collect(),
    }
}

fn configured(settings: ModelSettings) -> Router {
    let source = SettingsSource::new(Vec::new(), move || Ok(settings.clone()));
    Router::new(&Environment { settings: Some(source), ..environment(&[]) }).unwrap()
}

async fn ask(router: &Router, word: &str) -> Result<Answer, Failure> {
    let model = router.resolve(word).await?;
    let request = crate::model::request::tests::ask("hello");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    model.generate(&request, &crate::model::piece::PieceSink::none(), deadline).await
}

#[tokio::test]
async fn where_the_first_model_of_an_alias_cannot_be_used_the_next_is_asked_and_says_who_it_is() {
    tls();
    let models = [
        ("broken", added(&server("503 Service Unavailable", 9), "a")),
        (
            "keyless",
            AddedModel { lacking: Some("the variable X is not set".to_owned()), ..added("http://127.0.0.1:9/v1", "b") },
        ),
        ("whole", added(&server("200 OK", 9), "c")),
    ];
    let aliases: [(&str, &[&str]); 3] =
        [("reasoning", &["broken", "keyless", "whole"]), ("alone", &["broken"]), ("none", &["keyless", "local"])];
    let router = configured(settings(&models, &aliases));
    let failure = ask(&router, "reasoning").await.unwrap_err();
    assert!(failure.elsewhere && matches!(failure.kind, Kind::ServerError | Kind::Overloaded { .. }), "{failure:?}");
    for _ in 0..2 {
        let answer = ask(&router, "reasoning").await.unwrap();
        assert_eq!((answer.model.to_string().as_str(), answer.text.as_str()), ("openai/c", "ready"));
    }
    let failure = ask(&router, "alone").await.unwrap_err();
    assert!(!failure.elsewhere, "the control: there is no other, so that the same is asked again later");
    let failure = ask(&router, "none").await.unwrap_err();
    assert_eq!(failure.kind, Kind::NotReady);
    assert!(failure.hint.contains("X is not set") && failure.hint.contains("model pull"), "{failure:?}");
}

#[test]
fn an_alias_that_leads_nowhere_or_to_itself_is_refused_by_name() {
    let check = |aliases: &[(&str, &[&str])]| Router::check(&settings(&[], aliases));
    check(&[("reasoning", &["anthropic", "openai/o3", "local"]), ("default", &["local"])]).unwrap();
    check(&[("anthropic", &["anthropic", "local"])]).unwrap();
    for (aliases, said) in [
        (&[("a", &["b"][..]), ("b", &["local"])][..], "an alias stands for models, not for aliases"),
        (&[("a", &["a"])], "is no model"),
        (&[("a", &["default"])], "is an alias itself"),
        (&[("a", &["locla"])], "did you mean `local`?"),
        (&[("a", &[])], "1 to 5 models"),
        (&[("a", &["local", "local"])], "twice"),
        (&[("a/b", &["local"])], "no word for a model"),
    ] {
        let failure = check(aliases).unwrap_err();
        assert!(failure.sentence.contains(said), "{aliases:?}: {failure}");
    }
}

#[test]
fn what_the_file_says_counts_from_the_next_question_on_and_what_it_cannot_mean_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("models");
    let put = |text: &str| std::fs::write(&file, text).unwrap();
    put("local");
    let read = file.clone();
    let source = SettingsSource::new(vec![file.clone()], move || {
        let model = std::fs::read_to_string(&read).map_err(|error| error.to_string())?;
        Ok(settings(&[], &[("fast", &[model.as_str()])]))
    });
    let router = Router::new(&Environment { settings: Some(source), ..environment(&[]) }).unwrap();
    let fast = || router.route("fast").unwrap().to_string();
    assert_eq!((fast().as_str(), router.settings_failure()), ("local/qwen2.5-coder-1.5b", None));
    put("openai/gpt-4o");
    assert_eq!(fast(), "openai/gpt-4o");
    put("nonsense");
    assert_eq!(fast(), "openai/gpt-4o");
    assert!(router.settings_failure().unwrap().contains("`nonsense` is no model"));
    put("anthropic/claude");
    assert_eq!((fast().as_str(), router.settings_failure()), ("anthropic/claude", None));
}
