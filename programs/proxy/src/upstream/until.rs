//! When a connection to an upstream is due, and when it is over: its age, the ends of certificates, and
//! accounts that are no longer expected.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_alts::{AltsContext, ConnectionEnd};

use crate::config::{Age, Security};
use crate::outcome::Why;
use crate::socket::FOREVER;

/// What is expected of an upstream's servers, whichever that will be; none: not said yet.
pub type Rules = Option<Security>;

/// When one connection is due and over. Clones are about the same one.
#[derive(Clone, Debug)]
pub struct Until {
    end: ConnectionEnd,
    grace: Duration,
    context: Option<Arc<AltsContext>>,
    rules: watch::Receiver<Rules>,
}

impl Until {
    /// That of a connection which begins now, and of which the handshake has proved this.
    #[must_use]
    pub fn new(
        age: &Age,
        context: Option<&Arc<AltsContext>>,
        rules: watch::Receiver<Rules>,
    ) -> Self {
        let end = age.end(context.map(Arc::as_ref));
        Self { end, grace: age.grace.min(FOREVER), context: context.cloned(), rules }
    }

    /// Whether the connection takes no more requests.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.end.due_at().is_some_and(|due| due <= Instant::now())
            || is_excluded(self.context.as_deref(), &self.rules.borrow())
    }

    /// Waits until the connection is over.
    pub async fn over(self) -> Why {
        let Self { end, grace, context, mut rules } = self;
        tokio::select! {
            reason = end.over() => reason.into(),
            () = async {
                let excluded = |rules: &Rules| is_excluded(context.as_deref(), rules);
                if rules.wait_for(excluded).await.is_err() {
                    pending::<()>().await;
                }
                sleep(grace).await;
            } => Why::Rules,
        }
    }
}

fn is_excluded(context: Option<&AltsContext>, rules: &Rules) -> bool {
    let account = context.map(AltsContext::peer_service_account);
    account.zip(rules.as_ref()).is_some_and(|(account, rules)| !rules.admits(account))
}
