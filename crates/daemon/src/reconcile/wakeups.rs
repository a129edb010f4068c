//! What wakes reconcilers after a commit: which streams it touched, by kind. Nothing here is the truth: the owed index is.
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use strum::{EnumCount, IntoEnumIterator};
use tenure_core::aggregate::Stream;
use tenure_core::draft::Decision;
use tenure_core::facts::Counter;
use tenure_core::owed::Kind;
use tenure_core::row::Row;
use tokio::sync::Notify;

/// Streams that are told apart; beyond, all count as touched.
const STREAMS_MAX: usize = 1024;

/// One waker a kind.
#[derive(Clone, Default)]
pub struct Wakeups(Arc<[Waker; Kind::COUNT]>);

#[derive(Default)]
struct Waker {
    notify: Notify,
    /// Held for microseconds, never across an await.
    woken: Mutex<Woken>,
}

/// What was touched since the reconciler looked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Woken {
    all: bool,
    streams: HashSet<Stream>,
}

impl Woken {
    pub(super) fn all() -> Woken {
        Woken { all: true, streams: HashSet::new() }
    }

    pub(super) fn touches(&self, stream: Stream) -> bool {
        self.all || self.streams.contains(&stream)
    }
}

impl Wakeups {
    /// After COMMIT: whatever is owed anew, or no more, wakes its reconciler for that stream alone.
    pub fn committed(&self, decision: &Decision) {
        for (stream, owed) in decision.owes.iter().chain(&decision.owes_no_more) {
            self.notify(owed.obligation.kind(), *stream);
        }
        let freed = |row: &Row| matches!(row, Row::Counted { counter: Counter::Bound, by: ..0, .. });
        if decision.rows.iter().any(freed) {
            self.notify_kind(Kind::Place);
        }
    }

    pub fn notify(&self, kind: Kind, stream: Stream) {
        let waker = &self.0[kind as usize];
        let mut woken = waker.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if woken.streams.len() < STREAMS_MAX {
            woken.streams.insert(stream);
        } else {
            *woken = Woken::all();
        }
        drop(woken);
        waker.notify.notify_one();
    }

    /// Everything of a kind is worth another look.
    pub fn notify_kind(&self, kind: Kind) {
        let waker = &self.0[kind as usize];
        *waker.woken.lock().unwrap_or_else(PoisonError::into_inner) = Woken::all();
        waker.notify.notify_one();
    }

    pub fn notify_all(&self) {
        Kind::iter().for_each(|kind| self.notify_kind(kind));
    }

    /// Resolves once something of this kind was touched.
    pub(super) async fn woken(&self, kind: Kind) -> Woken {
        let waker = &self.0[kind as usize];
        waker.notify.notified().await;
        std::mem::take(&mut *waker.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tenure_core::id::{ExecutionId, Mint};
    use tenure_core::time::Time;

    #[tokio::test]
    async fn a_wake_up_touches_its_own_stream_and_kind_alone_until_there_are_too_many() {
        let wakeups = Wakeups::default();
        let stream = |seed| Stream::Execution(ExecutionId::mint(&mut Mint::new(Time::from_millis(1), seed)));
        wakeups.notify(Kind::Think, stream(1));
        let woken = wakeups.woken(Kind::Think).await;
        assert!(woken.touches(stream(1)) && !woken.touches(stream(2)));
        for seed in 0..=STREAMS_MAX as u128 {
            wakeups.notify(Kind::Think, stream(seed));
        }
        assert_eq!(wakeups.woken(Kind::Think).await, Woken::all());
        assert!(wakeups.0[Kind::Place as usize].woken.lock().unwrap().streams.is_empty());
    }
}
