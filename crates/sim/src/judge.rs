//! A judge that reads its verdicts from a table; what the table does not name is autonomous.
use std::collections::BTreeMap;
use tenure_core::judge::{Ask, Digest, Judge, Judgement, Verdict, Wants};

#[derive(Debug, Clone, Default)]
pub struct Table(pub BTreeMap<String, Verdict>);

impl Judge for Table {
    fn judge(&self, ask: &Ask<'_>) -> Judgement {
        let verdict = self.0.get(ask.capability).copied().unwrap_or(Verdict::Autonomous);
        Judgement::new(verdict, format!("table:{}", ask.capability))
    }

    fn wants(&self, _: Option<Digest>, _: &str, _: &str) -> Wants {
        Wants::default()
    }
}
