//! Who rules a store without threads: its jobs run on their askers' own, so that virtual time, and one seed, decide when
//! each has its turn and which COMMIT fails. The store asks it and must never be asked by it.
use crate::Error;
use std::pin::Pin;

pub trait Pace: Send + Sync {
    /// What a read or a write waits for before it is done. A write that waits has its place in the writer's queue already,
    /// and is done with the next one's turn also where its asker is gone.
    fn turn(&self) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// Before each COMMIT.
    ///
    /// # Errors
    /// What the whole transaction fails with.
    fn before_commit(&self) -> Result<(), Error>;
}
