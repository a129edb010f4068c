//! Proposed rules, written into the documents that hold: new ones at the end of a document of their own, exceptions behind the
//! rules that they are of. Must leave every other line as it is.
use super::LEARNED;
use super::propose::Draft;
use crate::bundle::{Bundle, Document};
use crate::fault::place;
use crate::layer::Layer;
use crate::statement::spans;

pub(super) struct Change {
    /// A rule, with its comment.
    pub(super) text: String,
    pub(super) exceptions: Vec<Exception>,
}

/// A clause behind a rule that stands in a document.
pub(super) struct Exception {
    pub(super) layer: Layer,
    pub(super) document: String,
    pub(super) line: u32,
    pub(super) text: String,
}

pub(super) fn apply(bundle: &Bundle, drafts: &[Draft]) -> Bundle {
    let mut changed = bundle.clone();
    // In the documents as they are: lines move once rules are added.
    let exceptions: Vec<&Exception> = drafts.iter().flat_map(|draft| &draft.change.exceptions).collect();
    for (layer, documents) in &mut changed.layers {
        for document in documents {
            let own = exceptions.iter().filter(|one| one.layer == *layer && one.document == document.name);
            except(&mut document.text, own.copied());
        }
    }
    for Draft { proposal, change } in drafts {
        let documents = changed.layers.entry(proposal.layer.clone()).or_default();
        match documents.iter_mut().find(|document| document.name == LEARNED) {
            Some(document) => {
                let gap = if document.text.ends_with('\n') { "\n" } else { "\n\n" };
                document.text.push_str(&format!("{gap}{}", change.text));
            }
            None => {
                documents.push(Document { name: LEARNED.to_string(), text: change.text.clone() });
                documents.sort();
            }
        }
    }
    changed
}

/// Each before the `;` of its rule, the last first, so that none moves another.
fn except<'e>(text: &mut String, exceptions: impl Iterator<Item = &'e Exception>) {
    let spans = spans(text);
    let end = |line: u32| spans.iter().find(|(begin, _)| place(text, *begin).0 == line).map(|(_, end)| *end);
    let mut inserted: Vec<(usize, &str)> =
        exceptions.filter_map(|one| Some((end(one.line)?, one.text.as_str()))).collect();
    inserted.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    for (at, clause) in inserted {
        text.insert_str(at, &format!("\n{clause}"));
    }
}
