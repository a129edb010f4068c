//! What the MCP servers of a holder's agent have, as they said when they were last asked: from bound results of calls, never from a
//! server itself. It is what a model and a client are offered, and what arguments are held against.
//! Must never: believe a server about effects, or let a schema of its own reach for anything.
use std::sync::Arc;

use jsonschema::PatternOptions;
use serde_json::{Value, json};
use tenure_core::call::Holder;
use tenure_core::capability::mcp::{Method, Name, capability};
use tenure_core::capability::{clip, matches, terms};
use tenure_core::plan::Plan;
use tenure_core::time::Time;
use tenure_store::rows::calls;

use crate::records::{Error, ReadTxn, found};

/// Rows of a holder that are looked at.
const LISTS_MAX: u32 = 256;
/// Of a tool's schema: each is compiled, and may take so many bytes.
const PATTERNS_MAX: usize = 32;
const PATTERN_BYTES_MAX: usize = 64 << 10;
const ERRORS_MAX: usize = 4;

/// A tool, by the capability that it is.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    pub(crate) capability: String,
    pub(crate) description: String,
    pub(crate) title: Option<String>,
    pub(crate) input: Value,
    pub(crate) output: Option<Value>,
    /// Its server's word for what it does; for people and models alone.
    pub(crate) annotations: Option<Value>,
}

/// A server, as far as it is known.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) known: Known,
}

#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// It was never asked.
    Unasked,
    Tools {
        tools: Vec<Tool>,
        at: Time,
    },
    /// It was asked in vain, and why.
    Failed(String),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Upstream {
    pub(crate) servers: Vec<Server>,
}

impl Upstream {
    /// `iteration`: of an execution, whose every iteration asks anew.
    ///
    /// # Errors
    /// The store's.
    pub(crate) fn of(
        txn: &mut ReadTxn<'_>,
        plan: &Arc<Plan>,
        holder: Holder,
        iteration: Option<u32>,
    ) -> Result<Upstream, Error> {
        if plan.mcp.is_empty() {
            return Ok(Upstream::default());
        }
        let rows = calls::of_lists(txn.parts().0, holder, iteration, LISTS_MAX)?;
        let mut servers = Vec::new();
        for planned in &plan.mcp {
            let asked = capability(&planned.name, Method::ListTools);
            let row = rows.iter().find(|row| row.capability == asked);
            let known = match row {
                None => Known::Unasked,
                Some(row) => {
                    let at = row.ended_at.unwrap_or_default();
                    let result = row.result.map(|hash| found(txn.json::<Value>(hash))).transpose()?.flatten();
                    match (row.outcome.as_deref(), result) {
                        (Some("done"), Some(list)) => Known::Tools { tools: tools(&planned.name, &list, plan), at },
                        (_, result) => {
                            let told = result.and_then(|result| result["error"].as_str().map(clip));
                            let why = told.or_else(|| row.sentence.clone());
                            Known::Failed(why.unwrap_or_else(|| "it gave no list".to_string()))
                        }
                    }
                }
            };
            servers.push(Server { name: planned.name.clone(), known });
        }
        Ok(Upstream { servers })
    }

    pub(crate) fn tools(&self) -> impl Iterator<Item = &Tool> {
        self.servers.iter().flat_map(|server| match &server.known {
            Known::Tools { tools, .. } => tools.as_slice(),
            Known::Unasked | Known::Failed(_) => &[],
        })
    }

    /// Why a server's tools are not known.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.servers.iter().filter_map(|server| match &server.known {
            Known::Failed(why) => Some((server.name.as_str(), why.as_str())),
            Known::Unasked | Known::Tools { .. } => None,
        })
    }

    /// The capability that is meant by a name; some write no dots.
    pub(crate) fn meant(&self, name: &str) -> Option<String> {
        if Name::parse(name).is_some() {
            return Some(name.to_string());
        }
        let spelt = |tool: &&Tool| tool.capability.replace(['.', '/'], "_") == name;
        if let Some(tool) = self.tools().find(spelt) {
            return Some(tool.capability.clone());
        }
        // What its server does not have is refused by that server's name.
        let of = |server: &Server| {
            let tool = name.strip_prefix("mcp_")?.strip_prefix(server.name.as_str())?.strip_prefix('_')?;
            Some(capability(&server.name, Method::CallTool(tool)))
        };
        self.servers.iter().find_map(of).filter(|name| Name::parse(name).is_some())
    }

    /// Why a call of such a capability cannot be made; none of one that can.
    pub(crate) fn misfit(&self, name: Name<'_>, arguments: &Value) -> Option<String> {
        let Some(server) = self.servers.iter().find(|server| server.name == name.server) else {
            let names: Vec<&str> = self.servers.iter().map(|server| server.name.as_str()).collect();
            return Some(format!("the manifest names no MCP server `{}`; it names {}", name.server, list(&names)));
        };
        let text = json!({"type": "string", "minLength": 1, "maxLength": 8192});
        let own = |properties: Value, required: &[&str]| {
            let mut schema = json!({"type": "object", "required": required, "additionalProperties": false});
            schema["properties"] = properties;
            schema
        };
        match name.method {
            Method::ListTools | Method::ListResources | Method::ListTemplates | Method::ListPrompts => {
                unfit(&own(json!({}), &[]), arguments)
            }
            Method::ReadResource => unfit(&own(json!({"uri": text}), &["uri"]), arguments),
            Method::GetPrompt => {
                let given = json!({"type": "object", "additionalProperties": {"type": "string"}});
                unfit(&own(json!({"name": text, "arguments": given}), &["name"]), arguments)
            }
            Method::CallTool(tool) => match &server.known {
                Known::Unasked => Some(format!("what tools `{}` has is not known: list them first", server.name)),
                Known::Failed(why) => Some(format!("what tools `{}` has is not known: {why}", server.name)),
                Known::Tools { tools, .. } => {
                    let full = capability(name.server, name.method);
                    match tools.iter().find(|known| known.capability == full) {
                        Some(known) => unfit(&known.input, arguments),
                        None => {
                            let names: Vec<&str> = tools.iter().map(|tool| tool.capability.as_str()).collect();
                            Some(format!("there is no tool `{tool}`; `{}` offers {}", server.name, list(&names)))
                        }
                    }
                }
            },
        }
    }
}

impl Tool {
    /// As `/v1/agent/capabilities` describes capabilities.
    pub(crate) fn described(&self) -> Value {
        let terms = terms(&self.capability);
        json!({
            "name": self.capability,
            "version": 1,
            "brief": self.description,
            "effects": terms.map_or("irreversible", |terms| terms.effects.into()),
            "idempotent": terms.is_some_and(|terms| terms.idempotent),
            "annotations": self.annotations,
            "input": self.input,
            "output": self.output,
        })
    }
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_string() } else { clip(&names.join(", ")) }
}

/// Those that the plan lets the agent call.
fn tools(server: &str, list: &Value, plan: &Plan) -> Vec<Tool> {
    let entries = list["tools"].as_array().into_iter().flatten();
    let tool = |entry: &Value| {
        let name = capability(server, Method::CallTool(entry["name"].as_str()?));
        let allowed = plan.tools.iter().any(|pattern| matches(pattern, &name));
        let known = Name::parse(&name).is_some_and(|name| matches!(name.method, Method::CallTool(_)));
        let text = |field: &str| entry[field].as_str().map(str::to_string);
        (allowed && known).then(|| Tool {
            description: text("description").or_else(|| text("title")).unwrap_or_else(|| name.clone()),
            capability: name,
            title: text("title"),
            input: entry["inputSchema"].clone(),
            output: entry.get("outputSchema").cloned(),
            annotations: entry.get("annotations").cloned(),
        })
    };
    entries.filter_map(tool).collect()
}

/// By a server's own schema: its patterns are matched in linear time, and it refers to nothing outside itself.
fn unfit(schema: &Value, arguments: &Value) -> Option<String> {
    if has_reference(schema) {
        // One that refers to itself could be followed for ever: then the server alone says what fits.
        return (!arguments.is_object()).then(|| "the arguments are one JSON object".to_string());
    }
    if patterns(schema) > PATTERNS_MAX {
        return Some(format!("the server's schema of it has more than {PATTERNS_MAX} patterns, and cannot be used"));
    }
    let matched = PatternOptions::regex().size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX);
    let compiled = jsonschema::options().with_pattern_options(matched).build(schema);
    let compiled = match compiled {
        Ok(compiled) => compiled,
        Err(error) => return Some(clip(&format!("the server's schema of it cannot be used: {error}"))),
    };
    let told = |error: jsonschema::ValidationError<'_>| match error.instance_path().to_string() {
        path if path.is_empty() => error.to_string(),
        path => format!("{path}: {error}"),
    };
    let errors: Vec<String> = compiled.iter_errors(arguments).take(ERRORS_MAX).map(told).collect();
    if errors.is_empty() { None } else { Some(errors.join("; ")) }
}

/// What is compiled of it at each look.
fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => {
            let named = fields.iter().map(|(name, value)| match (name.as_str(), value) {
                ("pattern", _) => 1,
                ("patternProperties", Value::Object(of_names)) => of_names.len(),
                _ => 0,
            });
            named.sum::<usize>() + fields.values().map(patterns).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(patterns).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") || has_reference(value)
        }),
        Value::Array(items) => items.iter().any(has_reference),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(tools: &[(&str, Value)]) -> Upstream {
        let tool = |(name, input): &(&str, Value)| Tool {
            capability: format!("mcp.mail.{name}"),
            description: String::new(),
            title: None,
            input: input.clone(),
            output: None,
            annotations: None,
        };
        let known = Known::Tools { tools: tools.iter().map(tool).collect(), at: Time::default() };
        Upstream { servers: vec![Server { name: "mail".to_string(), known }] }
    }

    fn misfit(upstream: &Upstream, capability: &str, arguments: Value) -> Option<String> {
        upstream.misfit(Name::parse(capability).unwrap(), &arguments)
    }

    #[test]
    fn what_a_server_does_not_have_or_take_never_leaves_and_says_what_there_is() {
        let schema = json!({"type": "object", "properties": {"to": {"type": "string"}}, "required": ["to"]});
        let upstream = mail(&[("send", schema)]);
        assert_eq!(
            misfit(&upstream, "mcp.mail.send", json!({"to": "a"})),
            None,
            "the control: what fits is let through"
        );
        for (capability, arguments, word) in [
            ("mcp.mail.send", json!({"to": 1}), "/to"),
            ("mcp.mail.sent", json!({"to": "a"}), "mcp.mail.send"),
            ("mcp.post.send", json!({"to": "a"}), "names mail"),
            ("mcp.mail.resources/read", json!({}), "uri"),
            ("mcp.mail.tools/list", json!({"cursor": "a"}), "cursor"),
        ] {
            let told = misfit(&upstream, capability, arguments).unwrap_or_default();
            assert!(told.contains(word), "{capability}: {told}");
        }
    }

    #[test]
    fn a_hostile_schema_neither_hangs_nor_reaches_out_nor_ends_the_daemon() {
        let slow = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}});
        let long = json!({"a": format!("{}b", "a".repeat(50_000))});
        assert!(misfit(&mail(&[("t", slow)]), "mcp.mail.t", long).is_some());
        for schema in [
            json!({"$ref": "#"}),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}),
        ] {
            assert_eq!(misfit(&mail(&[("t", schema.clone())]), "mcp.mail.t", json!({"a": 1})), None, "{schema}");
        }
        let large = json!({"properties": {"a": {"pattern": "\\w{2000}"}}});
        let many: Vec<Value> = (0..=PATTERNS_MAX).map(|n| json!({"pattern": format!("a{n}")})).collect();
        for schema in [large, json!({"anyOf": many})] {
            let told = misfit(&mail(&[("t", schema.clone())]), "mcp.mail.t", json!({"a": "b"})).unwrap_or_default();
            assert!(told.contains("cannot be used"), "{schema}: {told}");
        }
        let broken = mail(&[("t", json!({"type": "objekt"}))]);
        assert!(misfit(&broken, "mcp.mail.t", json!({})).is_some_and(|told| told.contains("cannot be used")));
    }
}
