//! What of MCP servers rules name: their actions and groups, and the arguments that are asked for. It is read from the text, before
//! Cedar checks it: no catalogue has them. What is not found here is refused by the schema.
use crate::vocabulary::ACTION;
use std::collections::BTreeSet;
use tenure_core::capability::mcp::{self, Method, Name};

/// Of all rules together; more are not looked for.
const NAMED_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct McpNames {
    pub(crate) actions: BTreeSet<String>,
    /// After `input.`, or as a text beside it.
    pub(crate) arguments: BTreeSet<String>,
}

impl McpNames {
    pub(crate) fn in_texts<'a>(texts: impl Iterator<Item = &'a str>) -> McpNames {
        let mut named = McpNames::default();
        for text in texts.filter(|text| text.contains(mcp::PREFIX)) {
            named.read(text);
        }
        named
    }

    fn read(&mut self, text: &str) {
        let action = format!("{ACTION}::\"");
        for rest in text.split(&action).skip(1) {
            let Some((name, _)) = rest.split_once('"') else { continue };
            // A group has no members of its own: what its server always has stands for them.
            let tool = match name.strip_suffix(".*") {
                Some(group) => group
                    .strip_prefix(mcp::PREFIX)
                    .map(|below| below.split('.').next().unwrap_or(below))
                    .map(|server| (mcp::capability(server, Method::ListTools), format!("{group}.tool"))),
                None => Some((name.to_string(), name.to_string())),
            };
            let Some((list, tool)) = tool else { continue };
            for name in [list, tool].into_iter().filter(|name| Name::parse(name).is_some()) {
                if self.actions.len() < NAMED_MAX {
                    self.actions.insert(name);
                }
            }
        }
        for rest in text.split("input").skip(1) {
            let rest = rest.trim_start();
            let after = rest.strip_prefix('.').or_else(|| rest.strip_prefix("has ")).or_else(|| rest.strip_prefix('['));
            if let Some(name) =
                after.and_then(|after| argument(after.trim_start())).filter(|_| self.arguments.len() < NAMED_MAX)
            {
                self.arguments.insert(name);
            }
        }
    }
}

/// A word, or a text without escapes.
fn argument(text: &str) -> Option<String> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').map(|(name, _)| name.to_string()).filter(|name| !name.contains('\\'));
    }
    let end = text.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_string())
}
