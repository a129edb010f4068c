//! The change of the ledger's key, while no daemon has the directory: the old key signs what names the new one, and each MAC is made
//! anew, in one transaction whose head the new key signs. A kill at any moment leaves the one key or the other.
//!
//! ```text
//! ledger.key.next is written and synced ─> COMMIT ─> ledger.key.next becomes ledger.key
//! killed before COMMIT: it signed nothing, and goes at the next start; after it: the next start completes it
//! ```
use super::batch::WriterState;
use crate::cache::{Cache, Plans};
use crate::chain::{self, Chain};
use crate::checkpoint::{self, Checkpoint, HeadFile};
use crate::folder::Folder;
use crate::payload::Blobs;
use crate::sql::Sql;
use crate::store::begin;
use crate::txn::{Batch, Txn, rekey_snapshots};
use crate::{Error, keys, rows, sealed};
use std::fs::File;
use std::path::Path;
use std::time::Instant;
use tenure_core::actor::Actor;
use tenure_core::aggregate::Command;
use tenure_core::draft::{DecisionContext, transact};
use tenure_core::judge::FloorAndTools;
use tenure_core::ledger::Signer;
use tenure_core::ledger::export::Rotation;
use tenure_core::project;
use tenure_core::time::{Stamp, Time};

/// Both public keys, and the record that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    pub old: String,
    pub new: String,
    pub index: u64,
}

/// Makes a new key for the ledger in `dir`.
///
/// # Errors
/// `Held` while a daemon has it; what `Store::open` refuses; `Corrupt` where the head outside is not on the chain.
pub fn rotate_key(dir: &Path, actor: Actor, at: Time, why: &str) -> Result<Rotated, Error> {
    let (_lock, mut state) = WriterState::alone(dir)?;
    let next = state.folder.make_next_key()?;
    let (old, new) = (state.signer.verifier().to_hex(), next.verifier());
    let index = state.rotate(next, actor, at, why)?;
    state.folder.adopt_next_key()?;
    state.folder.publish(&new)?;
    state.end();
    Ok(Rotated { old, new: new.to_hex(), index })
}

impl WriterState {
    /// Of a directory that no daemon has, for as long as the file is held.
    pub(super) fn alone(dir: &Path) -> Result<(File, WriterState), Error> {
        let folder = Folder { root: dir.to_path_buf() };
        folder.exists()?;
        let lock = folder.hold()?;
        let (mut sql, signer) = begin(&folder)?;
        let chain = Chain::load(&mut sql, &signer.verifier())?;
        let known = keys::follow(&mut sql, signer.verifier())?;
        let checkpoint = chain::compare(&mut sql, &chain.end, checkpoint::read(&folder.head(), &known)?.as_ref())?;
        if let Checkpoint::Restored(_) = checkpoint {
            return Err(Error::corrupt("the head outside the database is not on its chain; start the daemon first"));
        }
        sealed::settle(&folder, &mut sql)?;
        let state = WriterState {
            cache: Cache::new(64),
            plans: Plans::default(),
            blobs: Blobs::new(folder.blobs()),
            pending_head: None,
            published: Instant::now(),
            lengthen_after: None,
            has_erased: false,
            head: HeadFile::new(folder.head(), &checkpoint),
            folder,
            sql,
            chain,
            signer,
            pace: None,
        };
        Ok((lock, state))
    }

    fn rotate(&mut self, next: Signer, actor: Actor, at: Time, why: &str) -> Result<u64, Error> {
        let Some(project) = self.chain.end.project else {
            return Err(Error::corrupt("the ledger is empty: start the daemon once before its key changes"));
        };
        let (size, root) = (self.chain.end.size, self.chain.frontier.root());
        let rotation = Rotation::sign((&self.signer, &next), project, (size, root), why.to_string());
        let rotation = rotation.map_err(|error| Error::invariant(error.to_string()))?;
        self.sql.execute("BEGIN IMMEDIATE", &[])?;
        let mut batch = Batch::new(self.chain.end);
        self.decide_alone(
            &mut batch,
            (actor, at),
            Command::Project(project, project::Command::RotateKey { rotation }),
        )?;
        rows::rekey(&mut self.sql, self.signer.macs(), next.macs())?;
        rekey_snapshots(&mut self.sql, self.signer.macs(), next.macs())?;
        self.signer = next;
        let done = self.commit(&mut batch)?;
        self.committed(done, batch, &mut None);
        Ok(size)
    }

    /// Runs one command in the open transaction of a batch.
    pub(super) fn decide_alone(
        &mut self,
        batch: &mut Batch,
        (actor, at): (Actor, Time),
        command: Command,
    ) -> Result<(), Error> {
        let mut seed = [0u8; 16];
        getrandom::fill(&mut seed).map_err(|error| Error::invariant(error.to_string()))?;
        let stamp = Stamp { at, run: self.chain.end.stamp.run };
        let context = DecisionContext { actor, stamp, seed: u128::from_be_bytes(seed), judge: &FloorAndTools };
        let macs = self.signer.macs();
        let mut txn = Txn::new(&mut self.sql, &mut self.cache, &mut self.plans, &self.blobs, macs, batch);
        match transact(&mut txn, context, command)? {
            Ok(_) => txn.keep(),
            Err(refusal) => Err(Error::invariant(format!("the ledger refuses: {}", refusal.code()))),
        }
    }
}
