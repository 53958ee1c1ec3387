//! The phases of a program's life: its tasks keep an eye on them.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    /// No new connections, and the existing ones come to their end.
    Draining,
    /// Connections that are still open have to go.
    Over,
}

/// Decides about the phases.
#[derive(Debug)]
pub struct Life {
    stage: watch::Sender<Stage>,
}

/// Follows the phases; [`Life`] waits for it as long as it exists.
#[derive(Clone, Debug)]
pub struct Alive {
    stage: watch::Receiver<Stage>,
}

impl Default for Life {
    fn default() -> Self {
        Self { stage: watch::Sender::new(Stage::Serving) }
    }
}

impl Life {
    /// For somebody who is to be waited for.
    #[must_use]
    pub fn alive(&self) -> Alive {
        Alive { stage: self.stage.subscribe() }
    }

    /// Whether new work may begin.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        *self.stage.borrow() == Stage::Serving
    }

    /// Ends all that there is: gently for the time of `grace`, then at once. Returns whether all
    /// had ended by themselves.
    pub async fn end(&self, grace: Duration) -> bool {
        self.stage.send_replace(Stage::Draining);
        let ended = timeout(grace, self.stage.closed()).await.is_ok();
        if !ended {
            self.stage.send_replace(Stage::Over);
            // They do no more than to write a line.
            let _ = timeout(Duration::from_secs(1), self.stage.closed()).await;
        }
        ended
    }
}

impl Alive {
    /// Waits until no new work is to begin.
    pub async fn draining(&mut self) {
        self.reached(Stage::Draining).await;
    }

    /// Waits until everything is to end at once.
    pub async fn over(&mut self) {
        self.reached(Stage::Over).await;
    }

    /// Whether everything is to end at once.
    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.stage.borrow() == Stage::Over
    }

    async fn reached(&mut self, wanted: Stage) {
        // An error would mean that the program is gone: a reason to end too.
        let _ = self.stage.wait_for(|stage| *stage >= wanted).await;
    }
}
