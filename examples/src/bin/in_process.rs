//! A handshaker in the program itself, from certificates: no daemon, no socket.
//!
//! The certificates are made here, in place of files; what they have to say is in `identity`.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;

use alts_handshaker::identity::{Identity, TrustRoots};
use alts_handshaker::{Handshaker, Limits};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, ServerConfig};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let ours = Files::new("our authority")?;
    let client = handshaker(&ours, "client@prod.example")?;
    let server = handshaker(&ours, "server@prod.example")?;
    println!("server: {}", server.subject());
    println!("{}", meet(client, server.clone()).await?);

    // Somebody with a certificate for the same account, of another authority.
    let theirs = handshaker(&Files::new("another authority")?, "client@prod.example")?;
    match meet(theirs, server).await {
        Err(error) => println!("another authority's client: {error}"),
        Ok(account) => return Err(format!("{account} was believed").into()),
    }
    Ok(())
}

/// What a program does with its files.
fn handshaker(files: &Files, account: &str) -> Outcome<Handshaker> {
    let (chain, key) = files.identity(account)?;
    let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes())?;
    let roots = TrustRoots::from_pem(files.roots.as_bytes())?;
    let limits = Limits::default().with_deadline(std::time::Duration::from_secs(10));
    Ok(Handshaker::builder(identity, roots).limits(limits).build()?)
}

/// A handshake between the two; returns what each knows of the other.
async fn meet(client: Handshaker, server: Handshaker) -> Outcome<String> {
    let config = ClientConfig::builder().expect_peer("server@prod.example").build()?;
    let connector = AltsConnector::new(config, client);
    let config = ServerConfig::builder().expect_peer("client@prod.example").build()?;
    let acceptor = AltsAcceptor::new(config, server);
    let (near, far) = tokio::io::duplex(4096);
    let (client, server) = tokio::try_join!(connector.connect(near), acceptor.accept(far))?;
    let (server, client) =
        (client.context().peer_service_account(), server.context().peer_service_account());
    Ok(format!("the client sees {server}, the server sees {client}"))
}

/// An authority, and what it writes: PEM, as files would have it.
struct Files {
    issuer: Issuer<'static, KeyPair>,
    roots: String,
}

impl Files {
    fn new(name: &str) -> Outcome<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let roots = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), roots })
    }

    /// A chain and its key.
    fn identity(&self, account: &str) -> Outcome<(String, String)> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::Rfc822Name(account.try_into()?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}
