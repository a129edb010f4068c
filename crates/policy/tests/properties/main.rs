//! Random policies and calls: the index judges as plain Cedar does over every layer's whole set, no rule of a lower layer loosens,
//! and nothing that errs does.
mod plain;
mod world;

use crate::plain::plain_verdict;
use crate::world::{Call, Written, bundle, calls, compiled, rule, rules};
use proptest::prelude::*;
use tenure_policy::{Layer, Policy};

fn verdict(policy: &Policy, call: &Call) -> tenure_core::judge::Verdict {
    policy.judge(&call.asked().ask(Some(policy.digest()))).verdict
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_index_judges_as_plain_cedar_does_over_every_whole_layer(written in rules(), calls in calls()) {
        let (policy, written) = compiled(&written);
        for call in calls {
            let asked = call.asked();
            let ask = asked.ask(None);
            let judgement = policy.judge(&ask);
            prop_assert_eq!(judgement.verdict, plain_verdict(&written, &call), "{:?}\n{:#?}", call, written);
            prop_assert_eq!(policy.judge(&ask), judgement.clone(), "twice the same");
            prop_assert_eq!(policy.explain(&ask).judgement, judgement, "explained as judged");
        }
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
