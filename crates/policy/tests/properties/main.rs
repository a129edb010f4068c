//! Random policies and calls: the index judges as plain Cedar does over every layer's whole set, no rule of a lower layer loosens,
//! and nothing that errs does.
mod plain;
mod world;

use crate::plain::Plain;
use crate::world::{Call, Written, bundle, call, calls, compiled, rule, rules};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tenure_core::id::{CallId, Mint};
use tenure_core::judge::Verdict;
use tenure_core::time::Time;
use tenure_policy::{Against, Fate, Layer, Policy, RecordedCall, compare};

fn verdict(policy: &Policy, call: &Call) -> Verdict {
    policy.judge(&call.asked().ask(Some(policy.digest()))).verdict
}

/// Of the comparison with plain Cedar; `TENURE_POLICY_CALLS` asks for more, as `cargo xtask test` in CI and `cargo xtask fuzz` do.
const CALLS: u32 = 2_000;
const CALLS_A_POLICY: u32 = 100;

fn policies() -> u32 {
    let asked = std::env::var("TENURE_POLICY_CALLS").ok().map(|text| text.parse().expect("a number of calls"));
    asked.unwrap_or(CALLS).div_ceil(CALLS_A_POLICY)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: policies(), ..ProptestConfig::default() })]

    #[test]
    fn the_index_judges_as_plain_cedar_does_over_every_whole_layer(
        written in rules(),
        calls in prop::collection::vec(call(), CALLS_A_POLICY as usize),
    ) {
        let (policy, written) = compiled(&written);
        let plain = Plain::of(&written);
        for call in calls {
            let asked = call.asked();
            let ask = asked.ask(None);
            let judgement = policy.judge(&ask);
            prop_assert_eq!(judgement.verdict, plain.verdict(&call), "{:?}\n{:#?}", call, written);
            prop_assert_eq!(policy.judge(&ask), judgement.clone(), "twice the same");
            prop_assert_eq!(policy.explain(&ask).judgement, judgement, "explained as judged");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// What a replay says of a call is what judging it says, whatever it remembers and shares.
    #[test]
    fn a_replay_says_what_judging_says(before in rules(), after in rules(), calls in calls()) {
        let ((before, _), (after, _)) = (compiled(&before), compiled(&after));
        let mut mint = Mint::new(Time::from_millis(0), 1);
        let mut expected = BTreeMap::new();
        let mut recorded = Vec::new();
        for call in calls.iter().chain(&calls) {
            let asked = call.asked();
            let pair = (verdict(&before, call), verdict(&after, call));
            if pair.0 != pair.1 {
                *expected.entry(pair).or_insert(0) += 1;
            }
            recorded.push(RecordedCall {
                call: CallId::mint(&mut mint),
                agent: asked.agent,
                revision: asked.revision,
                actor: asked.actor,
                capability: asked.capability,
                tools: asked.tools.into(),
                context: asked.context,
                attributes: Some(asked.attributes),
                verdict: Verdict::Autonomous,
                fate: Fate::Made,
                unbound: false,
            });
        }
        let summary = compare(Against::Policy(&before), &after, recorded.into_iter());
        let mut found = BTreeMap::new();
        for difference in summary.differences {
            *found.entry((difference.before, difference.after)).or_insert(0) += difference.count;
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_rule_added_below_the_system_layer_never_loosens(written in rules(), added in rule(), calls in calls()) {
        prop_assume!(!matches!(added.layer, Layer::System));
        let (before, written) = compiled(&written);
        let (after, _) = compiled(&[written, vec![added.clone()]].concat());
        for call in calls {
            prop_assert!(verdict(&before, &call) <= verdict(&after, &call), "{:?} by {:?}", call, added);
        }
    }

    #[test]
    fn a_rule_that_errs_is_at_least_as_strict_as_one_that_matches_and_as_none(
        written in rules(),
        added in rule(),
        calls in calls(),
    ) {
        let (without, written) = compiled(&written);
        let with = |condition: &str| {
            let added = Written { condition: condition.to_string(), ..added.clone() };
            Policy::compile(&bundle(&[written.clone(), vec![added]].concat()))
        };
        let erring = with("principal.revision + 9223372036854775807 > 0");
        let (Ok(erring), Ok(matching)) = (erring, with("true")) else { return Err(TestCaseError::reject("impossible")) };
        for call in calls {
            let erred = verdict(&erring, &call);
            prop_assert!(verdict(&matching, &call) <= erred, "{:?} by {:?}", call, added);
            prop_assert!(verdict(&without, &call) <= erred, "{:?} by {:?}", call, added);
        }
    }
}
