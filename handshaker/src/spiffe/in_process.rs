//! An agent's identities as the service of tokio-alts, without a daemon in between.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use tokio_alts::{BoxFuture, HandshakerCall, HandshakerService, ServiceError, ServiceMessage};

use super::agent::{Agent, Source};
use super::settings::Settings;
use super::subscription::{State, Subscription};
use crate::handshaker::Handshaker;
use crate::service::Call;

/// How long the first handshake waits for the agent.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// ALTS in one process, with the identity that a SPIFFE agent gives it.
///
/// The first handshake subscribes; from then on, each one uses the identity and the authorities of its
/// time. While the agent is away, what is valid goes on until it ends.
pub struct SpiffeHandshaker {
    shared: Arc<Shared>,
}

struct Shared {
    source: Source,
    settings: Settings,
    subscription: OnceLock<Subscription>,
}

impl SpiffeHandshaker {
    /// The identity of this process, as the agent's Workload API gives it. Nothing connects yet.
    #[must_use]
    pub fn new(agent: &Agent, settings: Settings) -> Self {
        let (source, subscription) = (agent.workload(), OnceLock::new());
        Self { shared: Arc::new(Shared { source, settings, subscription }) }
    }

    /// Whether there is an identity that peers can believe. The first call in a tokio runtime subscribes,
    /// and knows nothing bad yet.
    ///
    /// # Errors
    /// Why there is none.
    pub fn check(&self) -> Result<(), String> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Ok(());
        }
        let state = self.shared.subscription().state();
        if !state.is_settled() || !valid(&state).is_empty() {
            return Ok(());
        }
        Err(why_none(&state))
    }
}

impl HandshakerService for SpiffeHandshaker {
    fn open(&self) -> Box<dyn HandshakerCall> {
        let state = Progress::Waiting(Arc::clone(&self.shared));
        Box::new(InProcess { state, began: Instant::now() })
    }

    fn address(&self) -> &str {
        self.shared.source.address()
    }
}

impl fmt::Debug for SpiffeHandshaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpiffeHandshaker")
            .field("agent", &self.shared.source.address())
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn subscription(&self) -> &Subscription {
        let begin = || Subscription::begin(self.source.clone(), self.settings.clone());
        self.subscription.get_or_init(begin)
    }

    /// The call with what is known now, or in a while.
    async fn begin(&self) -> Result<Call, ServiceError> {
        let failed = |why: String| ServiceError::new(self.source.address(), why);
        let state = self.subscription().settled(FIRST_ANSWER).await;
        let valid = valid(&state);
        let Some(first) = valid.first() else { return Err(failed(why_none(&state))) };
        Call::choosing(first.limits(), valid.iter().map(named), Duration::ZERO)
            .map_err(|failure| failed(failure.details().to_owned()))
    }
}

/// Those whose certificates have not ended.
fn valid(state: &State) -> Vec<Handshaker> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    state.handshakers().iter().filter(|own| own.expires() > now).cloned().collect()
}

fn why_none(state: &State) -> String {
    match (state.problem(), state.handshakers().is_empty()) {
        (Some(why), true) => why.to_owned(),
        (Some(why), false) => format!("the certificate has expired; {why}"),
        (None, true) => "the SPIFFE agent does not answer".to_owned(),
        (None, false) => "the certificate has expired".to_owned(),
    }
}

fn named(own: &Handshaker) -> (String, Handshaker) {
    (own.subject().default_account().unwrap_or_default().to_owned(), own.clone())
}

/// One dialogue; its clock starts with it.
struct InProcess {
    state: Progress,
    began: Instant,
}

enum Progress {
    Waiting(Arc<Shared>),
    Begun(Call),
}

impl HandshakerCall for InProcess {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        Box::pin(async move {
            if let Progress::Waiting(shared) = &self.state {
                self.state = Progress::Begun(shared.begin().await?);
                self.began = Instant::now();
            }
            let Progress::Begun(call) = &mut self.state else { return Ok(None) };
            // As over gRPC: the dialogue has ended right behind the result.
            let over = call.is_finished();
            Ok((!over).then(|| call.handle(&request, self.began.elapsed()).encode()))
        })
    }
}
