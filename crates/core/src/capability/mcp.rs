//! Capabilities that MCP servers bring, which a manifest names: `mcp.<server>.<tool>`, and beside the tools what the protocol has
//! for lists, resources and prompts. No catalogue lists them: what tools there are, the server says. Must never: believe a server
//! about what its tool does.
use super::{Argument, Attributes, Effects, Place, Terms};
use serde_json::Value;

/// What all names of such capabilities begin with.
pub const PREFIX: &str = "mcp.";
/// Of a server's name in a manifest.
pub const SERVER_BYTES_MAX: usize = 32;
/// Of a tool's name, as the protocol has it; the whole capability's name has at most 128 too.
pub const NAME_BYTES_MAX: usize = 128;
/// Of one agent.
pub const SERVERS_MAX: usize = 16;

/// What is asked of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method<'a> {
    ListTools,
    ListResources,
    ListTemplates,
    ReadResource,
    ListPrompts,
    GetPrompt,
    CallTool(&'a str),
}

impl<'a> Method<'a> {
    pub const LISTS: [Method<'static>; 4] =
        [Method::ListTools, Method::ListResources, Method::ListTemplates, Method::ListPrompts];

    /// The protocol's own word, which no tool may have as its name; a tool's name.
    pub fn as_str(self) -> &'a str {
        match self {
            Method::ListTools => "tools/list",
            Method::ListResources => "resources/list",
            Method::ListTemplates => "resources/templates/list",
            Method::ReadResource => "resources/read",
            Method::ListPrompts => "prompts/list",
            Method::GetPrompt => "prompts/get",
            Method::CallTool(tool) => tool,
        }
    }

    fn of(word: &'a str) -> Method<'a> {
        let others = [Method::ReadResource, Method::GetPrompt];
        let known = Method::LISTS.into_iter().chain(others).find(|known| known.as_str() == word);
        known.unwrap_or(Method::CallTool(word))
    }

    /// It only says what the server has: the manifest that names the server asks for it, not the agent.
    pub fn is_list(self) -> bool {
        match self {
            Method::ListTools | Method::ListResources | Method::ListTemplates | Method::ListPrompts => true,
            Method::ReadResource | Method::GetPrompt | Method::CallTool(_) => false,
        }
    }

    /// By the protocol, never by what a server says of itself.
    pub fn terms(self) -> Terms {
        let (effects, idempotent) = match self {
            Method::ListTools | Method::ListResources | Method::ListTemplates | Method::ListPrompts => {
                (Effects::None, true)
            }
            Method::ReadResource | Method::GetPrompt => (Effects::None, false),
            Method::CallTool(_) => (Effects::Irreversible, false),
        };
        Terms { effects, idempotent, place: Place::Sandbox }
    }
}

/// A capability's name, read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name<'a> {
    pub server: &'a str,
    pub method: Method<'a>,
}

impl<'a> Name<'a> {
    /// None of what is no name of such a capability.
    pub fn parse(capability: &'a str) -> Option<Name<'a>> {
        let (server, word) = capability.strip_prefix(PREFIX)?.split_once('.')?;
        let fits = capability.len() <= NAME_BYTES_MAX && is_server(server) && is_tool(word);
        fits.then(|| Name { server, method: Method::of(word) })
    }
}

/// The capability by which this is asked of a server.
pub fn capability(server: &str, method: Method<'_>) -> String {
    format!("{PREFIX}{server}.{}", method.as_str())
}

/// May a manifest call a server so? It has no dots, so that a capability's name can be read.
pub fn is_server(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    !name.is_empty()
        && name.len() <= SERVER_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(inner)
}

/// The protocol's own rule for the names of tools.
fn is_tool(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(inner)
}

/// What a judge sees of a call: each argument as text, what is no text as its JSON; the resource's address or the prompt's name
/// as the key.
pub(super) fn attributes(method: Method<'_>, arguments: &Value) -> Attributes {
    let named = |argument: &str| arguments.get(argument).and_then(Value::as_str).map(str::to_string);
    let (key, given) = match method {
        Method::ReadResource => (named("uri"), None),
        Method::GetPrompt => (named("name"), arguments.get("arguments")),
        Method::ListTools | Method::ListResources | Method::ListTemplates | Method::ListPrompts => (None, None),
        Method::CallTool(_) => (None, Some(arguments)),
    };
    let bytes = Some(arguments.to_string().len() as u64);
    // None is cut or left out, so that no padding takes one from a rule; what is too much in all is refused.
    let given = given.and_then(Value::as_object).into_iter().flatten();
    let input = given.map(|(name, value)| (name.clone(), Argument::Text(text(value)))).collect();
    Attributes { key, bytes, input, ..Attributes::default() }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_has_a_server_and_what_is_asked_of_it_and_nothing_else_is_one() {
        let mail = |method| Some(Name { server: "mail", method });
        assert_eq!(Name::parse("mcp.mail.send"), mail(Method::CallTool("send")));
        assert_eq!(Name::parse("mcp.mail.send.now"), mail(Method::CallTool("send.now")));
        assert_eq!(Name::parse("mcp.mail.tools/list"), mail(Method::ListTools));
        let long = format!("mcp.mail.{}", "a".repeat(NAME_BYTES_MAX));
        for wrong in
            ["mcp.mail", "mcp.mail.", "mcp..send", "mcp.Mail.send", "mcp.mail.a b", "mcp.mail.*", "x.mail.send", &long]
        {
            assert_eq!(Name::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn two_calls_with_different_arguments_are_never_judged_as_one() {
        let seen = |arguments| attributes(Method::CallTool("send"), &arguments);
        let long = "a".repeat(8 * 1024 + 1);
        let calls = [
            json!({"to": "a"}),
            json!({"to": "b"}),
            json!({"to": {"name": "a"}}),
            json!({"to": ["a"]}),
            json!({"to": format!("{long}a")}),
            json!({"to": format!("{long}b")}),
            Value::Object((0..=64).map(|n| (n.to_string(), json!("a"))).collect()),
            Value::Object((0..=64).map(|n| (n.to_string(), json!("b"))).collect()),
        ];
        for (place, one) in calls.iter().enumerate() {
            for other in &calls[place + 1..] {
                assert_ne!(seen(one.clone()).input, seen(other.clone()).input, "{one} {other}");
            }
        }
        assert_eq!(seen(json!({"to": "a"})), seen(json!({"to": "a"})), "the control: the same call is");
        let mut padded: serde_json::Map<String, Value> = (0..=64).map(|n| (n.to_string(), json!("a"))).collect();
        padded.insert("sql".into(), json!(format!("{long}DROP")));
        let whole = seen(Value::Object(padded)).input.get("sql").cloned();
        assert_eq!(whole, Some(Argument::Text(format!("{long}DROP"))), "no padding takes one from a rule");
    }
}
