//! TLS as both roles use it: versions, suites, groups and verifiers, all named explicitly.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error as TlsError, RootCertStore,
    ServerConfig, SignatureScheme,
};

use crate::failure::Failure;
use crate::identity::{Identity, TrustRoots};

/// The protocol that both sides name in TLS's ALPN extension.
pub const PROTOCOL: &[u8] = b"altsd/1";

/// The key exchanges that a side agrees to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyExchange {
    /// X25519MLKEM768, or X25519 with a peer that has nothing better.
    #[default]
    Any,
    /// Only X25519MLKEM768: a connection that is recorded today stays closed to the quantum computers of
    /// later.
    PostQuantum,
    /// A peer that has not heard of ML-KEM.
    #[cfg(test)]
    Classical,
}

/// TLS as both sides of this service use it, for one identity and set of trust roots.
#[derive(Clone)]
pub struct ExchangeConfig {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) key_exchange: KeyExchange,
}

impl fmt::Debug for ExchangeConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeConfig").finish_non_exhaustive()
    }
}

impl ExchangeConfig {
    /// Prepares both roles. `time` is asked for the time of day to judge certificates by.
    ///
    /// # Errors
    /// When rustls refuses the combination.
    pub fn new(
        identity: &Identity,
        roots: &TrustRoots,
        time: &Arc<dyn TimeProvider>,
        key_exchange: KeyExchange,
    ) -> Result<Self, Failure> {
        let provider = Arc::new(provider(key_exchange));
        let refused = |error: &dyn fmt::Display| {
            Failure::internal(format!("TLS cannot be configured: {error}"))
        };
        let credentials = Arc::new(SingleCertAndKey::from(identity.certified_key()));

        let verifier = Arc::new(AnyServer {
            store: roots.store(),
            roots: roots.clone(),
            algorithms: provider.signature_verification_algorithms,
        });
        let mut client =
            ClientConfig::builder_with_details(Arc::clone(&provider), Arc::clone(time))
                .with_protocol_versions(&[&TLS13])
                .map_err(|error| refused(&error))?
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_client_cert_resolver(Arc::clone(&credentials) as _);
        client.alpn_protocols = vec![PROTOCOL.to_vec()];
        client.enable_early_data = false;
        client.enable_sni = false;
        client.resumption = Resumption::disabled();

        let verifier =
            WebPkiClientVerifier::builder_with_provider(roots.store(), Arc::clone(&provider))
                // The names of the roots are nobody else's business, and clients have no choice anyway.
                .clear_root_hint_subjects()
                .build()
                .map_err(|error| refused(&error))?;
        let verifier = Arc::new(AnyClient { verifier, roots: roots.clone() });
        let mut server = ServerConfig::builder_with_details(provider, Arc::clone(time))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| refused(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(credentials);
        server.alpn_protocols = vec![PROTOCOL.to_vec()];
        server.max_early_data_size = 0;
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { client: Arc::new(client), server: Arc::new(server), key_exchange })
    }
}

#[cfg(feature = "spiffe")]
impl ExchangeConfig {
    /// TLS as a client uses it.
    pub(crate) fn client(&self) -> &ClientConfig {
        &self.client
    }
}

/// The provider with what is in use named explicitly: a default that changes with a version of
/// rustls, or with a feature that another crate switches on, must not change the protocol.
fn provider(key_exchange: KeyExchange) -> CryptoProvider {
    use aws_lc_rs::kx_group::{X25519, X25519MLKEM768};
    CryptoProvider {
        cipher_suites: vec![
            // As strong as the records that follow. SHA-384, for which processors have no instructions,
            // would be up to a sixth of a handshake.
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: match key_exchange {
            KeyExchange::Any => vec![X25519MLKEM768, X25519],
            KeyExchange::PostQuantum => vec![X25519MLKEM768],
            #[cfg(test)]
            KeyExchange::Classical => vec![X25519],
        },
        ..aws_lc_rs::default_provider()
    }
}

/// Verifies a server's certificate in all but its name.
///
/// A handshaker has no host name to compare: the server's identity comes from the certificate, and
/// `target_identities` and the caller decide whether it is the one that was wanted.
#[derive(Debug)]
struct AnyServer {
    store: Arc<RootCertStore>,
    /// For the words of a refusal.
    roots: TrustRoots,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.store,
            intermediates,
            now,
            self.algorithms.all,
        )
        .map_err(|error| self.roots.explain(error, &chain(end_entity, intermediates)))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::General("TLS 1.2 is not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Verifies a client's certificate as rustls does, with more words for a refusal.
#[derive(Debug)]
struct AnyClient {
    verifier: Arc<dyn ClientCertVerifier>,
    roots: TrustRoots,
}

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, TlsError> {
        self.verifier
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| self.roots.explain(error, &chain(end_entity, intermediates)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

fn chain<'a>(
    end_entity: &CertificateDer<'a>,
    intermediates: &[CertificateDer<'a>],
) -> Vec<CertificateDer<'a>> {
    [end_entity].into_iter().chain(intermediates).cloned().collect()
}

#[cfg(test)]
mod tests {
    use rustls::NamedGroup;

    use super::*;

    #[test]
    fn key_exchange_groups_and_suites_are_pinned() {
        let groups = |which| -> Vec<_> {
            provider(which).kx_groups.iter().map(|group| group.name()).collect()
        };
        let (hybrid, classical) = (NamedGroup::X25519MLKEM768, NamedGroup::X25519);
        assert_eq!(groups(KeyExchange::Any), [hybrid, classical]);
        assert_eq!(groups(KeyExchange::PostQuantum), [hybrid]);
        let provider = provider(KeyExchange::Any);
        assert!(provider.cipher_suites.iter().all(|suite| suite.tls13().is_some()));
        assert_eq!(provider.cipher_suites.len(), 3);
    }
}
