//! The page: one column, no script, nothing from elsewhere, right on a phone. Everything that is not ours is text.
use std::sync::OnceLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use sha2::{Digest, Sha256};
use tenure_core::approval::PENDING;
use tenure_wire::api::approval::ApprovalFile;

/// Longer arguments are not shown, and cannot be allowed here.
const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

const STYLE: &str = "body{margin:0 auto;max-width:40rem;padding:1rem;font:1rem/1.5 system-ui,sans-serif;color:#1a1a1a;background:#fff}\
h1{font-size:1.25rem}dt{font-weight:600;margin-top:.75rem}dd{margin:0;overflow-wrap:anywhere}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f2f2f2;padding:.75rem;border-radius:.25rem;font-size:.875rem}\
input{box-sizing:border-box;width:100%;font:inherit;padding:.625rem;border:1px solid #767676;border-radius:.25rem}\
button{display:block;width:100%;min-height:3rem;margin-top:.75rem;font:inherit;font-weight:600;border-radius:.25rem;border:2px solid #0b5c2e}\
.yes{background:#0b5c2e;color:#fff}.no{background:#fff;color:#8c1410;border-color:#8c1410}\
@media (prefers-color-scheme:dark){body{color:#eee;background:#121212}pre{background:#242424}\
input{background:#121212;color:inherit}.no{background:#121212;color:#ff9c96;border-color:#ff9c96}}";

/// What of a card a page can show.
pub(super) struct Card<'a> {
    file: &'a ApprovalFile,
    arguments: Option<&'a str>,
}

impl<'a> Card<'a> {
    pub(super) fn of(file: &'a ApprovalFile) -> Card<'a> {
        let arguments = file.arguments.as_ref().map(|arguments| arguments.get());
        Card { file, arguments: arguments.filter(|text| text.len() <= ARGUMENTS_BYTES_MAX) }
    }

    /// Whoever allows it here has seen all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.arguments.is_some()
    }
}

pub(super) fn shown(file: &ApprovalFile) -> Response {
    let (card, approval) = (Card::of(file), &file.approval);
    let agent = approval.agent_name.clone().unwrap_or_else(|| approval.agent.to_string());
    let cost = format!(
        "{} tokens, {}.{:06} US dollars",
        file.tokens,
        file.cost_micro_usd / 1_000_000,
        file.cost_micro_usd % 1_000_000
    );
    let mut body = format!("<h1>{}</h1><dl>", text(&file.effect));
    let mut line = |name: &str, value: &str| body.push_str(&format!("<dt>{name}</dt><dd>{}</dd>", text(value)));
    line("Agent", &agent);
    line("Capability", &format!("{} ({})", approval.capability, file.effects));
    line("Why it is asked", &approval.rules.join(", "));
    line("Cost so far", &cost);
    if let Some(expires) = approval.expires_at {
        line("Refused by itself", &expires.to_string());
    }
    body.push_str("</dl>");
    match card.arguments {
        Some(arguments) => body.push_str(&format!("<h2>Arguments</h2><pre>{}</pre>", text(&pretty(arguments)))),
        None => body.push_str(
            "<p>Its arguments are too long for this page, or erased: it can only be rejected here. \
                               <code>tenure approval show</code> shows all of it.</p>",
        ),
    }
    if approval.status == PENDING {
        body.push_str(&form(&card));
    } else {
        let detail = approval.detail.as_deref().unwrap_or_default();
        body.push_str(&format!("<p><strong>{}</strong> {}</p>", text(&approval.status), text(detail)));
    }
    page(StatusCode::OK, &file.effect, &body)
}

/// The action is this very address.
fn form(card: &Card<'_>) -> String {
    let several = card.file.approval.people > 1;
    let allow = match (card.is_whole(), several) {
        (true, false) => "<button class=yes name=answer value=approve>Approve</button>",
        (true, true) => {
            "<p>Several people must allow it, each with a key of their own: it can only be rejected here.</p>"
        }
        (false, _) => "",
    };
    format!(
        "<form method=post><label for=note>A note, which the agent is told with a rejection</label>\
         <input id=note name=note maxlength=1024>{allow}<button class=no name=answer value=reject>Reject</button></form>"
    )
}

/// A page of one sentence.
pub(super) fn told(status: StatusCode, title: &str, sentence: &str) -> Response {
    page(status, title, &format!("<h1>{}</h1><p>{}</p>", text(title), text(sentence)))
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{STYLE}</style><body><main>{body}</main></body></html>",
        text(title)
    );
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, policy()),
        // The address is the authority; a form's Origin is still told to ourselves.
        (REFERRER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, html).into_response()
}

fn policy() -> &'static str {
    static POLICY: OnceLock<String> = OnceLock::new();
    POLICY.get_or_init(|| {
        let style = BASE64.encode(&Sha256::digest(STYLE.as_bytes()));
        format!(
            "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        )
    })
}

fn pretty(json: &str) -> String {
    let value: Result<serde_json::Value, _> = serde_json::from_str(json);
    value.and_then(|value| serde_json::to_string_pretty(&value)).unwrap_or_else(|_| json.to_string())
}

/// As text, with what would hide or turn around what stands beside it written out.
fn text(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    for letter in raw.chars() {
        match letter {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            '\'' => text.push_str("&#39;"),
            '\n' => text.push('\n'),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                text.push_str(&format!("\\u{{{:x}}}", u32::from(letter)));
            }
            control if control.is_control() => text.push_str(&format!("\\u{{{:x}}}", u32::from(control))),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_writes_is_text_on_the_page_and_turns_nothing_around() {
        assert_eq!(text("<script>alert('x')</script>"), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        assert_eq!(text("safe\u{202e}gpj.exe\u{1b}[2J"), "safe\\u{202e}gpj.exe\\u{1b}[2J");
        assert_eq!(text("grüße 東京\n"), "grüße 東京\n", "the control");
        assert!(policy().starts_with("default-src 'none'") && !policy().contains("unsafe"));
    }
}
