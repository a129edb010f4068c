//! The checks that an iteration's outcome must pass, as a manifest states them. Must never run anything.

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize, de};

use super::canonical::{DAY, SECOND};
use super::document::{Node, Value};
use super::fields::{Rule, list, read_section};
use super::formats::{COMMAND_WORDS_MAX, command, model, workspace_path};
use super::quantity::{Duration, Score};
use super::section::{section, words};
use super::values::{json, text, text_of, word, wrong_type};
use crate::fault::{Code, Fault};

/// The most validators of an agent.
pub const VALIDATORS_MAX: usize = 16;
/// The longest regex, in bytes, and the most memory that its compiled form may take.
pub const REGEX_BYTES_MAX: usize = 4 * 1024;
pub const REGEX_COMPILED_BYTES_MAX: usize = 4 << 20;
const JUDGES_MIN: usize = 2;
const JUDGES_MAX: usize = 16;
const CRITERIA_BYTES_MAX: usize = 16 * 1024;

section!(
    enum Validator by "type" of a "validator" {
        /// The exit code of the iteration's last process.run; none fails.
        ExitCode as "exit_code" {
            /// Default: 0.
            expected?: u8 [0..=255],
        },
        /// The target is JSON and fits the schema.
        JsonSchema as "json_schema" {
            /// A JSON Schema, written out.
            #[schemars(extend("type" = ["object", "boolean"]))]
            schema: serde_json::Value = json_schema,
            target?: Target = Target::read,
        },
        /// The target has a match.
        Regex as "regex" {
            pattern: String = regex,
            target?: Target = Target::read,
        },
        /// A program in the sandbox ends with exit code 0; what it prints is the reason when it does not.
        Command as "command" {
            /// The program and its arguments.
            #[schemars(length(min = 1, max = COMMAND_WORDS_MAX))]
            command: Vec<String> = command,
            /// Default: 60s.
            timeout?: Duration = Duration::between(SECOND, DAY),
        },
        /// A judge reads the output.
        Semantic as "semantic" {
            /// A model's alias or an agent's name. Default: the agent's own model.
            judge?: String = model,
            criteria: String = text_of(CRITERIA_BYTES_MAX),
            min_score?: Score = Score::read,
            min_confidence?: Score = Score::read,
            timeout?: Duration = Duration::between(SECOND, DAY),
        },
        /// Several judges read the output.
        MultiJudge as "multi_judge" {
            #[schemars(length(min = JUDGES_MIN, max = JUDGES_MAX))]
            judges: Vec<Judge> = judges(),
            strategy: Strategy = word,
            criteria: String = text_of(CRITERIA_BYTES_MAX),
            min_score?: Score = Score::read,
            min_confidence?: Score = Score::read,
            timeout?: Duration = Duration::between(SECOND, DAY),
        },
    }
);

section!(
    struct Judge {
        /// A model's alias or an agent's name.
        judge: String = model,
        /// For `weighted_average`. Default: 1.
        weight?: u32 [1..=100],
    }
);

words!(Strategy {
    Majority = "majority",
    Unanimous = "unanimous",
    WeightedAverage = "weighted_average",
    BestOfN = "best_of_n",
});

/// Each is a judge's name alone, or a mapping with its weight.
fn judges() -> Rule<Vec<Judge>> {
    let judge = Rule::new(|place, problems| match &place.node.value {
        Value::Text(_) => place.read(problems, model).map(|judge| Judge { judge, weight: None }),
        Value::Null | Value::Bool { .. } | Value::Number { .. } | Value::List(_) | Value::Map(_) => {
            read_section(place, problems)
        }
    });
    let judges = list(JUDGES_MAX, judge);
    Rule::new(move |place, problems| {
        let judges = judges.read(place, problems)?;
        if judges.len() < JUDGES_MIN {
            let fault = Fault::new(Code::OutOfRange, "at least two judges are wanted");
            place.refuse(fault.hint("use the validator `semantic` for a single one"), problems);
        }
        Some(judges)
    })
}

fn json_schema(node: &Node) -> Result<serde_json::Value, Fault> {
    match &node.value {
        Value::Map(_) | Value::Bool { .. } => json(node),
        Value::Text(_) => Err(wrong_type(node, "a JSON Schema").hint("write the schema itself, not its file's name")),
        Value::Null | Value::Number { .. } | Value::List(_) => Err(wrong_type(node, "a JSON Schema")),
    }
}

fn regex(node: &Node) -> Result<String, Fault> {
    let pattern = text_of(REGEX_BYTES_MAX)(node)?;
    compile(&pattern)?;
    Ok(pattern)
}

/// Compiles a validator's regex under the limits that the manifest was checked with.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a foreign enum that grows: what is not known is reported in its own words"
)]
pub fn compile(pattern: &str) -> Result<regex::Regex, Fault> {
    let mut builder = regex::RegexBuilder::new(pattern);
    builder.size_limit(REGEX_COMPILED_BYTES_MAX).dfa_size_limit(REGEX_COMPILED_BYTES_MAX).nest_limit(64);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            Fault::new(Code::TooLarge, "this regex is too large once compiled").hint("repeat fewer times")
        }
        other => {
            let message = other.to_string();
            let reason = message.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            Fault::new(Code::BadFormat, format!("this is not a regex: {reason}"))
        }
    })
}

/// What is looked at: the iteration's output, or a file of the work folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Output,
    /// An absolute path below /workspace.
    File(String),
}

impl Target {
    fn read(node: &Node) -> Result<Self, Fault> {
        match text(node)?.as_str() {
            "output" => Ok(Self::Output),
            path => workspace_path(path).map(Self::File),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Output => "output",
            Self::File(path) => path,
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "output" { Self::Output } else { Self::File(text) })
    }
}

impl JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        let description = "`output`, or a file of the work folder: relative, or below /workspace. Default: output.";
        schemars::json_schema!({ "type": "string", "description": description, "examples": ["output", "result.json"] })
    }
}
