//! Reads an expression: five fields or a word. What is wrong is said with its field, its place and what would be right.
use super::Cron;
use crate::fault::{Code, Fault, excerpt, nearest};
use jiff::civil::{Date, date};

const EXPRESSION_BYTES_MAX: usize = 256;
const DAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
/// A day from which each combination of month, day and weekday comes within the years that are looked through.
const START: Date = date(2000, 1, 1);

struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// Words for its numbers, from `low` on.
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[] },
    Field { name: "hour", low: 0, high: 23, words: &[] },
    Field { name: "day of the month", low: 1, high: 31, words: &[] },
    Field { name: "month", low: 1, high: 12, words: &MONTHS },
    Field { name: "day of the week", low: 0, high: 7, words: &DAYS },
];

/// Where an item stands: its field, and its character in the expression, from 1.
struct Place<'a> {
    field: &'a Field,
    number: usize,
    character: usize,
}

impl Place<'_> {
    fn fault(&self, code: Code, what: String) -> Fault {
        let Field { name, .. } = self.field;
        Fault::new(code, format!("{name} (field {}, character {}): {what}", self.number, self.character))
    }

    fn range(&self) -> String {
        let Field { low, high, words, .. } = self.field;
        match words {
            [first, .., last] => format!("numbers from {low} to {high} and names from {first} to {last} are known"),
            _ => format!("numbers from {low} to {high} are known"),
        }
    }
}

impl Cron {
    /// # Errors
    /// What is wrong with it, and where; also an expression that never comes.
    pub fn parse(text: &str) -> Result<Cron, Fault> {
        let whole = |reason: String| Fault::new(Code::BadFormat, reason);
        let form = "five fields are wanted: minute, hour, day, month, weekday, as in `0 9 * * 1-5`, or a word such as \
                    `@daily`";
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(Fault::new(Code::TooLong, format!("a schedule has at most {EXPRESSION_BYTES_MAX} bytes")));
        }
        if text.trim_start().starts_with('@') {
            let word = text.trim().to_ascii_lowercase();
            if let Some((_, fields)) = WORDS.iter().find(|(known, _)| *known == word) {
                return Cron::parse(fields);
            }
            let fault = whole(format!("{} is not a word for a schedule", excerpt(text)));
            return Err(match nearest(&word, WORDS.iter().map(|(word, _)| *word)) {
                Some(near) => fault.hint(format!("did you mean `{near}`?")),
                None => fault.hint("there are @hourly, @daily, @weekly, @monthly and @yearly"),
            });
        }
        let parts: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts.as_slice() else {
            let fault = whole(format!("{} is not a cron expression: it has {} fields", excerpt(text), parts.len()));
            return Err(fault.hint(form));
        };
        let mut sets = [0u64; 5];
        for (index, part) in parts.iter().enumerate() {
            // Both lie in the same text.
            let start = part.as_ptr().addr() - text.as_ptr().addr();
            let character = 1 + text.get(..start).map_or(0, |before| before.chars().count());
            sets[index] = set(part, Place { field: &FIELDS[index], number: index + 1, character })?;
        }
        let [minutes, hours, days, months, mut weekdays] = sets;
        if weekdays & (1 << 7) != 0 {
            weekdays |= 1;
        }
        let both_days = day.starts_with('*') || weekday.starts_with('*');
        let real_time = minute.starts_with('*') || hour.starts_with('*');
        let cron = Cron { minutes, hours, days, months, weekdays, both_days, real_time };
        if cron.from(START.at(0, 0, 0, 0), Date::MAX).is_none() {
            let fault = Fault::new(Code::Contradiction, format!("`{day} {month} {weekday}` is a day that never comes"));
            return Err(fault.hint("no such month has that day: check the third and fourth field"));
        }
        Ok(cron)
    }
}

fn set(part: &str, place: Place<'_>) -> Result<u64, Fault> {
    let (mut set, mut character) = (0, place.character);
    for item in part.split(',') {
        set |= one(item, &Place { character, ..place })?;
        character += item.chars().count() + 1;
    }
    Ok(set)
}

/// `*`, a number, a range, or one of the first and last with a step.
fn one(item: &str, place: &Place<'_>) -> Result<u64, Fault> {
    let Field { low, high, .. } = *place.field;
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let (from, to) = match range.split_once('-') {
        _ if range == "*" => (low, high),
        Some((from, to)) => {
            let (first, last) = (number(from, place)?, number(to, place)?);
            if last < first {
                let fault = place.fault(Code::OutOfRange, format!("the range `{range}` ends before it begins"));
                // A week begins with Sunday.
                return Err(fault.hint(if last == 0 && high == 7 {
                    format!("Sunday ends a range as 7: write `{first}-7`")
                } else {
                    format!("write `{to}-{from}`, or two items with a comma between them")
                }));
            }
            (first, last)
        }
        None => {
            let only = number(range, place)?;
            if step.is_some() {
                let fault = place.fault(Code::BadFormat, format!("the step of `{item}` has no range to go through"));
                return Err(fault.hint(format!("write `{range}-{high}/{}`", step.unwrap_or("2"))));
            }
            (only, only)
        }
    };
    let step = match step.map(str::parse::<u32>) {
        None => 1,
        Some(Ok(step)) if (1..=high).contains(&step) => step,
        Some(_) => {
            let fault = place.fault(Code::OutOfRange, format!("the step of {} is no step", excerpt(item)));
            return Err(fault.hint(format!("a step is a number from 1 to {high}, as in `*/{}`", 2.max(low))));
        }
    };
    let steps = (from..=to).step_by(usize::try_from(step).unwrap_or(1));
    Ok(steps.fold(0, |set, number| set | 1 << number))
}

fn number(text: &str, place: &Place<'_>) -> Result<u32, Fault> {
    let Field { low, high, words, .. } = *place.field;
    if let Some(index) = words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
        return Ok(low + u32::try_from(index).unwrap_or(0));
    }
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(number) if digits && (low..=high).contains(&number) => Ok(number),
        Ok(number) if digits => {
            Err(place.fault(Code::OutOfRange, format!("{number} is out of range")).hint(place.range()))
        }
        Ok(_) | Err(_) => {
            let what = if text.is_empty() {
                "something is missing here".to_owned()
            } else {
                format!("{} is not known here", excerpt(text))
            };
            let fault = place.fault(Code::BadFormat, what);
            Err(match nearest(text, words.iter().copied()) {
                Some(near) if !text.is_empty() => fault.hint(format!("did you mean `{near}`?")),
                _ if text == "?" => fault.hint("write `*`"),
                _ => fault.hint(place.range()),
            })
        }
    }
}
