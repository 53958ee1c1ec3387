//! Asks a SPIFFE agent for the identities of the processes that call, and keeps what it says.
//!
//! Each process that the policy gives `{spiffe}` is asked for by its number, and held on to: see
//! [`Process`]. What the agent says is kept as long as the process has a connection here, so that there is
//! never more to keep than there are connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use alts_handshaker::Handshaker;
use alts_handshaker::spiffe::{
    self, Agent, EndpointError, Pinned, SharedSettings, Source, State, Subscription, Workload,
};
use alts_serving::process::Process;

use crate::metrics::Metrics;
use crate::spiffe::{Api, SpiffeSettings};
use crate::state::since_epoch;

/// How long a caller's first handshake waits for the agent.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// How often a known problem is reported again.
const REMIND: Duration = Duration::from_secs(6 * 60 * 60);

/// The agent, and what it has said about the processes that have connections.
#[derive(Debug)]
pub struct Broker {
    address: String,
    asked: Asked,
    settings: SharedSettings,
    /// This daemon's own, where the agent knows no other.
    own: Option<Arc<Attested>>,
    processes: Mutex<HashMap<Process, Weak<Attested>>>,
    /// When it was last said that identities are not renewed.
    said: Mutex<Option<Instant>>,
}

/// How the agent is asked.
#[derive(Debug)]
enum Asked {
    /// For whoever calls, with the Delegated Identity API.
    Delegated(Agent),
    /// For whoever calls, with the Broker API.
    Broker(spiffe::Broker),
    /// For this daemon alone: there is nothing more to ask.
    Workload,
}

/// What the agent says about one process; it is forgotten with its last connection.
#[derive(Debug)]
pub struct Attested {
    subscription: Subscription,
    /// The process, unless it is this one.
    process: Option<Process>,
}

impl Broker {
    /// Asks nothing yet, except for this daemon's own identity. It has to be called in a tokio runtime.
    ///
    /// # Errors
    /// None in practice: the address was checked when it was read.
    pub fn new(spiffe: &SpiffeSettings) -> Result<Self, EndpointError> {
        let agent = Agent::at(&spiffe.agent)?;
        let settings = SharedSettings::new(spiffe.settings());
        let (mut own, processes, said) = Default::default();
        let asked = match (spiffe.api, &spiffe.broker) {
            (Api::Broker, Some((workload_api, agent_id))) => {
                let workload_api = Agent::at(workload_api)?;
                let id = agent_id.clone();
                Asked::Broker(spiffe::Broker::at(&spiffe.agent, &workload_api, id)?)
            }
            (Api::Workload, _) => {
                let subscription = Subscription::begin(agent.workload(), settings.clone());
                own = Some(Arc::new(Attested { subscription, process: None }));
                Asked::Workload
            }
            (Api::Delegated | Api::Broker, _) => Asked::Delegated(agent),
        };
        Ok(Self { address: spiffe.agent.clone(), asked, settings, own, processes, said })
    }

    /// Uses new settings, for what is known already too.
    pub fn replace(&self, spiffe: &SpiffeSettings) {
        self.settings.replace(spiffe.settings());
    }

    /// Asks for a process, or takes what is known of it.
    ///
    /// # Errors
    /// Why it cannot be asked for.
    pub fn attest(&self, process: Option<Process>) -> Result<Arc<Attested>, String> {
        if let Some(own) = &self.own {
            return Ok(Arc::clone(own));
        }
        let process = process.ok_or(
            "the kernel does not say which process is calling, and only processes have SPIFFE \
             identities: let it connect again, to a UNIX socket if it can",
        )?;
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = processes.get(&process).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let Some(source) = self.source(process) else {
            return Err("its number is out of range".to_owned());
        };
        let subscription = Subscription::begin(source, self.settings.clone());
        let attested = Arc::new(Attested { subscription, process: Some(process) });
        processes.retain(|_, other| other.strong_count() > 0);
        processes.insert(process, Arc::downgrade(&attested));
        Ok(attested)
    }

    fn source(&self, process: Process) -> Option<Source> {
        let pid = i32::try_from(process.pid()).ok()?;
        let pinned = Pinned::new(pid, move || process.is_there());
        match &self.asked {
            Asked::Delegated(agent) => Some(agent.delegated(Workload::Process(pinned))),
            Asked::Broker(broker) => Some(broker.process(pinned)),
            Asked::Workload => None,
        }
    }

    /// Shows in the metrics and, when it is news, in the log, how it is with the agent. Called every now
    /// and then.
    pub fn show(&self, metrics: &Metrics) {
        let known: Vec<_> = {
            let processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
            self.own.iter().cloned().chain(processes.values().filter_map(Weak::upgrade)).collect()
        };
        let mut counts = [0_i64; STANDINGS.len()];
        let mut problem = None;
        for one in known {
            let state = one.subscription.state();
            let standing = Standing::of(&state);
            if let Some(count) = counts.get_mut(standing as usize) {
                *count = count.saturating_add(1);
            }
            if standing == Standing::Stale {
                problem = state.problem().map(ToOwned::to_owned);
            }
        }
        for (name, count) in STANDINGS.iter().zip(counts) {
            metrics.spiffe_processes(name, count);
        }
        let stale = counts.get(Standing::Stale as usize).copied().unwrap_or_default();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(problem) = problem else {
            if said.take().is_some() {
                tracing::info!(agent = self.address, "SPIFFE identities are renewed again");
            }
            return;
        };
        if said.is_none_or(|when| when.elapsed() >= REMIND) {
            *said = Some(Instant::now());
            tracing::warn!(
                agent = self.address,
                processes = stale,
                problem,
                "SPIFFE identities are not renewed: they are used until they end"
            );
        }
    }
}

/// How it stands with the identity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Waiting,
    Identified,
    Stale,
    Refused,
}

/// Their names in the metrics, in the order of the above.
const STANDINGS: [&str; 4] = ["waiting", "identified", "stale", "refused"];

impl Standing {
    fn of(state: &State) -> Self {
        match (state.is_settled(), state.handshakers().is_empty(), state.problem()) {
            (false, _, _) => Self::Waiting,
            (true, true, _) => Self::Refused,
            (true, false, None) => Self::Identified,
            (true, false, Some(_)) => Self::Stale,
        }
    }
}

impl Attested {
    /// Waits for the agent's first answer, for a while.
    pub async fn settled(&self) {
        self.subscription.settled(FIRST_ANSWER).await;
    }

    /// The process's accounts, each with the certificate that is for it.
    ///
    /// # Errors
    /// Why there are none, in words for the caller.
    pub fn choices(&self) -> Result<Vec<(String, Handshaker)>, String> {
        if self.process.is_some_and(|process| !process.is_there()) {
            return Err("the process that connected has ended".to_owned());
        }
        let state = self.subscription.state();
        let now = since_epoch();
        let valid = state.handshakers().iter().filter(|own| own.expires() > now);
        let choices: Vec<_> = valid
            .filter_map(|own| Some((own.subject().default_account()?.to_owned(), own.clone())))
            .collect();
        if !choices.is_empty() {
            return Ok(choices);
        }
        Err(match (state.problem(), state.handshakers().is_empty()) {
            (Some(why), true) => why.to_owned(),
            (Some(why), false) => format!("its certificate has expired; {why}"),
            (None, false) => "its certificate has expired".to_owned(),
            (None, true) => "the SPIFFE agent has not answered yet: try again".to_owned(),
        })
    }
}
