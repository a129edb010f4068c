//! From documents to rules: read by Cedar, checked strictly against the schema, each rule tried on its own examples. All that is
//! wrong is told at once.
use crate::annotation;
use crate::bundle::{Bundle, Document, RULES_MAX};
use crate::fault::{FAULTS_MAX, Fault, place};
use crate::layer::Layer;
use crate::mcp_names::McpNames;
use crate::rule::{Rule, Who};
use crate::schema::{SCHEMA, action_names, schema_with};
use crate::statement;
use cedar_policy::{ParseErrors, Policy, PolicyId, PolicySet, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;
use std::sync::{Arc, LazyLock};
use tenure_core::fault::nearest;

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| Validator::new(SCHEMA.clone()));

/// The rules of the floor and of a bundle, numbered as they stand.
///
/// # Errors
/// All that is wrong, up to a limit.
pub(crate) fn load(floor: &Document, bundle: &Bundle) -> Result<Vec<Rule>, Vec<Fault>> {
    let mut faults = bundle.faults();
    if !faults.is_empty() {
        return Err(faults);
    }
    let (mut rules, mut texts) = (Vec::new(), Vec::new());
    for (layer, document) in std::iter::once((&Layer::Floor, floor)).chain(documents(bundle)) {
        match read(layer, document, rules.len()) {
            Ok(read) => {
                texts.extend(std::iter::repeat_n(document.text.as_str(), read.len()));
                rules.extend(read);
            }
            Err(wrong) => faults.extend(wrong),
        }
        if rules.iter().filter(|rule: &&Rule| rule.layer != Layer::Floor).count() > RULES_MAX {
            let what = format!("more than {RULES_MAX} rules");
            let help = "name several agents by a label, or several capabilities by a group, in one rule";
            return Err(vec![Fault::whole(layer.clone(), &document.name, what, help)]);
        }
    }
    faults.extend(check(&rules, &texts));
    if faults.is_empty() {
        faults.extend(rules.iter().flat_map(examples));
    }
    faults.truncate(FAULTS_MAX);
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// The rules of a bundle whatever they name: one that an older release took is still read.
///
/// # Errors
/// What cannot be read at all.
pub(crate) fn rules_unchecked(bundle: &Bundle) -> Result<Vec<Rule>, Vec<Fault>> {
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for (layer, document) in documents(bundle) {
        match read(layer, document, rules.len()) {
            Ok(read) => rules.extend(read),
            Err(wrong) => faults.extend(wrong),
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn documents(bundle: &Bundle) -> impl Iterator<Item = (&Layer, &Document)> {
    bundle.layers.iter().flat_map(|(layer, documents)| documents.iter().map(move |document| (layer, document)))
}

pub(crate) fn read(layer: &Layer, document: &Document, first: usize) -> Result<Vec<Rule>, Vec<Fault>> {
    let text = document.text.as_str();
    let set: PolicySet = text.parse().map_err(|errors| unreadable(layer, document, &errors))?;
    let begins = statement::begins(text);
    if let Some(template) = set.templates().next() {
        let at = number(template.id()).and_then(|number| begins.get(number)).copied().unwrap_or(0);
        let help = "write the agent or label itself in the place of `?principal` or `?resource`";
        return Err(vec![fault_at(layer, document, at, "a rule with a slot is never linked".into(), help.into())]);
    }
    let mut policies: Vec<(usize, &Policy)> =
        set.policies().filter_map(|policy| Some((number(policy.id())?, policy))).collect();
    policies.sort_by_key(|(number, _)| *number);
    if policies.len() != begins.len() {
        let what = format!("{} rules where {} statements begin", policies.len(), begins.len());
        return Err(vec![Fault::whole(layer.clone(), &document.name, what, "write each rule on lines of its own")]);
    }
    let file: Arc<str> = document.name.as_str().into();
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    for (offset, (at, (_, policy))) in begins.into_iter().zip(policies).enumerate() {
        let (said, wrong) = annotation::read(policy.effect(), policy.annotations());
        faults.extend(wrong.into_iter().map(|(what, help)| fault_at(layer, document, at, what, help)));
        let policy = policy.new_id(PolicyId::new((first + offset).to_string()));
        rules.push(Rule::new(layer.clone(), Arc::clone(&file), place(text, at), said, policy));
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// The place of a policy in its document, which Cedar's parser writes into the id that it makes.
fn number(id: &PolicyId) -> Option<usize> {
    let id: &str = id.as_ref();
    id.strip_prefix("policy")?.parse().ok()
}

fn fault_at(layer: &Layer, document: &Document, at: usize, what: String, help: String) -> Fault {
    let (line, column) = place(&document.text, at);
    Fault { layer: layer.clone(), file: document.name.clone(), line, column, what, help }
}

fn unreadable(layer: &Layer, document: &Document, errors: &ParseErrors) -> Vec<Fault> {
    let faults = errors.iter().map(|error| {
        let at = offset(error).unwrap_or(0);
        let help = error.help().map(|help| help.to_string());
        let label = error.labels().and_then(|mut labels| labels.next()?.label().map(str::to_string));
        let help =
            help.or(label).unwrap_or_else(|| "write it as Cedar has it: permit(principal, action, resource);".into());
        fault_at(layer, document, at, error.to_string(), help)
    });
    faults.take(FAULTS_MAX).collect()
}

fn offset(error: &dyn Diagnostic) -> Option<usize> {
    Some(error.labels()?.next()?.offset())
}

/// Strictly by the schema: what a rule names must be there, and an optional attribute guarded. `texts`: each rule's document.
fn check(rules: &[Rule], texts: &[&str]) -> Vec<Fault> {
    let Ok(set) = PolicySet::from_policies(rules.iter().map(|rule| rule.policy.clone())) else {
        return vec![Fault::whole(
            Layer::System,
            "",
            "two rules have one number",
            "this is a bug of Tenure's: report it",
        )];
    };
    let mut documents = texts.to_vec();
    documents.dedup_by(|one, other| std::ptr::eq(*one, *other));
    let named = McpNames::in_texts(documents.into_iter());
    let own = (!named.actions.is_empty() || !named.arguments.is_empty())
        .then(|| schema_with(&named))
        .flatten()
        .map(Validator::new);
    let checked = own.as_ref().unwrap_or(&VALIDATOR).validate(&set, ValidationMode::Strict);
    let fault = |id: &PolicyId, error: &dyn Diagnostic| {
        let id: &str = id.as_ref();
        let number: usize = id.parse().ok()?;
        let (rule, text) = (rules.get(number)?, texts.get(number)?);
        let (line, column) = offset(error).map_or((rule.line, rule.column), |at| place(text, at));
        let told = error.to_string();
        let what = told.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&told).to_string();
        let help = way_out(&what, error.help().map(|help| help.to_string()));
        Some(Fault { layer: rule.layer.clone(), file: rule.file.to_string(), line, column, what, help })
    };
    let errors = checked.validation_errors().filter_map(|error| fault(error.policy_id(), error));
    let warnings = checked.validation_warnings().filter(|warning| refuses(warning));
    let mut faults: Vec<Fault> =
        errors.chain(warnings.filter_map(|warning| fault(warning.policy_id(), warning))).collect();
    faults.sort_by(|a, b| (&a.layer, &a.file, a.line, a.column).cmp(&(&b.layer, &b.file, b.line, b.column)));
    faults.dedup();
    faults
}

/// A rule that can never match was meant otherwise, and letters that turn the text around hide what it says. Letters of several
/// scripts are what names are made of elsewhere.
fn refuses(warning: &ValidationWarning) -> bool {
    !matches!(warning, ValidationWarning::MixedScriptString(_))
}

/// What to do; `told` is what Cedar advises.
fn way_out(what: &str, told: Option<String>) -> String {
    if ["path", "cwd", "host"].iter().any(|place| what.contains(&format!("`input.{place}`"))) {
        return "what names a place is judged in the form that is opened: use context.path or context.host".to_string();
    }
    // Cedar compares with the quoted whole of an action, which is far from any group.
    let action = what.strip_prefix("unrecognized action `").and_then(|rest| rest.strip_suffix('`'));
    let names: Vec<String> = action_names().collect();
    let near = action.and_then(|given| nearest(given, names.iter().map(String::as_str)));
    match (near, told) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(told)) => told,
        (None, None) if what.contains("impossible") => {
            "it can never match: name a group with `action in`, and ask only for what these actions have".to_string()
        }
        (None, None) => "use what the schema has for these actions".to_string(),
    }
}

/// Whether a rule covers what its author says it does.
fn examples(rule: &Rule) -> Vec<Fault> {
    let fault = |what: String, help: String| Fault {
        layer: rule.layer.clone(),
        file: rule.file.to_string(),
        line: rule.line,
        column: rule.column,
        what,
        help,
    };
    let wrong = rule.said.examples.iter().filter_map(|example| {
        let mut situation = example.situation.clone();
        situation.fit(
            &rule.layer,
            match &rule.scope.who {
                Who::Agent(name) => Some(name),
                Who::Any | Who::Label(_) => None,
            },
            match &rule.scope.who {
                Who::Label(label) => Some(label),
                Who::Any | Who::Agent(_) => None,
            },
        );
        let asked = match situation.asked() {
            Ok(asked) => asked,
            Err(error) => return Some(fault(format!("@{}: {error}", example.named), "mend the example".into())),
        };
        let covers = crate::explain::covers(rule, &asked.ask(None));
        (covers != example.covers).then(|| {
            let does = if covers { "covers" } else { "does not cover" };
            let what = format!("the rule {does} its @{} of {}", example.named, situation.capability);
            fault(what, "mend the rule or its example".into())
        })
    });
    wrong.collect()
}
