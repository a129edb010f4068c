//! With the official libraries of providers, where `cargo xtask test` has brought them.
use crate::world::{manifest, records, runs};
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use tests::scripted::ScriptedDaemon;

const ASK: &str = r#"
import json, openai, anthropic
out = {}
o, a = openai.OpenAI(), anthropic.Anthropic()
one = [{"role": "user", "content": "PROGRAM one"}]
schema = {"type": "object", "properties": {"stone": {"type": "integer"}}}
c = o.chat.completions.create(model="openai/scripted", messages=one)
out["chat"] = c.choices[0].message.content
out["chat_stream"] = "".join(e.choices[0].delta.content or "" for e in o.chat.completions.create(model="openai/scripted", messages=one, stream=True) if e.choices)
c = o.chat.completions.create(model="openai/scripted", messages=one, tools=[{"type": "function", "function": {"name": "weigh", "parameters": schema}}])
call = c.choices[0].message.tool_calls[0]
out["chat_call"] = [call.function.name, json.loads(call.function.arguments)]
c = o.chat.completions.create(model="openai/scripted", messages=one + [c.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "it weighs 3"}])
out["chat_result"] = c.choices[0].message.content
r = o.responses.create(model="openai/scripted", input="PROGRAM two")
out["responses"] = r.output_text
with o.responses.stream(model="openai/scripted", input="PROGRAM two") as s:
    s.until_done()
    out["responses_stream"] = s.get_final_response().output_text
m = a.messages.create(model="anthropic/scripted", max_tokens=100, messages=[{"role": "user", "content": "PROGRAM three"}])
out["messages"] = m.content[0].text
with a.messages.stream(model="anthropic/scripted", max_tokens=100, messages=[{"role": "user", "content": "PROGRAM three"}]) as s:
    out["messages_stream"] = s.get_final_text()
tools = [{"name": "weigh", "description": "d", "input_schema": schema}]
with a.messages.stream(model="anthropic/scripted", max_tokens=100, messages=[{"role": "user", "content": "PROGRAM three"}], tools=tools) as s:
    m = s.get_final_message()
out["messages_call"] = [m.stop_reason, m.content[-1].name, m.content[-1].input]
out["usage"] = [m.usage.input_tokens, m.usage.output_tokens]
out["count"] = a.messages.count_tokens(model="anthropic/scripted", messages=[{"role": "user", "content": "PROGRAM"}]).input_tokens > 0
out["models"] = [any(m.id == "default" for m in o.models.list()), any(m.id == "default" for m in a.models.list())]
try: o.chat.completions.create(model="no-such-model", messages=one)
except openai.NotFoundError as error: out["openai_error"] = [error.code, "default" in str(error)]
try: a.messages.create(model="no-such-model", max_tokens=1, messages=one)
except anthropic.NotFoundError as error: out["anthropic_error"] = error.body["error"]["type"]
try: a.messages.create(model="anthropic/scripted", max_tokens=1, messages=one, extra_body={"frobnicate": 1})
except anthropic.BadRequestError as error: out["anthropic_bad"] = "frobnicate" in str(error)
open("/workspace/out.json", "w").write(json.dumps(out))
"#;

/// Where the libraries lie, as agents may be shown them.
fn shown() -> Option<(tempfile::TempDir, String)> {
    let Some(folder) = std::env::var_os("TENURE_TEST_SDKS").map(PathBuf::from) else {
        println!("skipped: TENURE_TEST_SDKS names no libraries; `cargo xtask test` brings them");
        return None;
    };
    let Ok(shown) = tempfile::Builder::new().prefix("tenure-sdks-").tempdir_in("/srv") else {
        println!("skipped: nobody but root makes a folder in /srv");
        return None;
    };
    let copied = Command::new("cp").arg("-a").arg(folder.join("lib")).arg(shown.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "what was brought can be copied");
    let lib = std::fs::read_dir(shown.path().join("lib")).ok()?.flatten().next()?.path().join("site-packages");
    let lib = lib.to_str().expect("a path of ours is UTF-8").to_string();
    Some((shown, lib))
}

#[test]
fn the_official_python_libraries_speak_to_the_proxy_as_to_their_providers() {
    let Some((shown, lib)) = shown() else { return };
    let mount = shown.path().to_str().expect("a path of ours is UTF-8");
    let house = ScriptedDaemon::start_with(runs(ASK, &[("PYTHONPATH", &lib)]), &[("TENURE_ALLOW_MOUNTS", mount)]);
    let filesystem = json!({"read": [mount, "/workspace"], "write": ["/workspace"]});
    house.daemon.deploy(&manifest("asker", &json!({"security": {"filesystem": filesystem}})));
    let (record, out) = crate::world::run(&house.daemon, "asker");
    assert_eq!(record["status"], "completed", "{record:#}");
    let expected = json!({
        "chat": "heard: PROGRAM one",
        "chat_stream": "heard: PROGRAM one",
        "chat_call": ["weigh", {"stone": 3}],
        "chat_result": "heard: it weighs 3",
        "responses": "heard: PROGRAM two",
        "responses_stream": "heard: PROGRAM two",
        "messages": "heard: PROGRAM three",
        "messages_stream": "heard: PROGRAM three",
        "messages_call": ["tool_use", "weigh", {"stone": 3}],
        "usage": [100, 10],
        "count": true,
        "models": [true, true],
        "openai_error": ["model_not_found", true],
        "anthropic_error": "not_found_error",
        "anthropic_bad": true,
    });
    assert_eq!(out, expected, "{out:#}");
    assert_eq!(records(&house.daemon, "proxy.called").len(), 9);
}
