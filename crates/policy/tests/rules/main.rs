//! Policies as people write them: what is refused and how it is told, what each layer may say, what the templates allow.
mod faults;
mod layers;
mod mcp;
mod templates;
mod replay;
mod review;
mod learn;
mod import;
