//! The key exchange: TLS 1.3 with certificates on both sides, bytes in and bytes out.
//!
//! # How TLS is used
//!
//! - Only TLS 1.3 (RFC 8446). No session resumption, no tickets, no early data: every handshake
//!   proves possession of both private keys anew, and nothing that was recorded can be replayed.
//! - Key exchange: X25519MLKEM768 first, then X25519 unless the former is required. The client sends shares for both at once, so
//!   a `HelloRetryRequest` never comes, and one that comes is refused.
//! - Cipher suites: AES-256-GCM with SHA-384, AES-128-GCM with SHA-256, ChaCha20-Poly1305.
//! - Both sides present certificates. Each verifies the chain up to its own trust roots, the time
//!   of validity and the purpose (`serverAuth` for the server's certificate, `clientAuth` for the
//!   client's; a certificate without extended key usage serves for both). There is no name to
//!   verify against: the subject is read from the certificate
//!   ([`identity`](crate::identity)) and judged by the client of the service.
//! - Records are checked where TLS is lenient. `ClientInit` is one handshake record (22) of legacy
//!   version 0x0301; `ServerInit` one handshake record, and `ClientParameters` none, then in both at
//!   most one record of `change_cipher_spec` (20), then application data (23); the other two have
//!   only application data; the legacy version is 0x0303 in all of them. TLS neither looks at
//!   these bytes nor protects them once there is encryption; here no bit of a handshake can be
//!   changed without one of the two sides refusing it.
//! - No server name indication: nothing in the clear says who talks to whom.
//! - Application-layer protocol: [`PROTOCOL`], required on both sides. Without it, an attacker
//!   could lead a client's handshake to a server of another protocol that has a certificate of the
//!   same authority, or the other way round.
//!
//! # What it withstands, and why
//!
//! - *Key-compromise impersonation*: someone who has stolen A's key can pose as A, but not as others
//!   towards A. TLS 1.3 authenticates by signatures over the transcript, never by a static secret
//!   that both sides can compute.
//! - *Reflection*: signatures of client and server are made over different context strings
//!   (RFC 8446 § 4.4.3) and each message has its own type, so nothing that one side sent can
//!   be sent back to it.
//! - *Replay*: both sides contribute randomness and a fresh share.
//! - *Downgrade*: Finished covers all of TLS's negotiation, and everything else is negotiated inside
//!   the channel (see [`negotiation`](crate::negotiation)).
//! - *Identity misbinding*: TLS's exporter secret covers the transcript up to the server's
//!   Finished, that is not the client's certificate. So the context of each export is a hash over
//!   both certificates and both sides' parameters: the two sides have the same `key_data` only if
//!   they agree on who the two are and what was negotiated.
//!
//! # Exports
//!
//! ```text
//! context = SHA-256(PROTOCOL ‖ item(client's end-entity certificate, DER)
//!                            ‖ item(server's end-entity certificate, DER)
//!                            ‖ item(client's parameters) ‖ item(server's parameters))
//! item(x) = u32 LE length of x ‖ x
//!
//! key_data            = Exporter("EXPORTER-altsd-1 key data", context, 44)
//! server confirmation = Exporter("EXPORTER-altsd-1 server confirmation", context, 32)
//! client confirmation = Exporter("EXPORTER-altsd-1 client confirmation", context, 32)
//! ```
//!
//! `Exporter` is TLS-Exporter of RFC 8446 § 7.5. The confirmations are compared by the other side,
//! so that each knows, before it reports success, that the other has the same context and keys.

mod config;
#[cfg(all(test, feature = "dev"))]
mod secrets;
mod verdict;

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::crypto::SupportedKxGroup;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, Connection, NamedGroup, ServerConnection};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

pub use self::config::{ExchangeConfig, KeyExchange, PROTOCOL};
pub(crate) use self::verdict::judge_own;
use self::verdict::{judge, judge_groups};
use crate::failure::Failure;

/// Bytes of key data in a result: the most that a record protocol needs (32 of key, 12 of nonce
/// mask).
pub const KEY_DATA: usize = 44;

/// Bytes of a confirmation.
pub const CONFIRMATION: usize = 32;

/// A purpose of key material taken from TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Export {
    /// `HandshakerResult.key_data`.
    KeyData,
    /// The server's proof that it knows keys and context.
    ServerConfirmation,
    /// The client's.
    ClientConfirmation,
}

impl Export {
    /// The exporter's label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::KeyData => "EXPORTER-altsd-1 key data",
            Self::ServerConfirmation => "EXPORTER-altsd-1 server confirmation",
            Self::ClientConfirmation => "EXPORTER-altsd-1 client confirmation",
        }
    }
}

/// What every export depends on besides TLS's own secret: who the two are and what they agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context([u8; 32]);

impl Context {
    /// Hashes end-entity certificates (DER) and parameters (as they were sent).
    #[must_use]
    pub fn new(
        client_certificate: &[u8],
        server_certificate: &[u8],
        client_parameters: &[u8],
        server_parameters: &[u8],
    ) -> Self {
        let mut hash = Sha256::new_with_prefix(PROTOCOL);
        for item in [client_certificate, server_certificate, client_parameters, server_parameters] {
            // All items are far below 4 GiB: they have been in a message of at most 64 KiB, or are
            // this side's own certificate, which had to fit in one.
            hash.update(u32::try_from(item.len()).unwrap_or(u32::MAX).to_le_bytes());
            hash.update(item);
        }
        Self(hash.finalize().into())
    }
}

/// One TLS connection that lives in memory for the time of a handshake.
pub struct Exchange {
    connection: Connection,
    next: Flight,
    wanted: KeyExchange,
}

/// Which records the next message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    ClientInit,
    ServerInit,
    ClientParameters,
    Data,
}

impl Flight {
    /// The legacy version of its records.
    const fn version(self) -> [u8; 2] {
        match self {
            Self::ClientInit => [3, 1],
            Self::ServerInit | Self::ClientParameters | Self::Data => [3, 3],
        }
    }

    /// The types of its records that may follow one of type `last`, or come first.
    fn may_follow(self, last: Option<u8>, kind: u8) -> bool {
        match (self, last) {
            (Self::ClientInit | Self::ServerInit, None) => kind == HANDSHAKE,
            (Self::ClientInit, Some(_)) => false,
            (Self::ServerInit, Some(HANDSHAKE)) | (Self::ClientParameters, None) => {
                matches!(kind, CHANGE_CIPHER_SPEC | APPLICATION_DATA)
            }
            (Self::ServerInit | Self::ClientParameters, Some(_)) | (Self::Data, _) => {
                kind == APPLICATION_DATA
            }
        }
    }

    /// What the same side sends after it.
    const fn then(self) -> Self {
        match self {
            Self::ClientInit => Self::ClientParameters,
            Self::ServerInit | Self::ClientParameters | Self::Data => Self::Data,
        }
    }
}

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    fn new(mut connection: Connection, next: Flight, wanted: KeyExchange) -> Self {
        // What may be sent is bounded by the size of a message, with a better error.
        connection.set_buffer_limit(None);
        Self { connection, next, wanted }
    }

    /// The client's end: has something to [`send`](Self::send) at once.
    ///
    /// # Errors
    /// When rustls fails, perhaps for lack of randomness.
    pub fn client(config: &ExchangeConfig) -> Result<Self, Failure> {
        // Never sent (there is no SNI) and never compared; rustls requires one.
        let nobody = ServerName::try_from("altsd.invalid").map_err(|error| {
            Failure::internal(format!("the placeholder for a server name: {error}"))
        })?;
        ClientConnection::new(Arc::clone(&config.client), nobody)
            .map(Connection::from)
            .map(|connection| Self::new(connection, Flight::ServerInit, config.key_exchange))
            .map_err(|error| judge(&error))
    }

    /// The server's end: has to [`receive`](Self::receive) first.
    ///
    /// # Errors
    /// When rustls fails.
    pub fn server(config: &ExchangeConfig) -> Result<Self, Failure> {
        ServerConnection::new(Arc::clone(&config.server))
            .map(Connection::from)
            .map(|connection| Self::new(connection, Flight::ClientInit, config.key_exchange))
            .map_err(|error| judge(&error))
    }

    /// Takes the body of one message: whole TLS records, all of which are looked at. Returns the
    /// application data in them.
    ///
    /// # Errors
    /// When TLS refuses anything in it, or the body is not whole records. The exchange is over
    /// then.
    pub fn receive(&mut self, records: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
        check_records(records, self.next)?;
        self.next = self.next.then();
        let mut plaintext = Zeroizing::new(Vec::new());
        let mut rest = records;
        while !rest.is_empty() {
            let taken = self
                .connection
                .read_tls(&mut rest)
                .map_err(|error| Failure::malformed(format!("TLS cannot go on: {error}")))?;
            let state = self.connection.process_new_packets().map_err(|error| {
                let of_groups = self.requires_post_quantum().then(|| judge_groups(&error));
                of_groups.flatten().unwrap_or_else(|| judge(&error))
            })?;
            if taken == 0 || state.peer_has_closed() {
                return Err(Failure::malformed("the peer closed TLS in the middle of a handshake"));
            }
            match self.connection.reader().read_to_end(&mut plaintext) {
                Ok(_) => {}
                // All that is there has been read, and the connection goes on.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    return Err(Failure::malformed(format!("TLS cannot go on: {error}")));
                }
            }
        }
        Ok(plaintext)
    }

    /// The body of the next message: the TLS records that are due, with these bytes as application
    /// data in the last ones.
    ///
    /// # Errors
    /// When TLS fails. Application data before TLS is ready for it would wait inside: the caller
    /// checks [`is_ready`](Self::is_ready) first.
    pub fn send(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, Failure> {
        let failed = |error: io::Error| Failure::internal(format!("TLS cannot send: {error}"));
        self.connection.writer().write_all(plaintext).map_err(failed)?;
        let mut records = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut records).map_err(failed)?;
        }
        Ok(records)
    }

    /// Whether the peer has to agree to X25519MLKEM768.
    pub(crate) fn requires_post_quantum(&self) -> bool {
        self.wanted == KeyExchange::PostQuantum
    }

    /// Whether TLS is through: the peer has proved possession of the key to its certificate, and
    /// application data flows in both directions.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.connection.is_handshaking()
            && self.connection.alpn_protocol() == Some(PROTOCOL)
            && self.peer_certificate().is_some()
    }

    /// The peer's verified end-entity certificate, DER, once it is there.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.connection.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// The peer's verified chain of certificates, once it is there.
    pub(crate) fn peer_chain(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// The key exchange that was agreed on, once it was.
    #[must_use]
    pub fn key_exchange_group(&self) -> Option<NamedGroup> {
        self.connection.negotiated_key_exchange_group().map(SupportedKxGroup::name)
    }

    /// Takes key material for one purpose.
    ///
    /// # Errors
    /// When TLS is not through.
    pub fn export<const N: usize>(
        &self,
        purpose: Export,
        context: &Context,
    ) -> Result<Zeroizing<[u8; N]>, Failure> {
        let mut output = Zeroizing::new([0; N]);
        self.connection
            .export_keying_material(
                output.as_mut_slice(),
                purpose.label().as_bytes(),
                Some(&context.0),
            )
            .map_err(|error| Failure::internal(format!("no key material from TLS: {error}")))?;
        Ok(output)
    }
}

/// Whether these bytes are the TLS records of a flight, and the last one ends where they do.
///
/// rustls would keep the start of a record for later. Then one message could hide bytes that take
/// effect with the next, and where a message ends would no longer be where the exchange stands.
fn check_records(mut bytes: &[u8], flight: Flight) -> Result<(), Failure> {
    let mut last = None;
    while !bytes.is_empty() {
        let ([kind, major, minor], rest) = bytes
            .split_first_chunk()
            .and_then(|(header, rest)| {
                let [kind, major, minor, high, low] = *header;
                let length = usize::from(u16::from_be_bytes([high, low]));
                let (_record, rest) = rest.split_at_checked(length)?;
                Some(([kind, major, minor], rest))
            })
            .ok_or_else(|| {
                Failure::malformed("the peer sent a message that is not whole TLS records")
            })?;
        if [major, minor] != flight.version() || !flight.may_follow(last, kind) {
            return Err(Failure::malformed(
                "the peer sent a message with other TLS records than it has to have",
            ));
        }
        (last, bytes) = (Some(kind), rest);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_to_be_whole() {
        let whole = |bytes: &[u8]| check_records(bytes, Flight::Data).is_ok();
        assert!(whole(&[]));
        assert!(whole(&[23, 3, 3, 0, 1, 9]));
        assert!(whole(&[23, 3, 3, 0, 1, 9, 23, 3, 3, 0, 0]));
        for bad in [
            &[23, 3, 3, 0, 2, 9][..],
            &[23, 3, 3, 0],
            &[23, 3, 3, 0, 1, 9, 23],
            &[23, 3, 1, 0, 1, 9],
            &[23, 2, 3, 0, 1, 9],
        ] {
            assert!(!whole(bad), "{bad:?}");
        }
    }

    #[test]
    fn each_flight_has_its_records() {
        let ok = |flight: Flight, kinds: &[u8]| {
            let [major, minor] = flight.version();
            let records: Vec<u8> =
                kinds.iter().flat_map(|kind| [*kind, major, minor, 0, 1, 9]).collect();
            check_records(&records, flight).is_ok()
        };
        for (flight, good, bad) in [
            (Flight::ClientInit, &[&[22_u8][..]][..], &[&[22_u8, 22][..], &[22, 20], &[23]][..]),
            (
                Flight::ServerInit,
                &[&[22, 20, 23, 23][..], &[22, 23]],
                &[&[20, 23][..], &[23], &[22, 22, 23], &[22, 20, 20], &[22, 20, 22], &[22, 21]],
            ),
            (
                Flight::ClientParameters,
                &[&[20, 23, 23][..], &[23]],
                &[&[22, 23][..], &[20, 20, 23], &[20, 21], &[23, 20], &[23, 22]],
            ),
            (Flight::Data, &[&[23, 23][..]], &[&[20, 23][..], &[22], &[21], &[23, 21]]),
        ] {
            for kinds in good {
                assert!(ok(flight, kinds), "{flight:?} {kinds:?}");
            }
            for kinds in bad {
                assert!(!ok(flight, kinds), "{flight:?} {kinds:?}");
            }
        }
    }

    #[test]
    fn context_tells_its_items_apart() {
        let context = Context::new(b"a", b"b", b"c", b"d");
        assert_eq!(context, Context::new(b"a", b"b", b"c", b"d"));
        assert_ne!(context, Context::new(b"b", b"a", b"c", b"d"));
        assert_ne!(Context::new(b"ab", b"", b"", b""), Context::new(b"a", b"b", b"", b""));
        assert_ne!(Context::new(b"", b"", b"", b""), Context::new(b"", b"", b"", b"x"));
    }
}
