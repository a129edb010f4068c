//! Cedar policies behind core's `Judge`: documents in layers, compiled once, indexed, judged without a model.
//!
//! ```text
//! Bundle ─compile─> Policy ─insert─> Policies: Judge      what is applied, by its digest
//!                     ├─ explain                          which rule of which layer says what
//!                     ├─ run_tests                        the cases that people keep beside their rules
//!                     ├─ compare                          what it would change of what was judged before
//!                     └─ learn                            rules that what was judged before asks for
//! Bundle ─review                                           what loads and is hardly meant
//! ```
//! This crate must never do IO, read a clock, or let what Cedar cannot evaluate loosen a verdict.
#![forbid(unsafe_code)]

mod fault;
mod layer;
mod bundle;
mod builtin;
mod schema;
mod mcp_names;
mod vocabulary;
mod statement;
mod annotation;
mod rule;
mod load;
mod uses;
mod request;
mod projection;
mod index;
mod weigh;
mod policy;
mod policies;
mod explain;
mod situation;
mod case;
mod diff;
mod replay;
mod review;
mod learn;
mod import;
#[cfg(test)]
mod corpus;

pub use builtin::{Template, default_bundle, floor};
pub use bundle::{BUNDLE_BYTES_MAX, Bundle, DOCUMENTS_MAX, Document, RULES_MAX};
pub use case::{CaseOutcome, run_tests};
pub use diff::{Change, ChangeKind, diff};
pub use explain::{Explanation, LayerView, RuleView};
pub use fault::Fault;
pub use import::{Foreign, Imported, LeftOut, import};
pub use layer::Layer;
pub use learn::{Ground, LEARNED, Learned, PROPOSALS_MAX, Proposal, learn};
pub use policies::Policies;
pub use policy::Policy;
pub use replay::{Against, Difference, Fate, RecordedCall, Summary, compare};
pub use review::{KnownNames, Review, review};
pub use schema::schema_json;
pub use situation::{Asked, Situation};
