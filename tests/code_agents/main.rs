//! Code agents over the whole product: a program with a life of its own is started, told of its life by hooks, handed messages, asks
//! for what it wants done, crashes, is lost with its daemon, and is put away; and an agent behind the Agent Client Protocol.
mod acp;
mod hooks;
mod supervision;
mod world;
