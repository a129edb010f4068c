//! What must not work: bad input at every door, failing providers, escapes, forged keys, a changed ledger. Each answer
//! has a code, a sentence and a way out, and nothing is lost by it. Beside each refusal stands what must still work.
extern crate tenure_sandbox_controls as tenure_sandbox;
extern crate tenure_worker_controls as tenure_worker;

mod office;
mod answers;
mod bad_input;
mod doors;
mod escapes;
mod gate;
mod limits;
mod links;
mod network;
mod providers;
mod regressions;
mod secrets;
mod tampering;
