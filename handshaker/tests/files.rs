//! Identities from files: what is loaded, what is not, and what becomes of handshakes meanwhile.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alts_handshaker::files::{self, Follower, IdentityFiles, LoadError, NAMES, RootFile, Watched};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, HandshakerService, ServerConfig};

/// So seldom that nothing is looked at in a test unless it asks.
const NEVER: Duration = Duration::from_secs(3600);

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

fn watched(directory: &Path) -> Watched {
    files::watch(IdentityFiles::in_directory(directory), NEVER).unwrap()
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

#[test]
fn an_error_names_the_file_and_what_is_wrong_with_it() {
    let (directory, ours, theirs) =
        (Directory::new(), Authority::new("ours"), Authority::new("theirs"));
    let [certificate, key, roots] = NAMES.map(|name| directory.0.join(name));
    let files = IdentityFiles::in_directory(&directory.0);
    let pair = ours.pair("web@prod.example");
    let said = |path: &Path, why: &str| {
        let error = files.load().unwrap_err();
        assert_eq!(error.path(), Some(path), "{error}");
        assert_eq!(error.to_string(), format!("{}: {why}", path.display()));
    };
    for path in [&certificate, &key, &roots] {
        ours.write(&directory.0, &pair);
        assert!(files.load().is_ok());
        fs::remove_file(path).unwrap();
        said(path, "No such file or directory (os error 2)");
        fs::write(path, "").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        let what = match path {
            path if *path == certificate => "certificate",
            path if *path == key => "private key",
            _ => "trust root",
        };
        said(path, &format!("no {what} in the input"));
    }
    ours.write(&directory.0, &pair);
    fs::set_permissions(&key, Permissions::from_mode(0o604)).unwrap();
    let why = "others can read or change this private key (its mode is 0604): run chmod 0600 on it \
               (0640 is fine too)";
    said(&key, why);
    ours.write(&directory.0, &(pair.0.clone(), ours.pair("web@prod.example").1));
    said(&key, "the private key does not belong to the certificate");
    write(&directory.0, &pair.0, &pair.1, &theirs.pem);
    let error = files.load().unwrap_err();
    assert!(matches!(&error, LoadError::Refused { path, .. } if *path == certificate), "{error}");
    fs::write(&roots, "x".repeat(1024 * 1024 + 1)).unwrap();
    said(&roots, "larger than 1048576 bytes: is it PEM?");
    let none = IdentityFiles::new(&certificate, &key, Vec::new());
    assert_eq!(none.load().unwrap_err().to_string(), "there are no trust roots");
    let mut with_lists = files.clone();
    with_lists.trust_roots[0].revocation_lists = vec![directory.0.join("none.crl")];
    replace(&roots, &ours.pem);
    let error = with_lists.load().unwrap_err();
    assert_eq!(error.path(), Some(&*directory.0.join("none.crl")));
}

#[test]
fn nothing_is_loaded_again_when_nothing_has_changed() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    let pair = authority.pair("web@prod.example");
    authority.write(&directory.0, &pair);
    let files = IdentityFiles::in_directory(&directory.0);
    let before = files.fingerprint();
    let (mut follower, _) = Follower::new(files.clone()).unwrap();
    let adopt = |_: &alts_handshaker::Handshaker| Err("nobody asks".to_owned());
    assert!(matches!(follower.look(false, adopt), Ok(None)));
    // Other files, with the same in them.
    authority.write(&directory.0, &pair);
    assert_ne!(files.fingerprint(), before);
    assert!(matches!(follower.look(false, adopt), Ok(None)));
    // Who wants them read again all the same gets them.
    assert!(follower.look(true, |_| Ok(())).unwrap().is_some());

    let loaded = follower.loaded();
    authority.write(&directory.0, &authority.pair("web@prod.example"));
    assert!(follower.look(false, |_| Ok(())).unwrap().is_some());
    assert!(follower.loaded() > loaded);
}

#[test]
fn a_change_within_one_tick_of_the_clock_is_seen() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    let files = IdentityFiles::in_directory(&directory.0);
    // A second change at once could leave the size, the node and the time as they are. So what has just
    // been written does not look as it will later, and is worth another look then.
    let looks_new = |_| {
        authority.write(&directory.0, &authority.pair("web@prod.example"));
        let seen = files.fingerprint();
        std::thread::sleep(Duration::from_millis(150));
        files.fingerprint() != seen
    };
    // On a busy machine, the first look may be late.
    assert!((0..20).any(looks_new));
    assert_eq!(files.fingerprint(), files.fingerprint());
}

#[tokio::test]
async fn a_certificate_without_its_key_is_not_used_and_its_key_is_waited_for() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    authority.write(&directory.0, &authority.pair("one@prod.example"));
    let watched = watched(&directory.0);
    let service = watched.handshaker();
    let first = watched.status();
    assert_eq!(first.failing, None);

    let (certificate, key) = authority.pair("two@prod.example");
    replace(&directory.0.join("tls.crt"), &certificate);
    let half = watched.refresh().await;
    let failing = half.failing.clone().unwrap();
    assert!(failing.why.ends_with("tls.key: the private key does not belong to the certificate"));
    assert_eq!(half.loaded, first.loaded);
    assert_eq!(meet(service.clone(), service.clone()).await.unwrap().0, "one@prod.example");
    // It is as bad as before, since then.
    assert_eq!(watched.refresh().await, half);

    replace(&directory.0.join("tls.key"), &key);
    let whole = watched.refresh().await;
    assert_eq!(whole.failing, None);
    assert!(whole.loaded > first.loaded);
    assert_eq!(meet(service.clone(), service).await.unwrap().0, "two@prod.example");
}

#[tokio::test]
async fn a_new_certificate_that_peers_would_refuse_is_not_used() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    authority.write(&directory.0, &authority.pair("one@prod.example"));
    let watched = watched(&directory.0);
    let named = |account: &str| SanType::Rfc822Name(account.try_into().unwrap());
    let expired = authority.pair_with(named("two@prod.example"), |params| {
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    let host = SanType::DnsName("host.prod.example".try_into().unwrap());
    for (pair, why) in [
        (expired, "its certificate is not valid at this time"),
        (Authority::new("theirs").pair("two@prod.example"), "peers would refuse this certificate"),
        (
            authority.pair_with(host, |_| {}),
            "the new certificate is for machine host.prod.example, and was for service account \
             one@prod.example",
        ),
    ] {
        authority.write(&directory.0, &pair);
        let failing = watched.refresh().await.failing.unwrap();
        assert!(failing.why.contains("tls.crt: ") && failing.why.contains(why), "{}", failing.why);
        let handshaker = watched.handshaker();
        assert_eq!(handshaker.subject().default_account(), Some("one@prod.example"));
    }
    authority.write(&directory.0, &authority.pair("three@prod.example"));
    assert_eq!(watched.refresh().await.failing, None);
    assert_eq!(watched.handshaker().subject().default_account(), Some("three@prod.example"));
}

#[tokio::test]
async fn what_becomes_valid_with_time_is_used_then() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    authority.write(&directory.0, &authority.pair("one@prod.example"));
    let watched = watched(&directory.0);
    let name = SanType::Rfc822Name("two@prod.example".try_into().unwrap());
    let begin = std::time::SystemTime::now() + Duration::from_secs(2);
    let early = authority.pair_with(name, |params| params.not_before = begin.into());
    authority.write(&directory.0, &early);
    assert!(watched.refresh().await.failing.is_some());
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The last time that the files look new.
    assert!(watched.refresh().await.failing.is_some());
    tokio::time::sleep(Duration::from_millis(1900)).await;
    assert_eq!(watched.refresh().await.failing, None);
    assert_eq!(watched.handshaker().subject().default_account(), Some("two@prod.example"));
}

/// What Kubernetes does with a secret: files are links into `..data`, which is a link to a directory
/// that is never written again.
struct Volume<'a> {
    path: &'a Path,
    count: usize,
}

impl Volume<'_> {
    fn put(&mut self, authority: &Authority, pair: &Pair) {
        self.count += 1;
        let version = format!("..version-{}", self.count);
        fs::create_dir(self.path.join(&version)).unwrap();
        authority.write(&self.path.join(&version), pair);
        symlink(&version, self.path.join("..data_tmp")).unwrap();
        fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).unwrap();
        if self.count == 1 {
            for name in NAMES {
                symlink(Path::new("..data").join(name), self.path.join(name)).unwrap();
            }
        } else {
            fs::remove_dir_all(self.path.join(format!("..version-{}", self.count - 1))).unwrap();
        }
    }
}

#[tokio::test]
async fn a_link_that_moves_takes_all_files_with_it() {
    let (directory, old, new) = (Directory::new(), Authority::new("old"), Authority::new("new"));
    let mut volume = Volume { path: &directory.0, count: 0 };
    volume.put(&old, &old.pair("one@prod.example"));
    let watched = watched(&directory.0);
    // Another authority too: it would be no use without its certificate, and the other way round.
    volume.put(&new, &new.pair("two@prod.example"));
    assert_eq!(watched.refresh().await.failing, None);
    let service = watched.handshaker();
    assert_eq!(meet(service.clone(), service).await.unwrap().0, "two@prod.example");
}

#[tokio::test]
async fn files_are_looked_at_without_being_asked_until_nobody_wants_to_know() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    authority.write(&directory.0, &authority.pair("one@prod.example"));
    let files = IdentityFiles::in_directory(&directory.0);
    let watched = files::watch(files, Duration::from_millis(20)).unwrap();
    let handshaker = watched.handshaker();
    let is = async |account: &str| {
        for _ in 0..500 {
            if handshaker.subject().default_account() == Some(account) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    };
    authority.write(&directory.0, &authority.pair("two@prod.example"));
    assert!(is("two@prod.example").await);
    drop(watched);
    tokio::time::sleep(Duration::from_millis(100)).await;
    authority.write(&directory.0, &authority.pair("three@prod.example"));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(handshaker.subject().default_account(), Some("two@prod.example"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_handshake_fails_while_files_are_replaced() {
    let (directory, authority) = (Directory::new(), Authority::new("ours"));
    authority.write(&directory.0, &authority.pair("web-0@prod.example"));
    let files = IdentityFiles::in_directory(&directory.0);
    let watched = files::watch(files, Duration::from_millis(5)).unwrap();
    let failures = Arc::new(Mutex::new(Vec::new()));
    let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut workers = Vec::new();
    for _ in 0..2 {
        let (failures, done, count) =
            (Arc::clone(&failures), Arc::clone(&done), Arc::clone(&count));
        let service = watched.handshaker();
        workers.push(tokio::spawn(async move {
            let mut accounts = std::collections::BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                match meet(service.clone(), service.clone()).await {
                    Ok((account, _)) => drop(accounts.insert(account)),
                    Err(why) => failures.lock().unwrap().push(why),
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            accounts
        }));
    }
    // One file after the other, so that there are halves; and handshakes between all of them.
    let path = directory.0.clone();
    let writing = tokio::task::spawn_blocking(move || {
        for number in 1..=60 {
            authority.write(&path, &authority.pair(&format!("web-{number}@prod.example")));
            std::thread::sleep(Duration::from_millis(25));
        }
    });
    writing.await.unwrap();
    watched.refresh().await;
    let last = meet(watched.handshaker(), watched.handshaker()).await.unwrap();
    done.store(true, Ordering::Relaxed);
    assert_eq!(last.0, "web-60@prod.example");
    let mut accounts = std::collections::BTreeSet::new();
    for worker in workers {
        accounts.extend(worker.await.unwrap());
    }
    assert_eq!(*failures.lock().unwrap(), [""; 0]);
    let count = count.load(Ordering::Relaxed);
    println!("{count} handshakes with {} certificates of 61, 0 failed", accounts.len());
    assert!(count > 100 && accounts.len() > 10, "{count} handshakes of {}", accounts.len());
}

#[tokio::test]
async fn restricted_authorities_and_lists_are_those_of_each_file() {
    let (directory, ours, theirs) =
        (Directory::new(), Authority::new("ours"), Authority::new("theirs"));
    ours.write(&directory.0, &ours.pair("web@prod.example"));
    replace(&directory.0.join("theirs.pem"), &theirs.pem);
    let mut other = RootFile::new(directory.0.join("theirs.pem"));
    other.vouching = alts_handshaker::identity::Vouching::new()
        .accounts(vec!["*@partner.example".parse().unwrap()]);
    let mut files = IdentityFiles::in_directory(&directory.0);
    files.trust_roots.push(other);
    let service = files.load().unwrap();

    let partners = Directory::new();
    for (account, is_good) in [("api@partner.example", true), ("web@prod.example", false)] {
        theirs.write(&partners.0, &theirs.pair(account));
        let mut files = IdentityFiles::in_directory(&partners.0);
        files.trust_roots.push(RootFile::new(directory.0.join("ca.crt")));
        let partner = files.load().unwrap();
        assert_eq!(meet(service.clone(), partner).await.is_ok(), is_good, "{account}");
    }
}

/// The trust domain of the bundles here.
#[cfg(feature = "spiffe")]
fn members() -> alts_handshaker::identity::Vouching {
    let domain: alts_handshaker::spiffe::TrustDomain = "field.test".parse().unwrap();
    domain.vouching().unwrap()
}

/// `tests/data/spire-bundle.json` is what `spire-server bundle show -format spiffe` of SPIRE 1.13.3 printed,
/// of a server that was made for a test.
#[cfg(feature = "spiffe")]
#[tokio::test]
async fn a_spiffe_bundle_vouches_for_the_members_of_its_trust_domain() {
    let (directory, ours) = (Directory::new(), Authority::new("ours"));
    let member = |id: &str| ours.pair_with(SanType::URI(id.try_into().unwrap()), |_| {});
    let bundle = directory.0.join("bundle.json");
    let with_bundle = |vouching| {
        let mut files = IdentityFiles::in_directory(&directory.0);
        files.trust_roots = vec![RootFile::new(&bundle)];
        files.trust_roots[0].vouching = vouching;
        files
    };
    ours.write(&directory.0, &member("spiffe://field.test/web"));
    let body = ours.pem.lines().filter(|line| !line.starts_with("---")).collect::<String>();
    let json =
        |key: &str| format!("{{\"keys\": [{{\"use\": \"jwt-svid\", \"kid\": \"1\"}}, {key}]}}");
    replace(&bundle, &json(&format!("{{\"use\": \"x509-svid\", \"x5c\": [\"{body}\"]}}")));
    let web = with_bundle(members()).load().unwrap();

    let others = Directory::new();
    for (id, is_good) in [("spiffe://field.test/db", true), ("spiffe://other.test/db", false)] {
        ours.write(&others.0, &member(id));
        let mut files = IdentityFiles::in_directory(&others.0);
        files.trust_roots[0].vouching = alts_handshaker::identity::Vouching::new()
            .account_from(alts_handshaker::identity::AccountFrom::Uri);
        let other = files.load().unwrap();
        assert_eq!(meet(web.clone(), other).await.is_ok(), is_good, "{id}");
    }

    let why = with_bundle(alts_handshaker::identity::Vouching::new()).load().unwrap_err();
    assert!(why.to_string().contains("say for which (trust_domain)"), "{why}");
    let certificates =
        json(&format!("{{\"use\": \"x509-svid\", \"x5c\": [\"{body}\", \"{body}\"]}}"));
    for (bad, sentence) in [
        (json("{\"use\": \"x509-svid\"}"), "with 0 certificates"),
        (certificates, "with 2 certificates"),
        (json("{\"use\": \"x509-svid\", \"x5c\": [\"AAAA\"]}"), "trust root"),
        (json("{}"), "no authority for workloads"),
        ("{".to_owned(), "SPIFFE bundle"),
    ] {
        replace(&bundle, &bad);
        let error = with_bundle(members()).load().unwrap_err();
        assert_eq!(error.path(), Some(&*bundle), "{error}");
        assert!(error.to_string().contains(sentence), "{error}");
    }

    // A real one is read, and is not the authority of our certificate.
    replace(&bundle, include_str!("data/spire-bundle.json"));
    let error = with_bundle(members()).load().unwrap_err();
    assert!(matches!(error, LoadError::Refused { .. }), "{error}");
}

#[cfg(feature = "locator")]
mod locator {
    use alts_handshaker::locator::{Development, IdentityPaths, Locator};
    use proptest::prelude::ProptestConfig;
    use proptest::{prop_assert, prop_assert_eq, proptest};

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

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_written_is_read_as_the_same(text in "files:[a-cö,/. ]{0,12}") {
            if let Ok(locator) = text.parse::<Locator>() {
                prop_assert_eq!(locator.to_string(), &*text);
                let moved = locator.with_paths(|path| Path::new("/etc/alts").join(path));
                prop_assert_eq!(moved.to_string().parse(), Ok(moved));
            } else {
                prop_assert!(!matches!(text.split(',').count(), 1 | 3) || text.contains(",,")
                    || text.ends_with(',') || text.starts_with("files:,") || text == "files:");
            }
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
