//! All documents of a policy, as one value with one digest: what is applied, recorded, compared. Must never hold the floor.
use crate::fault::Fault;
use crate::layer::Layer;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tenure_core::bound::Hash;
use tenure_core::judge::Digest;
pub use tenure_core::project::policy::BUNDLE_BYTES_MAX;

pub const DOCUMENTS_MAX: usize = 256;
/// Of all documents together.
pub const RULES_MAX: usize = 10_000;
const NAME_BYTES_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    pub layers: BTreeMap<Layer, Vec<Document>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// As in `network.cedar`: letters, digits, `.`, `_`, `-` and `/`.
    pub name: String,
    pub text: String,
}

impl Bundle {
    /// With one document more; layers keep theirs in the order of their names, so that the digest does not depend on it.
    #[must_use]
    pub fn with(mut self, layer: Layer, name: &str, text: &str) -> Bundle {
        let documents = self.layers.entry(layer).or_default();
        documents.push(Document { name: name.to_string(), text: text.to_string() });
        documents.sort();
        self
    }

    /// Canonical JSON: equal bundles have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut sorted = self.clone();
        sorted.layers.retain(|_, documents| !documents.is_empty());
        sorted.layers.values_mut().for_each(|documents| documents.sort());
        serde_json_canonicalizer::to_vec(&sorted).expect("invariant: a bundle is JSON with text keys")
    }

    /// # Errors
    /// The sentence that says why these bytes are no bundle.
    pub fn parse(bytes: &[u8]) -> Result<Bundle, String> {
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(too_large(bytes.len()));
        }
        serde_json::from_slice(bytes).map_err(|error| format!("it is no bundle of policies: {error}"))
    }

    pub fn digest(&self) -> Digest {
        Digest(Hash::of(&self.to_bytes()))
    }

    /// What is wrong with its shape, whatever its documents say.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let bytes = self.to_bytes().len();
        if bytes > BUNDLE_BYTES_MAX {
            faults.push(Fault::whole(Layer::System, "", too_large(bytes), "use fewer or shorter documents"));
        }
        let count: usize = self.layers.values().map(Vec::len).sum();
        if count > DOCUMENTS_MAX {
            let what = format!("{count} documents, at most {DOCUMENTS_MAX} are taken");
            faults.push(Fault::whole(Layer::System, "", what, "put several rules into one document"));
        }
        if self.layers.get(&Layer::System).is_none_or(Vec::is_empty) {
            let what = "no document in the layer `system`: every call would be blocked";
            let help = "begin with a template (permissive, moderate or restrictive), or forbid all in so many words";
            faults.push(Fault::whole(Layer::System, "", what, help));
        }
        for (layer, documents) in &self.layers {
            if *layer == Layer::Floor {
                let help = "write a stricter rule into the layer `system`";
                faults.push(Fault::whole(Layer::Floor, "", "the floor cannot be changed", help));
            }
            let mut names = BTreeSet::new();
            for document in documents {
                if !is_name(&document.name) {
                    let shown = tenure_core::capability::clip(&document.name);
                    let what = format!("`{shown}` is no name of a document");
                    let help = format!("use 1 to {NAME_BYTES_MAX} of a-z, A-Z, 0-9, `.`, `_`, `-` and `/`");
                    faults.push(Fault::whole(layer.clone(), "", what, help));
                }
                if !names.insert(&document.name) {
                    let what = format!("two documents are called `{}`", document.name);
                    faults.push(Fault::whole(layer.clone(), "", what, "give one of them another name"));
                }
            }
        }
        faults
    }
}

fn too_large(bytes: usize) -> String {
    format!("{bytes} bytes, a bundle of policies has at most {BUNDLE_BYTES_MAX}")
}

fn is_name(name: &str) -> bool {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'/');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(safe)
}
