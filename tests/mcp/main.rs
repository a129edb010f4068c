//! MCP both ways through the whole product: servers that a manifest names, in the sandbox and behind the egress, met by the built-in
//! loop, by REST and by MCP clients, each call under the one gate.
mod as_client;
mod client;
mod governed;
mod loops;
mod mail;
mod notices;
mod others;
mod page;
