//! Test cases that people keep beside their rules: a situation, and what is to come of it.
use crate::bundle::BUNDLE_BYTES_MAX;
use crate::fault::{Fault, place};
use crate::layer::Layer;
use crate::policy::Policy;
use crate::situation::Situation;
use serde::{Deserialize, Serialize};
use tenure_core::judge::{Judgement, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    #[serde(default)]
    case: Vec<toml::Spanned<toml::Table>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseOutcome {
    pub name: String,
    pub line: u32,
    pub passed: bool,
    /// What came instead, or why the case could not be tried.
    pub told: Option<String>,
    pub judgement: Option<Judgement>,
}

/// Runs the cases of one `.test.toml` document.
///
/// # Errors
/// Why the document as a whole cannot be read; what is wrong with one case is its outcome.
pub fn run_tests(policy: &Policy, document: &str) -> Result<Vec<CaseOutcome>, Fault> {
    let wrong = |at: Option<usize>, what: String| {
        let (line, column) = at.map_or((0, 0), |at| place(document, at));
        let help = "write each case as [[case]] with name, capability and verdict".to_string();
        Fault { layer: Layer::System, file: "cases".to_string(), line, column, what, help }
    };
    if document.len() > BUNDLE_BYTES_MAX {
        return Err(wrong(None, format!("{} bytes, at most {BUNDLE_BYTES_MAX} are taken", document.len())));
    }
    let cases: Cases = toml::from_str(document)
        .map_err(|error| wrong(error.span().map(|span| span.start), error.message().to_string()))?;
    let outcomes = cases.case.into_iter().map(|case| {
        let (line, _) = place(document, case.span().start);
        run(policy, case.into_inner(), line)
    });
    Ok(outcomes.collect())
}

fn run(policy: &Policy, mut case: toml::Table, line: u32) -> CaseOutcome {
    let name = case.remove("name").and_then(|name| name.as_str().map(str::to_string));
    let name = name.unwrap_or_else(|| format!("the case in line {line}"));
    match outcome(policy, case) {
        Ok((told, judgement)) => CaseOutcome { name, line, passed: told.is_none(), told, judgement: Some(judgement) },
        Err(why) => CaseOutcome { name, line, passed: false, told: Some(why), judgement: None },
    }
}

/// What came instead, if it did; else why the case could not be tried.
fn outcome(policy: &Policy, mut case: toml::Table) -> Result<(Option<String>, Judgement), String> {
    let verdict = case.remove("verdict").ok_or("it says no verdict")?;
    let expected: Verdict =
        verdict.try_into().map_err(|_| "verdict is autonomous, notify, approval_required or blocked".to_string())?;
    let rule = case.remove("rule");
    let situation: Situation = case.try_into().map_err(|error: toml::de::Error| error.message().to_string())?;
    let asked = situation.asked()?;
    let judgement = policy.judge(&asked.ask(Some(policy.digest())));
    let rules = judgement.rules.join(", ");
    let told = if judgement.verdict != expected {
        Some(format!("{} instead of {}, by {rules}", judgement.verdict.as_str(), expected.as_str()))
    } else {
        let named = rule.as_ref().and_then(toml::Value::as_str);
        let made = |word: &String, named: &str| word == named || word.split(' ').any(|part| part == named);
        let missing = named.filter(|named| !judgement.rules.iter().any(|word| made(word, named)));
        missing.map(|named| format!("by {rules}, not by {named}"))
    };
    Ok((told, judgement))
}
