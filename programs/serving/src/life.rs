//! The phases of a program's life: its tasks keep an eye on them.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new connections, and the existing ones come to their end.
    Draining,
    /// Connections that are still open have to go.
    Over,
}

/// Decides about the phases.
#[derive(Debug)]
pub struct Life {
    phase: watch::Sender<Phase>,
}

/// Follows the phases; [`Life`] waits for it as long as it exists.
#[derive(Clone, Debug)]
pub struct Alive {
    phase: watch::Receiver<Phase>,
}

impl Default for Life {
    fn default() -> Self {
        Self { phase: watch::Sender::new(Phase::Serving) }
    }
}

impl Life {
    /// For somebody who is to be waited for.
    #[must_use]
    pub fn alive(&self) -> Alive {
        Alive { phase: self.phase.subscribe() }
    }

    /// Whether new work may begin.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        *self.phase.borrow() == Phase::Serving
    }

    /// Ends all that there is: gently for the time of `grace`, then at once. Returns whether all
    /// had ended by themselves.
    pub async fn end(&self, grace: Duration) -> bool {
        self.phase.send_replace(Phase::Draining);
        let ended = timeout(grace, self.phase.closed()).await.is_ok();
        if !ended {
            self.phase.send_replace(Phase::Over);
            // They do no more than to write a line.
            let _ = timeout(Duration::from_secs(1), self.phase.closed()).await;
        }
        ended
    }
}

impl Alive {
    /// Waits until no new work is to begin.
    pub async fn draining(&mut self) {
        self.reached(Phase::Draining).await;
    }

    /// Waits until everything is to end at once.
    pub async fn over(&mut self) {
        self.reached(Phase::Over).await;
    }

    async fn reached(&mut self, wanted: Phase) {
        // An error would mean that the program is gone: a reason to end too.
        let _ = self.phase.wait_for(|phase| *phase >= wanted).await;
    }
}
