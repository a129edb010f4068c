//! What a call costs, in whole micro-dollars. A price that is not known is `None`, and whoever shows it says so.

use super::answer::Usage;
use super::name::{ModelName, Provider};
use super::request::Request;
use genai_prices::{PriceRequest, UsageKey};

/// Where a model is asked, since the same name may cost something else, or nothing, elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum Address<'a> {
    Official,
    Url(&'a str),
}

/// Bytes of text that a token stands for in an estimate.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens that a request may take at most, roughly: its input, and all of the answer that it allows.
pub fn reserve_tokens(request: &Request) -> u64 {
    input_tokens(request) + u64::from(request.max_tokens)
}

/// What to set aside before asking.
pub fn reserve(model: &ModelName, address: Address<'_>, request: &Request) -> Option<u64> {
    let output = Some(u64::from(request.max_tokens));
    cost(model, address, &Usage { input: Some(input_tokens(request)), output, ..Usage::default() })
}

/// What an answer cost. `None` where the provider did not count its tokens or has no known price.
pub fn cost(model: &ModelName, address: Address<'_>, usage: &Usage) -> Option<u64> {
    match model.provider {
        Provider::Local | Provider::Ollama | Provider::Cassette => return Some(0),
        Provider::Anthropic | Provider::OpenAi => {}
    }
    let mut counted = genai_prices::Usage::new();
    counted.insert(UsageKey::INPUT_TOKENS, float(usage.input?));
    counted.insert(UsageKey::OUTPUT_TOKENS, float(usage.output?));
    if let Some(cached) = usage.cached {
        counted.insert(UsageKey::CACHE_READ_TOKENS, float(cached));
    }
    if let Some(written) = usage.cache_written {
        counted.insert(UsageKey::CACHE_WRITE_TOKENS, float(written));
    }
    let request = PriceRequest::new(&model.model, &counted);
    let request = match address {
        Address::Official => request.with_provider_id(model.provider.as_str()),
        Address::Url(url) => request.with_provider_api_url(url),
    };
    let dollars = genai_prices::calculate(&request).ok()?.total_price;
    // Rounded up: a budget must never be passed by fractions. `as` saturates, and the price was checked as finite.
    (dollars.is_finite() && dollars >= 0.0).then(|| (dollars * 1e6 - 1e-6).ceil().max(0.0) as u64)
}

fn input_tokens(request: &Request) -> u64 {
    u64::try_from(request.bytes().div_ceil(BYTES_PER_TOKEN)).unwrap_or(u64::MAX)
}

fn float(tokens: u64) -> f64 {
    // Token counts are far below 2^53.
    tokens as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(input: u64, output: u64, cached: Option<u64>) -> Usage {
        Usage { input: Some(input), output: Some(output), cached, ..Usage::default() }
    }

    fn name(text: &str) -> ModelName {
        text.parse().unwrap()
    }

    #[test]
    fn a_known_model_costs_whole_micro_dollars() {
        let sonnet = name("anthropic/claude-sonnet-4-5");
        assert_eq!(cost(&sonnet, Address::Official, &usage(1000, 100, None)), Some(4500));
        assert_eq!(cost(&sonnet, Address::Official, &usage(1000, 100, Some(900))), Some(300 + 270 + 1500));
        let mini = name("openai/gpt-4o-mini");
        assert_eq!(cost(&mini, Address::Official, &usage(1, 0, None)), Some(1), "0.15 is charged as 1, never as 0");
    }

    #[test]
    fn an_unknown_price_is_said_and_never_zero() {
        assert_eq!(cost(&name("openai/no-such-model"), Address::Official, &usage(10, 10, None)), None);
        let elsewhere = Address::Url("http://127.0.0.1:8080/v1/");
        assert_eq!(cost(&name("openai/gpt-4o-mini"), elsewhere, &usage(10, 10, None)), None);
        let uncounted = Usage { output: None, ..usage(10, 10, None) };
        assert_eq!(cost(&name("openai/gpt-4o-mini"), Address::Official, &uncounted), None);
    }

    #[test]
    fn what_runs_here_is_free() {
        assert_eq!(cost(&name("local/local-default"), Address::Official, &Usage::default()), Some(0));
    }

    #[test]
    fn a_reserve_covers_the_input_and_the_longest_answer() {
        let request = crate::model::request::tests::ask("hello");
        let expected = u64::try_from(request.bytes().div_ceil(4)).unwrap() + 256;
        assert_eq!(reserve_tokens(&request), expected);
        let set_aside = reserve(&name("anthropic/claude-sonnet-4-5"), Address::Official, &request).unwrap();
        assert!(set_aside > 256 * 15, "{set_aside}");
    }
}
