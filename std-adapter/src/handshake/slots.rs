//! Slots and places: how many handshakes may ask the service at once, how many may be under way, and
//! which of them make room.

use std::pin::pin;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;

use super::crowd::{Asked, Crowd, Member};

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
    crowd: Crowd,
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
        Self { requests, places, give_way, crowd: Crowd::default() }
    }

    /// Waits for a place, in turn.
    pub(super) async fn enter(&self) -> Place<'_> {
        let permit = match self.places.try_acquire() {
            Ok(permit) => Some(permit),
            Err(_) => self.wait().await,
        };
        let member = self.crowd.join(None);
        // Without its first frame nobody gets here.
        member.began_well();
        Place { of: self, member, _permit: permit }
    }

    async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let mut permit = pin!(self.places.acquire());
        if !self.give_way {
            return permit.await.ok();
        }
        // Each one that waits makes one other go: no more than are needed. A place that is free goes to
        // the handshake that has waited longest.
        loop {
            let again = match self.crowd.ask_for_room() {
                Asked::Yes => break,
                Asked::NotBefore(again) => again,
            };
            if let Ok(permit) = timeout_at(again, permit.as_mut()).await {
                return permit.ok();
            }
        }
        // An error would mean that the semaphore is closed, which never happens.
        permit.await.ok()
    }
}

/// A handshake's place, free again when this is dropped.
pub(super) struct Place<'s> {
    of: &'s Slots,
    /// As one that can make room for another.
    pub(super) member: Member<'s>,
    _permit: Option<SemaphorePermit<'s>>,
}

impl<'s> Place<'s> {
    /// Waits for a slot, in turn. It is free again when what is returned is dropped.
    pub(super) async fn slot(&self) -> Option<SemaphorePermit<'s>> {
        // An error would mean that the semaphore is closed, which never happens.
        self.of.requests.acquire().await.ok()
    }
}
