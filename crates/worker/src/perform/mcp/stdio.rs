//! A server that is a program in the jail. Must never: start it without the limits of the jail's other programs.
use super::super::program::message::{RpcError, Said};
use super::super::program::{Counterpart, Ground, Program, ProgramEnd, Talk};
use super::announcer::Announcer;
use super::connection::Fault;
use super::message::{self, Incoming};
use super::{Abort, Surroundings};
use serde_json::Value;
use tokio::sync::mpsc;

/// A request hears how far it is.
#[derive(Debug)]
pub(super) struct Stdio(Program<mpsc::Sender<String>>);

/// What a server's program may say to its client.
struct Client(Announcer);

impl Counterpart for Client {
    type Ear = mpsc::Sender<String>;
    /// Servers print all sorts of things; each is skipped.
    const NOISE_MAX: u32 = u32::MAX;

    fn hear(&mut self, said: Said, talk: &mut Talk<mpsc::Sender<String>>) -> Result<(), String> {
        match Incoming::from(said) {
            Incoming::Request { id, method } => talk.lines.say(&message::answer(&id, &method))?,
            Incoming::Progress { id, text } => {
                // What nobody takes is dropped.
                if let Some(heard) = talk.ear(id) {
                    let _ = heard.try_send(text);
                }
            }
            Incoming::ToolsChanged => self.0.tools_changed(),
            Incoming::Answer { .. } | Incoming::Other => {}
        }
        Ok(())
    }
}

impl Stdio {
    pub(super) async fn start(around: &Surroundings, command: &[String], announcer: Announcer) -> Result<Stdio, Fault> {
        let ground = Ground { jail: &around.jail, quota: &around.quota, backend: &around.backend };
        match Program::start(&ground, command, Client(announcer)).await {
            Ok(program) => Ok(Stdio(program)),
            Err(Abort::Ended(result)) => Err(Fault::Ended(Box::new(result))),
            Err(Abort::Gone | Abort::Broken(_)) => Err(Fault::Gone),
        }
    }

    pub(super) fn is_alive(&self) -> bool {
        self.0.is_alive()
    }

    pub(super) async fn ask(
        &self,
        id: u64,
        request: Value,
        heard: mpsc::Sender<String>,
    ) -> Result<Result<Value, RpcError>, Fault> {
        let (answer, _) = self.0.ask(id, request, heard).await.map_err(|end| lost(&end))?;
        Ok(answer)
    }

    pub(super) async fn tell(&self, message: Value) -> Result<(), Fault> {
        self.0.tell(message).await.map_err(|end| lost(&end))
    }

    pub(super) async fn take_back(&self, id: u64, message: Value) {
        self.0.take_back(id, message).await;
    }
}

fn lost(end: &ProgramEnd) -> Fault {
    end.sentence().map_or(Fault::Gone, Fault::Lost)
}
