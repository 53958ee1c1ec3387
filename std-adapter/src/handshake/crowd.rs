//! Handshakes that share what is scarce, and which of them makes room for another: one that has sent
//! nothing rather than one that gets on, of a crowded address, the one that has waited longest.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How long a peer may keep its handshake waiting before that one has to make room for another.
const PATIENCE: Duration = Duration::from_millis(300);
/// The same for one that has not sent its first frame, while such peers come again and again. A client
/// needs no answer of the server's for its first frame, so distance does not count.
const LEAST_PATIENCE: Duration = Duration::from_millis(50);

/// Handshakes that share what is scarce.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<Members>);

struct Members {
    next: u64,
    by_number: BTreeMap<u64, State>,
    /// How many come from the same place.
    by_place: BTreeMap<Option<IpAddr>, usize>,
    /// How long a peer may keep its handshake waiting that has not sent its first frame.
    patience: Duration,
}

struct State {
    /// Where it comes from, if that is known.
    place: Option<IpAddr>,
    /// Whether its peer has sent a whole first frame.
    began_well: bool,
    /// When the wait for the peer began.
    waits: Option<Instant>,
    makes_room: bool,
    waker: Option<Waker>,
}

/// What came of asking for room.
pub(crate) enum Asked {
    /// One makes room.
    Yes,
    /// Nobody has waited long enough; ask again then.
    NotBefore(Instant),
}

/// The handshake has to make room: it has waited for its peer, and others wait for a place.
pub(super) struct MakeRoom {
    /// How long it has waited.
    pub(super) waited: Duration,
}

impl Default for Members {
    fn default() -> Self {
        let (by_number, by_place) = (BTreeMap::new(), BTreeMap::new());
        Self { next: 0, by_number, by_place, patience: PATIENCE }
    }
}

impl Crowd {
    /// One more handshake, with a peer at that address, until what is returned is dropped.
    pub(super) fn join(&self, from: Option<IpAddr>) -> Member<'_> {
        let mut members = self.members();
        let number = members.next;
        members.next = number.wrapping_add(1);
        let place = from.map(place);
        let count = members.by_place.entry(place).or_default();
        *count = count.saturating_add(1);
        let state = State { place, began_well: false, waits: None, makes_room: false, waker: None };
        members.by_number.insert(number, state);
        Member { of: self, number }
    }

    /// Asks one that has waited for its peer beyond its patience to make room.
    pub(crate) fn ask_for_room(&self) -> Asked {
        let now = Instant::now();
        let mut members = self.members();
        let Members { by_number, by_place, patience, .. } = &mut *members;
        // One that begins to wait for its peer now may do so at least that long.
        let mut earliest = now + *patience;
        let mut chosen = None;
        for member in by_number.values_mut().filter(|member| !member.makes_room) {
            let Some(since) = member.waits else { continue };
            let until = since + if member.began_well { PATIENCE } else { *patience };
            if until > now {
                earliest = earliest.min(until);
                continue;
            }
            let neighbours = by_place.get(&member.place).copied().unwrap_or_default();
            let rank = (!member.began_well, neighbours, Reverse(since));
            if chosen.as_ref().is_none_or(|(other, _)| rank > *other) {
                chosen = Some((rank, member));
            }
        }
        let Some((_, member)) = chosen else { return Asked::NotBefore(earliest) };
        if !member.began_well {
            *patience = (*patience * 7 / 8).max(LEAST_PATIENCE);
        }
        member.makes_room = true;
        if let Some(waker) = member.waker.take() {
            waker.wake();
        }
        Asked::Yes
    }

    /// Takes note that one more had a place without asking: patience grows again.
    #[cfg(feature = "net")]
    pub(crate) fn has_room(&self) {
        let mut members = self.members();
        members.patience = (members.patience * 8 / 7).min(PATIENCE);
    }

    /// When to ask again after one was asked that has not gone: it may be waiting for the service by now.
    #[cfg(feature = "net")]
    pub(crate) fn ask_again() -> Instant {
        Instant::now() + PATIENCE
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handshake among others.
pub(super) struct Member<'c> {
    of: &'c Crowd,
    number: u64,
}

impl Member<'_> {
    /// Waits for the peer, for which it has waited since `since`, as long as no other needs room or its
    /// patience has not run out.
    pub(super) async fn wait_for_peer<F: Future>(
        &self,
        since: Instant,
        peer: F,
    ) -> Result<F::Output, MakeRoom> {
        let mut peer = pin!(peer);
        self.with(|state| state.waits = Some(since));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(done) = peer.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let makes_room = self.with(|state| {
                if !state.makes_room {
                    state.waker = Some(cx.waker().clone());
                }
                state.makes_room
            });
            if makes_room == Some(true) {
                return Poll::Ready(Err(MakeRoom { waited: since.elapsed() }));
            }
            Poll::Pending
        })
        .await;
        self.with(|state| (state.waits, state.waker) = (None, None));
        outcome
    }

    /// Takes note that the peer has sent its first frame.
    pub(super) fn began_well(&self) {
        self.with(|state| state.began_well = true);
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.of.members().by_number.get_mut(&self.number).map(act)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut members = self.of.members();
        let Some(State { place, .. }) = members.by_number.remove(&self.number) else { return };
        if let Some(count) = members.by_place.get_mut(&place) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                members.by_place.remove(&place);
            }
        }
    }
}

/// What one client has for itself: an IPv4 address, or 64 bits of an IPv6 address.
fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}
