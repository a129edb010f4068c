//! What a call costs, in whole micro-dollars. A price that is not known is `None`, and whoever shows it says so.

use super::answer::Usage;
use super::name::{ModelName, Provider};
use super::request::Request;
use genai_prices::{PriceRequest, UsageKey};
use tenure_core::time::Time;

/// Where a model is asked, since the same name may cost something else, or nothing, elsewhere.
#[derive(Debug, Clone, Copy)]
pub enum Address<'a> {
    Official,
    Url(&'a str),
}

/// Tokens that a price is written for.
const PRICED_TOKENS: u64 = 1_000_000;

/// What a person set that a model costs: micro-dollars for a million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    pub input: u64,
    pub output: u64,
    /// Of input that the provider had in its cache; none: as other input.
    pub cached: Option<u64>,
}

/// A price from a moment on, until a later one of the same model takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPrice {
    pub model: ModelName,
    pub from: Time,
    pub price: Price,
}

/// The one that holds for a call that is made now; of two from the same moment the last.
pub fn in_force(prices: &[SetPrice], model: &ModelName, now: Time) -> Option<Price> {
    let held = prices.iter().filter(|set| set.model == *model && set.from <= now);
    held.max_by_key(|set| set.from).map(|set| set.price)
}

impl Price {
    /// Rounded up; none where the provider did not count its tokens.
    pub fn cost(self, usage: &Usage) -> Option<u64> {
        let (input, output) = (usage.input?, usage.output?);
        let cached = usage.cached.unwrap_or(0).min(input);
        let of = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let sum =
            of(input - cached, self.input) + of(cached, self.cached.unwrap_or(self.input)) + of(output, self.output);
        u64::try_from(sum.div_ceil(u128::from(PRICED_TOKENS))).ok()
    }
}

/// What the program itself knows of a model's price, for people: of input, of output, and of cached input.
pub fn known(model: &ModelName) -> Option<(u64, u64, u64)> {
    // Some cost more where a request is very long; this is what the others cost.
    const TOKENS: u64 = 100_000;
    let usage = |input, output, cached| Usage { input: Some(input), output: Some(output), cached, ..Usage::default() };
    let of = |usage: Usage| Some(cost(model, Address::Official, &usage)? * (PRICED_TOKENS / TOKENS));
    Some((of(usage(TOKENS, 0, Some(0)))?, of(usage(0, TOKENS, Some(0)))?, of(usage(TOKENS, 0, Some(TOKENS)))?))
}

/// Bytes of text that a token stands for in an estimate.
const BYTES_PER_TOKEN: usize = 4;

/// Tokens that a request may take at most, roughly: its input, and all of the answer that it allows.
pub fn reserve_tokens(request: &Request) -> u64 {
    input_tokens(request) + u64::from(request.max_tokens)
}

/// What to count on before asking.
pub fn reserved_usage(request: &Request) -> Usage {
    let output = Some(u64::from(request.max_tokens));
    Usage { input: Some(input_tokens(request)), output, ..Usage::default() }
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

pub(crate) fn input_tokens(request: &Request) -> u64 {
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
    fn a_price_that_a_person_set_is_rounded_up_and_has_its_own_for_what_was_cached() {
        let price = Price { input: 3_000_000, output: 15_000_000, cached: Some(300_000) };
        assert_eq!(price.cost(&usage(1000, 100, None)), Some(4500));
        assert_eq!(price.cost(&usage(1000, 100, Some(900))), Some(300 + 270 + 1500));
        assert_eq!(Price { cached: None, ..price }.cost(&usage(1000, 100, Some(900))), Some(4500));
        assert_eq!(Price { input: 1, ..price }.cost(&usage(1, 0, None)), Some(1), "never as 0");
        assert_eq!(
            price.cost(&usage(10, 0, Some(99))),
            Some(3),
            "a provider that counts wrongly makes nothing negative"
        );
        assert_eq!(price.cost(&Usage { output: None, ..usage(10, 10, None) }), None);
        assert_eq!(price.cost(&usage(u64::MAX, u64::MAX, None)), None, "absurd figures are unknown, not small");
    }

    #[test]
    fn the_latest_price_that_has_begun_is_in_force_and_no_other_model_s() {
        let set = |model: &str, from, input| {
            let price = Price { input, output: 0, cached: None };
            SetPrice { model: name(model), from: Time::from_millis(from), price }
        };
        let prices = [set("openai/a", 20, 2), set("openai/a", 10, 1), set("openai/b", 10, 9), set("openai/a", 30, 3)];
        let at = |now| in_force(&prices, &name("openai/a"), Time::from_millis(now)).map(|price| price.input);
        assert_eq!([9, 10, 19, 20, 29, 30].map(at), [None, Some(1), Some(1), Some(2), Some(2), Some(3)]);
        let again = [set("openai/a", 10, 1), set("openai/a", 10, 2)];
        let price = in_force(&again, &name("openai/a"), Time::from_millis(10));
        assert_eq!(price.map(|price| price.input), Some(2), "the last of two");
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
        let usage = reserved_usage(&request);
        let set_aside = cost(&name("anthropic/claude-sonnet-4-5"), Address::Official, &usage).unwrap();
        assert!(set_aside > 256 * 15, "{set_aside}");
    }
}
