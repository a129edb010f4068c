//! Signs the heads of commits: on a thread of its own, so that the rows of a commit are written meanwhile; or, where virtual time
//! rules, on the writer's. A head that was asked for and is not wanted any more is forgotten.
use crate::Error;
use crate::chain::Chain;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use tenure_core::ledger::{Head, MacKey, Signed, Signer};

pub(crate) struct Seal {
    signer: Arc<Signer>,
    thread: Option<SyncSender<SignRequest>>,
}

struct SignRequest {
    head: Head,
    reply: SyncSender<Result<String, Error>>,
}

/// The head of a commit, on its way.
pub(super) struct PendingHead {
    pub chain: Chain,
    text: Text,
}

enum Text {
    /// Signed when it is needed.
    Later(Head),
    Asked(Head, Receiver<Result<String, Error>>),
}

impl Seal {
    pub(crate) fn here(signer: Signer) -> Seal {
        Seal { signer: Arc::new(signer), thread: None }
    }

    /// The thread ends with this.
    pub(crate) fn on_thread(signer: Signer) -> Result<Seal, Error> {
        let signer = Arc::new(signer);
        let (asks, asked) = sync_channel::<SignRequest>(1);
        let own = Arc::clone(&signer);
        let sign_all = move || {
            for SignRequest { head, reply } in asked {
                // Nobody waits any more where the commit failed.
                let _ = reply.send(sign(&own, head));
            }
        };
        let spawned = thread::Builder::new().name("seal".to_string()).spawn(sign_all);
        spawned.map_err(|error| Error::file("starting the thread that signs", &error))?;
        Ok(Seal { signer, thread: Some(asks) })
    }

    pub(super) fn macs(&self) -> &MacKey {
        self.signer.macs()
    }

    /// Begins to sign the head of this chain.
    pub(super) fn begin(&self, chain: Chain, head: Head) -> PendingHead {
        let Some(thread) = &self.thread else { return PendingHead { chain, text: Text::Later(head) } };
        let (reply, text) = sync_channel(1);
        match thread.send(SignRequest { head, reply }) {
            Ok(()) => PendingHead { chain, text: Text::Asked(head, text) },
            Err(_) => PendingHead { chain, text: Text::Later(head) },
        }
    }

    /// Its text, as soon as it is there.
    pub(super) fn finish(&self, pending: PendingHead) -> Result<(Chain, String), Error> {
        let text = match pending.text {
            Text::Later(head) => sign(&self.signer, head)?,
            // A signature takes microseconds, and its thread does nothing else: it answers or has ended.
            Text::Asked(head, text) => match text.recv() {
                Ok(text) => text?,
                Err(_) => {
                    tracing::error!("the thread that signs heads has ended; the writer signs them itself");
                    sign(&self.signer, head)?
                }
            },
        };
        Ok((pending.chain, text))
    }
}

fn sign(signer: &Signer, head: Head) -> Result<String, Error> {
    let signed: Signed = signer.sign(head).map_err(|error| Error::invariant(error.to_string()))?;
    serde_json::to_string(&signed).map_err(|error| Error::invariant(error.to_string()))
}
