//! What the daemon takes from the machine below it: the wall clock, randomness, and threads for work that blocks. A simulation
//! puts its own in their place. Nothing else of the daemon may ask the kernel for either, where a decision depends on it.
use crate::clock::{SystemClock, WallClock};
use std::sync::Arc;
use tokio::task::{JoinHandle, spawn, spawn_blocking};

/// Where ids, salts and leases come from.
pub trait Entropy: Send + Sync {
    fn seed(&self) -> u128;
}

/// The kernel's.
#[derive(Debug, Clone, Copy)]
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn seed(&self) -> u128 {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).expect("invariant: the kernel gives randomness");
        u128::from_le_bytes(bytes)
    }
}

/// Where work is done that blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// On threads beside the runtime's.
    Threads,
    /// On the runtime's own, where no thread's timing may decide anything.
    Tasks,
}

impl Blocking {
    pub fn spawn<R: Send + 'static>(self, work: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
        match self {
            Blocking::Threads => spawn_blocking(work),
            Blocking::Tasks => spawn(async { work() }),
        }
    }
}

#[derive(Clone)]
pub struct Platform {
    pub wall: Arc<dyn WallClock>,
    pub entropy: Arc<dyn Entropy>,
    pub blocking: Blocking,
}

impl Platform {
    /// This host's.
    pub fn host() -> Platform {
        Platform { wall: Arc::new(SystemClock), entropy: Arc::new(KernelEntropy), blocking: Blocking::Threads }
    }
}
