//! What keeps a flood of events from being a flood of lines.

use core::time::Duration;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// How often the same is said, at most.
const QUIET: Duration = Duration::from_secs(1);

/// Lets a line through every now and then: a flood must not flood the log too. Clones count
/// together.
#[derive(Clone, Debug)]
pub struct Throttle {
    began: Instant,
    /// When a line was let through last, in milliseconds since `began`.
    said: Arc<AtomicU64>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { began: Instant::now(), said: Arc::default() }
    }
}

impl Throttle {
    /// Whether a line may be written now.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        // One more than the time that has passed, so that zero is "never".
        let now =
            u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let said = self.said.load(Ordering::Relaxed);
        (said == 0 || now.saturating_sub(said) >= quiet)
            && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
