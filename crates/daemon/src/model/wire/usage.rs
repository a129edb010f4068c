//! Tokens as providers count them: on any event, under any vendor's name, as any kind of number.
//!
//! Counts only grow: where several events count, the largest of each stands, since later ones repeat what earlier ones
//! counted. A prompt that is counted as nothing was not counted.

use super::lenient::count;
use crate::model::answer::Usage;
use serde_json::Value;

const INPUT: [&str; 9] = [
    "prompt_tokens",
    "input_tokens",
    "promptTokens",
    "inputTokens",
    "prompt_token_count",
    "promptTokenCount",
    "input_token_count",
    "inputTokenCount",
    "prompt_eval_count",
];
const OUTPUT: [&str; 9] = [
    "completion_tokens",
    "output_tokens",
    "completionTokens",
    "outputTokens",
    "candidates_token_count",
    "candidatesTokenCount",
    "output_token_count",
    "outputTokenCount",
    "eval_count",
];
const TOTAL: [&str; 4] = ["total_tokens", "totalTokens", "total_token_count", "totalTokenCount"];
const CACHED: [&str; 6] = [
    "cached_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_input_tokens",
    "cacheReadInputTokens",
    "cached_content_token_count",
    "cachedContentTokenCount",
];
const WRITTEN: [&str; 2] = ["cache_creation_input_tokens", "cacheWriteInputTokens"];
/// Where counts stand within an event.
const PLACES: [&str; 4] = ["usage", "usageMetadata", "usage_metadata", "x_groq"];

#[derive(Debug, Default)]
pub(super) struct Counted {
    input: u64,
    output: u64,
    total: u64,
    cached: Option<u64>,
    written: Option<u64>,
}

impl Counted {
    /// Looks where an event, or a part of it, may count.
    pub(super) fn look(&mut self, event: &Value) {
        for place in PLACES {
            match event.get(place) {
                Some(within) if place == "x_groq" => self.look(within),
                Some(counts @ Value::Object(_)) => self.take(counts),
                Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) | None => {}
            }
        }
    }

    fn take(&mut self, counts: &Value) {
        let one = |names: &[&str]| names.iter().find_map(|name| counts.get(name).and_then(count));
        let detail = |group: &str, name: &str| counts.get(group).and_then(|group| group.get(name)).and_then(count);
        let details = detail("prompt_tokens_details", "cached_tokens")
            .or_else(|| detail("input_tokens_details", "cached_tokens"))
            .or_else(|| detail("promptTokensDetails", "cachedTokens"));
        let (cached, written) = (details.or_else(|| one(&CACHED)), one(&WRITTEN));
        let mut input = one(&INPUT).unwrap_or(0);
        // Anthropic counts what the cache read and wrote beside the input, all others within it.
        let beside = counts.get("prompt_tokens").is_none()
            && (counts.get("cache_read_input_tokens").is_some() || counts.get("cache_creation_input_tokens").is_some());
        if beside {
            input = input.saturating_add(cached.unwrap_or(0)).saturating_add(written.unwrap_or(0));
        }
        self.input = self.input.max(input);
        self.output = self.output.max(one(&OUTPUT).unwrap_or(0));
        self.total = self.total.max(one(&TOTAL).unwrap_or(0));
        self.cached = self.cached.max(cached);
        self.written = self.written.max(written);
    }

    pub(super) fn into_usage(self) -> Usage {
        // Some count in the total alone what the model thought.
        let output = if self.input > 0 { self.output.max(self.total.saturating_sub(self.input)) } else { self.output };
        Usage {
            input: Some(self.input).filter(|input| *input > 0),
            output: Some(output).filter(|output| *output > 0),
            cached: self.cached.map(|cached| cached.min(self.input)),
            cache_written: self.written,
            estimated: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn counted(events: &[Value]) -> (Option<u64>, Option<u64>, Option<u64>) {
        let mut counted = Counted::default();
        events.iter().for_each(|event| counted.look(event));
        let usage = counted.into_usage();
        (usage.input, usage.output, usage.cached)
    }

    #[test]
    fn tokens_are_counted_under_every_vendors_name() {
        for (event, wanted) in [
            (json!({"usage": {"prompt_tokens": 9, "completion_tokens": 2}}), (Some(9), Some(2), None)),
            (json!({"usage": {"prompt_tokens": 9.0, "completion_tokens": "2"}}), (Some(9), Some(2), None)),
            (json!({"usage": {"inputTokens": 9, "outputTokens": 2}}), (Some(9), Some(2), None)),
            (json!({"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2}}), (Some(9), Some(2), None)),
            (json!({"usage": {"prompt_tokens": 9, "total_tokens": 11}}), (Some(9), Some(2), None)),
            (json!({"x_groq": {"usage": {"prompt_tokens": 9, "completion_tokens": 2}}}), (Some(9), Some(2), None)),
            (json!({"usage": {"prompt_tokens": 9, "prompt_cache_hit_tokens": 4}}), (Some(9), None, Some(4))),
            (
                json!({"usage": {"input_tokens": 1, "cache_read_input_tokens": 8, "output_tokens": 2}}),
                (Some(9), Some(2), Some(8)),
            ),
            (
                json!({"usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}}}),
                (Some(9), None, Some(4)),
            ),
            (json!({"usage": null}), (None, None, None)),
            (json!({"usage": {"prompt_tokens": 0, "completion_tokens": 0}}), (None, None, None)),
            (json!({"usage": {"prompt_tokens": -4, "completion_tokens": []}}), (None, None, None)),
        ] {
            assert_eq!(counted(std::slice::from_ref(&event)), wanted, "{event}");
        }
    }

    #[test]
    fn counts_on_several_events_are_the_same_counts() {
        let begin = json!({"usage": {"input_tokens": 9, "output_tokens": 1}});
        let end = json!({"usage": {"output_tokens": 5}});
        assert_eq!(counted(&[begin, end]), (Some(9), Some(5), None));
    }
}
