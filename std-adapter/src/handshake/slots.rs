//! Slots and places: how many handshakes may ask the service at once, how many may be under way, and
//! which of them make room.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// How long a peer may keep its handshake waiting before that one has to make room for another.
const PATIENCE: Duration = Duration::from_millis(300);
/// An acceptor's places for each of its slots. With the default of 100 slots these are 400, and an
/// altsd allows one caller 512 handshakes at once.
const PLACES: usize = 4;

/// The slots and places of a connector or an acceptor.
///
/// A handshake has a place from its first request to its end, and a slot only while the service is
/// asked. So peers that do not send keep places, of which there are many, but no slot.
pub(crate) struct Slots {
    requests: Semaphore,
    places: Semaphore,
    /// Whether holders that wait for their peers make room.
    give_way: bool,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    next: u64,
    by_number: BTreeMap<u64, Holder>,
}

#[derive(Default)]
struct Holder {
    /// When the wait for the peer began, and when its patience ends.
    waits: Option<(Instant, Instant)>,
    makes_room: bool,
    waker: Option<Waker>,
}

/// The handshake has to make room: it has waited for its peer, and others wait for a place.
pub(super) struct MakeRoom {
    /// How long it has waited.
    pub(super) waited: Duration,
}

impl Slots {
    /// Those of a connector, whose handshakes never make room: it has chosen its peers.
    pub(crate) fn of_a_client(count: usize) -> Self {
        Self::new(count, count, false)
    }

    /// Those of an acceptor: a handshake that waits for a place is given that of the one that has
    /// waited longest for its peer.
    pub(crate) fn of_a_server(count: usize) -> Self {
        Self::new(count, count.saturating_mul(PLACES), true)
    }

    fn new(slots: usize, places: usize, give_way: bool) -> Self {
        let semaphore = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        let (requests, places) = (semaphore(slots), semaphore(places));
        Self { requests, places, give_way, holders: Mutex::default() }
    }

    /// Waits for a place, in turn.
    pub(super) async fn enter(&self) -> Place<'_> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => self.wait().await,
        };
        let mut holders = self.holders();
        let number = holders.next;
        holders.next = number.wrapping_add(1);
        holders.by_number.insert(number, Holder::default());
        drop(holders);
        Place { of: self, number, _permit: permit }
    }

    async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let mut permit = pin!(self.places.acquire());
        if !self.give_way {
            return permit.await.ok();
        }
        // Each one that waits makes one other go: no more than are needed. A place that is free goes to
        // the handshake that has waited longest.
        loop {
            let now = Instant::now();
            let again = match self.ask_for_room(now) {
                Asked::Yes => break,
                // A handshake that begins to wait for its peer now may do so at least that long.
                Asked::NotBefore(earliest) => earliest.min(now + PATIENCE),
                Asked::Nobody => now + PATIENCE,
            };
            if let Ok(permit) = timeout_at(again, permit.as_mut()).await {
                return permit.ok();
            }
        }
        // An error would mean that the semaphore is closed, which never happens.
        permit.await.ok()
    }

    /// Asks the holder that has waited longest for its peer, beyond its patience, to make room.
    fn ask_for_room(&self, now: Instant) -> Asked {
        let mut holders = self.holders();
        let waiting = holders.by_number.values_mut().filter(|holder| !holder.makes_room);
        let waiting = waiting.filter_map(|holder| holder.waits.map(|waits| (waits, holder)));
        let mut earliest = None::<Instant>;
        let mut longest = None::<(Instant, &mut Holder)>;
        for ((since, until), holder) in waiting {
            if until > now {
                earliest = Some(earliest.map_or(until, |earliest| earliest.min(until)));
            } else if longest.as_ref().is_none_or(|(other, _)| since < *other) {
                longest = Some((since, holder));
            }
        }
        match (longest, earliest) {
            (Some((_, holder)), _) => {
                holder.makes_room = true;
                if let Some(waker) = holder.waker.take() {
                    waker.wake();
                }
                Asked::Yes
            }
            (None, Some(earliest)) => Asked::NotBefore(earliest),
            (None, None) => Asked::Nobody,
        }
    }

    fn holders(&self) -> MutexGuard<'_, Holders> {
        // Nothing panics while it is held.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of asking for room.
enum Asked {
    Yes,
    /// All handshakes that wait for a peer may do so a little longer.
    NotBefore(Instant),
    /// No handshake waits for a peer.
    Nobody,
}

/// A handshake's place, free again when this is dropped.
pub(super) struct Place<'s> {
    of: &'s Slots,
    number: u64,
    _permit: Option<SemaphorePermit<'s>>,
}

impl<'s> Place<'s> {
    /// Waits for a slot, in turn. It is free again when what is returned is dropped.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'s>> {
        // An error would mean that the semaphore is closed, which never happens.
        self.of.requests.acquire().await.ok()
    }

    /// Waits for the peer, for which it has waited since `since`, as long as no other needs the place
    /// or its patience has not run out.
    pub(super) async fn wait_for_peer<F: Future>(
        &self,
        since: Instant,
        peer: F,
    ) -> Result<F::Output, MakeRoom> {
        let mut peer = pin!(peer);
        self.with(|holder| holder.waits = Some((since, since + PATIENCE)));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(done) = peer.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let makes_room = self.with(|holder| {
                if !holder.makes_room {
                    holder.waker = Some(cx.waker().clone());
                }
                holder.makes_room
            });
            if makes_room == Some(true) {
                return Poll::Ready(Err(MakeRoom { waited: since.elapsed() }));
            }
            Poll::Pending
        })
        .await;
        self.with(|holder| (holder.waits, holder.waker) = (None, None));
        outcome
    }

    fn with<T>(&self, act: impl FnOnce(&mut Holder) -> T) -> Option<T> {
        self.of.holders().by_number.get_mut(&self.number).map(act)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.of.holders().by_number.remove(&self.number);
    }
}
