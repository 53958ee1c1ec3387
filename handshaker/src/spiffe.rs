//! Identities that a SPIFFE agent gives: for this process, or for another one that asks this one.
//!
//! [SPIFFE](https://spiffe.io) gives each workload of a fleet an identity, `spiffe://prod.example/web`,
//! by what an agent on its machine can attest about the process, and renews it all the time. Here, that
//! identity is the service account.
//!
//! | asked with | for | by |
//! |---|---|---|
//! | [`Agent::workload`] | this process | the SPIFFE Workload API |
//! | [`Agent::delegated`] | another process, or selectors | SPIRE's Delegated Identity API |
//! | [`Broker::process`] | another process | the SPIFFE Broker API |
//!
//! A [`Subscription`] keeps what the agent says: a new identity is used by the next handshake, and an
//! authority that is gone is trusted by none from then on. A bundle vouches for the members of its own
//! trust domain and for nobody else; those of other trust domains count where the engine federates with
//! them *and* [`Settings::federated`] names them.
//!
//! While the agent is away, what is valid goes on until it ends ([`State::problem`] says so), and when it
//! is back it is asked again, without anybody's help.
#![cfg_attr(
    feature = "tokio-alts",
    doc = "\n[`SpiffeHandshaker`] is the service of tokio-alts with the identity of this process."
)]
//!
//! No crate for SPIFFE is used: their interfaces change every few weeks, and of the three protocols only
//! four methods are needed here.

mod agent;
mod broker;
#[cfg(feature = "tokio-alts")]
mod in_process;
mod material;
mod messages;
mod settings;
mod subscription;
mod trust_domain;

pub use self::agent::{Agent, EndpointError, Pinned, Source, Workload};
pub use self::broker::Broker;
#[cfg(feature = "tokio-alts")]
pub use self::in_process::SpiffeHandshaker;
pub use self::settings::{Settings, SharedSettings};
pub use self::subscription::{State, Subscription};
pub use self::trust_domain::{TrustDomain, TrustDomainError};
