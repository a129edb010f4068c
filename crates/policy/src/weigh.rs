//! From the rules that matched to one verdict: each layer is judged on its own, and the strictest holds. What erred tightens: it
//! never grants, and it asks at least what it would have asked.
use crate::layer::Layer;
use crate::rule::Rule;
use cedar_policy::Effect;
use tenure_core::actor::Actor;
use tenure_core::bound::Hash;
use tenure_core::judge::{Ask, DEFAULT_DENY, Judgement, VALIDATION, Verdict, tools_rule};

/// Rules that one record names; more are counted.
const RULES_NAMED_MAX: usize = 16;

/// A rule that matched a call, or could not be evaluated for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Match {
    pub(crate) rule: u32,
    pub(crate) erred: bool,
}

/// One thing that is said of a call.
struct Voice<'a> {
    verdict: Verdict,
    whose: Whose<'a>,
}

enum Whose<'a> {
    Rule {
        rule: &'a Rule,
        erred: bool,
    },
    /// Of no file.
    Word(String),
}

/// What a layer says: the strictest of its voices; none where it has no opinion.
pub(crate) fn layer_verdict(rules: &[Rule], ask: &Ask<'_>, layer: &Layer, matches: &[Match]) -> Option<Verdict> {
    voices(rules, ask, layer, matches).into_iter().map(|voice| voice.verdict).max()
}

fn voices<'a>(rules: &'a [Rule], ask: &Ask<'_>, layer: &Layer, matches: &[Match]) -> Vec<Voice<'a>> {
    // A check of the manifest's own is no wish of an agent's: nothing has to permit it, and nothing but a forbid stops it.
    let is_check = ask.actor == Actor::Validator;
    let mut granted = is_check;
    let mut voices = Vec::new();
    for found in matches {
        let rule = &rules[found.rule as usize];
        if rule.effect() == Effect::Permit {
            if is_check {
                continue;
            }
            granted |= !found.erred;
            if found.erred && rule.verdict() == Verdict::Autonomous {
                continue;
            }
        }
        voices.push(Voice { verdict: rule.verdict(), whose: Whose::Rule { rule, erred: found.erred } });
    }
    // Where a rule forbids, Cedar does not say which would have permitted: the forbid is reason enough.
    let forbidden = voices.iter().any(|voice: &Voice<'_>| voice.verdict == Verdict::Blocked);
    if layer.denies_by_default() && !granted && !forbidden {
        voices.push(Voice { verdict: Verdict::Blocked, whose: Whose::Word(format!("{layer}:default_deny")) });
    }
    voices
}

/// The verdict alone.
pub(crate) fn verdict(rules: &[Rule], ask: &Ask<'_>, matches: &[(&Layer, Vec<Match>)]) -> Verdict {
    let is_listed = ask.actor == Actor::Validator || tools_rule(ask).is_some();
    let listed = if is_listed { Verdict::Autonomous } else { Verdict::Blocked };
    let layers = matches.iter().filter_map(|(layer, matches)| layer_verdict(rules, ask, layer, matches));
    layers.max().map_or(listed, |strictest| strictest.max(listed))
}

/// `matches`: those of each layer that covers the call.
pub(crate) fn weigh(rules: &[Rule], ask: &Ask<'_>, matches: &[(&Layer, Vec<Match>)]) -> Judgement {
    let fixed = |verdict, word: String| Voice { verdict, whose: Whose::Word(word) };
    let listed = match (ask.actor == Actor::Validator, tools_rule(ask)) {
        (true, _) => fixed(Verdict::Autonomous, VALIDATION.to_string()),
        (false, Some(word)) => fixed(Verdict::Autonomous, word),
        (false, None) => fixed(Verdict::Blocked, DEFAULT_DENY.to_string()),
    };
    let layers = matches.iter().flat_map(|(layer, matches)| voices(rules, ask, layer, matches));
    let voices: Vec<Voice<'_>> = std::iter::once(listed).chain(layers).collect();
    let verdict = voices.iter().map(|voice| voice.verdict).max().unwrap_or(Verdict::Blocked);
    let mut words: Vec<String> = Vec::new();
    let (mut more, mut reason, mut approvers) = (0usize, None, None);
    for voice in voices.iter().filter(|voice| voice.verdict == verdict) {
        if words.len() == RULES_NAMED_MAX {
            more += 1;
        } else {
            let word = voice.to_word();
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let said = match &voice.whose {
            Whose::Rule { rule, .. } => Some(&rule.said),
            Whose::Word(_) => None,
        };
        reason = reason.or_else(|| said.and_then(|said| said.reason.clone()));
        approvers = approvers.max(said.and_then(|said| said.approvers));
    }
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    let approvers = approvers.filter(|needed| *needed > 1);
    let basis = (verdict == Verdict::ApprovalRequired).then(|| basis(&voices));
    Judgement { verdict, rules: words, policy: ask.policy, reason, basis, approvers }
}

/// Of the rules that ask, whatever file they stand in.
fn basis(voices: &[Voice<'_>]) -> Hash {
    let asking = voices.iter().filter(|voice| voice.verdict == Verdict::ApprovalRequired);
    let mut texts: Vec<String> = asking
        .map(|voice| match &voice.whose {
            Whose::Rule { rule, .. } => rule.normal_form(),
            Whose::Word(word) => word.clone(),
        })
        .collect();
    texts.sort();
    Hash::of(texts.join("\n").as_bytes())
}

impl Voice<'_> {
    fn to_word(&self) -> String {
        match &self.whose {
            Whose::Rule { rule, erred: true } => format!("{} (error)", rule.word()),
            Whose::Rule { rule, erred: false } => rule.word(),
            Whose::Word(word) => word.clone(),
        }
    }
}
