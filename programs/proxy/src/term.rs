//! When a connection is due, and when it is over: its age, the ends of certificates, and rules that no
//! longer admit it.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use alts_serving::life::Alive;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_alts::{AltsContext, ConnectionEnd};

use crate::client::Client;
use crate::config::Security;
use crate::listener::Listener;
use crate::outcome::Why;
use crate::route;
use crate::socket::FOREVER;

/// Until when a request, or what a connection was upgraded to, may go on.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// The life of the proxy.
    pub alive: Alive,
    /// That of the client's connection.
    pub term: Term,
}

/// When a client's connection is due, and when it is over. Clones are about the same connection.
#[derive(Clone)]
pub struct Term {
    ends: Vec<ConnectionEnd>,
    grace: Duration,
    client: Arc<Client>,
    /// What it has begun with, and what its listener has become.
    began: Arc<Listener>,
    now: watch::Receiver<Arc<Listener>>,
    /// The account of the server that it goes to, if it has one for itself.
    server: Option<Arc<AltsContext>>,
}

impl fmt::Debug for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Term {
    /// That of a connection that begins now, of which the handshake has proved this.
    #[must_use]
    pub fn new(
        client: &Arc<Client>,
        began: &Arc<Listener>,
        now: watch::Receiver<Arc<Listener>>,
        context: Option<&AltsContext>,
    ) -> Self {
        let age = &began.settings.age;
        Self {
            ends: vec![age.end(context)],
            grace: age.grace.min(FOREVER),
            client: Arc::clone(client),
            began: Arc::clone(began),
            now,
            server: None,
        }
    }

    /// The same, for a connection to a server that is for it alone.
    #[must_use]
    pub fn and_to(mut self, server: Option<&Arc<AltsContext>>) -> Self {
        self.ends.push(self.began.upstream.settings().age.end(server.map(Arc::as_ref)));
        self.server = server.cloned();
        self
    }

    /// Waits until the connection is due.
    pub async fn due(self) -> Why {
        let first = self.ends.iter().filter(|end| end.due_at().is_some());
        let first = first.min_by_key(|end| end.due_at()).copied();
        tokio::select! {
            reason = async { first.unwrap_or_default().due().await } => reason.into(),
            () = self.excluded() => Why::Rules,
        }
    }

    /// Waits until it is over.
    pub async fn over(self) -> Why {
        let first = self.ends.iter().filter(|end| end.over_at().is_some());
        let first = first.min_by_key(|end| end.over_at()).copied();
        let grace = self.grace;
        tokio::select! {
            reason = async { first.unwrap_or_default().over().await } => reason.into(),
            () = async { self.excluded().await; sleep(grace).await } => Why::Rules,
        }
    }

    /// Waits until the rules of its listener, as they are then, no longer admit it.
    async fn excluded(self) {
        let Self { mut now, client, began, server, .. } = self;
        let is_excluded = |now: &Arc<Listener>| !admits(&client, &began, now, server.as_deref());
        if now.wait_for(is_excluded).await.is_err() {
            // The listener is gone, and its rules with it: the connection keeps what it began with.
            pending::<()>().await;
        }
    }
}

/// Whether a listener, as it is now, admits a connection that has begun with other rules.
fn admits(
    client: &Client,
    began: &Arc<Listener>,
    now: &Arc<Listener>,
    server: Option<&AltsContext>,
) -> bool {
    if Arc::ptr_eq(began, now) {
        return true;
    }
    let (old, new) = (&began.settings, &now.settings);
    let account = client.account();
    let is_client_admitted = match (&new.security, &new.callers) {
        (Security::Alts(alts), _) => account.is_some_and(|account| alts.peers.contains(account)),
        (Security::Plain, None) => true,
        (Security::Plain, Some(allowed)) => {
            let is_among = |caller| allowed.iter().any(|one| one.is(caller));
            client.known_caller().is_some_and(is_among)
        }
    };
    // Another upstream is for new connections. The same one may have other rules.
    let is_server_expected = old.upstream != new.upstream
        || server.is_none_or(|server| {
            now.upstream.settings().security.admits(server.peer_service_account())
        });
    is_client_admitted
        && is_server_expected
        && !route::is_narrower(&old.routes, &new.routes, account)
}
