//! JSON Schemas that people write, compiled: at a deploy to refuse what is none, and when a validator runs.
//! Must never: fetch anything that a schema points to.
use jsonschema::Validator;
use serde_json::Value;
use tenure_core::fault::{Code, Problem};
use tenure_core::manifest::{self, Manifest};

/// # Errors
/// Why it is no schema: a keyword with a value that it cannot have, or a `$ref` to what is not in it.
pub fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| error.to_string())
}

/// Each validator of a manifest whose schema is none.
pub fn problems(manifest: &Manifest) -> Vec<Problem> {
    let wrong = |(index, validator): (usize, &manifest::Validator)| {
        let manifest::Validator::JsonSchema { schema, .. } = validator else { return None };
        let reason = compile(schema).err()?;
        Some(Problem {
            code: Code::BadFormat,
            path: format!("spec.execution.validation[{index}].schema"),
            line: None,
            column: None,
            reason: format!("this is not a JSON Schema that can be used: {reason}"),
            hint: Some("write all that it refers to into it, under `$defs`: nothing is fetched".to_owned()),
        })
    };
    manifest.validators().iter().enumerate().filter_map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_wrong_schema_and_one_that_points_elsewhere_are_refused_with_what_is_wrong() {
        for (schema, word) in [
            (json!({"type": "objekt"}), "objekt"),
            (json!({"type": "object", "required": "name"}), "name"),
            (json!({"$ref": "https://example.com/schema.json"}), "example.com"),
            (json!({"properties": {"a": {"$ref": "http://169.254.169.254/latest"}}}), "169.254.169.254"),
            (json!({"$ref": "file:///etc/passwd"}), "etc/passwd"),
            (json!({"$ref": "#/$defs/missing"}), "missing"),
            (json!({"pattern": "("}), "("),
        ] {
            let refused = compile(&schema).map(drop).expect_err(&schema.to_string());
            assert!(refused.contains(word), "{schema}: {refused}");
        }
        let own = json!({"$ref": "#/$defs/name", "$defs": {"name": {"type": "string"}}});
        assert!(compile(&own).is_ok_and(|own| own.is_valid(&json!("a")) && !own.is_valid(&json!(1))));
    }
}
