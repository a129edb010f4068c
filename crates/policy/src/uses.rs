//! What a rule looks at, read from its own text: so that only that is made for a judgement, and counters are read only
//! where a rule counts. It may say too much, never too little.
use crate::vocabulary::Attribute;
use serde_json::Value;

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
