//! A handshaker in the program itself whose certificates are files that something else renews.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use alts_handshaker::Handshaker;
use alts_handshaker::files::{self, IdentityFiles, NAMES};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, ServerConfig};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let directory = Directory::new()?;
    let authority = Authority::new()?;
    authority.renew(&directory.0, "monday@prod.example")?;

    // What a program does: this is all, and `watched` has to live as long as its handshaker is used.
    let watched = files::watch(IdentityFiles::in_directory(&directory.0), files::POLL)?;
    let handshaker = watched.handshaker();
    println!("a connection as {}", connect(&handshaker).await?);

    // Every five seconds it sees by itself what has changed. A program that knows better asks at once.
    authority.renew(&directory.0, "tuesday@prod.example")?;
    watched.refresh().await;
    println!("a connection as {}", connect(&handshaker).await?);

    // What is bad is not used.
    replace(&directory.0.join("tls.crt"), "half of a certif")?;
    let failing = watched.refresh().await.failing.ok_or("it is bad, and nobody says so")?;
    println!("not used: {}", failing.why.replace(&format!("{}/", directory.0.display()), ""));
    println!("a connection as {}", connect(&handshaker).await?);
    Ok(())
}

/// A connection of the program with itself; returns the account that it has.
async fn connect(handshaker: &Handshaker) -> Outcome<String> {
    let connector =
        AltsConnector::new(ClientConfig::builder().any_peer().build()?, handshaker.clone());
    let acceptor =
        AltsAcceptor::new(ServerConfig::builder().any_peer().build()?, handshaker.clone());
    let (near, far) = tokio::io::duplex(4096);
    let (client, _server) = tokio::try_join!(connector.connect(near), acceptor.accept(far))?;
    Ok(client.context().peer_service_account().to_owned())
}

/// Stands for cert-manager, a SPIFFE helper, or a cron job.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    roots: String,
}

impl Authority {
    fn new() -> Outcome<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "our authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let roots = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), roots })
    }

    fn renew(&self, directory: &Path, account: &str) -> Outcome<()> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::Rfc822Name(account.try_into()?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        for (name, text) in NAMES.into_iter().zip([&certificate, &key.serialize_pem(), &self.roots])
        {
            replace(&directory.join(name), text)?;
        }
        Ok(())
    }
}

/// Replaces a file as a whole.
fn replace(path: &Path, text: &str) -> Outcome<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    Ok(fs::rename(&new, path)?)
}

/// A directory that is gone when the program is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("alts-rotation-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
