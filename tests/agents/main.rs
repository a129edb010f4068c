//! Coding agents of others, unchanged, each in its jail and against a scripted model: what they do by their own shell is held by the
//! jail and the egress, what they ask a model by the proxy, and what it cost is in the ledger to the token.
mod harness;
mod held;
