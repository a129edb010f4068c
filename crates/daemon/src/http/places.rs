//! Places for connections. Each listener has its own, bounded in all and for each origin, so that whoever fills one keeps
//! nobody from another. Where they are taken, the connection that has been idle for longest goes; where none is idle, a
//! newcomer gets a place of the reserve, which is for requests that only end something.
//! Must never: end a connection whose request is being answered, or let a newcomer wait.
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// An answer of which nothing could be sent for so long is as good as none: event streams send something twice as often.
const STALLED: Duration = Duration::from_secs(30);

/// Whom connections are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Address(IpAddr),
    User(u32),
}

/// How many there may be at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) origin: usize,
    /// On top of `all`.
    pub(super) reserve: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Places {
    limits: Limits,
    began: Instant,
    /// Held for microseconds, never across an await.
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    origin: Origin,
    reserved: bool,
    activity: Activity,
    evicted: CancellationToken,
}

/// What a connection is at. Copies are the same one's.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Signs>);

#[derive(Debug)]
struct Signs {
    began: Instant,
    /// Milliseconds since `began` at which the last byte moved.
    moved_ms: AtomicU64,
    phase: AtomicU8,
    /// A request of it had a valid key, or came from the daemon's own user.
    is_known: AtomicBool,
}

const IDLE: u8 = 0;
const DECIDING: u8 = 1;
const ANSWERING: u8 = 2;

/// One connection's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    pub(super) reserved: bool,
    pub(super) activity: Activity,
    evicted: CancellationToken,
    table: Arc<Mutex<Table>>,
}

impl Places {
    pub(super) fn new(limits: Limits) -> Places {
        Places { limits, began: Instant::now(), table: Arc::default() }
    }

    /// None where even the reserve has no idle one: the newcomer is turned away.
    pub(super) fn enter(&self, origin: Origin) -> Option<Place> {
        let mut table = lock(&self.table);
        let reserved = self.make_room(&mut table, origin)?;
        let (activity, evicted) = (Activity::new(self.began), CancellationToken::new());
        let id = table.next;
        table.next += 1;
        let entry = Entry { origin, reserved, activity: activity.clone(), evicted: evicted.clone() };
        table.open.insert(id, entry);
        Some(Place { id, reserved, activity, evicted, table: Arc::clone(&self.table) })
    }

    /// Whether the newcomer is for the reserve.
    fn make_room(&self, table: &mut Table, origin: Origin) -> Option<bool> {
        let Limits { all, origin: origin_max, reserve } = self.limits;
        let ordinary = |entry: &Entry| !entry.reserved;
        let own = |entry: &Entry| !entry.reserved && entry.origin == origin;
        let has_room = if table.count(own) >= origin_max {
            table.evict_idlest(own)
        } else {
            table.count(ordinary) < all || table.evict_idlest(ordinary)
        };
        if has_room {
            return Some(false);
        }
        let kept = |entry: &Entry| entry.reserved;
        (table.count(kept) < reserve || table.evict_idlest(kept)).then_some(true)
    }
}

impl Table {
    fn count(&self, of: impl Fn(&Entry) -> bool) -> usize {
        self.open.values().filter(|entry| of(entry)).count()
    }

    fn evict_idlest(&mut self, of: impl Fn(&Entry) -> bool) -> bool {
        let idle = self.open.iter().filter(|(_, entry)| of(entry));
        let idlest = idle.filter_map(|(id, entry)| Some((entry.activity.idle()?, *id))).min();
        let Some((_, id)) = idlest else { return false };
        if let Some(entry) = self.open.remove(&id) {
            entry.evicted.cancel();
        }
        true
    }
}

impl Place {
    /// Resolves once another connection got this place.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.table).open.remove(&self.id);
    }
}

impl Activity {
    fn new(began: Instant) -> Activity {
        let signs =
            Signs { began, moved_ms: AtomicU64::new(0), phase: AtomicU8::new(IDLE), is_known: AtomicBool::new(false) };
        let activity = Activity(Arc::new(signs));
        activity.moved();
        activity
    }

    /// Bytes have come or gone.
    pub(super) fn moved(&self) {
        self.0.moved_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// A request of it was authenticated: of idle connections it goes last.
    pub(super) fn known(&self) {
        self.0.is_known.store(true, Ordering::Relaxed);
    }

    /// A request has come; until the guard is dropped it is in hand.
    pub(super) fn begin(&self) -> InHand {
        self.0.phase.store(DECIDING, Ordering::Relaxed);
        InHand(self.clone())
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// What idle connections are ordered by, the first to go first; None if it is not idle.
    fn idle(&self) -> Option<(bool, u64)> {
        let moved_ms = self.0.moved_ms.load(Ordering::Relaxed);
        let stalled_ms = u64::try_from(STALLED.as_millis()).unwrap_or(u64::MAX);
        match self.0.phase.load(Ordering::Relaxed) {
            IDLE => Some((self.0.is_known.load(Ordering::Relaxed), moved_ms)),
            ANSWERING if self.now_ms().saturating_sub(moved_ms) > stalled_ms => Some((false, moved_ms)),
            _ => None,
        }
    }
}

/// A request that has not been answered whole.
#[derive(Debug)]
pub(super) struct InHand(Activity);

impl InHand {
    /// The answer is being sent.
    pub(super) fn answering(&self) {
        self.0.0.phase.store(ANSWERING, Ordering::Relaxed);
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.0.phase.store(IDLE, Ordering::Relaxed);
        self.0.moved();
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const LIMITS: Limits = Limits { all: 4, origin: 3, reserve: 1 };

    fn from(last: u8) -> Origin {
        Origin::Address(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }

    fn is_evicted(place: &Place) -> bool {
        place.evicted.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn the_idlest_goes_first_and_whoever_showed_a_key_last() {
        let places = Places::new(LIMITS);
        let mut held = Vec::new();
        for number in 0..4 {
            held.push(places.enter(from(number)).unwrap());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        held[0].activity.known();
        let fifth = places.enter(from(9)).unwrap();
        let gone: Vec<bool> = held.iter().map(is_evicted).collect();
        assert_eq!((gone, fifth.reserved), (vec![false, true, false, false], false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_can_take_only_its_own_part() {
        let places = Places::new(LIMITS);
        let other = places.enter(from(1)).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        let flood: Vec<Place> = (0..20).map(|_| places.enter(from(2)).unwrap()).collect();
        assert!(!is_evicted(&other), "the idlest of all, but not one of the address that is over");
        assert_eq!(flood.iter().filter(|place| !is_evicted(place)).count(), LIMITS.origin);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_hand_keep_their_places_and_the_reserve_is_left_for_whoever_stops_something() {
        let places = Places::new(LIMITS);
        let held: Vec<Place> = (0..4).map(|number| places.enter(from(number)).unwrap()).collect();
        let in_hand: Vec<InHand> = held.iter().map(|place| place.activity.begin()).collect();
        let reserved = places.enter(from(9)).unwrap();
        assert!(reserved.reserved && !held.iter().any(is_evicted));
        let next = places.enter(from(9)).unwrap();
        assert!(next.reserved && is_evicted(&reserved), "the reserve gives up its idle one too");
        let stopping = next.activity.begin();
        assert!(places.enter(from(9)).is_none(), "and none whose request is in hand");
        drop((stopping, in_hand));
        assert!(!places.enter(from(9)).unwrap().reserved, "once one is idle there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_is_idle_in_the_end_and_one_that_moves_is_not() {
        let places = Places::new(Limits { all: 2, origin: 2, reserve: 0 });
        let (slow, live) = (places.enter(from(1)).unwrap(), places.enter(from(1)).unwrap());
        let both = [slow.activity.begin(), live.activity.begin()];
        both.iter().for_each(InHand::answering);
        assert!(places.enter(from(1)).is_none());
        tokio::time::advance(STALLED + Duration::from_secs(1)).await;
        live.activity.moved();
        let third = places.enter(from(1)).unwrap();
        assert!(is_evicted(&slow) && !is_evicted(&live) && !third.reserved);
    }

    #[tokio::test]
    async fn a_place_is_given_back_when_its_connection_ends() {
        let places = Places::new(LIMITS);
        for _ in 0..100 {
            drop(places.enter(from(1)).unwrap());
        }
        assert_eq!(lock(&places.table).open.len(), 0);
    }
}
