//! `/v1/llm/generate`: a prompt in, a text out, by whatever model the agent has. With `stream` the text comes in events.
use super::fields::Fields;
use super::{Asked, Draft, Namespaces, Problem, data, tokens};
use crate::model::answer::Answer;
use crate::model::request::Part;
use serde_json::{Value, json};

pub(super) fn read(body: Value) -> Result<Asked, Problem> {
    let mut fields = Fields::of(body, "")?;
    let mut draft = Draft::default();
    if let Some(system) = fields.text("system")? {
        draft.instruct(system);
    }
    let prompt = fields.needed("prompt")?;
    if prompt.trim().is_empty() {
        return Err(Problem::field("prompt", "it is empty"));
    }
    draft.user(vec![Part::Text { text: prompt }]);
    draft.wishes.temperature = fields.number("temperature")?;
    let (word, stream) = (fields.text("model")?, fields.flag("stream")?.unwrap_or(false));
    let max_tokens = fields.count("max_tokens")?;
    let left_out = fields.end()?;
    Ok(Asked {
        word,
        request: draft.finish(max_tokens)?,
        stream,
        count: false,
        left_out,
        namespaces: Namespaces::new(),
    })
}

pub(super) fn whole(answer: &Answer) -> Value {
    let (input, output, _) = tokens(&answer.usage);
    json!({
        "text": answer.text,
        "model": answer.model,
        "complete": !super::is_cut(answer),
        "usage": {"input_tokens": input, "output_tokens": output},
    })
}

pub(super) fn text(text: &str) -> String {
    data(&json!({"text": text}))
}

pub(super) fn end(answer: &Answer) -> String {
    let mut last = whole(answer);
    last["text"] = json!("");
    last["done"] = json!(true);
    data(&last)
}
