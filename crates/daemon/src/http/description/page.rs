//! The API's description as a page for people: docs/api.md, and what `tenure api` prints. Made from openapi.json alone. Must
//! never: say what the description does not.
use std::fmt::Write as _;

use serde_json::Value;

const HEAD: &str = "# The API\n\
    Made from openapi.json by `cargo xtask codegen`; `tenure api` prints it, `tenure api --openapi` the description itself. A running daemon\n\
    serves that at `/v1/openapi.json`.\n\n\
    It is spoken on the Unix socket in the data directory, where the daemon's own user needs no key, and on `127.0.0.1:7800` with\n\
    `Authorization: Bearer tnr_…`. Lists come in pages: hand `next_cursor` back as `cursor`. What is not done is answered with a problem\n\
    (RFC 9457); [troubleshooting](troubleshooting.md) has each code.\n";

/// `description`: the whole OpenAPI document.
pub(in crate::http) fn page(description: &Value) -> String {
    let mut page = HEAD.to_string();
    let mut operations = operations(description);
    operations.sort_by_key(|operation| (operation.tag, operation.path, operation.method));
    let mut tag = "";
    for operation in operations {
        if operation.tag != tag {
            tag = operation.tag;
            let _ = writeln!(page, "\n## {}", capital(tag));
        }
        write_operation(&mut page, &operation);
    }
    page.push_str("\n## Shapes\nA field with `?` may be absent.\n");
    for (name, schema) in fields(&description["components"]["schemas"]) {
        write_shape(&mut page, name, schema);
    }
    page
}

struct Operation<'d> {
    tag: &'d str,
    path: &'d str,
    method: &'d str,
    what: &'d Value,
}

fn operations(description: &Value) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for (path, item) in fields(&description["paths"]) {
        for (method, what) in fields(item) {
            let tag = what["tags"][0].as_str().unwrap_or("other");
            operations.push(Operation { tag, path, method, what });
        }
    }
    operations
}

fn write_operation(page: &mut String, operation: &Operation<'_>) {
    let Operation { path, method, what, .. } = operation;
    let _ = writeln!(page, "\n### {} {path}", method.to_ascii_uppercase());
    for key in ["summary", "description"] {
        if let Some(text) = what[key].as_str() {
            let _ = writeln!(page, "{}", text.trim());
        }
    }
    let parameters = what["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parameters.is_empty() {
        page.push_str("\n| parameter | in | type | |\n|---|---|---|---|\n");
    }
    for parameter in parameters {
        let schema = &parameter["schema"];
        let text = parameter["description"].as_str().or_else(|| schema["description"].as_str()).unwrap_or_default();
        let mark = if parameter["required"] == true { "" } else { "?" };
        let word = |key: &str| parameter[key].as_str().unwrap_or_default();
        let _ = writeln!(page, "| `{}`{mark} | {} | {} | {} |", word("name"), word("in"), kind(schema), cell(text));
    }
    page.push('\n');
    let body = &what["requestBody"];
    for (media, content) in fields(&body["content"]) {
        let text = body["description"].as_str().map(|text| format!(": {text}")).unwrap_or_default();
        let _ = writeln!(page, "Body: {} (`{media}`){text}  ", kind(&content["schema"]));
    }
    for (status, answer) in fields(&what["responses"]) {
        if !status.starts_with('2') {
            continue;
        }
        for (media, content) in fields(&answer["content"]) {
            let event = &content["schema"]["properties"]["data"]["contentSchema"];
            let schema = if event.is_null() { &content["schema"] } else { event };
            let _ = writeln!(page, "Answer {status}: {} (`{media}`)  ", kind(schema));
        }
    }
}

fn write_shape(page: &mut String, name: &str, schema: &Value) {
    let _ = writeln!(page, "\n### {name}");
    if let Some(text) = schema["description"].as_str() {
        let _ = writeln!(page, "{}", text.trim());
    }
    let parts = schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default();
    let whole = std::slice::from_ref(schema);
    let mut table = false;
    for part in if parts.is_empty() { whole } else { parts } {
        if let Some(base) = reference(part) {
            let _ = writeln!(page, "All of {base}, and:");
        }
        for (field, of) in fields(&part["properties"]) {
            if !std::mem::replace(&mut table, true) {
                page.push_str("\n| field | type | |\n|---|---|---|\n");
            }
            let required = part["required"].as_array().is_some_and(|names| names.iter().any(|name| name == field));
            let mark = if required { "" } else { "?" };
            let text = of["description"].as_str().or_else(|| of["oneOf"][0]["description"].as_str());
            let _ = writeln!(page, "| `{field}`{mark} | {} | {} |", kind(of), cell(text.unwrap_or_default()));
        }
    }
    if !table {
        let _ = writeln!(page, "{}", kind(schema));
    }
}

/// A schema in a few words.
fn kind(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        return name;
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(several) = schema[key].as_array() {
            let kinds: Vec<String> = several.iter().filter(|one| one["type"] != "null").map(kind).collect();
            return kinds.join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|word| format!("`{}`", word.as_str().unwrap_or("?"))).collect();
        return words.join(", ");
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|one| *one != "null").collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    let range = match (&schema["minimum"], &schema["maximum"]) {
        (Value::Number(least), Value::Number(most)) => format!(", {least} to {most}"),
        _ => String::new(),
    };
    match types.as_slice() {
        ["array"] => format!("list of {}", kind(&schema["items"])),
        ["string"] if schema["format"] == "date-time" => "time (RFC 3339)".to_string(),
        [] => "any JSON".to_string(),
        several => format!("{}{range}", several.join(" or ")),
    }
}

fn reference(schema: &Value) -> Option<String> {
    let name = schema["$ref"].as_str()?.rsplit('/').next()?;
    Some(format!("[{name}](#{})", name.to_ascii_lowercase()))
}

fn fields(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect()
}
