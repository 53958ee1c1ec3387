//! The SPIFFE agent as it is written in the configuration: `[spiffe]`.

use alts_core::account::AccountPattern;
use alts_handshaker::files::Terms;
use alts_handshaker::spiffe::{Agent, Settings, TrustDomain};
use serde::Deserialize;

/// The agent that identities are asked of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeSettings {
    /// Its address, `unix:/path`.
    pub agent: String,
    /// How it is asked.
    pub api: Api,
    /// For the Broker API: where this daemon has its own identity from, and who the agent has to be.
    pub broker: Option<(String, AccountPattern<String>)>,
    /// The trust domains whose members are accepted besides those of the caller's own.
    pub federated: Vec<TrustDomain>,
    /// What holds whichever bundle vouches for a peer.
    pub terms: Terms,
    /// Where it was written.
    pub place: String,
}

/// How an agent is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// SPIRE's Delegated Identity API, at the agent's admin socket: for the process that calls.
    #[default]
    Delegated,
    /// The SPIFFE Broker API: for the process that calls.
    Broker,
    /// The SPIFFE Workload API: this daemon's own identity, whoever calls.
    Workload,
}

impl SpiffeSettings {
    /// What holds for every identity.
    pub(crate) fn settings(&self) -> Settings {
        let terms = self.terms.clone();
        Settings::new()
            .federated(self.federated.clone())
            .denying(self.terms.denied.clone())
            .finish(move |builder| terms.apply(builder))
    }
}

/// `[spiffe]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSpiffe {
    agent: String,
    #[serde(default)]
    api: Api,
    workload_api: Option<String>,
    agent_id: Option<String>,
    #[serde(default)]
    federated: Vec<String>,
}

impl RawSpiffe {
    /// What is meant.
    pub(crate) fn read(self, terms: &Terms, place: String) -> Result<SpiffeSettings, String> {
        let Self { agent, api, workload_api, agent_id, federated } = self;
        Agent::at(&agent).map_err(|why| why.to_string())?;
        let broker = match (api, workload_api, agent_id) {
            (Api::Broker, Some(workload_api), Some(id)) => {
                Agent::at(&workload_api).map_err(|why| format!("workload_api: {why}"))?;
                let id = id.parse().map_err(|why| format!("agent_id: {id:?} is {why}"))?;
                Some((workload_api, id))
            }
            (Api::Broker, _, _) => {
                return Err("the Broker API wants to know who asks, and an attacker could take the agent's \
                            place: set workload_api, the socket from which this daemon has its own identity, \
                            and agent_id, such as \"spiffe://prod.example/spire/agent/*\""
                    .to_owned());
            }
            (_, None, None) => None,
            _ => return Err("workload_api and agent_id are only for api = \"broker\"".to_owned()),
        };
        let domain = |name: String| name.parse().map_err(|why| format!("federated: {why}"));
        let federated = federated.into_iter().map(domain).collect::<Result<_, _>>()?;
        Ok(SpiffeSettings { agent, api, broker, federated, terms: terms.clone(), place })
    }
}
