//! `tenure budget …`.
use clap::{Args, Subcommand};
use tenure_core::budget::LIMIT_MAX;
use tenure_core::manifest::Money;

use super::{Listing, named};

#[derive(Debug, Subcommand)]
pub enum Budget {
    /// List what agents, and all of them together, may use up, and what of it is used.
    #[command(visible_alias = "ls")]
    List {
        /// Name, id or short id of the only agent that is meant.
        #[arg(value_parser = named)]
        agent: Option<String>,
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        listing: Listing,
    },
    /// Limit what an agent, or all of them together, may use up; limits that are not named stay.
    #[command(
        after_help = "A day and a month are those of UTC. At 80 % it is told, once; what could pass a limit is not begun."
    )]
    Set {
        #[command(flatten)]
        whose: Whose,
        #[command(flatten)]
        limits: Limits,
    },
    /// Remove all limits of an agent, or those of all together.
    #[command(visible_alias = "rm")]
    Remove {
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// Name, id or short id.
    #[arg(value_parser = named)]
    pub agent: Option<String>,
    /// All agents together.
    #[arg(long)]
    pub project: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct Limits {
    /// Of money, as in 5USD or 0.50; `none` takes the limit away.
    #[arg(long, value_name = "MONEY", value_parser = money)]
    pub day: Option<Limit>,
    #[arg(long, value_name = "MONEY", value_parser = money)]
    pub month: Option<Limit>,
    /// As in 200000, 200k or 2M; `none` takes the limit away.
    #[arg(long, value_name = "TOKENS", value_parser = tokens)]
    pub tokens_day: Option<Limit>,
    #[arg(long, value_name = "TOKENS", value_parser = tokens)]
    pub tokens_month: Option<Limit>,
}

/// A limit as it was typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

fn within(number: u64, zero: &str) -> Result<Limit, String> {
    match number {
        0 => Err(format!("{zero}: `tenure pause` stops an agent, `none` takes a limit away")),
        number if number > LIMIT_MAX => Err("it is too large to be kept to".to_string()),
        number => Ok(Limit(Some(number))),
    }
}

fn money(text: &str) -> Result<Limit, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("none") {
        return Ok(Limit(None));
    }
    let amount = text.strip_prefix('$').unwrap_or(text).trim();
    let has_unit = amount.len() >= 3 && amount.is_char_boundary(amount.len() - 3);
    let amount = match has_unit.then(|| amount.split_at(amount.len() - 3)) {
        Some((amount, unit)) if unit.eq_ignore_ascii_case("usd") => amount.trim_end(),
        Some(_) | None => amount,
    };
    let money = Money::parse(&format!("{amount} USD"))
        .map_err(|_| "it is no amount of US dollars: write it as in 5USD or 0.50, or none".to_string())?;
    within(money.as_micros(), "no money is no limit")
}

fn tokens(text: &str) -> Result<Limit, String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("none") {
        return Ok(Limit(None));
    }
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let times = match &text[digits.len()..] {
        "" => Some(1),
        "k" | "K" => Some(1_000),
        "M" => Some(1_000_000),
        "G" => Some(1_000_000_000),
        _ => None,
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = times.filter(|_| all_digits).and_then(|times| digits.parse::<u64>().ok()?.checked_mul(times));
    let number = number.ok_or("it is no number of tokens: write it as in 200000, 200k or 2M, or none")?;
    within(number, "no tokens are no limit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_and_tokens_read_as_people_write_them_and_nothing_else_does() {
        for text in ["5USD", "5 USD", "5usd", "$5", "5", "5.00", " 5.000000USD"] {
            assert_eq!(money(text), Ok(Limit(Some(5_000_000))), "{text}");
        }
        for text in ["", "USD", "5EUR", "-5", "5,00", "1e3", "0", "0.0000001", "5USDUSD", "€5", "99999999999"] {
            assert!(money(text).is_err(), "{text}");
        }
        for (text, number) in [("200000", 200_000), ("200k", 200_000), ("2M", 2_000_000)] {
            assert_eq!(tokens(text), Ok(Limit(Some(number))), "{text}");
        }
        for text in ["", "k", "2m", "1.5M", "-1", "0", "0k", "2MM", "99999999999999999999", "9999999999G"] {
            assert!(tokens(text).is_err(), "{text}");
        }
        assert_eq!((money("none"), tokens("None")), (Ok(Limit(None)), Ok(Limit(None))));
    }
}
