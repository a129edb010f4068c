//! Capability names have dots, which providers refuse in a tool's name. Each request gets its own table of spellings,
//! and an answer is read back through the same table, so that no two capabilities are ever taken for each other.

use super::request::Tool;
use std::collections::BTreeMap;

/// Letters that a provider takes in a tool's name.
const SPELLED_BYTES_MAX: usize = 64;

pub(crate) struct Spelling {
    spelled_by_name: BTreeMap<String, String>,
    name_by_spelled: BTreeMap<String, String>,
}

impl Spelling {
    pub(crate) fn of(tools: &[Tool]) -> Self {
        let mut spelling = Spelling { spelled_by_name: BTreeMap::new(), name_by_spelled: BTreeMap::new() };
        for tool in tools {
            spelling.add(&tool.name);
        }
        spelling
    }

    /// The provider's spelling of a capability. One that is not on offer (history of an earlier revision) is only
    /// made acceptable.
    pub(crate) fn spell(&self, name: &str) -> String {
        self.spelled_by_name.get(name).cloned().unwrap_or_else(|| plain(name))
    }

    /// The capability that the provider means; an unknown word stays as it is, for the gate to refuse by name.
    pub(crate) fn read(&self, spelled: &str) -> String {
        self.name_by_spelled.get(spelled).cloned().unwrap_or_else(|| spelled.to_owned())
    }

    fn add(&mut self, name: &str) {
        if self.spelled_by_name.contains_key(name) {
            return;
        }
        let stem = plain(name);
        let mut spelled = stem.clone();
        let mut count = 1;
        while self.name_by_spelled.contains_key(&spelled) {
            count += 1;
            let ending = format!("_{count}");
            let kept = stem.len().min(SPELLED_BYTES_MAX - ending.len());
            spelled = format!("{}{ending}", &stem[..kept]);
        }
        self.spelled_by_name.insert(name.to_owned(), spelled.clone());
        self.name_by_spelled.insert(spelled, name.to_owned());
    }
}

fn plain(name: &str) -> String {
    let letters = name.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => letter,
        _ => '_',
    });
    let plain: String = letters.take(SPELLED_BYTES_MAX).collect();
    if plain.is_empty() { "_".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools(names: &[&str]) -> Vec<Tool> {
        let tool = |name: &&str| Tool { name: (*name).into(), description: String::new(), schema: json!({}) };
        names.iter().map(tool).collect()
    }

    #[test]
    fn every_capability_on_offer_comes_back_under_its_own_name() {
        let long = format!("group.{}", "x".repeat(80));
        let twin = format!("group_{}", "x".repeat(80));
        let names = ["filesystem.read", "filesystem_read", "state.session.get", "a.b_c", "a_b.c", &long, &twin];
        let spelling = Spelling::of(&tools(&names));
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            let spelled = spelling.spell(name);
            assert!(spelled.len() <= SPELLED_BYTES_MAX && !spelled.contains('.'), "{spelled}");
            assert_eq!(spelling.read(&spelled), name);
            assert!(seen.insert(spelled));
        }
    }

    #[test]
    fn a_word_that_matches_nothing_on_offer_is_left_as_the_model_wrote_it() {
        let spelling = Spelling::of(&tools(&["filesystem.read"]));
        assert_eq!(spelling.read("filesystem_format"), "filesystem_format");
        assert_eq!(spelling.read("filesystem.read"), "filesystem.read");
    }
}
