//! Stored values by the events alone: the versions of a key follow each other, and none is skipped, whoever is killed.
use super::{Checked, Rule, broken};
use std::collections::BTreeMap;
use tenure_core::aggregate::Event;
use tenure_core::state::Change;

#[derive(Debug, Default)]
pub(super) struct Values {
    /// The newest version of each key that is known of.
    versions: BTreeMap<(String, String), u64>,
}

impl Values {
    pub(super) fn record(&mut self, event: &Event) -> Checked {
        match Change::of(event) {
            Some(Change::Set(set)) => self.follows(&set.namespace, &set.key, set.version),
            Some(Change::Ended(ended)) => self.follows(&ended.namespace, &ended.key, ended.version),
            Some(Change::Dropped(dropped)) => {
                for gone in &dropped.versions {
                    let key = (dropped.namespace.clone(), gone.key.clone());
                    // With the mark of its end nothing of it is known any more.
                    if self.versions.get(&key) == Some(&gone.version) {
                        self.versions.remove(&key);
                    }
                }
                Ok(())
            }
            Some(Change::SessionOver(_) | Change::SweepDue(_) | Change::Quota { .. }) | None => Ok(()),
        }
    }

    fn follows(&mut self, namespace: &str, key: &str, version: u64) -> Checked {
        let before = self.versions.insert((namespace.to_string(), key.to_string()), version).unwrap_or(0);
        if version == before + 1 {
            return Ok(());
        }
        broken(Rule::Chain, format!("version {version} of {key} in {namespace} follows {before}"))
    }
}
