//! What differs between the two sides of a handshake: the start message, and which peer is expected.

use core::time::Duration;

use crate::handshake::config::{ClientConfig, HandshakeConfigError, Offer, ServerConfig};
use crate::key::RecordProtocol;
use crate::msg::{
    HandshakeProtocol, Identity, List, Map, Request, ServerHandshakeParameters,
    StartClientHandshakeReq, StartServerHandshakeReq, TransportProtocolPreferences, capacity,
};
use crate::side::Side;

/// The client's part in a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Client<'c>(pub(super) &'c ClientConfig<'c>);

/// The server's part in a handshake.
#[derive(Clone, Copy, Debug)]
pub struct Server<'c>(pub(super) &'c ServerConfig<'c>);

/// One side's part in a handshake: [`Client`] or [`Server`].
pub trait Role: sealed::Role {}

impl Role for Client<'_> {}
impl Role for Server<'_> {}

mod sealed {
    use super::{Duration, HandshakeConfigError, Offer, Request, Side};

    pub trait Role {
        const SIDE: Side;

        /// What was offered.
        fn offer(&self) -> &Offer<'_>;

        /// How long the handshake may take.
        fn timeout(&self) -> Duration;

        /// Whether the configuration can be sent.
        fn check(&self) -> Result<(), HandshakeConfigError>;

        /// The first request, without bytes of the peer.
        fn start(&self) -> Request<'_>;

        /// Whether the peer may have this service account.
        fn expects(&self, account: &str) -> bool;
    }
}

impl sealed::Role for Client<'_> {
    const SIDE: Side = Side::Client;

    fn offer(&self) -> &Offer<'_> {
        &self.0.offer
    }

    fn timeout(&self) -> Duration {
        self.0.timeout
    }

    fn check(&self) -> Result<(), HandshakeConfigError> {
        self.0.check()
    }

    fn start(&self) -> Request<'_> {
        let ClientConfig { offer, expected_peer, .. } = self.0;
        Request::ClientStart(StartClientHandshakeReq {
            handshake_security_protocol: HandshakeProtocol::ALTS,
            application_protocols: list(offer.application_protocols.iter().copied()),
            record_protocols: record_protocols(offer),
            target_identities: identities(expected_peer.accounts()),
            local_identity: self.0.local_identity.map(Identity::from_service_account),
            local_endpoint: offer.local_endpoint.clone(),
            remote_endpoint: offer.remote_endpoint.clone(),
            target_name: self.0.target_name,
            rpc_versions: Some(offer.rpc_versions),
            max_frame_size: offer.max_frame_size.bytes(),
            access_token: self.0.access_token,
            transport_protocol_preferences: transport_protocols(offer),
        })
    }

    fn expects(&self, account: &str) -> bool {
        self.0.expected_peer.admits(account)
    }
}

impl sealed::Role for Server<'_> {
    const SIDE: Side = Side::Server;

    fn offer(&self) -> &Offer<'_> {
        &self.0.offer
    }

    fn timeout(&self) -> Duration {
        self.0.timeout
    }

    fn check(&self) -> Result<(), HandshakeConfigError> {
        self.0.check()
    }

    fn start(&self) -> Request<'_> {
        let offer = &self.0.offer;
        let parameters = ServerHandshakeParameters {
            record_protocols: record_protocols(offer),
            local_identities: identities(self.0.local_identities),
            token: self.0.token,
        };
        Request::ServerStart(StartServerHandshakeReq {
            application_protocols: list(offer.application_protocols.iter().copied()),
            handshake_parameters: Map::from([(HandshakeProtocol::ALTS, parameters)]),
            in_bytes: &[],
            local_endpoint: offer.local_endpoint.clone(),
            remote_endpoint: offer.remote_endpoint.clone(),
            rpc_versions: Some(offer.rpc_versions),
            max_frame_size: offer.max_frame_size.bytes(),
            transport_protocol_preferences: transport_protocols(offer),
        })
    }

    fn expects(&self, _: &str) -> bool {
        // Which clients are served is up to the application, which has the context.
        true
    }
}

fn record_protocols<'c>(offer: &Offer<'c>) -> List<&'c str, { capacity::PROTOCOLS }> {
    list(offer.record_protocols.iter().copied().map(RecordProtocol::name))
}

fn identities<'c, const N: usize>(accounts: &[&'c str]) -> List<Identity<'c>, N> {
    list(accounts.iter().copied().map(Identity::from_service_account))
}

fn transport_protocols<'c>(offer: &Offer<'c>) -> Option<TransportProtocolPreferences<'c>> {
    (!offer.transport_protocols.is_empty()).then(|| TransportProtocolPreferences {
        transport_protocol: list(offer.transport_protocols.iter().copied()),
    })
}

/// As many of the items as there is room for: the configuration was checked to have no more.
fn list<T, const N: usize>(items: impl Iterator<Item = T>) -> List<T, N> {
    // In place: a `Result` of a list is a second list on the stack.
    let mut list = List::new();
    for item in items.take(N) {
        let _ = list.push(item);
    }
    list
}
