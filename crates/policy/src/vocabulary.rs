//! The words of policies: the types, attributes and groups that a rule may name. The schema and the requests are both made of
//! them, so that what is checked is what is judged.

pub(crate) const AGENT: &str = "Agent";
pub(crate) const LABEL: &str = "Label";
pub(crate) const PROJECT: &str = "Project";
pub(crate) const ACTION: &str = "Action";
/// The one resource: rules are about what agents do, and a ledger has one project.
pub(crate) const THE_PROJECT: &str = "default";
/// Words of a command that have an attribute each.
pub(crate) const ARGV_MAX: usize = 16;

/// Attributes of `context`. What one needs is known of each rule, so that only that is made for a judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attribute {
    Path,
    Host,
    Port,
    Key,
    Bytes,
    Program,
    Command,
    Words,
    Argv,
    Argc,
    Input,
    Hour,
    Minute,
    Weekday,
    Caller,
    Trigger,
    Actor,
    Level,
    CallsMinute,
    CallsHour,
    CallsDay,
    SpentDay,
    SpentMonth,
}

impl Attribute {
    pub(crate) const ALL: [Attribute; 23] = [
        Attribute::Path,
        Attribute::Host,
        Attribute::Port,
        Attribute::Key,
        Attribute::Bytes,
        Attribute::Program,
        Attribute::Command,
        Attribute::Words,
        Attribute::Argv,
        Attribute::Argc,
        Attribute::Input,
        Attribute::Hour,
        Attribute::Minute,
        Attribute::Weekday,
        Attribute::Caller,
        Attribute::Trigger,
        Attribute::Actor,
        Attribute::Level,
        Attribute::CallsMinute,
        Attribute::CallsHour,
        Attribute::CallsDay,
        Attribute::SpentDay,
        Attribute::SpentMonth,
    ];

    /// Its name in a rule; `argv` stands for `argv0` to `argv15`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Attribute::Path => "path",
            Attribute::Host => "host",
            Attribute::Port => "port",
            Attribute::Key => "key",
            Attribute::Bytes => "bytes",
            Attribute::Program => "program",
            Attribute::Command => "command",
            Attribute::Words => "words",
            Attribute::Argv => "argv",
            Attribute::Argc => "argc",
            Attribute::Input => "input",
            Attribute::Hour => "hour",
            Attribute::Minute => "minute",
            Attribute::Weekday => "weekday",
            Attribute::Caller => "caller",
            Attribute::Trigger => "trigger",
            Attribute::Actor => "actor",
            Attribute::Level => "level",
            Attribute::CallsMinute => "calls_minute",
            Attribute::CallsHour => "calls_hour",
            Attribute::CallsDay => "calls_day",
            Attribute::SpentDay => "spent_day_micro_usd",
            Attribute::SpentMonth => "spent_month_micro_usd",
        }
    }

    /// The attribute that a rule names by this word.
    pub(crate) fn named(word: &str) -> Option<Attribute> {
        if word
            .strip_prefix("argv")
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        {
            return Some(Attribute::Argv);
        }
        Attribute::ALL.into_iter().find(|known| *known != Attribute::Argv && known.as_str() == word)
    }
}

/// The groups that an action is in, the narrowest first: `state.session.get` is in `state.session.*`, `state.*` and `*`.
pub(crate) fn groups(capability: &str) -> Vec<String> {
    let mut groups: Vec<String> =
        capability.match_indices('.').map(|(at, _)| format!("{}.*", &capability[..at])).rev().collect();
    groups.push("*".to_string());
    groups
}
