//! What a rule looks at, read from its own text: so that only that is made for a judgement, counters are read only where a rule
//! counts, and what differs in nothing that is looked at is judged once. It may say too much, never too little.
use crate::vocabulary::Attribute;
use serde_json::Value;
use tenure_core::capability::Attributes;
use tenure_core::judge::Circumstances;
use tenure_core::time::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uses(u32);

impl Uses {
    pub(crate) const NONE: Uses = Uses(0);
    pub(crate) const ALL: Uses = Uses(u32::MAX);

    /// Of a rule in Cedar's JSON form.
    pub(crate) fn of(policy: &Value) -> Uses {
        let mut uses = Uses::NONE;
        uses.read(policy.get("conditions").unwrap_or(policy));
        uses
    }

    pub(crate) fn has(self, attribute: Attribute) -> bool {
        self.0 & bit(attribute) != 0
    }

    #[must_use]
    pub(crate) fn and(self, other: Uses) -> Uses {
        Uses(self.0 | other.0)
    }

    pub(crate) fn counters(self) -> bool {
        [Attribute::CallsMinute, Attribute::CallsHour, Attribute::CallsDay].into_iter().any(|used| self.has(used))
    }

    pub(crate) fn money(self) -> bool {
        [Attribute::SpentDay, Attribute::SpentMonth].into_iter().any(|used| self.has(used))
    }

    /// Takes what no rule looks at out of the moment of a call: calls that are left equal are judged equally.
    pub(crate) fn narrow(self, context: &mut Circumstances) {
        const MINUTE_MS: i64 = 60_000;
        const HOUR_MS: i64 = 60 * MINUTE_MS;
        const WEEK_MS: i64 = 7 * 24 * HOUR_MS;
        let in_week = context.at.millis().rem_euclid(WEEK_MS);
        let seen = if self.has(Attribute::Minute) {
            in_week - in_week % MINUTE_MS
        } else if self.has(Attribute::Hour) || self.has(Attribute::Weekday) {
            in_week - in_week % HOUR_MS
        } else {
            0
        };
        context.at = Time::from_millis(seen);
        let counters = &mut context.counters;
        for (attribute, count) in [
            (Attribute::CallsMinute, &mut counters.calls_minute),
            (Attribute::CallsHour, &mut counters.calls_hour),
            (Attribute::CallsDay, &mut counters.calls_day),
            (Attribute::SpentDay, &mut counters.spent_day_micro_usd),
            (Attribute::SpentMonth, &mut counters.spent_month_micro_usd),
        ] {
            if !self.has(attribute) {
                *count = 0;
            }
        }
    }

    /// The same of its arguments.
    pub(crate) fn narrow_arguments(self, arguments: &mut Attributes) {
        const COMMAND: [Attribute; 5] =
            [Attribute::Program, Attribute::Command, Attribute::Words, Attribute::Argv, Attribute::Argc];
        if !self.has(Attribute::Path) {
            arguments.path = None;
        }
        if !self.has(Attribute::Host) {
            arguments.host = None;
        }
        if !self.has(Attribute::Port) {
            arguments.port = None;
        }
        if !self.has(Attribute::Key) {
            arguments.key = None;
        }
        if !self.has(Attribute::Bytes) {
            arguments.bytes = None;
        }
        if !COMMAND.into_iter().any(|used| self.has(used)) {
            arguments.argv = None;
        }
        if !self.has(Attribute::Input) {
            arguments.input.clear();
        }
    }

    fn read(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, inner) in fields {
                    match attribute_of_context(name, inner) {
                        Some(attribute) => self.0 |= attribute,
                        None if name == "Var" && inner == "context" => *self = Uses::ALL,
                        None => self.read(inner),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|inner| self.read(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

fn bit(attribute: Attribute) -> u32 {
    1 << attribute as u32
}

/// For `context.x` and `context has x`. An attribute that is not known counts as all.
fn attribute_of_context(operator: &str, operands: &Value) -> Option<u32> {
    if !matches!(operator, "." | "has") || operands.get("left")?.get("Var")? != "context" {
        return None;
    }
    // `context has a.b` names the way as a list.
    let attr = operands.get("attr")?;
    let named = attr.get(0).unwrap_or(attr).as_str().and_then(Attribute::named);
    Some(named.map_or(u32::MAX, bit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(condition: &str) -> Uses {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Uses::of(&cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    #[test]
    fn what_a_rule_looks_at_is_read_from_every_form_of_access() {
        for (condition, expected) in [
            ("true", &[][..]),
            ("principal.revision > 3", &[]),
            ("context.hour > 3 || context has trigger", &[Attribute::Hour, Attribute::Trigger]),
            ("context has input.url && context.input.url like \"a*\"", &[Attribute::Input]),
            ("context[\"calls_day\"] > 1 && context has argv1", &[Attribute::CallsDay, Attribute::Argv]),
            ("[context.spent_day_micro_usd].contains(1)", &[Attribute::SpentDay]),
            ("(if context.bytes > 1 then context.path else \"\") == \"\"", &[Attribute::Bytes, Attribute::Path]),
        ] {
            let uses = of(condition);
            let found: Vec<Attribute> = Attribute::ALL.into_iter().filter(|known| uses.has(*known)).collect();
            let mut expected = expected.to_vec();
            expected.sort_by_key(|attribute| *attribute as u32);
            assert_eq!(found, expected, "{condition}");
        }
        assert_eq!(of("context == {}"), Uses::ALL);
        assert!(of("context.calls_hour > 1").counters() && of("context.spent_day_micro_usd > 1").money());
    }
}
