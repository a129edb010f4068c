//! One process of a worker: its link, its jails, and the leases that it knows. It dies whole.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tenure_core::call::{Fence, Holder, Outcome};
use tenure_core::id::{AgentId, CallId, ConnectionId, LeaseId};

#[derive(Debug, Clone)]
pub struct LeasedCall {
    pub lease: LeaseId,
    pub fence: Fence,
    pub call: CallId,
    pub holder: Holder,
    pub iteration: u32,
    /// It names a path, and so can meet a link.
    pub has_path: bool,
}

#[derive(Debug, Clone)]
pub enum ToWorker {
    Call(LeasedCall),
    Release { holder: Holder, iteration: u32 },
    Cancel { lease: LeaseId },
    RemoveHome { agent: AgentId },
}

#[derive(Debug, Clone)]
pub enum FromWorker {
    Outcome {
        call: LeasedCall,
        outcome: Outcome,
    },
    Released {
        holder: Holder,
        iteration: u32,
    },
    JailLost {
        holder: Holder,
        iteration: u32,
        leases: Vec<LeaseId>,
    },
    HomeRemoved {
        agent: AgentId,
    },
    /// Its proxy kept programs of this iteration from a place.
    NetworkRefused {
        holder: Holder,
        iteration: u32,
    },
    /// Its host can do something else now.
    Surveyed,
}

#[derive(Debug)]
pub struct Process {
    pub connection: ConnectionId,
    pub fence: Fence,
    pub to: VecDeque<ToWorker>,
    pub from: VecDeque<FromWorker>,
    /// One a holder: of the iteration whose calls came last.
    pub jails: BTreeMap<Holder, u32>,
    pub in_hand: BTreeMap<LeaseId, LeasedCall>,
    /// Without an outcome: its jail ended first.
    ended: BTreeMap<LeaseId, Option<Outcome>>,
    /// Iterations that were released: calls of them come too late.
    released: BTreeSet<(Holder, u32)>,
}

impl Process {
    pub fn new(connection: ConnectionId, fence: Fence) -> Process {
        Process {
            connection,
            fence,
            to: VecDeque::new(),
            from: VecDeque::new(),
            jails: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            ended: BTreeMap::new(),
            released: BTreeSet::new(),
        }
    }

    /// `again`: a lease that it has performed is performed anew.
    pub fn take(&mut self, frame: ToWorker, again: bool) {
        match frame {
            ToWorker::Call(call) if call.fence != self.fence => {}
            ToWorker::Call(call) => match self.ended.get(&call.lease) {
                Some(_) if again => drop(self.in_hand.insert(call.lease, call)),
                Some(Some(outcome)) => self.from.push_back(FromWorker::Outcome { outcome: outcome.clone(), call }),
                Some(None) => {}
                // The link keeps frames in order; only a doubled one comes after its iteration's release.
                None if self.released.contains(&(call.holder, call.iteration)) => {}
                None => drop(self.in_hand.insert(call.lease, call)),
            },
            ToWorker::Release { holder, iteration } => {
                self.released.insert((holder, iteration));
                self.forget(holder, iteration);
                if self.jails.get(&holder) == Some(&iteration) {
                    self.jails.remove(&holder);
                }
                self.from.push_back(FromWorker::Released { holder, iteration });
            }
            ToWorker::Cancel { lease } => {
                if let Some(call) = self.in_hand.get(&lease).cloned() {
                    self.end(&call, Outcome::Killed);
                }
            }
            ToWorker::RemoveHome { agent } => self.from.push_back(FromWorker::HomeRemoved { agent }),
        }
    }

    /// No call in hand of this iteration is answered any more.
    pub fn forget(&mut self, holder: Holder, iteration: u32) -> Vec<LeaseId> {
        let of = |call: &&LeasedCall| call.holder == holder && call.iteration == iteration;
        let leases: Vec<LeaseId> = self.in_hand.values().filter(of).map(|call| call.lease).collect();
        for lease in &leases {
            self.in_hand.remove(lease);
            self.ended.insert(*lease, None);
        }
        leases
    }

    /// The jail that a call is done in; false where every one is in use.
    pub fn open_jail(&mut self, call: &LeasedCall, slots: u32) -> bool {
        if !self.jails.contains_key(&call.holder) && self.jails.len() >= slots as usize {
            return false;
        }
        self.jails.insert(call.holder, call.iteration);
        true
    }

    pub fn end(&mut self, call: &LeasedCall, outcome: Outcome) {
        self.in_hand.remove(&call.lease);
        self.ended.insert(call.lease, Some(outcome.clone()));
        self.from.push_back(FromWorker::Outcome { call: call.clone(), outcome });
    }
}
