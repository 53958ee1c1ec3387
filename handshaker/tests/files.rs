//! Identities from files: what is loaded, what is not, and what becomes of handshakes meanwhile.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alts_handshaker::files::NAMES;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, HandshakerService, ServerConfig};

/// A directory that is gone when the test is over.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("alts-files-test-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An authority, and what it writes.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A chain and its key.
type Pair = (String, String);

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    fn pair_with(&self, name: SanType, change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![name];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    fn pair(&self, account: &str) -> Pair {
        self.pair_with(SanType::Rfc822Name(account.try_into().unwrap()), |_| {})
    }

    /// Writes everything into a directory.
    fn write(&self, directory: &Path, pair: &Pair) {
        write(directory, &pair.0, &pair.1, &self.pem);
    }
}

/// Writes three files, each as a whole.
fn write(directory: &Path, certificate: &str, key: &str, roots: &str) {
    for (name, text) in NAMES.into_iter().zip([certificate, key, roots]) {
        replace(&directory.join(name), text);
    }
}

fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// A handshake; returns what the server and what the client is called by the other.
async fn meet<C, S>(client: C, server: S) -> Result<(String, String), String>
where
    C: HandshakerService + 'static,
    S: HandshakerService + 'static,
{
    let config = ClientConfig::builder().any_peer().build().unwrap();
    let connector = AltsConnector::new(config, client);
    let config = ServerConfig::builder().any_peer().build().unwrap();
    let acceptor = AltsAcceptor::new(config, server);
    let (near, far) = tokio::io::duplex(4096);
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (client, server) = (client.map_err(|why| why.to_string())?, server.unwrap());
    let of_server = client.context().peer_service_account().to_owned();
    Ok((of_server, server.context().peer_service_account().to_owned()))
}

#[cfg(feature = "locator")]
mod locator {
    use alts_handshaker::locator::{Development, IdentityPaths, Locator};

    use super::*;

    #[test]
    fn files_are_named_by_their_directory_or_one_by_one() {
        let directory = "files:/etc/alts".parse::<Locator>().unwrap();
        assert_eq!(directory, Locator::Files(IdentityPaths::Directory("/etc/alts".into())));
        assert_eq!(directory.to_string(), "files:/etc/alts");
        assert_eq!(directory.address(), None);
        let each = "files:a.pem,/k/a.key,roots.pem".parse::<Locator>().unwrap();
        assert_eq!(each.to_string(), "files:a.pem,/k/a.key,roots.pem");
        let absolute = each.with_paths(|path| Path::new("/etc").join(path));
        assert_eq!(absolute.to_string(), "files:/etc/a.pem,/k/a.key,/etc/roots.pem");
        for (wrong, why) in [
            ("files:", "a path is empty"),
            ("files:a,b,", "a path is empty"),
            ("files:a,b", "2 paths: write one directory"),
            ("files:a,b,c,d", "4 paths: write one directory"),
            ("files:a\nb", "an invisible character"),
        ] {
            let error = wrong.parse::<Locator>().unwrap_err();
            assert!(error.contains(why) && !error.contains('\n'), "{error}");
        }
    }

    #[tokio::test]
    async fn a_service_by_its_files_is_renewed() {
        let (directory, authority) = (Directory::new(), Authority::new("ours"));
        let locator = format!("files:{}", directory.0.display()).parse::<Locator>().unwrap();
        let missing = locator.locate(&Development::default()).unwrap_err().to_string();
        assert!(missing.contains("tls.crt: No such file"), "{missing}");

        authority.write(&directory.0, &authority.pair("one@prod.example"));
        let located = locator.locate(&Development::default()).unwrap();
        let service = located.service();
        let met = meet(Arc::clone(&service), Arc::clone(&service)).await.unwrap();
        assert_eq!(met, ("one@prod.example".to_owned(), "one@prod.example".to_owned()));
        assert_eq!(located.check(), Ok(()));

        authority.write(&directory.0, &authority.pair("two@prod.example"));
        assert_eq!(located.refresh().await, Ok(()));
        assert_eq!(meet(Arc::clone(&service), service).await.unwrap().0, "two@prod.example");
        replace(&directory.0.join("tls.key"), "rubbish");
        let why = located.refresh().await.unwrap_err();
        assert!(why.contains("tls.key: no private key in the input"), "{why}");
        assert_eq!(located.check(), Ok(()), "the old certificate is as good as before");
    }

    #[test]
    fn a_certificate_that_ends_is_no_identity_any_more() {
        let (directory, authority) = (Directory::new(), Authority::new("ours"));
        let end = std::time::SystemTime::now() + Duration::from_millis(2500);
        let name = SanType::Rfc822Name("one@prod.example".try_into().unwrap());
        let pair = authority.pair_with(name, |params| params.not_after = end.into());
        authority.write(&directory.0, &pair);
        let locator = format!("files:{}", directory.0.display()).parse::<Locator>().unwrap();
        let located = locator.locate(&Development::default()).unwrap();
        assert_eq!(located.check(), Ok(()));
        std::thread::sleep(Duration::from_millis(2600));
        assert_eq!(located.check(), Err("the certificate has expired".to_owned()));
    }

    #[test]
    fn a_machine_is_nobody() {
        let (directory, authority) = (Directory::new(), Authority::new("ours"));
        let host = SanType::DnsName("host.prod.example".try_into().unwrap());
        authority.write(&directory.0, &authority.pair_with(host, |_| {}));
        let locator = format!("files:{}", directory.0.display()).parse::<Locator>().unwrap();
        let why = locator.service(&Development::default()).err().unwrap().to_string();
        assert!(why.contains("machine host.prod.example"), "{why}");
    }
}
