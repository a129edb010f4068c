//! With the standard library alone.
use crate::world::{ANSWER_MICRO_USD, KEYS, manifest, records, run, start};
use serde_json::json;

const ASK: &str = r#"
import json, os, urllib.request, urllib.error
openai, anthropic = os.environ["OPENAI_BASE_URL"], os.environ["ANTHROPIC_BASE_URL"]
def ask(url, body=None, whole=True):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", "authorization": "Bearer x"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read().decode()
            return json.loads(text) if whole else text
    except urllib.error.HTTPError as error:
        return {"status": error.code, **json.loads(error.read())}
def events(text):
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]
tool = {"type": "object", "properties": {"stone": {"type": "integer"}}}
out = {}
one = [{"role": "user", "content": "PROGRAM one"}]
out["chat"] = ask(openai + "/chat/completions", {"model": "openai/scripted", "messages": one})["choices"][0]
text = ask(openai + "/chat/completions", {"model": "openai/scripted", "messages": one, "stream": True, "stream_options": {"include_usage": True}}, False)
out["chat_stream"] = "".join(c["delta"].get("content") or "" for e in events(text) for c in e["choices"])
out["chat_done"] = text.rstrip().endswith("data: [DONE]")
out["chat_usage"] = events(text)[-1]["usage"]["total_tokens"]
calls = ask(openai + "/chat/completions", {"model": "openai/scripted", "messages": one, "tools": [{"type": "function", "function": {"name": "weigh", "parameters": tool}}]})["choices"][0]
out["chat_call"] = [calls["finish_reason"], calls["message"]["tool_calls"][0]["function"]]
out["responses"] = ask(openai + "/responses", {"model": "openai/scripted", "input": "PROGRAM two"})["output"][0]["content"][0]["text"]
text = ask(openai + "/responses", {"model": "openai/scripted", "input": "PROGRAM two", "stream": True}, False)
out["responses_stream"] = "".join(e["delta"] for e in events(text) if e["type"] == "response.output_text.delta")
out["responses_last"] = events(text)[-1]["type"]
body = {"model": "anthropic/scripted", "max_tokens": 50, "messages": [{"role": "user", "content": "PROGRAM three"}]}
told = ask(anthropic + "/v1/messages", body)
out["messages"] = told["content"]
text = ask(anthropic + "/v1/messages", {**body, "stream": True}, False)
out["messages_stream"] = "".join(e["delta"]["text"] for e in events(text) if e["type"] == "content_block_delta")
called = ask(anthropic + "/v1/messages", {**body, "tools": [{"name": "weigh", "input_schema": tool}]})
out["messages_call"] = [called["stop_reason"], called["content"][-1]["input"]]
out["messages_ids"] = len({told["id"], called["id"]})
answered = [{"role": "user", "content": "PROGRAM"}, {"role": "assistant", "content": called["content"]},
  {"role": "user", "content": [{"type": "tool_result", "tool_use_id": called["content"][-1]["id"], "content": "it weighs 3"}]}]
out["messages_result"] = ask(anthropic + "/v1/messages", {**body, "messages": answered})["content"][0]["text"]
out["generate"] = ask(anthropic + "/v1/llm/generate", {"prompt": "PROGRAM four"})["text"]
out["asked"] = 10
out["count"] = ask(anthropic + "/v1/messages/count_tokens", body)["input_tokens"] > 0
out["models"] = any(m["id"] == "default" for m in ask(openai + "/models")["data"])
out["vendor"] = ask(openai + "/chat/completions", {"model": "gpt-9-of-a-vendor", "messages": one})
out["unknown"] = ask(openai + "/chat/completions", {"model": "openai/scripted", "messages": one, "frobnicate": 1})
out["no_path"] = ask(anthropic + "/v1/embeddings", {})["status"]
out["no_json"] = ask(openai + "/chat/completions", "PROGRAM")["status"]
out["key"] = [os.environ["OPENAI_API_KEY"], os.environ["ANTHROPIC_API_KEY"]]
keys, found, seen = ["sk-" + "test-0123456789", "sk-ant-" + "test-0123456789"], [], 0
for top in ["/workspace", "/tmp", "/etc", "/proc"]:
    for folder, _, names in os.walk(top):
        if folder.count("/") > 6 or "/task/" in folder or folder.endswith("/fd"): continue
        for name in names:
            path = os.path.join(folder, name)
            try:
                if os.path.getsize(path) > 1 << 20 or name in ("kmsg", "kcore", "clear_refs", "mem", "pagemap"): continue
                with open(path, "rb") as file: text = file.read(1 << 20)
            except OSError: continue
            seen += 1
            if os.environ.get("PLANTED", "-").encode() in text: out["control"] = True
            if any(key.encode() in text for key in keys): found.append(path)
found += [name for name, value in os.environ.items() if any(key in value for key in keys)]
out["found"], out["seen"] = found, seen > 20
open("/workspace/out.json", "w").write(json.dumps(out))
"#;

#[test]
fn a_program_asks_over_each_wire_and_each_call_is_recorded_and_paid_for() {
    let house = start(ASK, &[("PLANTED", "a word that the search must find")], &[]);
    let daemon = &house.daemon;
    daemon.deploy(&manifest("asker", &json!({})));
    let (record, out) = run(daemon, "asker");
    assert_eq!(record["status"], "completed", "{record:#}");
    assert_eq!(out["chat"]["message"]["content"], "heard: PROGRAM one", "{out:#}");
    assert_eq!(out["chat"]["finish_reason"], "stop");
    assert_eq!(out["chat_stream"], "heard: PROGRAM one");
    assert_eq!((&out["chat_done"], &out["chat_usage"]), (&json!(true), &json!(110)));
    assert_eq!(out["chat_call"][0], "tool_calls");
    assert_eq!(out["chat_call"][1], json!({"name": "weigh", "arguments": "{\"stone\":3}"}));
    assert_eq!(out["responses"], "heard: PROGRAM two");
    assert_eq!(out["responses_stream"], "heard: PROGRAM two");
    assert_eq!(out["responses_last"], "response.completed");
    assert_eq!(out["messages"][0]["text"], "heard: PROGRAM three");
    assert_eq!(out["messages_stream"], "heard: PROGRAM three");
    assert_eq!(out["messages_call"], json!(["tool_use", {"stone": 3}]));
    assert_eq!(out["messages_ids"], 2, "two answers of one id are one message to Claude Code");
    assert_eq!(out["messages_result"], "heard: it weighs 3", "{out:#}");
    assert_eq!(out["generate"], "heard: PROGRAM four");
    assert_eq!((&out["count"], &out["models"]), (&json!(true), &json!(true)), "{out:#}");

    let vendor = &out["vendor"];
    assert_eq!(vendor["status"], 404);
    let message = vendor["error"]["message"].as_str().expect("a sentence");
    assert!(message.contains("gpt-9-of-a-vendor") && message.contains("default"), "it names the aliases: {message}");
    assert_eq!((&out["unknown"]["status"], &out["unknown"]["error"]["param"]), (&json!(400), &json!("frobnicate")));
    assert_eq!((&out["no_path"], &out["no_json"]), (&json!(404), &json!(400)));

    // The key stays with the daemon; the search is one that finds what is there.
    assert_eq!(out["found"], json!([]), "a key of {KEYS:?} is in the jail");
    assert_eq!((&out["control"], &out["seen"]), (&json!(true), &json!(true)), "the control: it looks everywhere");
    assert_eq!(out["key"], json!(["tenure-jail", "tenure-jail"]), "what libraries want as a key opens nothing");

    let asked = out["asked"].as_u64().expect("a number");
    let called = records(daemon, "proxy.called");
    let answered = records(daemon, "proxy.answered");
    assert_eq!((called.len() as u64, answered.len() as u64), (asked, asked), "what was refused asked nobody");
    // Two turns of the agent's own, and all that its program asked.
    let calls = asked + 2;
    assert_eq!((&record["tokens_in"], &record["tokens_out"]), (&json!(100 * calls), &json!(10 * calls)), "{record:#}");
    assert_eq!(record["cost_micro_usd"], json!(ANSWER_MICRO_USD * calls));
    let cost = daemon.json(&["cost"]);
    assert_eq!(cost["total"]["cost_micro_usd"], record["cost_micro_usd"], "{cost:#}");
    assert_eq!(cost["total"]["tokens_in"], record["tokens_in"]);
    daemon.ok(&["audit", "verify"]);
}
