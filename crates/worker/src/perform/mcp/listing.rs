//! What a server has: all pages of a list, each entry cut to what is of use, and what was left out with the reason.
//! A name, a description and a schema are a server's word: bounded, and shown as nothing else.
use super::connection::Fault;
use super::{CallResult, Exchange};
use serde_json::{Map, Value, json};
use tenure_core::capability::clip;
use tenure_core::capability::mcp::{Method, Name, capability};

const PAGES_MAX: usize = 64;
pub(super) const ENTRIES_MAX: usize = 128;
const TEXT_BYTES_MAX: usize = 2048;
const SCHEMA_BYTES_MAX: usize = 16 << 10;
const ALL_BYTES_MAX: usize = 512 << 10;
const LEFT_OUT_MAX: usize = 32;

pub(super) async fn all(exchange: &mut Exchange<'_>, method: Method<'_>) -> Result<CallResult, Fault> {
    let (group, field) = match method {
        Method::ListTools => ("tools", "tools"),
        Method::ListResources => ("resources", "resources"),
        Method::ListTemplates => ("resources", "resourceTemplates"),
        Method::ListPrompts => ("prompts", "prompts"),
        Method::ReadResource | Method::GetPrompt | Method::CallTool(_) => {
            return Err(Fault::Protocol(format!("`{}` is no list", method.as_str())));
        }
    };
    let connection = exchange.connection().await?;
    let (mut kept, mut cursor) = (BoundedList::new(exchange.server.name.clone(), method), None::<String>);
    if connection.has(group) {
        for _ in 0..PAGES_MAX {
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({"cursor": cursor}));
            let page = match exchange.on(&connection, method.as_str(), params).await {
                // Some servers have resources and no templates of them.
                Err(Fault::Refused { code: -32601, .. }) if method == Method::ListTemplates => json!({field: []}),
                page => page?,
            };
            let Some(entries) = page[field].as_array() else {
                return Err(Fault::Protocol(format!("its answer to `{}` has no `{field}`", method.as_str())));
            };
            entries.iter().for_each(|entry| kept.take(entry));
            cursor = page["nextCursor"].as_str().map(str::to_owned);
            if cursor.is_none() || kept.is_full() {
                break;
            }
        }
    }
    Ok(CallResult::done(kept.end(field, &connection.info, cursor.is_some())))
}

struct BoundedList<'a> {
    server: String,
    method: Method<'a>,
    entries: Vec<Value>,
    bytes: usize,
    left_out: Vec<Value>,
}

impl BoundedList<'_> {
    fn new(server: String, method: Method<'_>) -> BoundedList<'_> {
        BoundedList { server, method, entries: Vec::new(), bytes: 0, left_out: Vec::new() }
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= ENTRIES_MAX
    }

    fn take(&mut self, entry: &Value) {
        let name = clip(entry["name"].as_str().or_else(|| entry["uri"].as_str()).unwrap_or_default());
        match self.entry(entry) {
            Ok(kept) => {
                self.bytes += kept.to_string().len();
                self.entries.push(kept);
            }
            Err(why) if self.left_out.len() < LEFT_OUT_MAX => self.left_out.push(json!({"name": name, "why": why})),
            Err(_) => {}
        }
    }

    fn entry(&self, entry: &Value) -> Result<Value, String> {
        if self.is_full() {
            return Err(format!("at most {ENTRIES_MAX} are taken"));
        }
        let kept = match self.method {
            Method::ListTools => self.tool(entry)?,
            Method::ListResources
            | Method::ListTemplates
            | Method::ListPrompts
            | Method::ReadResource
            | Method::GetPrompt
            | Method::CallTool(_) => plain(entry)?,
        };
        if self.bytes + kept.to_string().len() > ALL_BYTES_MAX {
            return Err(format!("all together have more than {ALL_BYTES_MAX} bytes"));
        }
        Ok(kept)
    }

    fn tool(&self, entry: &Value) -> Result<Value, String> {
        let name = entry["name"].as_str().unwrap_or_default();
        let full = capability(&self.server, Method::CallTool(name));
        match Name::parse(&full).map(|name| name.method) {
            Some(Method::CallTool(_)) => {}
            Some(_) => return Err("its name is the protocol's own word".to_owned()),
            None => return Err("its name is too long, or has letters that no tool's name has".to_owned()),
        }
        if self.entries.iter().any(|other| other["name"] == name) {
            return Err("another tool has the same name".to_owned());
        }
        let schema = &entry["inputSchema"];
        if !schema.is_object() || schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Err(format!("its inputSchema is none, or has more than {SCHEMA_BYTES_MAX} bytes"));
        }
        let mut kept = texts(entry, &["name", "title", "description"]);
        kept.insert("inputSchema".to_owned(), schema.clone());
        let output = &entry["outputSchema"];
        if output.is_object() && output.to_string().len() <= SCHEMA_BYTES_MAX {
            kept.insert("outputSchema".to_owned(), output.clone());
        }
        let hints: Map<String, Value> = ["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"]
            .into_iter()
            .filter_map(|hint| Some((hint.to_owned(), json!(entry["annotations"][hint].as_bool()?))))
            .collect();
        if !hints.is_empty() {
            kept.insert("annotations".to_owned(), Value::Object(hints));
        }
        Ok(Value::Object(kept))
    }

    fn end(self, field: &str, info: &Value, more: bool) -> Value {
        let mut result = json!({"server": info, field: self.entries});
        if !self.left_out.is_empty() {
            result["left_out"] = json!(self.left_out);
        }
        if more {
            result["more"] = json!(true);
        }
        result
    }
}

fn texts(entry: &Value, names: &[&str]) -> Map<String, Value> {
    let text = |name: &&str| {
        let text = entry[*name].as_str()?;
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        Some(((*name).to_owned(), json!(&text[..end])))
    };
    names.iter().filter_map(text).collect()
}

/// A resource, a template of resources or a prompt.
fn plain(entry: &Value) -> Result<Value, String> {
    let named = ["uri", "uriTemplate", "name"];
    if named.iter().all(|name| entry[*name].as_str().is_none()) {
        return Err("it has no name".to_owned());
    }
    if named.iter().any(|name| entry[*name].as_str().is_some_and(|text| text.len() > TEXT_BYTES_MAX)) {
        return Err(format!("its name has more than {TEXT_BYTES_MAX} bytes"));
    }
    let mut kept = texts(entry, &["uri", "uriTemplate", "name", "title", "description", "mimeType"]);
    if let Some(size) = entry["size"].as_u64() {
        kept.insert("size".to_owned(), json!(size));
    }
    let arguments: Vec<Value> = entry["arguments"]
        .as_array()
        .into_iter()
        .flatten()
        .take(ENTRIES_MAX)
        .map(|argument| {
            let mut kept = texts(argument, &["name", "title", "description"]);
            kept.insert("required".to_owned(), json!(argument["required"].as_bool().unwrap_or(false)));
            Value::Object(kept)
        })
        .collect();
    if !arguments.is_empty() {
        kept.insert("arguments".to_owned(), json!(arguments));
    }
    Ok(Value::Object(kept))
}
