//! From groups of calls to rules: each with its reason, its counts and examples of its own, tried as it would stand before it is
//! proposed.
use super::example::{inside, is_whole, outside};
use super::group::{Group, Groups};
use super::page::{Change, Exception, apply};
use super::{Ground, PROPOSALS_MAX, Proposal};
use crate::bundle::Bundle;
use crate::layer::Layer;
use crate::policy::Policy;
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::approval::{PathPattern, Pattern, cedar_text};
use tenure_core::bound::Hash;
use tenure_core::capability::{Effects, catalogue, terms};
use tenure_core::judge::Verdict;

/// A rule that is not proven yet.
pub(super) struct Draft {
    pub(super) proposal: Proposal,
    pub(super) change: Change,
}

/// Calls that people allowed before an exception is proposed.
const ALLOWED_MIN: u64 = 3;
/// Calls that were made before what is new is said to be so.
const MADE_MIN: u64 = 5;
/// Patterns that one rule names.
const PATTERNS_MAX: usize = 16;

type Made = (Bundle, Vec<Proposal>, Vec<String>);

/// The bundle with the rules in it, the rules, and what was left out.
pub(super) fn from(holds: &Policy, bundle: &Bundle, mut groups: Groups) -> Made {
    let mut notes = Vec::new();
    let mut drafts = Vec::new();
    let of = |ground, groups: &mut Groups| groups.of.remove(&ground).unwrap_or_default().into_values().collect();
    let (denied, allowed, made): (Vec<Group>, Vec<Group>, Vec<Group>) =
        (of(Ground::Denied, &mut groups), of(Ground::Allowed, &mut groups), of(Ground::Made, &mut groups));
    for group in most_first(denied) {
        draft(denial(&group), &mut drafts, &mut notes);
    }
    for group in most_first(allowed) {
        draft(exception(holds, &group), &mut drafts, &mut notes);
    }
    for groups in by_agent(made) {
        narrow(&groups, &mut drafts, &mut notes);
    }
    let known: BTreeSet<&str> = holds.rules.iter().filter_map(|rule| rule.said.id.as_deref()).collect();
    drafts.retain(|draft| !known.contains(draft.proposal.id.as_str()));
    if drafts.len() > PROPOSALS_MAX {
        notes.push(format!("{} more rules: name an agent, or apply these first", drafts.len() - PROPOSALS_MAX));
        drafts.truncate(PROPOSALS_MAX);
    }
    let (candidate, drafts) = that_load(bundle, drafts, &mut notes);
    notes.extend(groups.notes.into_iter().map(|(why, count)| format!("{}: {why}", counted(count))));
    (candidate, drafts.into_iter().map(|draft| draft.proposal).collect(), notes)
}

/// All at once; where that fails, those that load beside the ones before them.
fn that_load(bundle: &Bundle, drafts: Vec<Draft>, notes: &mut Vec<String>) -> (Bundle, Vec<Draft>) {
    if drafts.is_empty() {
        return (bundle.clone(), drafts);
    }
    let all = apply(bundle, &drafts);
    if Policy::compile(&all).is_ok() {
        return (all, drafts);
    }
    let (mut candidate, mut kept) = (bundle.clone(), Vec::new());
    for draft in drafts {
        kept.push(draft);
        let tried = apply(bundle, &kept);
        match Policy::compile(&tried) {
            Ok(_) => candidate = tried,
            Err(faults) => {
                let why = faults.first().map(ToString::to_string).unwrap_or_default();
                let left = kept.pop().map(|draft| draft.proposal.about).unwrap_or_default();
                notes.push(format!("not proposed, for it does not stand beside what holds: {left} ({why})"));
            }
        }
    }
    (candidate, kept)
}

fn draft(made: Result<Option<Draft>, String>, drafts: &mut Vec<Draft>, notes: &mut Vec<String>) {
    match made {
        Ok(draft) => drafts.extend(draft),
        Err(why) => notes.push(why),
    }
}

fn most_first(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

fn by_agent(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut agents: BTreeMap<String, Vec<Group>> = BTreeMap::new();
    for group in groups {
        agents.entry(group.agent().to_string()).or_default().push(group);
    }
    agents.into_values().collect()
}

/// A layer that denies by default said no: a permit that asks a person.
fn denial(group: &Group) -> Result<Option<Draft>, String> {
    let about = format!(
        "{} of {} was blocked {}, for no rule permits it: a person would be asked",
        told(&group.pattern),
        group.agent(),
        times(group.count)
    );
    let text = permit(group, "approval_required", &id(Ground::Denied, &group.pattern, group.agent()))
        .ok_or_else(|| no_example(&about))?;
    let id = id(Ground::Denied, &group.pattern, group.agent());
    Ok(Some(Draft {
        proposal: proposal(Layer::System, id, Ground::Denied, about, group),
        change: Change { text, exceptions: Vec::new() },
    }))
}

/// People said yes each time: the rules that ask leave such a call out, and a permit tells of it.
fn exception(holds: &Policy, group: &Group) -> Result<Option<Draft>, String> {
    let what = format!("{} of {}", told(&group.pattern), group.agent());
    if group.refused {
        return Err(format!("{what} was allowed {} and also refused: it is asked for as before", times(group.count)));
    }
    if group.count < ALLOWED_MIN {
        return Ok(None);
    }
    let explained = holds.explain(&group.first.ask(holds.digest()).expect("invariant: what is erased is in no group"));
    let mut exceptions = Vec::new();
    for view in &explained.layers {
        for rule in view.rules.iter().filter(|rule| rule.verdict == Verdict::ApprovalRequired) {
            let place = format!("{}:{}:{}", view.layer, rule.file, rule.line);
            if view.layer == Layer::Floor {
                return Err(format!("{what} is asked for by the floor ({place}), which cannot be changed"));
            }
            if rule.approvers.is_some() || rule.error.is_some() {
                return Err(format!("{what} is asked for by {place}, which wants more than one person's word"));
            }
            exceptions.push(Exception {
                layer: view.layer.clone(),
                document: rule.file.clone(),
                line: rule.line,
                text: format!(
                    "// People allowed such a call {}, and refused none, as in {}.\n{}",
                    times(group.count),
                    calls(group),
                    group.pattern.to_exception(group.agent()).trim_end()
                ),
            });
        }
    }
    let about = format!("{what} was allowed {} and never refused: people would be told", times(group.count));
    let id = id(Ground::Allowed, &group.pattern, group.agent());
    let text = permit(group, "notify", &id).ok_or_else(|| no_example(&about))?;
    Ok(Some(Draft {
        proposal: proposal(Layer::System, id, Ground::Allowed, about, group),
        change: Change { text, exceptions },
    }))
}

fn permit(group: &Group, verdict: &str, id: &str) -> Option<String> {
    let pattern = &group.pattern;
    let (inside, outside) = (inside(pattern, group.attributes())?, outside(&[pattern], group.attributes())?);
    let scope = format!(
        "permit(principal == Agent::{}, action == Action::{}, resource)",
        cedar_text(group.agent()),
        cedar_text(&pattern.capability)
    );
    let when = match pattern.to_conditions() {
        none if none.is_empty() => String::new(),
        conditions => format!("\nwhen {{\n  {}\n}}", conditions.join(" &&\n  ")),
    };
    Some(format!(
        "// {}, as in {}.\n@id({})\n@verdict(\"{verdict}\")\n@match({inside})\n@not_match({outside})\n{scope}{when};\n",
        counted(group.count),
        calls(group),
        cedar_text(id)
    ))
}

/// What an agent did, and nothing else, stays as it is.
fn narrow(groups: &[Group], drafts: &mut Vec<Draft>, notes: &mut Vec<String>) {
    let mut capabilities: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in groups {
        capabilities.entry(&group.pattern.capability).or_default().push(group);
    }
    for (capability, groups) in &capabilities {
        let count: u64 = groups.iter().map(|group| group.count).sum();
        let harmless = terms(capability).is_none_or(|known| known.effects == Effects::None && !reaches_out(capability));
        if count >= MADE_MIN && !harmless {
            draft(only_such(capability, groups, count), drafts, notes);
        }
    }
    let count: u64 = groups.iter().map(|group| group.count).sum();
    if count >= MADE_MIN {
        let used: Vec<&str> = capabilities.keys().copied().collect();
        draft(only_these(groups, &used, count), drafts, notes);
    }
}

fn reaches_out(capability: &str) -> bool {
    capability.starts_with("network.")
}

/// Calls of one capability.
fn only_such(capability: &str, groups: &[&Group], count: u64) -> Result<Option<Draft>, String> {
    let agent = groups[0].agent();
    let Some(patterns) = patterns(groups) else {
        return Err(format!("{capability} of {agent} was made in too many ways for one rule ({count} calls)"));
    };
    if patterns.iter().any(|(pattern, _)| is_whole(pattern)) {
        return Ok(None);
    }
    let about = format!("{count} calls of {capability} by {agent} were all like these: any other would ask a person");
    let all: Vec<&Pattern> = patterns.iter().map(|(pattern, _)| pattern).collect();
    let seen = groups.iter().find_map(|group| {
        let pattern = all.iter().find(|pattern| pattern.fits(capability, &narrowed(group, pattern)))?;
        inside(pattern, group.attributes())
    });
    let new = outside(&all, groups[0].attributes());
    let (Some(seen), Some(new)) = (seen, new) else { return Err(no_example(&about)) };
    let ways: Vec<String> = patterns
        .iter()
        .map(|(pattern, count)| format!("  // {}\n  ({})", counted(*count), pattern.to_conditions().join(" && ")))
        .collect();
    let id = format!("learned_made_{}", capability.replace('.', "_"));
    let text = format!(
        "// {count} calls were all like one of these, as in {}; any other asks a person.\n@id({})\n@verdict(\"approval_required\")\n\
         @match({new})\n@not_match({seen})\npermit(principal, action == Action::{}, resource)\nunless {{\n{}\n}};\n",
        calls(groups[0]),
        cedar_text(&id),
        cedar_text(capability),
        ways.join(" ||\n")
    );
    let layer = Layer::Agent(agent.to_string());
    let mut proposal = proposal(layer, id, Ground::Made, about, groups[0]);
    proposal.count = count;
    Ok(Some(Draft { proposal, change: Change { text, exceptions: Vec::new() } }))
}

/// The patterns of these calls, wider ones where there are too many; none where there are too many still.
fn patterns(groups: &[&Group]) -> Option<Vec<(Pattern, u64)>> {
    let merged = |wider: bool| {
        let mut merged: Vec<(Pattern, u64)> = Vec::new();
        for group in groups {
            let pattern = if wider { widened(&group.pattern) } else { group.pattern.clone() };
            match merged.iter_mut().find(|(known, _)| *known == pattern) {
                Some((_, count)) => *count += group.count,
                None => merged.push((pattern, group.count)),
            }
        }
        merged
    };
    [false, true].into_iter().map(merged).find(|merged| merged.len() <= PATTERNS_MAX)
}

/// Commands by their program, files by the first folder of the work folder. Hosts and keys stay exact.
fn widened(pattern: &Pattern) -> Pattern {
    let mut wider = pattern.clone();
    wider.argv.truncate(1);
    wider.whole_argv = false;
    if let Some(PathPattern::Below(folder)) = &pattern.path {
        // `/workspace/src/a/b` goes as `/workspace/src`.
        let short: Vec<&str> = folder.split('/').take(3).collect();
        wider.path = Some(PathPattern::Below(short.join("/")));
    }
    wider
}

/// What the judge saw, without the arguments that the pattern does not name.
fn narrowed(group: &Group, pattern: &Pattern) -> tenure_core::capability::Attributes {
    let mut seen = group.attributes().clone();
    seen.input.retain(|name, _| name == "url" || pattern.input.contains_key(name));
    seen
}

/// Capabilities that it never used.
fn only_these(groups: &[Group], used: &[&str], count: u64) -> Result<Option<Draft>, String> {
    let agent = groups[0].agent();
    let Some(unused) = catalogue().find(|known| !used.contains(&known.name)) else { return Ok(None) };
    let about = format!("{agent} used {} capabilities in {count} calls: any other would ask a person", used.len());
    let actions: Vec<String> = used.iter().map(|name| format!("Action::{}", cedar_text(name))).collect();
    let example = |name: &str| cedar_text(&format!("{{capability = '{name}'}}"));
    let id = "learned_made_only".to_string();
    let text = format!(
        "// {count} calls used these capabilities and no other, as in {}; any other asks a person.\n@id({})\n\
         @verdict(\"approval_required\")\n@match({})\n@not_match({})\npermit(principal, action, resource)\nunless {{\n  \
         action in [\n    {}\n  ]\n}};\n",
        calls(&groups[0]),
        cedar_text(&id),
        example(unused.name),
        example(used[0]),
        actions.join(",\n    ")
    );
    let layer = Layer::Agent(agent.to_string());
    let mut proposal = proposal(layer, id, Ground::Made, about, &groups[0]);
    proposal.count = count;
    Ok(Some(Draft { proposal, change: Change { text, exceptions: Vec::new() } }))
}

fn proposal(layer: Layer, id: String, ground: Ground, about: String, group: &Group) -> Proposal {
    Proposal {
        layer,
        document: super::LEARNED.to_string(),
        id,
        ground,
        about,
        count: group.count,
        examples: group.examples.clone(),
    }
}

/// The same calls are always the same rule's.
fn id(ground: Ground, pattern: &Pattern, agent: &str) -> String {
    let hash = Hash::of(format!("{agent}\n{}", pattern.to_conditions().join("\n")).as_bytes()).to_string();
    format!("learned_{}_{}_{}", ground.as_str(), pattern.capability.replace('.', "_"), &hash[..8])
}

fn told(pattern: &Pattern) -> String {
    let path = pattern.path.as_ref().map(|path| match path {
        PathPattern::Below(folder) => format!("below {folder}"),
        PathPattern::Only(path) => format!("of {path}"),
    });
    let argv = (!pattern.argv.is_empty()).then(|| format!("`{}`", pattern.argv.join(" ")));
    let host = pattern.host.as_ref().map(|host| format!("with {host}"));
    let key = pattern.key.as_ref().map(|key| format!("of `{key}`"));
    let told: Vec<String> =
        std::iter::once(pattern.capability.clone()).chain([path, argv, host, key].into_iter().flatten()).collect();
    let line = told.join(" ");
    tenure_core::capability::clip(&line)
}

fn counted(count: u64) -> String {
    if count == 1 { "1 call".to_string() } else { format!("{count} calls") }
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_string(),
        2 => "twice".to_string(),
        count => format!("{count} times"),
    }
}

fn calls(group: &Group) -> String {
    group.examples.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn no_example(about: &str) -> String {
    format!("not proposed, for no example of it can be written: {about}")
}
