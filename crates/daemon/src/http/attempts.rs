//! Keys that are tried and are none: so many of one address, and so many times the same one. Beyond that nothing is looked up for
//! a while. What is kept is bounded; the oldest goes first.
//! Must never: keep out who is on the Unix socket, or a key that was right lately, whatever else its address tries.
use std::collections::HashMap;
use std::hash::Hash as Hashed;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tenure_core::bound::Hash;

const ADDRESSES: Limit = Limit { burst: 20, every: Duration::from_secs(3), kept: 4096 };
/// A key that was revoked and is still in use somewhere, from wherever it comes.
const KEYS: Limit = Limit { burst: 10, every: Duration::from_secs(6), kept: 4096 };
/// Keys that were right lately.
const RIGHT_MAX: usize = 1024;

/// So many failures at once, then one in each interval.
#[derive(Debug, Clone, Copy)]
struct Limit {
    burst: u32,
    every: Duration,
    /// Whose failures are kept at a time.
    kept: usize,
}

/// When each will have nothing left to answer for (GCRA).
#[derive(Debug)]
struct Failures<K> {
    limit: Limit,
    clear_at: HashMap<K, Instant>,
}

impl<K: Copy + Eq + Hashed> Failures<K> {
    fn new(limit: Limit) -> Failures<K> {
        Failures { limit, clear_at: HashMap::new() }
    }

    /// How long `who` has to wait, where it has to.
    fn wait(&self, who: &K, now: Instant) -> Option<Duration> {
        let ahead = self.clear_at.get(who)?.saturating_duration_since(now);
        // One more must fit below the burst.
        let over = (ahead + self.limit.every).saturating_sub(self.limit.every * self.limit.burst);
        (!over.is_zero()).then_some(over)
    }

    fn failed(&mut self, who: K, now: Instant) {
        if self.clear_at.len() >= self.limit.kept && !self.clear_at.contains_key(&who) {
            self.clear_at.retain(|_, clear_at| *clear_at > now);
            let oldest = self.clear_at.iter().min_by_key(|(_, clear_at)| **clear_at).map(|(who, _)| *who);
            if let Some(oldest) = oldest.filter(|_| self.clear_at.len() >= self.limit.kept) {
                self.clear_at.remove(&oldest);
            }
        }
        let clear_at = self.clear_at.entry(who).or_insert(now);
        *clear_at = (*clear_at).max(now) + self.limit.every;
    }
}

#[derive(Debug)]
struct Tried {
    addresses: Failures<IpAddr>,
    keys: Failures<Hash>,
    right: HashMap<Hash, Instant>,
    refused: u64,
}

/// Held for microseconds, never across an await.
#[derive(Debug)]
pub(super) struct Attempts(Mutex<Tried>);

impl Default for Attempts {
    fn default() -> Attempts {
        let (addresses, keys) = (Failures::new(ADDRESSES), Failures::new(KEYS));
        Attempts(Mutex::new(Tried { addresses, keys, right: HashMap::new(), refused: 0 }))
    }
}

impl Attempts {
    /// `key`: what was shown, where it has the form of one.
    ///
    /// # Errors
    /// How long to wait before anything is looked up.
    pub(super) fn admit(&self, from: IpAddr, key: Option<&Hash>, now: Instant) -> Result<(), Duration> {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if key.is_some_and(|key| tried.right.contains_key(key)) {
            return Ok(());
        }
        let waits = [tried.addresses.wait(&network(from), now), key.and_then(|key| tried.keys.wait(key, now))];
        match waits.into_iter().flatten().max() {
            None => Ok(()),
            Some(wait) => {
                tried.refused += 1;
                Err(wait)
            }
        }
    }

    pub(super) fn was_wrong(&self, from: IpAddr, key: Option<&Hash>, now: Instant) {
        let mut tried = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tried.refused += 1;
        let had_room = tried.addresses.wait(&network(from), now).is_none();
        tried.addresses.failed(network(from), now);
        if had_room && tried.addresses.wait(&network(from), now).is_some() {
            tracing::warn!(address = %from, "too many API keys that are none came from one address: it has to wait");
        }
        if let Some(key) = key {
            tried.right.remove(key);
            tried.keys.failed(*key, now);
        }
    }

    pub(super) fn was_right(&self, key: Hash, now: Instant) {
        let right = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).right;
        if right.len() >= RIGHT_MAX && !right.contains_key(&key) {
            let oldest = right.iter().min_by_key(|(_, seen)| **seen).map(|(key, _)| *key);
            oldest.map(|oldest| right.remove(&oldest));
        }
        right.insert(key, now);
    }

    /// Requests that were refused for their key since the start.
    pub(super) fn refused(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).refused
    }
}

/// Whoever has one address of IPv6 has the 2^64 beside it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn other(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn an_address_that_tries_too_much_waits_others_do_not_and_a_key_that_was_right_goes_on() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let (right, wrong) = (Hash::of(b"right"), Hash::of(b"wrong"));
        attempts.was_right(right, now);
        for tried in 0..ADDRESSES.burst {
            assert_eq!(attempts.admit(HERE, None, now), Ok(()), "the control: number {tried} is looked at");
            attempts.was_wrong(HERE, None, now);
        }
        assert_eq!(attempts.admit(HERE, Some(&wrong), now), Err(ADDRESSES.every));
        assert_eq!(attempts.admit(HERE, Some(&right), now), Ok(()), "its holder is not locked out");
        assert_eq!(attempts.admit(other(1), Some(&wrong), now), Ok(()));
        assert_eq!(attempts.admit(HERE, Some(&wrong), now + ADDRESSES.every), Ok(()), "it comes back by itself");
        attempts.was_wrong(HERE, Some(&right), now);
        assert!(attempts.admit(HERE, Some(&right), now).is_err(), "once it is revoked it is as any other");
    }

    #[test]
    fn one_dead_key_is_not_looked_up_for_ever_wherever_it_comes_from() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        let dead = Hash::of(b"dead");
        for last in 0..u8::try_from(KEYS.burst).unwrap() {
            assert_eq!(attempts.admit(other(last), Some(&dead), now), Ok(()));
            attempts.was_wrong(other(last), Some(&dead), now);
        }
        assert_eq!(attempts.admit(other(200), Some(&dead), now), Err(KEYS.every));
        assert_eq!(attempts.admit(other(200), Some(&Hash::of(b"another")), now), Ok(()));
        assert_eq!(attempts.refused(), u64::from(KEYS.burst) + 1);
    }

    #[test]
    fn what_is_kept_is_bounded_and_a_neighbour_in_a_network_of_ipv6_is_the_same() {
        let (attempts, now) = (Attempts::default(), Instant::now());
        for number in 0..10_000u32 {
            let key = Hash::of(&number.to_be_bytes());
            attempts.was_wrong(IpAddr::from(number.to_be_bytes()), Some(&key), now);
            attempts.was_right(key, now);
        }
        let tried = attempts.0.lock().unwrap();
        assert!(tried.addresses.clear_at.len() <= ADDRESSES.kept && tried.keys.clear_at.len() <= KEYS.kept);
        assert!(tried.right.len() <= RIGHT_MAX);
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.7"), other(7));
    }
}
