//! What a rule says of itself: its name, verdict, reason, approvers and examples. What is not known is refused with the near word.
use crate::situation::Situation;
use cedar_policy::Effect;
use tenure_core::fault::nearest;
use tenure_core::judge::Verdict;

const KNOWN: [&str; 6] = ["id", "verdict", "reason", "approvers", "match", "not_match"];
const VERDICTS: [(&str, Verdict); 3] = [
    ("autonomous", Verdict::Autonomous),
    ("notify", Verdict::Notify),
    ("approval_required", Verdict::ApprovalRequired),
];
const ID_BYTES_MAX: usize = 64;
const REASON_BYTES_MAX: usize = 512;
const APPROVERS_MAX: u32 = 16;

/// A situation that the rule's author says it covers, or does not.
#[derive(Debug, Clone)]
pub(crate) struct Example {
    pub(crate) situation: Situation,
    pub(crate) covers: bool,
    /// The annotation's name, for a message.
    pub(crate) named: String,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Annotations {
    pub(crate) id: Option<String>,
    pub(crate) verdict: Option<Verdict>,
    pub(crate) reason: Option<String>,
    pub(crate) approvers: Option<u32>,
    pub(crate) examples: Vec<Example>,
}

/// What is wrong, and what to do.
pub(crate) type Wrong = (String, String);

/// Reads all, and tells all that is wrong.
pub(crate) fn read<'a>(effect: Effect, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (Annotations, Vec<Wrong>) {
    let (mut read, mut wrong) = (Annotations::default(), Vec::new());
    for (name, value) in pairs {
        if let Err(fault) = one(&mut read, name, value) {
            wrong.push(fault);
        }
    }
    if let (Effect::Forbid, Some(_)) = (effect, read.verdict) {
        let help = "take the annotation away, or write `permit`, which says `at least this verdict`";
        wrong.push(("a forbid bears a @verdict, and always blocks".to_string(), help.to_string()));
    }
    if read.approvers.is_some() && (effect == Effect::Forbid || read.verdict != Some(Verdict::ApprovalRequired)) {
        let help = "add @verdict(\"approval_required\") to a permit, or take @approvers away";
        wrong.push(("@approvers without an approval".to_string(), help.to_string()));
    }
    (read, wrong)
}

fn one(read: &mut Annotations, name: &str, value: &str) -> Result<(), Wrong> {
    match base(name) {
        Some("id") => read.id = Some(id(value)?),
        Some("verdict") => read.verdict = Some(verdict(value)?),
        Some("reason") => read.reason = Some(reason(value)?),
        Some("approvers") => read.approvers = Some(approvers(value)?),
        Some(example @ ("match" | "not_match")) => {
            let situation = Situation::parse(value).map_err(|error| {
                let help = "write as in @match(\"{capability = 'filesystem.read', input = {path = 'a'}}\")";
                (format!("@{name} is no example: {error}"), help.to_string())
            })?;
            read.examples.push(Example { situation, covers: example == "match", named: name.to_string() });
        }
        Some(_) | None => {
            let help = match nearest(name, KNOWN) {
                Some(near) => format!("did you mean @{near}?"),
                None => format!("use one of @{}", KNOWN.join(", @")),
            };
            return Err((format!("`@{name}` is no annotation"), help));
        }
    }
    Ok(())
}

/// The annotation that a name stands for: `match_2` for `match`, since no rule may bear one twice.
fn base(name: &str) -> Option<&str> {
    let numbered =
        name.rsplit_once('_').filter(|(_, number)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    let base = match numbered {
        Some((base @ ("match" | "not_match"), _)) => base,
        Some(_) | None => name,
    };
    KNOWN.contains(&base).then_some(base)
}

fn id(value: &str) -> Result<String, Wrong> {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if (1..=ID_BYTES_MAX).contains(&value.len()) && value.bytes().all(safe) {
        return Ok(value.to_string());
    }
    let help = format!("use 1 to {ID_BYTES_MAX} of a-z, A-Z, 0-9, `_`, `-` and `.`");
    Err((format!("`{}` is no name of a rule", tenure_core::capability::clip(value)), help))
}

fn verdict(value: &str) -> Result<Verdict, Wrong> {
    if let Some((_, verdict)) = VERDICTS.iter().find(|(word, _)| *word == value) {
        return Ok(*verdict);
    }
    let words = VERDICTS.map(|(word, _)| word);
    let help = match (value, nearest(value, words)) {
        ("blocked", _) => "write `forbid` to block".to_string(),
        (_, Some(near)) => format!("did you mean \"{near}\"?"),
        (_, None) => format!("use one of {}", words.join(", ")),
    };
    Err((format!("\"{}\" is no verdict of a permit", tenure_core::capability::clip(value)), help))
}

fn reason(value: &str) -> Result<String, Wrong> {
    if value.is_empty() || value.len() > REASON_BYTES_MAX || value.chars().any(char::is_control) {
        let help = format!("say in one line of 1 to {REASON_BYTES_MAX} bytes what the agent is to know");
        return Err(("a @reason of a wrong length or with control characters".to_string(), help));
    }
    Ok(value.to_string())
}

fn approvers(value: &str) -> Result<u32, Wrong> {
    let number = value.parse::<u32>().ok().filter(|number| (1..=APPROVERS_MAX).contains(number));
    number.ok_or_else(|| {
        let what = format!("\"{}\" is no number of approvers", tenure_core::capability::clip(value));
        (what, format!("use a whole number from 1 to {APPROVERS_MAX}, in quotes"))
    })
}
