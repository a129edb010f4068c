//! Which capabilities a manifest may name, and patterns over their names. What is built is the catalogue's; this file
//! must never say anything of it, only of the names that come later.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::McpServer;
use super::aegis;
use super::document::Node;
use super::values::text;
use crate::capability::{self, mcp};
use crate::fault::{Code, Fault, excerpt, nearest};
use crate::plan::{self, McpAt, McpLogin};

/// The most entries in `tools`, and the longest of them in bytes.
pub const TOOLS_MAX: usize = 64;
pub const TOOL_BYTES_MAX: usize = 128;
/// Of the user of a server's login.
const LOGIN_USER_BYTES_MAX: usize = 256;

/// What an agent may use that names no tools: what only looks.
pub const READ_ONLY: [&str; 3] = ["filesystem.read", "filesystem.list", "filesystem.stat"];

/// Capabilities that have a name and come with a later release: group, operations.
const LATER: [(&str, &[&str]); 4] = [
    ("filesystem", &["search", "search_content", "copy", "move", "watch"]),
    ("process", &["list", "logs", "monitor", "kill"]),
    ("git", &["init", "clone", "pull", "push", "commit", "diff", "log", "branch", "status"]),
    ("agent", &["session", "policy"]),
];

fn later() -> impl Iterator<Item = String> {
    LATER.iter().flat_map(|(group, operations)| operations.iter().map(move |operation| format!("{group}.{operation}")))
}

/// The names of what this release performs, for a message.
pub(super) fn built() -> String {
    capability::catalogue().map(|capability| capability.name).collect::<Vec<_>>().join(", ")
}

/// A capability's name, or the beginning of names and a `*`, as in `filesystem.*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ToolPattern(#[schemars(regex(pattern = r"^([a-z0-9_.]{1,128}|[a-z0-9_.]{0,127}\*)$"))] String);

impl ToolPattern {
    /// Takes what matches at least one capability, built or named for later.
    pub fn parse(pattern: &str) -> Result<Self, Fault> {
        if pattern.len() > TOOL_BYTES_MAX {
            let reason = format!("{} bytes; a tool's name has at most {TOOL_BYTES_MAX}", pattern.len());
            return Err(Fault::new(Code::TooLong, reason));
        }
        if pattern.find('*').is_some_and(|star| star + 1 < pattern.len()) {
            let fault = Fault::new(Code::BadFormat, format!("{} has a `*` before its end", excerpt(pattern)));
            return Err(fault.hint("write a whole name, `group.*` or `*`"));
        }
        let parsed = Self(pattern.to_owned());
        if parsed.is_built() || later().any(|name| parsed.matches(&name)) {
            return Ok(parsed);
        }
        let verb = if pattern.contains('*') { "matches no capability" } else { "is not a capability" };
        let fault = Fault::new(Code::UnknownCapability, format!("{} {verb}", excerpt(pattern)));
        Err(match near(pattern) {
            Some(name) => fault.hint(format!("did you mean `{name}`?")),
            None => fault.hint(format!("this release has {}", built())),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, capability: &str) -> bool {
        capability::matches(&self.0, capability)
    }

    /// Whether this release performs at least one capability that the pattern matches.
    pub fn is_built(&self) -> bool {
        capability::catalogue().any(|capability| self.matches(capability.name))
    }
}

/// A server's name has no dots: it is the second word of its capabilities' names.
pub(super) fn server_name(node: &Node) -> Result<String, Fault> {
    let name = text(node)?;
    if mcp::is_server(&name) {
        return Ok(name);
    }
    let most = mcp::SERVER_BYTES_MAX;
    let fault = Fault::new(Code::BadFormat, format!("{} is not a name of an MCP server", excerpt(&name)));
    Err(fault.hint(format!("it has 1 to {most} lower-case letters, digits, `-` and `_`, as in `mail`")))
}

/// Of a basic authorization, which ends the name with a colon.
pub(super) fn login_user(node: &Node) -> Result<String, Fault> {
    let user = text(node)?;
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    if (1..=LOGIN_USER_BYTES_MAX).contains(&user.len()) && user.bytes().all(fits) {
        return Ok(user);
    }
    let fault = Fault::new(Code::BadFormat, format!("{} is not a user of a basic authorization", excerpt(&user)));
    Err(fault.hint(format!("it has 1 to {LOGIN_USER_BYTES_MAX} letters, digits and signs of ASCII, and no colon")))
}

/// A tool of an MCP server, or the beginning of its tools' names and a `*`.
pub(super) fn tool_of_server(node: &Node) -> Result<String, Fault> {
    let pattern = text(node)?;
    let whole = pattern.strip_suffix('*').unwrap_or(&pattern);
    let name = mcp::capability("a", mcp::Method::CallTool(if whole.is_empty() { "a" } else { whole }));
    if mcp::Name::parse(&name).is_some() {
        return Ok(pattern);
    }
    let fault = Fault::new(Code::BadFormat, format!("{} is not a tool's name", excerpt(&pattern)));
    Err(fault.hint("write a name as the server has it, or its beginning and a `*`"))
}

impl McpServer {
    /// Patterns of the capabilities that it brings.
    pub(super) fn patterns(&self) -> Vec<String> {
        let all = ["*".to_owned()];
        let tools = self.tools.as_deref().unwrap_or(&all);
        tools.iter().map(|tool| format!("{}{}.{tool}", mcp::PREFIX, self.name)).collect()
    }

    pub(super) fn planned(&self) -> plan::McpServer {
        let at = match (&self.command, &self.url) {
            (Some(command), _) => McpAt::Command(command.clone()),
            (None, url) => McpAt::Url(url.clone().unwrap_or_default()),
        };
        let login = self.secret.clone().map(|secret| McpLogin { secret, user: self.user.clone() });
        plan::McpServer { name: self.name.clone(), at, login }
    }
}

pub(super) fn tool_pattern(node: &Node) -> Result<ToolPattern, Fault> {
    ToolPattern::parse(&text(node)?)
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn near(pattern: &str) -> Option<String> {
    // Other systems' names and habits.
    let elsewhere = if pattern == "shell" { Some("process.run".to_owned()) } else { aegis::tool(pattern) };
    if let Some(ours) = elsewhere.filter(|ours| ToolPattern::parse(ours).is_ok()) {
        return Some(ours);
    }
    let mut names: Vec<String> = capability::catalogue().map(|built| built.name.to_owned()).chain(later()).collect();
    names.extend(LATER.iter().map(|(group, _)| format!("{group}.*")));
    let bare = |name: &&String| name.rsplit('.').next() == Some(pattern);
    names.iter().find(bare).cloned().or_else(|| nearest(pattern, names.iter().map(String::as_str)).map(str::to_owned))
}
