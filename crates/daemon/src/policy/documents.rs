//! Documents as they come and go, and what is wrong with them, in the words of a border. Also without a daemon: then nobody knows
//! which agents and MCP servers there are, and whoever asks says so.
use tenure_core::capability::clip;
use tenure_policy::{Bundle, KnownNames, Layer, Policy, default_bundle, review};
use tenure_wire::api::policy::PolicyDocument;
use tenure_wire::problem::{Code, Fault, Problem};

/// # Errors
/// A document is in no layer.
pub fn bundle_of(documents: Vec<PolicyDocument>) -> Result<Bundle, Box<Problem>> {
    let mut bundle = Bundle::default();
    for PolicyDocument { layer, name, text } in documents {
        let layer = layer.parse::<Layer>().map_err(|why| {
            let fault = Fault {
                code: "unknown_layer".to_string(),
                path: name.clone(),
                line: None,
                column: None,
                reason: format!("`{}` is no layer", clip(&layer)),
                hint: Some(why),
            };
            Box::new(Code::PolicyInvalid.problem("a document is in no layer").errors(vec![fault]))
        })?;
        bundle = bundle.with(layer, &name, &text);
    }
    Ok(bundle)
}

pub fn documents_of(bundle: &Bundle) -> Vec<PolicyDocument> {
    let documents = bundle.layers.iter().flat_map(|(layer, documents)| {
        documents.iter().map(move |document| PolicyDocument {
            layer: layer.to_string(),
            name: document.name.clone(),
            text: document.text.clone(),
        })
    });
    documents.collect()
}

pub fn faults(faults: Vec<tenure_policy::Fault>) -> Vec<Fault> {
    let number = |number: u32| (number > 0).then_some(number);
    let each = faults.into_iter().map(|fault| Fault {
        code: "policy".to_string(),
        path: if fault.file.is_empty() { fault.layer.to_string() } else { format!("{}:{}", fault.layer, fault.file) },
        line: number(fault.line),
        column: number(fault.column),
        reason: fault.what,
        hint: Some(fault.help),
    });
    each.collect()
}

pub fn invalid(wrong: Vec<tenure_policy::Fault>) -> Box<Problem> {
    let word = if wrong.len() == 1 { "one fault" } else { "several faults" };
    Box::new(Code::PolicyInvalid.problem(word).errors(faults(wrong)))
}

/// Checks a candidate where no daemon answers: `whole`, or beside what is built in. Gives what is hardly meant, as far as that can
/// be told without the names that there are.
///
/// # Errors
/// What is wrong with it.
pub fn validate_alone(documents: Vec<PolicyDocument>, whole: bool) -> Result<Vec<Fault>, Box<Problem>> {
    let mut all = documents;
    if !whole {
        let same = |held: &PolicyDocument| all.iter().any(|one| one.layer == held.layer && one.name == held.name);
        let built_in: Vec<PolicyDocument> =
            documents_of(&default_bundle()).into_iter().filter(|held| !same(held)).collect();
        all.extend(built_in);
    }
    let bundle = bundle_of(all)?;
    Policy::compile(&bundle).map_err(invalid)?;
    let review = review(&bundle, &KnownNames::default());
    if review.faults.is_empty() { Ok(faults(review.warnings)) } else { Err(invalid(review.faults)) }
}
