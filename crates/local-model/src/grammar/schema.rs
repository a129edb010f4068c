//! JSON Schema as rules of llama.cpp's grammar notation. Pure. What a rule cannot say (a number's fractions, most patterns,
//! formats, long bounds) is left wider than the schema, for the daemon checks arguments by the schema itself; it must never
//! be narrower in what a tool requires, or drop a keyword that gives a value its shape.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::ordered_properties;

/// Longest repetition that the grammar itself bounds: each costs a rule, so what is longer is left open and ended by the
/// token bound and the watch on repetition.
const STRING_RULES_MAX: u64 = 200;
const ITEM_RULES_MAX: u64 = 256;
/// Nesting of a schema.
const DEPTH_MAX: usize = 32;
/// Digits of an integer.
const DIGITS_MAX: usize = 16;
const INTEGER_MAX: i64 = 9_999_999_999_999_999;

/// What every schema may use. White space is one blank at most, so that no token is spent on layout.
pub(super) const COMMON: &str = r#"space ::= " "?
letter ::= [^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt] | "u" [0-9a-fA-F]{4})
string ::= "\"" letter* "\""
whole ::= [0] | [1-9] [0-9]{0,15}
integer ::= "-"? whole
number ::= "-"? whole ("." [0-9]{1,16})? ([eE] [-+]? whole)?
boolean ::= "true" | "false"
null ::= "null"
entry ::= string ":" space value
object ::= "{" space (entry ("," space entry)*)? space "}"
array ::= "[" space (value ("," space value)*)? space "]"
value ::= object | array | string | number | boolean | null
"#;

/// Rules of one tool's arguments, after the others of the same grammar.
pub(super) struct Rules<'s> {
    root: &'s Value,
    prefix: String,
    lines: String,
    count: usize,
    references: Vec<&'s str>,
}

impl<'s> Rules<'s> {
    /// The expression of `root`, and the rules that it needs; `prefix` keeps their names apart from other tools'.
    ///
    /// # Errors
    /// A clause that says what has no rule.
    pub(super) fn of(root: &'s Value, prefix: &str) -> Result<(String, String), String> {
        let mut rules =
            Self { root, prefix: prefix.to_owned(), lines: String::new(), count: 0, references: Vec::new() };
        let expression = rules.expression(root, 0)?;
        Ok((expression, rules.lines))
    }

    fn named(&mut self, body: &str) -> String {
        self.count += 1;
        let name = format!("{}-{}", self.prefix, self.count);
        let _ = writeln!(self.lines, "{name} ::= {body}");
        name
    }

    fn expression(&mut self, schema: &'s Value, depth: usize) -> Result<String, String> {
        if depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let map = match schema {
            Value::Bool(true) => return Ok("value".into()),
            Value::Object(map) => map,
            _ => return Err(format!("`{schema}` allows nothing")),
        };
        if let Some(value) = map.get("const") {
            return Ok(literal(&value.to_string()));
        }
        if let Some(values) = map.get("enum").and_then(Value::as_array) {
            return alternatives(values.iter().map(|value| Ok(literal(&value.to_string()))));
        }
        if let Some(pointer) = map.get("$ref") {
            return self.reference(pointer, depth);
        }
        if let Some(types) = map.get("type").and_then(Value::as_array) {
            return alternatives(types.iter().map(|one| self.typed(one.as_str().unwrap_or_default(), map, depth)));
        }
        if let Some(one) = map.get("type").and_then(Value::as_str) {
            return self.typed(one, map, depth);
        }
        let either = ["anyOf", "oneOf"].iter().find_map(|key| map.get(*key)?.as_array());
        if let Some(several) = either {
            return alternatives(several.iter().map(|one| self.expression(one, depth + 1)));
        }
        match map.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
            Some([one]) => self.expression(one, depth + 1),
            Some(_) => Err("`allOf` of several schemas has no rule".into()),
            None if map.contains_key("properties") => self.typed("object", map, depth),
            None if map.contains_key("items") => self.typed("array", map, depth),
            None => Ok("value".into()),
        }
    }

    fn reference(&mut self, pointer: &'s Value, depth: usize) -> Result<String, String> {
        let pointer = pointer.as_str().unwrap_or_default();
        let at = self.references.iter().position(|known| *known == pointer);
        let name = |at: usize, prefix: &str| format!("{prefix}-ref-{at}");
        if let Some(at) = at {
            return Ok(name(at, &self.prefix));
        }
        let found = pointer.strip_prefix('#').and_then(|path| self.root.pointer(path));
        let found = found.ok_or_else(|| format!("`$ref` {pointer:?} leads nowhere in it"))?;
        // Known before it is written: it may mention itself.
        self.references.push(pointer);
        let name = name(self.references.len() - 1, &self.prefix);
        let body = self.expression(found, depth + 1)?;
        if body == name {
            return Err(format!("`$ref` {pointer:?} leads to itself"));
        }
        let _ = writeln!(self.lines, "{name} ::= {body}");
        Ok(name)
    }

    fn typed(&mut self, one: &str, map: &'s Map<String, Value>, depth: usize) -> Result<String, String> {
        match one {
            "object" => self.object(map, depth),
            "array" => self.array(map, depth),
            "string" => Ok(string(map)),
            "integer" => integer(map),
            "number" | "boolean" | "null" => Ok(one.to_owned()),
            other => Err(format!("it has the unknown type {other:?}")),
        }
    }

    fn object(&mut self, map: &'s Map<String, Value>, depth: usize) -> Result<String, String> {
        let names = ordered_properties(map);
        if names.is_empty() {
            return self.entries(map, depth);
        }
        let properties = map.get("properties").and_then(Value::as_object).ok_or("its properties are no object")?;
        let required: Vec<&str> =
            map.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(lost) = required.iter().find(|name| !properties.contains_key(**name)) {
            return Err(format!("it requires {lost:?}, which is none of its properties"));
        }
        let (mut needed, mut free) = (Vec::new(), Vec::new());
        for name in names {
            let value = self.expression(&properties[name], depth + 1)?;
            let entry =
                self.named(&format!(r#"{} space ":" space ({value})"#, literal(&Value::from(name).to_string())));
            if required.contains(&name) { needed.push(entry) } else { free.push(entry) }
        }
        let more = |entries: &[String]| entries.iter().map(|one| format!(r#" ("," space {one})?"#)).collect::<String>();
        let inside = if needed.is_empty() {
            let from = |at: usize| format!("{}{}", free[at], more(&free[at + 1..]));
            format!("({})?", (0..free.len()).map(from).collect::<Vec<_>>().join(" | "))
        } else {
            needed.join(r#" "," space "#) + &more(&free)
        };
        Ok(format!(r#""{{" space {inside} space "}}""#))
    }

    /// An object of names that are not known beforehand.
    fn entries(&mut self, map: &'s Map<String, Value>, depth: usize) -> Result<String, String> {
        let value = match map.get("additionalProperties") {
            Some(Value::Bool(false)) => return Ok(r#""{" space "}""#.into()),
            // Properties that are named and none: nothing is asked for.
            None if map.contains_key("properties") => return Ok(r#""{" space "}""#.into()),
            None | Some(Value::Bool(true)) => "value".to_owned(),
            Some(schema) => self.expression(schema, depth + 1)?,
        };
        let name = map.get("propertyNames").and_then(Value::as_object).map_or_else(|| "string".to_owned(), string);
        let entry = self.named(&format!(r#"{name} ":" space ({value})"#));
        let bounds = bounds(map, "minProperties", "maxProperties", ITEM_RULES_MAX);
        Ok(format!(r#""{{" space {} space "}}""#, repeated(&entry, bounds)))
    }

    fn array(&mut self, map: &'s Map<String, Value>, depth: usize) -> Result<String, String> {
        let heads = map.get("prefixItems").and_then(Value::as_array);
        if let Some(heads) = heads.filter(|heads| !heads.is_empty()) {
            let items: Vec<String> =
                heads.iter().map(|one| self.expression(one, depth + 1)).collect::<Result<_, _>>()?;
            let items: Vec<String> = items.iter().map(|one| format!("({one})")).collect();
            return Ok(format!(r#""[" space {} space "]""#, items.join(r#" "," space "#)));
        }
        let item = match map.get("items") {
            None => "value".to_owned(),
            Some(schema) => {
                let body = self.expression(schema, depth + 1)?;
                self.named(&body)
            }
        };
        let bounds = bounds(map, "minItems", "maxItems", ITEM_RULES_MAX);
        Ok(format!(r#""[" space {} space "]""#, repeated(&item, bounds)))
    }
}

fn alternatives(each: impl Iterator<Item = Result<String, String>>) -> Result<String, String> {
    let several: Vec<String> = each.collect::<Result<_, _>>()?;
    if several.is_empty() {
        return Err("it offers a choice of nothing".into());
    }
    Ok(format!("({})", several.join(" | ")))
}

/// `text` as it stands.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Least and most; a most beyond `max` is open.
fn bounds(map: &Map<String, Value>, least: &str, most: &str, max: u64) -> (u64, Option<u64>) {
    let asked = |key: &str| map.get(key).and_then(Value::as_u64);
    (asked(least).unwrap_or(0).min(max), asked(most).filter(|most| *most <= max))
}

fn times((least, most): (u64, Option<u64>)) -> String {
    match (least, most) {
        (0, None) => "*".into(),
        (1, None) => "+".into(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

/// `one`, parted by commas.
fn repeated(one: &str, (least, most): (u64, Option<u64>)) -> String {
    if most == Some(0) {
        return String::new();
    }
    let rest = times((least.saturating_sub(1), most.map(|most| most - 1)));
    let all = format!(r#"{one} ("," space {one}){rest}"#);
    if least == 0 { format!("({all})?") } else { all }
}

fn string(map: &Map<String, Value>) -> String {
    if let Some(body) = map.get("pattern").and_then(Value::as_str).and_then(pattern) {
        return format!(r#""\"" {body} "\"""#);
    }
    match bounds(map, "minLength", "maxLength", STRING_RULES_MAX) {
        (0, None) => "string".into(),
        bounds => format!(r#""\"" letter{} "\"""#, times(bounds)),
    }
}

/// A pattern of nothing but classes and plain letters, with how often; `None` for every other.
fn pattern(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix('^')?.strip_suffix('$')?;
    let mut out = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (one, after) = if first == '[' {
            let (inside, after) = rest[1..].split_once(']')?;
            let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.' | ':' | '/');
            if inside.is_empty() || !inside.chars().all(plain) {
                return None;
            }
            (format!("[{inside}]"), after)
        } else {
            if !(first.is_ascii_alphanumeric() || matches!(first, '-' | '_' | ':' | '/')) {
                return None;
            }
            (format!("\"{first}\""), &rest[1..])
        };
        let (often, after) = match after.chars().next() {
            Some(sign @ ('?' | '*' | '+')) => (sign.to_string(), &after[1..]),
            Some('{') => {
                let (inside, after) = after[1..].split_once('}')?;
                let mut numbers = inside.split(',').filter(|number| !number.is_empty());
                let few = |number: &str| number.parse::<u64>().is_ok_and(|number| number <= STRING_RULES_MAX);
                if inside.starts_with(',') || !numbers.all(few) {
                    return None;
                }
                (format!("{{{inside}}}"), after)
            }
            _ => (String::new(), after),
        };
        out.push(one + &often);
        rest = after;
    }
    Some(out.join(" "))
}

fn integer(map: &Map<String, Value>) -> Result<String, String> {
    let asked = |key: &str| map.get(key).and_then(Value::as_f64);
    let exclusive = |key: &str, step: f64| asked(key).map(|bound| bound + step);
    // Of what has more digits than a double holds, only the number of digits is bounded.
    let bound = |value: f64| value.clamp(-1e16, 1e16) as i64;
    let least = asked("minimum").map(f64::ceil).into_iter().chain(exclusive("exclusiveMinimum", 1.0).map(f64::floor));
    let most = asked("maximum").map(f64::floor).into_iter().chain(exclusive("exclusiveMaximum", -1.0).map(f64::ceil));
    let least = least.map(bound).max().map(|least| least.max(-INTEGER_MAX));
    let most = most.map(bound).min().map(|most| most.min(INTEGER_MAX));
    if least.is_none() && most.is_none() {
        return Ok("integer".into());
    }
    let (least, most) = (least.unwrap_or(-INTEGER_MAX), most.unwrap_or(INTEGER_MAX));
    if least > most {
        return Err(format!("no integer is at least {least} and at most {most}"));
    }
    let mut out = Vec::new();
    if least < 0 {
        out.push(format!(r#""-" ({})"#, range(most.min(-1).unsigned_abs(), least.unsigned_abs())));
    }
    if most >= 0 {
        out.push(range(least.max(0).unsigned_abs(), most.unsigned_abs()));
    }
    Ok(format!("({})", out.join(" | ")))
}

/// Decimal numbers from `least` to `most`, as many digits at a time as have the same number of them.
fn range(least: u64, most: u64) -> String {
    let mut out = Vec::new();
    for digits in 1..=DIGITS_MAX {
        let first = if digits == 1 { 0 } else { 10_u64.pow(u32::try_from(digits).expect("invariant: few") - 1) };
        let last = 10_u64.pow(u32::try_from(digits).expect("invariant: few")) - 1;
        if first <= most && last >= least {
            out.push(digits_between(&least.max(first).to_string(), &most.min(last).to_string()));
        }
    }
    out.join(" | ")
}

/// Both of the same length.
fn digits_between(least: &str, most: &str) -> String {
    if least.is_empty() {
        return String::new();
    }
    if least.bytes().all(|digit| digit == b'0') && most.bytes().all(|digit| digit == b'9') {
        return format!("[0-9]{{{}}}", least.len());
    }
    let (from, to) = (least.as_bytes()[0], most.as_bytes()[0]);
    let (low, high) = (&least[1..], &most[1..]);
    let group = |inside: String| if inside.is_empty() { inside } else { format!(" ({inside})") };
    if from == to {
        return format!("[{}]{}", char::from(from), group(digits_between(low, high)));
    }
    let (zeros, nines) = ("0".repeat(low.len()), "9".repeat(low.len()));
    let mut out = Vec::new();
    let (mut first, mut last) = (from, to);
    if low != zeros {
        out.push(format!("[{}]{}", char::from(from), group(digits_between(low, &nines))));
        first += 1;
    }
    if high != nines {
        last -= 1;
    }
    if first <= last {
        out.push(format!("[{}-{}]{}", char::from(first), char::from(last), group(digits_between(&zeros, &nines))));
    }
    if high != nines {
        out.push(format!("[{}]{}", char::from(to), group(digits_between(&zeros, high))));
    }
    out.join(" | ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(schema: &Value) -> Result<String, String> {
        Rules::of(schema, "t").map(|(expression, lines)| format!("{lines}{expression}"))
    }

    #[test]
    fn required_properties_come_first_and_the_rest_may_be_left_out() {
        let properties = json!({"b": {"type": "string"}, "a": {"type": "boolean"}, "c": {}});
        let text = of(&json!({"type": "object", "properties": properties, "required": ["b"]})).unwrap();
        let expected = r#"t-1 ::= "\"b\"" space ":" space (string)
t-2 ::= "\"a\"" space ":" space (boolean)
t-3 ::= "\"c\"" space ":" space (value)
"{" space t-1 ("," space t-2)? ("," space t-3)? space "}""#;
        assert_eq!(text, expected);
        let free = of(&json!({"type": "object", "properties": properties})).unwrap();
        assert!(
            free.ends_with(r#"(t-1 ("," space t-2)? ("," space t-3)? | t-2 ("," space t-3)? | t-3)? space "}""#),
            "{free}"
        );
    }

    #[test]
    fn integers_keep_their_bounds() {
        assert_eq!(
            integer(json!({"minimum": 1, "maximum": 65535}).as_object().unwrap()).unwrap(),
            "([1-9] | [1-9] ([0-9]{1}) | [1-9] ([0-9]{2}) | [1-9] ([0-9]{3}) | \
             [1-5] ([0-9]{4}) | [6] ([0-4] ([0-9]{3}) | [5] ([0-4] ([0-9]{2}) | [5] ([0-2] ([0-9]{1}) | [3] ([0-5])))))"
        );
        assert_eq!(range(0, 9), "[0-9]{1}");
        assert_eq!(range(7, 12), "[7-9] | [1] ([0-2])");
        assert_eq!(
            integer(json!({"minimum": -3, "exclusiveMaximum": 2}).as_object().unwrap()).unwrap(),
            r#"("-" ([1-3]) | [0-1])"#
        );
        assert!(integer(json!({"minimum": 3, "maximum": 2}).as_object().unwrap()).is_err());
    }

    #[test]
    fn a_schema_may_mention_itself_and_one_that_leads_nowhere_is_refused() {
        let tree = json!({"$defs": {"node": {"type": "object", "required": ["left"],
            "properties": {"left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}, "$ref": "#/$defs/node"});
        let text = of(&tree).unwrap();
        assert!(text.contains("t-ref-0 ::= ") && text.contains("(t-ref-0 | null)"), "{text}");
        assert!(of(&json!({"$ref": "#/nowhere"})).unwrap_err().contains("nowhere"));
        assert!(of(&json!({"$ref": "#"})).unwrap_err().contains("itself"));
        assert!(of(&json!({"type": "date"})).unwrap_err().contains("unknown type"));
        assert!(of(&json!({"not": {}, "enum": []})).unwrap_err().contains("nothing"));
    }

    #[test]
    fn a_simple_pattern_is_a_rule_and_every_other_leaves_the_string_open() {
        assert_eq!(pattern("^[0-9A-Fa-f]{64}$").as_deref(), Some("[0-9A-Fa-f]{64}"));
        assert_eq!(pattern("^v[0-9]+-x?$").as_deref(), Some(r#""v" [0-9]+ "-" "x"?"#));
        for other in ["[0-9]", "^(a|b)$", "^[^a]$", r"^\d$", "^a{1,9999}$", "^.$"] {
            assert_eq!(pattern(other), None, "{other}");
        }
    }
}
