//! What a policy that loads says and hardly means: names that nobody bears, hosts in a form that no call has, and two rules of one
//! name. Pure: whoever asks brings the names that there are. Must never be asked of a policy that holds: what was taken stays.
use crate::bundle::{Bundle, Document};
use crate::fault::{FAULTS_MAX, Fault, place};
use crate::layer::Layer;
use crate::load::read;
use crate::rule::Rule;
use crate::statement;
use crate::vocabulary::{ACTION, AGENT};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::approval::cedar_text;
use tenure_core::capability::{clip, mcp};
use tenure_core::fault::nearest;

/// The names that there are; none where nobody knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownNames {
    pub agents: Option<BTreeSet<String>>,
    /// MCP servers that manifests name.
    pub servers: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Review {
    /// What must be mended before it is applied.
    pub faults: Vec<Fault>,
    /// What may be meant as it is: an agent that comes later, say.
    pub warnings: Vec<Fault>,
}

/// Of a bundle that compiles.
pub fn review(bundle: &Bundle, known: &KnownNames) -> Review {
    let mut review = Review::default();
    for (layer, documents) in &bundle.layers {
        let mut ids: BTreeMap<String, String> = BTreeMap::new();
        for document in documents {
            let Ok(rules) = read(layer, document, 0) else { continue };
            of_layer(layer, document, known, &mut review);
            for (rule, span) in rules.iter().zip(statement::spans(&document.text)) {
                let at = Place { layer, document, rule, span };
                review.faults.extend(at.twice(&mut ids));
                at.names(known, &mut review.warnings);
            }
        }
    }
    review.faults.truncate(FAULTS_MAX);
    review.warnings.truncate(FAULTS_MAX);
    review
}

fn of_layer(layer: &Layer, document: &Document, known: &KnownNames, review: &mut Review) {
    let (Layer::Agent(name), Some(agents)) = (layer, &known.agents) else { return };
    if !agents.contains(name) {
        let (what, help) = no_agent(name, agents);
        review.warnings.push(Fault::whole(layer.clone(), &document.name, what, help));
    }
}

fn no_agent(name: &str, agents: &BTreeSet<String>) -> (String, String) {
    let near = nearest(name, agents.iter().map(String::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{}`?", clip(near)),
        None => "it says nothing until there is one; `tenure agent list` shows those there are".to_string(),
    };
    (format!("no agent is called `{}`", clip(name)), help)
}

/// A rule where it stands.
struct Place<'a> {
    layer: &'a Layer,
    document: &'a Document,
    rule: &'a Rule,
    span: (usize, usize),
}

impl Place<'_> {
    /// At a text that the rule holds, or at its beginning.
    fn fault(&self, word: &str, what: String, help: String) -> Fault {
        let (begin, end) = self.span;
        let text = &self.document.text;
        let found = text.get(begin..end).and_then(|own| own.find(&cedar_text(word)));
        let (line, column) = found.map_or((self.rule.line, self.rule.column), |at| place(text, begin + at));
        Fault { layer: self.layer.clone(), file: self.document.name.clone(), line, column, what, help }
    }

    /// Records and `diff` know a rule of a layer by its name.
    fn twice(&self, ids: &mut BTreeMap<String, String>) -> Option<Fault> {
        let id = self.rule.said.id.as_ref()?;
        let here = format!("{}:{}", self.document.name, self.rule.line);
        let before = ids.get(id).cloned();
        ids.entry(id.clone()).or_insert(here);
        let before = before?;
        let what = format!("two rules of the layer {} are called `{id}`", self.layer);
        Some(self.fault(id, what, format!("the other is {before}: give one of them another name")))
    }

    fn names(&self, known: &KnownNames, warnings: &mut Vec<Fault>) {
        let Ok(mut json) = self.rule.policy.to_json() else { return };
        if let Some(fields) = json.as_object_mut() {
            fields.remove("annotations");
        }
        let mut named = Named::default();
        named.read(&json);
        if let Some(agents) = &known.agents {
            for name in named.agents.iter().filter(|name| !agents.contains(*name)) {
                let (what, help) = no_agent(name, agents);
                warnings.push(self.fault(name, what, help));
            }
        }
        if let Some(servers) = &known.servers {
            for action in &named.actions {
                warnings.extend(no_server(action, servers).map(|(what, help)| self.fault(action, what, help)));
            }
        }
        for host in named.hosts.iter().filter(|host| !is_opened_so(host)) {
            let what = format!("no call has the host `{}`: hosts are lower-cased and in ASCII form", clip(host));
            let help = match host.is_ascii() {
                true => format!("write \"{}\"", host.to_ascii_lowercase()),
                false => "write its ASCII form, as in \"xn--bcher-kva.example\"".to_string(),
            };
            warnings.push(self.fault(host, what, help));
        }
    }
}

fn is_opened_so(host: &str) -> bool {
    host.is_ascii() && !host.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn no_server(action: &str, servers: &BTreeSet<String>) -> Option<(String, String)> {
    let below = action.strip_prefix(mcp::PREFIX)?;
    let (server, rest) = below.split_once('.')?;
    if servers.contains(server) {
        return None;
    }
    let near = nearest(server, servers.iter().map(String::as_str));
    let help = match near {
        Some(near) => format!("did you mean `{}{near}.{}`?", mcp::PREFIX, clip(rest)),
        None if servers.is_empty() => "none names any; it says nothing until one does".to_string(),
        None => {
            let some: Vec<&str> = servers.iter().take(8).map(String::as_str).collect();
            format!("it says nothing until one does; manifests name {}", some.join(", "))
        }
    };
    Some((format!("no manifest names an MCP server `{}`", clip(server)), help))
}

/// What a rule names.
#[derive(Default)]
struct Named {
    agents: BTreeSet<String>,
    actions: BTreeSet<String>,
    /// What a host is compared with, a pattern too.
    hosts: BTreeSet<String>,
}

impl Named {
    fn read(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let (Some(Value::String(kind)), Some(Value::String(id))) = (fields.get("type"), fields.get("id")) {
                    match kind.as_str() {
                        AGENT => _ = self.agents.insert(id.clone()),
                        ACTION => _ = self.actions.insert(id.clone()),
                        _ => {}
                    }
                }
                for (operator, operands) in fields {
                    self.compared(operator, operands);
                    self.read(operands);
                }
            }
            Value::Array(values) => values.iter().for_each(|inner| self.read(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn compared(&mut self, operator: &str, operands: &Value) {
        let (left, right) = (&operands["left"], &operands["right"]);
        match operator {
            "==" | "!=" if is_host(left) => self.hosts.extend(literal(right)),
            "==" | "!=" if is_host(right) => self.hosts.extend(literal(left)),
            "contains" if is_host(right) => {
                self.hosts.extend(left["Set"].as_array().into_iter().flatten().filter_map(literal));
            }
            "like" if is_host(left) => self.hosts.extend(pattern(&operands["pattern"])),
            _ => {}
        }
    }
}

fn is_host(value: &Value) -> bool {
    let access = &value["."];
    access["attr"] == "host" && access["left"]["Var"] == "context"
}

fn literal(value: &Value) -> Option<String> {
    value["Value"].as_str().map(str::to_string)
}

/// With a star for what stands for any text.
fn pattern(pieces: &Value) -> Option<String> {
    let pieces = pieces.as_array()?.iter();
    Some(pieces.map(|piece| piece["Literal"].as_str().unwrap_or("*")).collect())
}
