//! Programs in the jail that ask models by its loopback: over each wire, with nothing but the standard library and with the official
//! libraries of providers, recorded and paid for as the loop's own calls are.
mod limits;
mod plain;
mod sdks;
mod world;
