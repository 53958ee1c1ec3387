//! The SPIFFE Broker API: asked over mutual TLS, as its endpoint wants it.
//!
//! Both ends prove who they are with identities of their own, which they have from the Workload API: a
//! broker that is not expected gets nothing, and an agent that is not expected is not believed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use alts_core::account::AccountPattern;
use rustls::pki_types::{ServerName, UnixTime};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::agent::{Agent, Connection, EndpointError, Pinned, Source};
use super::settings::Settings;
use super::subscription::Subscription;
use crate::identity::{Role, Subject};

/// How long to wait for the own identity, and how long for the TLS handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// Never sent, nor looked at: the agent is known by its SPIFFE ID.
const NO_NAME: &str = "agent.invalid";

/// An agent's broker endpoint, and who is to be there.
#[derive(Clone)]
pub struct Broker {
    agent: Agent,
}

impl Broker {
    /// The endpoint at `unix:/path`. `workload_api` is where this process has its own identity from, and
    /// `provider` the SPIFFE ID that the agent has to prove: with SPIRE, that of the agent itself,
    /// `spiffe://prod.example/spire/agent/*`. Nothing connects yet, but the own identity is subscribed to,
    /// in the current tokio runtime.
    ///
    /// # Errors
    /// When the address is not the absolute path of a UNIX socket.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn at(
        address: &str,
        workload_api: &Agent,
        provider: AccountPattern<String>,
    ) -> Result<Self, EndpointError> {
        let own = Subscription::begin(workload_api.workload(), Settings::new());
        let shared = Arc::new(Mutual { own, provider });
        let dial = move |path: Arc<str>| -> Connection {
            let shared = Arc::clone(&shared);
            Box::pin(async move { shared.connect(&path).await })
        };
        Ok(Self { agent: Agent::dialled(address, Arc::new(dial))? })
    }

    /// The identity of a process.
    #[must_use]
    pub fn process(&self, process: Pinned) -> Source {
        self.agent.broker(process)
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// What both sides prove to each other.
struct Mutual {
    own: Subscription,
    provider: AccountPattern<String>,
}

impl Mutual {
    async fn connect(&self, path: &str) -> io::Result<Box<dyn super::agent::Io>> {
        let state = self.own.settled(PATIENCE).await;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let own = state.handshakers().iter().find(|own| own.expires() > now).ok_or_else(|| {
            let why = state.problem().unwrap_or("it has expired, or nobody answers");
            io::Error::other(format!("this process has no SPIFFE identity of its own: {why}"))
        })?;
        let shared = own.shared();
        let mut config = shared.exchange.client().clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(NO_NAME).map_err(io::Error::other)?;
        let stream = UnixStream::connect(path).await?;
        let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = timeout(PATIENCE, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it does not answer in TLS"))??;
        // That some authority stands behind the chain is TLS's word already.
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let now = UnixTime::since_unix_epoch(now);
        match shared.roots.subject(chain, Role::Server, now, false) {
            Ok(Subject::ServiceAccount(id)) if self.provider.matches(&id) => Ok(Box::new(stream)),
            Ok(subject) => Err(io::Error::other(format!(
                "the agent there is {subject}, and {} is expected",
                self.provider
            ))),
            Err(_) => {
                Err(io::Error::other("the agent there has no SPIFFE ID that is believed here"))
            }
        }
    }
}
