//! Handshakes that share what is scarce, and which of them makes room for another: the one that has
//! waited longest for its peer.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

/// How long a peer may keep its handshake waiting before that one has to make room for another.
const PATIENCE: Duration = Duration::from_millis(300);

/// Handshakes that share what is scarce.
#[derive(Default)]
pub(crate) struct Crowd(Mutex<Members>);

#[derive(Default)]
struct Members {
    next: u64,
    by_number: BTreeMap<u64, State>,
}

#[derive(Default)]
struct State {
    /// When the wait for the peer began, and when its patience ends.
    waits: Option<(Instant, Instant)>,
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

impl Crowd {
    /// One more handshake, until what is returned is dropped.
    pub(super) fn join(&self) -> Member<'_> {
        let mut members = self.members();
        let number = members.next;
        members.next = number.wrapping_add(1);
        members.by_number.insert(number, State::default());
        Member { of: self, number }
    }

    /// Asks the one that has waited longest for its peer, beyond its patience, to make room.
    pub(crate) fn ask_for_room(&self) -> Asked {
        let now = Instant::now();
        let mut members = self.members();
        let staying = members.by_number.values_mut().filter(|member| !member.makes_room);
        let waiting = staying.filter_map(|member| member.waits.map(|waits| (waits, member)));
        // One that begins to wait for its peer now may do so at least that long.
        let mut earliest = now + PATIENCE;
        let mut longest = None::<(Instant, &mut State)>;
        for ((since, until), member) in waiting {
            if until > now {
                earliest = earliest.min(until);
            } else if longest.as_ref().is_none_or(|(other, _)| since < *other) {
                longest = Some((since, member));
            }
        }
        let Some((_, member)) = longest else { return Asked::NotBefore(earliest) };
        member.makes_room = true;
        if let Some(waker) = member.waker.take() {
            waker.wake();
        }
        Asked::Yes
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
        self.with(|state| state.waits = Some((since, since + PATIENCE)));
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

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.of.members().by_number.get_mut(&self.number).map(act)
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        self.of.members().by_number.remove(&self.number);
    }
}
