//! Certificates in files, the running program, and callers of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use alts_core::msg::HandshakerResp;
use alts_core::wire::Message as _;
use alts_handshaker::grpc::METHOD;
use bytes::Bytes;
use http::uri::PathAndQuery;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType, date_time_ymd,
};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_alts::RawCodec;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};

use crate::common::{Start, next};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A directory that is gone when the test is over.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("altsd-test-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, text: &str, mode: u32) {
        // In one step, as who renews certificates should do.
        let new = self.path("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// Writes `NAME.pem` and `NAME.key` for an account or a machine.
    pub fn identity(&self, name: &str, authority: &Authority, san: &str, days: i64) {
        let (certificate, key) = authority.issue(san, days);
        self.write(&format!("{name}.key"), &key, 0o600);
        self.write(&format!("{name}.pem"), &certificate, 0o644);
    }

    /// As [`identity`](Self::identity), with a change.
    pub fn identity_with(
        &self,
        name: &str,
        authority: &Authority,
        san: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) {
        let (certificate, key) = authority.issue_with(san, change);
        self.write(&format!("{name}.key"), &key, 0o600);
        self.write(&format!("{name}.pem"), &certificate, 0o644);
    }

    /// Writes `roots.pem`, `altsd.toml`.
    pub fn config(&self, authority: &Authority, text: &str) -> PathBuf {
        self.write("roots.pem", &authority.certificate, 0o644);
        self.write("altsd.toml", text, 0o644);
        self.path("altsd.toml")
    }

    /// A socket, one identity `web@dev.test` that `callers` may use, and more lines.
    pub fn simple(&self, authority: &Authority, callers: &str, more: &str) -> PathBuf {
        self.identity("web", authority, "web@dev.test", 100);
        self.config(
            authority,
            &format!(
                "trust_roots = [\"roots.pem\"]\n\
                 [[listen]]\nname = \"s\"\nunix = \"s.sock\"\nmode = \"0666\"\n\
                 [[identity]]\ncertificate = \"web.pem\"\nkey = \"web.key\"\n\
                 [[policy]]\ncallers = [{callers}]\naccounts = [\"web@dev.test\"]\n\
                 [reload]\npoll = \"100ms\"\n\
                 [log]\nformat = \"json\"\n{more}"
            ),
        )
    }

    pub fn socket(&self) -> String {
        format!("unix:{}", self.path("s.sock").display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "tests of altsd");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub fn from_issuer(issuer: Issuer<'static, KeyPair>, certificate: String) -> Self {
        Self { issuer, certificate }
    }

    /// Certificate and key of an account or, without `@`, a machine.
    pub fn issue(&self, san: &str, days: i64) -> (String, String) {
        self.issue_with(san, |params| {
            params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        })
    }

    /// As [`issue`](Self::issue), for years and with a change.
    pub fn issue_with(
        &self,
        san: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let mut params = CertificateParams::default();
        let name = san.try_into().unwrap();
        params.subject_alt_names = vec![if san.contains('@') {
            SanType::Rfc822Name(name)
        } else {
            SanType::DnsName(name)
        }];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2100, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// The program.
pub fn altsd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_altsd"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// The program at work; it is killed when the test is over.
pub struct Running {
    pub child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    pub fn start(config: &Path) -> Self {
        let mut command = altsd();
        command.arg("--config").arg(config);
        let mut running = Self::spawn(command);
        running.wait_listening();
        running
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, log) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                log.lock().unwrap().push(line.unwrap());
            }
        });
        Self { child, lines }
    }

    pub fn wait_listening(&mut self) {
        self.wait_for("listening");
    }

    pub fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Waits for a line in the log.
    pub fn wait_for(&mut self, text: &str) -> String {
        let begun = Instant::now();
        loop {
            if let Some(line) = self.log().into_iter().find(|line| line.contains(text)) {
                return line;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(
                begun.elapsed() < PATIENCE && ended.is_none(),
                "no {text:?} in the log (ended: {ended:?}): {:#?}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for a line in the log of a program that has ended: its last lines may be on their way.
    pub fn wait_for_end(&self, text: &str) {
        let begun = Instant::now();
        while !self.log().iter().any(|line| line.contains(text)) {
            assert!(begun.elapsed() < PATIENCE, "no {text:?}: {:#?}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The audit line that has these pairs.
    pub fn audit(&mut self, wanted: &[(&str, &str)]) -> Value {
        let begun = Instant::now();
        loop {
            for line in self.log() {
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                let fits = |(key, value): &(&str, &str)| line["fields"][key] == *value;
                if line["target"] == "altsd::audit" && wanted.iter().all(fits) {
                    return line["fields"].clone();
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no line with {wanted:?}: {:#?}", self.log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The address of the listener on TCP, from the log.
    pub fn tcp(&mut self) -> SocketAddr {
        self.address("listening")
    }

    /// The address of one of several listeners.
    pub fn tcp_of(&mut self, listener: &str) -> SocketAddr {
        self.address(&format!("\"listener\":\"{listener}\",\"address\""))
    }

    pub fn metrics_address(&mut self) -> SocketAddr {
        self.address("\"metrics\"")
    }

    fn address(&mut self, message: &str) -> SocketAddr {
        let line: Value = serde_json::from_str(&self.wait_for(message)).unwrap();
        line["fields"]["address"].as_str().unwrap().parse().unwrap()
    }

    pub fn metrics(&mut self) -> String {
        let mut stream = TcpStream::connect(self.metrics_address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        text
    }

    /// Waits until the metrics have a line.
    pub fn wait_for_metric(&mut self, line: &str) {
        let begun = Instant::now();
        loop {
            let metrics = self.metrics();
            if metrics.lines().any(|found| found == line) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "no {line} in {metrics}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the end; returns the status and how long it took.
    pub fn wait(&mut self) -> (std::process::ExitStatus, Duration) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, begun.elapsed());
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {:#?}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn endpoint(address: &str) -> Endpoint {
    let address =
        if address.starts_with("unix:") { address.to_owned() } else { format!("http://{address}") };
    Endpoint::from_shared(address).unwrap()
}

pub async fn channel(address: &str) -> Channel {
    timeout(PATIENCE, endpoint(address).connect()).await.unwrap().unwrap()
}

/// One `DoHandshake` call.
pub struct Caller {
    requests: mpsc::Sender<Bytes>,
    responses: Streaming<Bytes>,
}

/// What a response says.
#[derive(Debug)]
pub struct Said {
    pub code: u32,
    pub details: String,
    pub out: Vec<u8>,
    pub key_data: Vec<u8>,
    pub peer: Option<String>,
    pub local: Option<String>,
}

impl Caller {
    pub async fn call(channel: &Channel, first: Vec<u8>) -> Result<(Self, Said), Status> {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let (requests, receiver) = mpsc::channel(1);
        requests.send(Bytes::from(first)).await.unwrap();
        let stream = Request::new(ReceiverStream::new(receiver));
        let call =
            grpc.streaming(stream, PathAndQuery::from_static(METHOD), RawCodec::<Bytes>::default());
        let responses = timeout(PATIENCE, call).await.unwrap()?.into_inner();
        let mut caller = Self { requests, responses };
        let said = caller.response().await?;
        Ok((caller, said))
    }

    /// A call of a client that has said hello.
    pub async fn client(channel: &Channel) -> Result<(Self, Said), Status> {
        Self::call(channel, Start::default().client()).await
    }

    pub async fn next(&mut self, bytes: &[u8]) -> Result<Said, Status> {
        self.requests.send(Bytes::from(next(bytes))).await.unwrap();
        self.response().await
    }

    pub async fn response(&mut self) -> Result<Said, Status> {
        let bytes =
            timeout(PATIENCE, self.responses.message()).await.unwrap()?.expect("a response");
        let response = HandshakerResp::decode(&bytes).unwrap();
        let status = response.status.unwrap();
        let result = response.result.as_ref();
        let account = |of: Option<&alts_core::msg::Identity<'_>>| {
            of.and_then(alts_core::msg::Identity::service_account).map(ToOwned::to_owned)
        };
        Ok(Said {
            code: status.code,
            details: status.details.to_owned(),
            out: response.out_frames.to_vec(),
            key_data: result.map(|r| r.key_data.expose().to_vec()).unwrap_or_default(),
            peer: account(result.and_then(|r| r.peer_identity.as_ref())),
            local: account(result.and_then(|r| r.local_identity.as_ref())),
        })
    }
}

/// What the two ends get at last.
pub async fn handshake(
    client: &Channel,
    server: &Channel,
    starts: (&Start, &Start),
) -> (Said, Said) {
    let (mut client, hello) = Caller::call(client, starts.0.client()).await.unwrap();
    assert_eq!(hello.code, 0, "{}", hello.details);
    let (mut server, init) = Caller::call(server, starts.1.server(&hello.out)).await.unwrap();
    finish(&mut client, &mut server, init).await
}

/// The rest of a handshake whose server has answered the client's hello.
pub async fn finish(client: &mut Caller, server: &mut Caller, init: Said) -> (Said, Said) {
    assert_eq!(init.code, 0, "{}", init.details);
    let parameters = client.next(&init.out).await.unwrap();
    assert_eq!(parameters.code, 0, "{}", parameters.details);
    let choice = server.next(&parameters.out).await.unwrap();
    assert_eq!(choice.code, 0, "{}", choice.details);
    let of_client = client.next(&choice.out).await.unwrap();
    assert_eq!(of_client.code, 0, "{}", of_client.details);
    let of_server = server.next(&of_client.out).await.unwrap();
    assert_eq!(of_server.code, 0, "{}", of_server.details);
    assert_eq!(of_client.key_data, of_server.key_data);
    assert_eq!(of_client.key_data.len(), 44);
    (of_client, of_server)
}

/// A handshake of a service with itself.
pub async fn with_itself(address: &str) -> (Said, Said) {
    let channel = channel(address).await;
    handshake(&channel, &channel, (&Start::default(), &Start::default())).await
}

/// The user of this process.
pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}
