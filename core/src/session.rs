//! The session: where a handshake and the record layer meet.

use core::fmt;

use crate::aead::Aead;
use crate::context::AltsContext;
use crate::handshake::Established;
use crate::key::{SETUP_STACK, wiping_stack};
use crate::record::{Opener, RecordError, Sealer};

/// A connection whose handshake is done: a [`Sealer`], an [`Opener`], and what is known of the
/// peer.
///
/// The two halves share nothing: [`into_parts`](Self::into_parts) hands them to different tasks.
pub struct Session<A> {
    /// What this side writes.
    pub sealer: Sealer<A>,
    /// What this side reads.
    pub opener: Opener<A>,
    context: AltsContext,
}

impl<A: Aead> Session<A> {
    /// The session that a handshake has established, with the AEAD provider `A`.
    ///
    /// The key is wiped once both halves have theirs.
    ///
    /// # Errors
    /// [`RecordError::Provider`] when the provider cannot set up a key.
    pub fn new(established: Established) -> Result<Self, RecordError> {
        let Established { side, key, frame_size, context, .. } = established;
        // The halves and the context are moved to where they belong, and leave copies on their way.
        wiping_stack::<{ 2 * SETUP_STACK }, _>(|| {
            Ok(Self {
                sealer: Sealer::new(side, &key, frame_size)?,
                opener: Opener::new(side, &key)?,
                context,
            })
        })
    }
}

impl<A> Session<A> {
    /// What is known of the peer and the connection.
    #[must_use]
    pub const fn context(&self) -> &AltsContext {
        &self.context
    }

    /// The halves, and what is known of the peer.
    #[must_use]
    pub fn into_parts(self) -> (Sealer<A>, Opener<A>, AltsContext) {
        (self.sealer, self.opener, self.context)
    }
}

impl<A> fmt::Debug for Session<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("sealer", &self.sealer)
            .field("opener", &self.opener)
            .field("context", &self.context)
            .finish()
    }
}
