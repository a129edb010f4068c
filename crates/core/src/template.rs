//! Prompt templates: what a model is sent, made of the manifest's text and four variables. Must never run a program
//! that a manifest brings: only `{{variable}}`, `{% if %}`, `{% raw %}` and `{# #}` are taken, so that time and memory
//! are bounded by the template's and the variables' own length.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, context};

use crate::fault::{Code, Fault, nearest};

/// What holds where a manifest has no template.
pub const DEFAULT: &str = "{{instruction}}\n\nUser: {{input}}\n";
/// The longest prompt, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// Steps of the template's own machine. A template of 64 KiB without loops needs fewer.
const FUEL: u64 = 200_000;
const VARIABLES: [&str; 4] = ["instruction", "input", "iteration_number", "previous_error"];

/// The values of one iteration.
#[derive(Debug, Clone, Copy)]
pub struct Vars<'a> {
    pub instruction: &'a str,
    pub input: &'a str,
    /// From 1.
    pub iteration_number: u32,
    /// Empty in the first iteration.
    pub previous_error: &'a str,
}

/// Which variables a template uses. One that does not use `previous_error` leaves it to the caller to add it as a
/// message of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uses {
    pub instruction: bool,
    pub input: bool,
    pub iteration_number: bool,
    pub previous_error: bool,
}

/// Why a template was not rendered. [`check`] finds `Template` beforehand.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the prompt has more than {OUTPUT_BYTES_MAX} bytes; shorten the input, the instruction or the error")]
    TooLong,
    #[error("the template failed: {0}")]
    Template(String),
}

/// Checks a template without values.
///
/// # Errors
/// The first construct that is not allowed, or variable that is not known.
pub fn check(template: &str) -> Result<Uses, Fault> {
    scan(template)?;
    let environment = environment();
    let parsed = environment.template_from_str(template).map_err(|error| syntax(&error))?;
    let used = parsed.undeclared_variables(false);
    let mut unknown: Vec<&String> = used.iter().filter(|name| !VARIABLES.contains(&name.as_str())).collect();
    unknown.sort();
    if let Some(name) = unknown.first() {
        let hint = match (nearest(name, VARIABLES), name.as_str()) {
            (_, "else") => "write `{% else %}`".to_owned(),
            (Some(word), _) => format!("did you mean `{{{{{word}}}}}`?"),
            (None, _) => format!("there are {}", VARIABLES.join(", ")),
        };
        return Err(Fault::new(Code::UnknownVariable, format!("there is no variable `{name}`")).hint(hint));
    }
    Ok(Uses {
        instruction: used.contains("instruction"),
        input: used.contains("input"),
        iteration_number: used.contains("iteration_number"),
        previous_error: used.contains("previous_error"),
    })
}

/// The prompt of one iteration.
///
/// # Errors
/// The prompt is longer than [`OUTPUT_BYTES_MAX`], or the template would not pass [`check`].
pub fn render(template: &str, vars: &Vars<'_>) -> Result<String, Error> {
    scan(template).map_err(|fault| Error::Template(fault.reason))?;
    let environment = environment();
    let failed = |error: &minijinja::Error| Error::Template(error.to_string());
    let parsed = environment.template_from_str(template).map_err(|error| failed(&error))?;
    let mut prompt = Bounded(Vec::new());
    let values = context! {
        instruction => vars.instruction,
        input => vars.input,
        iteration_number => vars.iteration_number,
        previous_error => vars.previous_error,
    };
    match parsed.render_captured_to(values, &mut prompt) {
        Ok(_) => {}
        Err(error) if error.kind() == minijinja::ErrorKind::WriteFailure => return Err(Error::TooLong),
        Err(error) => return Err(failed(&error)),
    }
    String::from_utf8(prompt.0).map_err(|error| Error::Template(error.to_string()))
}

fn environment() -> Environment<'static> {
    // Empty: no filters, tests or functions, and no escaping.
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(16);
    let mut syntax = SyntaxConfig::builder();
    syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().expect("invariant: the delimiters are the engine's own"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment
}

fn syntax(error: &minijinja::Error) -> Fault {
    let message = error.detail().map_or_else(|| error.to_string(), str::to_owned);
    let place = error.line().map_or_else(String::new, |line| format!(" (line {line} of the template)"));
    Fault::new(Code::TemplateSyntax, format!("{message}{place}"))
}

/// Refuses everything outside the small language, before the template engine sees it.
fn scan(template: &str) -> Result<(), Fault> {
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let open = rest.get(start..start + 2).unwrap_or("{");
        let inner = rest.get(start + 2..).unwrap_or("");
        let line = 1 + template[..template.len() - rest.len() + start].matches('\n').count();
        rest = match open {
            "{{" => scan_variable(inner, line)?,
            "{%" => scan_tag(inner, line)?,
            "{#" => after(inner, "#}", line)?.1,
            _ => &rest[start + 1..],
        };
    }
    Ok(())
}

fn refusal(reason: &str, line: usize, hint: &str) -> Fault {
    Fault::new(Code::TemplateSyntax, format!("{reason} (line {line} of the template)")).hint(hint)
}

fn after<'a>(inner: &'a str, close: &str, line: usize) -> Result<(&'a str, &'a str), Fault> {
    inner
        .split_once(close)
        .ok_or_else(|| refusal(&format!("a `{}` is missing", close), line, "close what was opened, or use {% raw %}"))
}

fn scan_variable(inner: &str, line: usize) -> Result<&str, Fault> {
    let raw = "for braces as they are write {% raw %}…{% endraw %}";
    match inner.chars().next() {
        Some('{') => return Err(refusal("`{{{` is not known", line, "write {{variable}}: nothing is escaped")),
        Some('#' | '^') => {
            let hint = "write {% if previous_error %}…{% endif %}";
            return Err(refusal("Handlebars blocks as in `{{#if}}` are not known", line, hint));
        }
        Some('/') => return Err(refusal("`{{/` is not known", line, "write {% endif %}")),
        Some('>' | '!' | '&') => return Err(refusal("this Handlebars form is not known", line, raw)),
        Some(_) | None => {}
    }
    let (body, rest) = after(inner, "}}", line)?;
    let name = body.strip_prefix('-').unwrap_or(body);
    let name = name.strip_suffix('-').unwrap_or(name).trim();
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(word) {
        return Err(refusal("only a variable's name can stand between `{{` and `}}`", line, raw));
    }
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(refusal("a variable's name does not begin with a digit", line, raw));
    }
    Ok(rest)
}

fn scan_tag(inner: &str, line: usize) -> Result<&str, Fault> {
    let (body, rest) = after(inner, "%}", line)?;
    let body = body.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
    let (word, condition) = body.split_once(char::is_whitespace).unwrap_or((body, ""));
    match word {
        "if" | "elif" => {
            let allowed = |c: char| {
                c.is_ascii_alphanumeric() || matches!(c, '_' | ' ' | '=' | '!' | '<' | '>' | '(' | ')' | '\'' | '"')
            };
            if condition.len() > 256 || !condition.chars().all(allowed) {
                let hint = "compare the variables with ==, !=, <, >, and, or, not";
                return Err(refusal("this condition is not taken", line, hint));
            }
            Ok(rest)
        }
        "else" | "endif" if condition.is_empty() => Ok(rest),
        "raw" if condition.is_empty() => raw_end(rest, line),
        _ => {
            let hint = "if, elif, else, endif and raw are known";
            Err(refusal(&format!("`{{% {} %}}` is not taken", word.chars().take(24).collect::<String>()), line, hint))
        }
    }
}

/// Past the `{% endraw %}`, whatever white space and dashes it has.
fn raw_end(text: &str, line: usize) -> Result<&str, Fault> {
    let mut rest = text;
    while let Some((_, inner)) = rest.split_once("{%") {
        let (body, after) = after(inner, "%}", line)?;
        if body.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim() == "endraw" {
            return Ok(after);
        }
        rest = inner;
    }
    Err(refusal("a `{% endraw %}` is missing", line, "close what was opened"))
}

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
