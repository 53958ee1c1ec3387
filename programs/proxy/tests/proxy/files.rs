//! Handshakers in the proxy itself, whose certificates are files.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use alts_handshaker::files::{IdentityFiles, NAMES};
use alts_proxy::Proxy;
use alts_proxy::config::Config;
use http::StatusCode;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use tokio::io::AsyncWriteExt as _;
use tokio_alts::{AltsAcceptor, ServerConfig};

use crate::origin::{get, http1, text};
use crate::support::{World, address, closed_port, connect, name_of, read_all, soon, until};

/// An authority, and what it writes.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "tests of the proxy");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes an identity into a directory, which is made if need be.
    fn write(&self, directory: &Path, account: &str, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::Rfc822Name(account.try_into().unwrap())];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        fs::create_dir_all(directory).unwrap();
        for (name, text) in NAMES.into_iter().zip([&certificate, &key.serialize_pem(), &self.pem]) {
            let (path, new) = (directory.join(name), directory.join("new"));
            fs::write(&new, text).unwrap();
            fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
            fs::rename(&new, &path).unwrap();
        }
    }
}

/// A server that says who has called, and to whom: it has the identity that is in a directory.
async fn told(directory: &Path) -> std::net::SocketAddr {
    let service = IdentityFiles::in_directory(directory).load().unwrap();
    let acceptor = AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), service);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(socket).await.unwrap();
            let account = stream.context().peer_service_account().to_owned();
            stream.write_all(account.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    address
}

fn config(server: std::net::SocketAddr) -> String {
    // Paths are relative to the file's directory.
    format!(
        "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"up\"\n\
         [[upstream]]\nname = \"up\"\naddresses = [\"{server}\"]\nsecurity = \"alts\"\n\
         handshaker = \"files:proxy\"\nexpect = [\"server@prod.example\"]\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n"
    )
}

async fn ready(proxy: &Proxy) -> (StatusCode, String) {
    let mut client = http1(connect(proxy.metrics_address().unwrap()).await).await;
    let response = soon(client.send_request(get("/readyz"))).await.unwrap();
    (response.status(), text(response).await)
}

/// Whom the server says that it has been called by.
async fn caller(proxy: &Proxy) -> String {
    let mut stream = connect(address(proxy, "plain").await).await;
    String::from_utf8(read_all(&mut stream).await).unwrap()
}

#[tokio::test]
async fn the_next_connection_has_the_new_account() {
    let (world, authority) = (World::new(), Authority::new());
    let (ours, theirs) = (world.directory.path("proxy"), world.directory.path("server"));
    authority.write(&ours, "one@prod.example", |_| {});
    authority.write(&theirs, "server@prod.example", |_| {});
    let proxy = world.proxy(&config(told(&theirs).await)).await;
    assert_eq!(caller(&proxy).await, "one@prod.example");

    // Nobody has to say that there is a new certificate.
    authority.write(&ours, "two@prod.example", |_| {});
    until(async || caller(&proxy).await == "two@prod.example").await;

    // Who says so does not have to wait.
    authority.write(&ours, "three@prod.example", |_| {});
    assert!(proxy.reload().await);
    assert_eq!(caller(&proxy).await, "three@prod.example");

    // What is bad is not used, and is said.
    fs::remove_file(ours.join("tls.crt")).unwrap();
    assert!(!proxy.reload().await);
    assert_eq!(caller(&proxy).await, "three@prod.example");
}

#[tokio::test]
async fn a_proxy_whose_certificate_has_ended_is_not_ready() {
    let (world, authority) = (World::new(), Authority::new());
    let (ours, theirs) = (world.directory.path("proxy"), world.directory.path("server"));
    let end = std::time::SystemTime::now() + std::time::Duration::from_secs(4);
    authority.write(&ours, "one@prod.example", |params| params.not_after = end.into());
    authority.write(&theirs, "server@prod.example", |_| {});
    let proxy = world.proxy(&config(told(&theirs).await)).await;
    until(async || ready(&proxy).await.0 == StatusCode::OK).await;
    until(async || ready(&proxy).await.0 == StatusCode::SERVICE_UNAVAILABLE).await;
    let (_, why) = ready(&proxy).await;
    assert!(why.contains("files:") && why.contains("the certificate has expired"), "{why}");
    authority.write(&ours, "one@prod.example", |_| {});
    until(async || ready(&proxy).await.0 == StatusCode::OK).await;
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_at_the_start() {
    let (world, authority) = (World::new(), Authority::new());
    let ours = world.directory.path("proxy");
    authority.write(&ours, "one@prod.example", |_| {});
    fs::remove_file(ours.join("ca.crt")).unwrap();
    let path = world.directory.config(&config(closed_port().await));
    let config = Config::read(&path).unwrap();
    let error = alts_proxy::check(&config).unwrap_err().to_string();
    let file = ours.join("ca.crt");
    assert!(error.contains(&format!("{}: No such file", file.display())), "{error}");
    assert!(error.contains("[[upstream]]") && !error.contains("Google"), "{error}");
}

#[tokio::test]
async fn a_listener_has_files_of_its_own() {
    let (world, authority) = (World::new(), Authority::new());
    let (ours, theirs) = (world.directory.path("proxy"), world.directory.path("server"));
    authority.write(&ours, "one@prod.example", |_| {});
    authority.write(&theirs, "server@prod.example", |_| {});
    let (server, _echo) = crate::support::echo_server("echo").await;
    let inner = closed_port().await;
    let [certificate, key, roots] = NAMES;
    let text = format!(
        "{}[[listen]]\nname = \"inner\"\ntcp = \"{inner}\"\nsecurity = \"alts\"\n\
         handshaker = \"files:server/{certificate},server/{key},server/{roots}\"\n\
         allow = [\"one@prod.example\"]\nupstream = \"echo\"\n\
         [[upstream]]\nname = \"echo\"\naddresses = [\"{server}\"]\n",
        config(inner)
    );
    let proxy = world.proxy(&text).await;
    assert_eq!(name_of(address(&proxy, "plain").await).await, "echo");
}
