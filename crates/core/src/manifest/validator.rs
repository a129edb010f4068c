//! The checks that an iteration's outcome must pass, as a manifest states them. Must never run anything.

use schemars::JsonSchema;
use serde::Serialize;

use super::canonical::words;
use super::document::{Node, Value};
use super::fields::{Fields, Place, Problems, json, text, text_of, whole, wrong_type};
use super::problem::{Code, Fault, nearest};
use super::quantity::{Duration, Score};
use super::words::{command, model, one_of, workspace_path};

/// The most validators of an agent.
pub const VALIDATORS_MAX: usize = 16;
/// The longest regex, in bytes, and the most memory that its compiled form may take.
pub const REGEX_BYTES_MAX: usize = 4 * 1024;
pub const REGEX_COMPILED_BYTES_MAX: usize = 4 << 20;
const JUDGES_MAX: usize = 16;
const TYPES: [&str; 6] = ["exit_code", "json_schema", "regex", "command", "semantic", "multi_judge"];

#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Validator {
    /// The exit code of the iteration's last process.run; none fails.
    ExitCode {
        /// Default: 0.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0, max = 255))]
        expected: Option<u8>,
    },
    /// The target is JSON and fits the schema.
    JsonSchema {
        #[schemars(schema_with = "any_schema")]
        schema: serde_json::Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
    },
    /// The target has a match.
    Regex {
        pattern: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
    },
    /// A program in the sandbox ends with exit code 0; what it prints is the reason when it does not.
    Command {
        /// The program and its arguments.
        #[schemars(length(min = 1, max = 64))]
        command: Vec<String>,
        /// Default: 60s.
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
    },
    /// A judge reads the output.
    Semantic {
        /// A model's alias or an agent's name. Default: the agent's own model.
        #[serde(skip_serializing_if = "Option::is_none")]
        judge: Option<String>,
        criteria: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        min_score: Option<Score>,
        #[serde(skip_serializing_if = "Option::is_none")]
        min_confidence: Option<Score>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
    },
    /// Several judges read the output.
    MultiJudge {
        #[schemars(length(min = 2, max = 16))]
        judges: Vec<Judge>,
        strategy: Strategy,
        criteria: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        min_score: Option<Score>,
        #[serde(skip_serializing_if = "Option::is_none")]
        min_confidence: Option<Score>,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<Duration>,
    },
}

/// What is looked at: the iteration's output, or a file of the work folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Output,
    /// An absolute path below /workspace.
    File(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Judge {
    /// A model's alias or an agent's name.
    pub judge: String,
    /// For `weighted_average`. Default: 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<u32>,
}

words!(Strategy {
    Majority = "majority",
    Unanimous = "unanimous",
    WeightedAverage = "weighted_average",
    BestOfN = "best_of_n",
});

impl Validator {
    /// The word under `type`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::ExitCode { .. } => TYPES[0],
            Self::JsonSchema { .. } => TYPES[1],
            Self::Regex { .. } => TYPES[2],
            Self::Command { .. } => TYPES[3],
            Self::Semantic { .. } => TYPES[4],
            Self::MultiJudge { .. } => TYPES[5],
        }
    }

    pub(super) fn read(place: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        let mut fields = place.fields(problems)?;
        let kind = fields.need("type", text)?;
        let read = match kind.as_str() {
            "exit_code" => Self::read_exit_code(&mut fields),
            "json_schema" => Self::read_json_schema(&mut fields),
            "regex" => Self::read_regex(&mut fields),
            "command" => Self::read_command(&mut fields),
            "semantic" => Self::read_semantic(&mut fields),
            "multi_judge" => Self::read_multi_judge(&mut fields),
            other => {
                let hint = match nearest(other, TYPES) {
                    Some(word) => format!("did you mean `{word}`?"),
                    None => format!("one of {} is wanted", TYPES.join(", ")),
                };
                let fault = Fault::new(Code::UnknownWord, "there is no such validator").hint(hint);
                fields.refuse("type", fault);
                return None;
            }
        };
        fields.close();
        read
    }

    fn read_exit_code(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let expected = fields.get("expected", whole(0..=255));
        let narrow = |code| u8::try_from(code).expect("invariant: the range is within u8");
        Some(Self::ExitCode { expected: expected.map(narrow) })
    }

    fn read_json_schema(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let target = fields.get("target", Target::read);
        let schema = fields.need("schema", |node| match &node.value {
            Value::Map(_) | Value::Bool { .. } => json(node),
            Value::Text(_) => {
                Err(wrong_type(node, "a JSON Schema").hint("write the schema itself, not its file's name"))
            }
            Value::Null | Value::Number { .. } | Value::List(_) => Err(wrong_type(node, "a JSON Schema")),
        })?;
        Some(Self::JsonSchema { schema, target })
    }

    fn read_regex(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let target = fields.get("target", Target::read);
        let pattern = fields.need("pattern", |node| {
            let pattern = text_of(REGEX_BYTES_MAX)(node)?;
            compile(&pattern)?;
            Ok(pattern)
        })?;
        Some(Self::Regex { pattern, target })
    }

    fn read_command(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let timeout = fields.get("timeout", Duration::between(Duration::from_secs(1), Duration::from_secs(86_400)));
        let command = fields.need("command", command)?;
        Some(Self::Command { command, timeout })
    }

    fn read_semantic(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let judge = fields.get("judge", model);
        let (min_score, min_confidence, timeout) = read_bars(fields);
        let criteria = fields.need("criteria", text_of(16 * 1024))?;
        Some(Self::Semantic { judge, criteria, min_score, min_confidence, timeout })
    }

    fn read_multi_judge(fields: &mut Fields<'_, '_>) -> Option<Self> {
        let (min_score, min_confidence, timeout) = read_bars(fields);
        let strategy = fields.need("strategy", one_of(Strategy::WORDS));
        let criteria = fields.need("criteria", text_of(16 * 1024));
        if !fields.has("judges") {
            fields.missing("judges");
        }
        let judges = fields.places("judges", JUDGES_MAX, Judge::read)?;
        if judges.len() < 2 {
            fields.refuse(
                "judges",
                Fault::new(Code::OutOfRange, "at least two judges are wanted")
                    .hint("use the validator `semantic` for a single one"),
            );
        }
        Some(Self::MultiJudge { judges, strategy: strategy?, criteria: criteria?, min_score, min_confidence, timeout })
    }
}

/// Compiles a validator's regex under the limits that the manifest was checked with.
#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that grows: what is not known is told as it says")]
pub fn compile(pattern: &str) -> Result<regex::Regex, Fault> {
    let mut builder = regex::RegexBuilder::new(pattern);
    builder.size_limit(REGEX_COMPILED_BYTES_MAX).dfa_size_limit(REGEX_COMPILED_BYTES_MAX).nest_limit(64);
    builder.build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            Fault::new(Code::TooLarge, "this regex is too large once compiled").hint("repeat fewer times")
        }
        other => {
            let told = other.to_string();
            let reason = told.lines().last().unwrap_or("").trim_start_matches("error: ").to_owned();
            Fault::new(Code::BadFormat, format!("this is not a regex: {reason}"))
        }
    })
}

fn read_bars(fields: &mut Fields<'_, '_>) -> (Option<Score>, Option<Score>, Option<Duration>) {
    let timeout = Duration::between(Duration::from_secs(1), Duration::from_secs(86_400));
    (fields.get("min_score", Score::read), fields.get("min_confidence", Score::read), fields.get("timeout", timeout))
}

impl Judge {
    /// A judge's name alone, or a mapping with its weight.
    fn read(place: &Place<'_>, problems: &mut Problems) -> Option<Self> {
        if matches!(place.node.value, Value::Text(_)) {
            return place.read(problems, model).map(|judge| Self { judge, weight: None });
        }
        let mut fields = place.fields(problems)?;
        let judge = fields.need("judge", model);
        let weight = fields.get("weight", super::fields::count(1..=100));
        fields.close();
        Some(Self { judge: judge?, weight })
    }
}

impl Target {
    fn read(node: &Node) -> Result<Self, Fault> {
        match text(node)?.as_str() {
            "output" => Ok(Self::Output),
            path => workspace_path(path).map(Self::File),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Output => serializer.serialize_str("output"),
            Self::File(path) => serializer.serialize_str(path),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Target {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(if text == "output" { Self::Output } else { Self::File(text) })
    }
}

impl JsonSchema for Target {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Target".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let told = "`output`, or a file of the work folder: relative, or below /workspace. Default: output.";
        schemars::json_schema!({ "type": "string", "description": told, "examples": ["output", "result.json"] })
    }
}

fn any_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": ["object", "boolean"], "description": "A JSON Schema, written out." })
}
