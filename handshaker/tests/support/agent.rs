//! A SPIFFE agent for tests: what it says is written by the test, and can change while it is asked.
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(dead_code, reason = "each test uses what it needs")]
#![allow(clippy::struct_field_names, reason = "the fields have the names of the definitions")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use prost::Message;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::{UnixListenerStream, WatchStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// An authority of a trust domain.
pub(crate) struct Domain {
    pub(crate) name: String,
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: Vec<u8>,
}

impl Domain {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("{name} {:p}", &raw const key));
        let certificate = params.self_signed(&key).unwrap().der().to_vec();
        Self { name: name.to_owned(), issuer: Issuer::new(params, key), certificate }
    }

    /// An identity of any trust domain: authorities that are honest make only their own.
    pub(crate) fn issue(&self, id: &str) -> Svid {
        self.issue_for(id, Duration::from_secs(3600))
    }

    pub(crate) fn issue_for(&self, id: &str, lifetime: Duration) -> Svid {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(60)).into();
        params.not_after = (now + lifetime).into();
        let key = KeyPair::generate().unwrap();
        let chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().to_vec()];
        Svid { id: id.to_owned(), chain, key: key.serialize_der() }
    }
}

#[derive(Clone)]
pub(crate) struct Svid {
    pub(crate) id: String,
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) key: Vec<u8>,
}

/// What the agent says to whoever asks.
#[derive(Clone, Default)]
pub(crate) struct Said {
    /// By process; zero for all others. Without an entry, there is no identity.
    pub(crate) svids: HashMap<i32, Vec<Svid>>,
    /// By user, for processes that are not there.
    pub(crate) users: HashMap<u32, Vec<Svid>>,
    pub(crate) bundles: BTreeMap<String, Vec<u8>>,
    pub(crate) federates_with: Vec<String>,
    /// The identity of whoever asks for its own; without one, that of process zero.
    pub(crate) own: Vec<Svid>,
}

impl Said {
    pub(crate) fn new(domains: &[&Domain]) -> Self {
        let bundles = domains.iter().map(|one| (one.name.clone(), one.certificate.clone()));
        Self { bundles: bundles.collect(), ..Self::default() }
    }

    pub(crate) fn with(mut self, pid: i32, svids: Vec<Svid>) -> Self {
        self.svids.insert(pid, svids);
        self
    }

    fn of(&self, pid: i32) -> Vec<Svid> {
        if pid == OWN {
            return self.own.clone();
        }
        let of_user = || self.users.get(&user(pid)?);
        let found = self.svids.get(&pid).or_else(of_user).or_else(|| self.svids.get(&0));
        found.cloned().unwrap_or_default()
    }
}

/// Stands for whoever asks for its own identity.
const OWN: i32 = -1;

/// TLS of a broker endpoint.
fn mutual_tls(svid: &Svid, authority: &[u8]) -> TlsAcceptor {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.to_vec().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = svid.chain.iter().cloned().map(Into::into).collect();
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(chain, svid.key.clone().try_into().unwrap())
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A connection that tonic serves.
struct Tls(TlsStream<UnixStream>);

impl Connected for Tls {
    type ConnectInfo = ();
    fn connect_info(&self) {}
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The effective user of a process.
fn user(pid: i32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The agent; it is gone when this is dropped.
pub(crate) struct TestAgent {
    path: PathBuf,
    said: Arc<watch::Sender<Said>>,
    runtime: Option<Runtime>,
    /// Serves the Broker API, with this identity and to members of this authority.
    broker: Option<(Svid, Vec<u8>)>,
    shared: Arc<Shared>,
}

type Act = Box<dyn Fn(i32) + Send>;

#[derive(Default)]
struct Shared {
    /// Called with the number of the process that is asked for, before there is an answer.
    before: Mutex<Option<Act>>,
    asked: Mutex<Vec<String>>,
}

impl TestAgent {
    pub(crate) fn start(path: &Path, said: Said) -> Self {
        let mut agent = Self {
            path: path.to_owned(),
            said: Arc::new(watch::channel(said).0),
            runtime: None,
            broker: None,
            shared: Arc::default(),
        };
        agent.restart();
        agent
    }

    /// The same with a broker endpoint, over mutual TLS; whoever asks for its own identity gets one.
    pub(crate) fn with_broker(path: &Path, mut said: Said, domain: &Domain) -> Self {
        let id = |name: &str| format!("spiffe://{}/{name}", domain.name);
        said.own = vec![domain.issue(&id("altsd"))];
        let mut agent = Self::start(path, said);
        agent.broker = Some((domain.issue(&id("spire/agent/test")), domain.certificate.clone()));
        agent.restart();
        agent
    }

    pub(crate) fn broker_address(&self) -> String {
        format!("unix:{}", self.broker_path().display())
    }

    fn broker_path(&self) -> PathBuf {
        self.path.with_extension("broker")
    }

    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    pub(crate) fn says(&self, said: Said) {
        self.said.send_replace(said);
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Said)) {
        self.said.send_modify(change);
    }

    /// Methods and processes that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub(crate) fn before_answers(&self, act: impl Fn(i32) + Send + 'static) {
        *self.shared.before.lock().unwrap() = Some(Box::new(act));
    }

    /// Ends all connections, and takes no new ones.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(self.broker_path());
    }

    pub(crate) fn restart(&mut self) {
        self.stop();
        // Of its own: its connections end with it.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = {
            let _entered = runtime.enter();
            UnixListener::bind(&self.path).unwrap()
        };
        let service = Service { said: Arc::clone(&self.said), shared: Arc::clone(&self.shared) };
        if let Some((svid, authority)) = &self.broker {
            let listener = {
                let _entered = runtime.enter();
                UnixListener::bind(self.broker_path()).unwrap()
            };
            let acceptor = mutual_tls(svid, authority);
            let connections = UnixListenerStream::new(listener)
                .then(move |stream| {
                    let acceptor = acceptor.clone();
                    async move { acceptor.accept(stream?).await.map(Tls) }
                })
                // One that is refused is no concern of the next.
                .filter(Result::is_ok);
            let broker = Broker(service.clone());
            runtime.spawn(async move {
                let server = tonic::transport::Server::builder().add_service(broker);
                server.serve_with_incoming(connections).await.unwrap();
            });
        }
        runtime.spawn(async move {
            tonic::transport::Server::builder()
                .add_service(Delegated(service.clone()))
                .add_service(OfWorkload(service))
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        self.stop();
    }
}

#[derive(Clone)]
struct Service {
    said: Arc<watch::Sender<Said>>,
    shared: Arc<Shared>,
}

type Answers<A> = Pin<Box<dyn Stream<Item = Result<A, Status>> + Send>>;

impl Service {
    fn answers<A: Send + 'static>(
        &self,
        what: &str,
        pid: i32,
        answer: impl Fn(&Said) -> Result<A, Status> + Send + 'static,
    ) -> Answers<A> {
        self.shared.asked.lock().unwrap().push(format!("{what} {pid}"));
        if let Some(before) = &*self.shared.before.lock().unwrap() {
            before(pid);
        }
        Box::pin(WatchStream::new(self.said.subscribe()).map(move |said| answer(&said)))
    }

    fn whole(&self, what: &str, pid: i32) -> Answers<proto::X509SvidResponse> {
        self.answers(what, pid, move |said| {
            let svids = said.of(pid);
            if svids.is_empty() {
                return Err(Status::permission_denied("no identity issued"));
            }
            let one = |svid: Svid| {
                let domain = svid.id.strip_prefix("spiffe://").unwrap().split('/').next().unwrap();
                proto::X509Svid {
                    bundle: said.bundles.get(domain).cloned().unwrap_or_default(),
                    spiffe_id: svid.id,
                    x509_svid: svid.chain.concat(),
                    x509_svid_key: svid.key,
                    hint: String::new(),
                }
            };
            let federated = said.federates_with.iter().filter_map(|name| {
                Some((format!("spiffe://{name}"), said.bundles.get(name)?.clone()))
            });
            Ok(proto::X509SvidResponse {
                federated_bundles: federated.collect(),
                svids: svids.into_iter().map(one).collect(),
                crl: Vec::new(),
            })
        })
    }
}

/// One method of a service: its request, its answers.
macro_rules! method {
    ($name:ident, $service:expr, $request:ty => $answer:ty, $act:expr) => {{
        struct $name(Service);
        impl ServerStreamingService<$request> for $name {
            type Response = $answer;
            type ResponseStream = Answers<$answer>;
            type Future = std::future::Ready<Result<Response<Answers<$answer>>, Status>>;
            fn call(&mut self, request: Request<$request>) -> Self::Future {
                let act: fn(&Service, Request<$request>) -> Result<Answers<$answer>, Status> = $act;
                std::future::ready(act(&self.0, request).map(Response::new))
            }
        }
        let (service, request) = $service;
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::<$answer, $request>::default());
            Ok(grpc.server_streaming($name(service), request).await)
        })
    }};
}

macro_rules! service {
    ($name:ident, $full:literal, |$parts:ident, $method:ident| $call:expr) => {
        #[derive(Clone)]
        struct $name(Service);
        impl NamedService for $name {
            const NAME: &'static str = $full;
        }
        impl tower_service::Service<http::Request<Body>> for $name {
            type Response = http::Response<Body>;
            type Error = Infallible;
            type Future =
                Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }
            fn call(&mut self, request: http::Request<Body>) -> Self::Future {
                let $method = request.uri().path().rsplit('/').next().unwrap().to_owned();
                let $parts = (self.0.clone(), request);
                $call
            }
        }
    };
}

service!(Delegated, "spire.api.agent.delegatedidentity.v1.DelegatedIdentity", |parts, method| {
    if method == "SubscribeToX509SVIDs" {
        method!(
            Svids, parts, proto::DelegatedRequest => proto::DelegatedResponse,
            |service, request| {
                let proto::DelegatedRequest { selectors, pid } = request.into_inner();
                let selectors: Vec<_> =
                    selectors.iter().map(|one| format!("{}:{}", one.r#type, one.value)).collect();
                let what = format!("delegated {}", selectors.join(","));
                Ok(service.answers(&what, pid, move |said| {
                    let one = |svid: Svid| {
                        let (domain, path) =
                            svid.id.strip_prefix("spiffe://").unwrap().split_once('/').unwrap();
                        proto::SvidWithKey {
                            x509_svid: Some(proto::TypesSvid {
                                cert_chain: svid.chain,
                                id: Some(proto::TypesId {
                                    trust_domain: domain.to_owned(),
                                    path: format!("/{path}"),
                                }),
                                expires_at: 0,
                            }),
                            x509_svid_key: svid.key,
                        }
                    };
                    Ok(proto::DelegatedResponse {
                        x509_svids: said.of(pid).into_iter().map(one).collect(),
                        federates_with: said.federates_with.clone(),
                    })
                }))
            }
        )
    } else {
        method!(
            Bundles, parts, proto::Empty => proto::BundlesResponse,
            |service, _request| Ok(service.answers("bundles", 0, |said| {
                Ok(proto::BundlesResponse { ca_certificates: said.bundles.clone().into_iter().collect() })
            }))
        )
    }
});

service!(Broker, "spiffe.broker.API", |parts, _method| method!(
    Subscribe, parts, proto::BrokerRequest => proto::X509SvidResponse,
    |service, request| {
        if request.metadata().get("broker.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        let reference = request.into_inner().reference.unwrap_or_default().reference.unwrap_or_default();
        if reference.type_url != "type.googleapis.com/spiffe.broker.WorkloadPIDReference" {
            return Err(Status::invalid_argument(reference.type_url));
        }
        let pid = proto::Pid::decode(&*reference.value).unwrap().pid;
        Ok(service.whole("broker", pid))
    }
));

service!(OfWorkload, "SpiffeWorkloadAPI", |parts, _method| method!(
    Fetch, parts, proto::Empty => proto::X509SvidResponse,
    |service, request| {
        if request.metadata().get("workload.spiffe.io").is_none_or(|value| value != "true") {
            return Err(Status::invalid_argument("security header missing from request"));
        }
        let own = !service.said.borrow().own.is_empty();
        Ok(service.whole("workload", if own { OWN } else { 0 }))
    }
));

/// A second reading of the protocols' definitions.
mod proto {
    use std::collections::HashMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Empty {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct X509SvidResponse {
        #[prost(message, repeated, tag = "1")]
        pub(crate) svids: Vec<X509Svid>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        pub(crate) crl: Vec<Vec<u8>>,
        #[prost(map = "string, bytes", tag = "3")]
        pub(crate) federated_bundles: HashMap<String, Vec<u8>>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct X509Svid {
        #[prost(string, tag = "1")]
        pub(crate) spiffe_id: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) x509_svid: Vec<u8>,
        #[prost(bytes = "vec", tag = "3")]
        pub(crate) x509_svid_key: Vec<u8>,
        #[prost(bytes = "vec", tag = "4")]
        pub(crate) bundle: Vec<u8>,
        #[prost(string, tag = "5")]
        pub(crate) hint: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct BrokerRequest {
        #[prost(message, optional, tag = "1")]
        pub(crate) reference: Option<Reference>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Reference {
        #[prost(message, optional, tag = "1")]
        pub(crate) reference: Option<Any>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Any {
        #[prost(string, tag = "1")]
        pub(crate) type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) value: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Pid {
        #[prost(int32, tag = "1")]
        pub(crate) pid: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct DelegatedRequest {
        #[prost(message, repeated, tag = "1")]
        pub(crate) selectors: Vec<Selector>,
        #[prost(int32, tag = "2")]
        pub(crate) pid: i32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct Selector {
        #[prost(string, tag = "1")]
        pub(crate) r#type: String,
        #[prost(string, tag = "2")]
        pub(crate) value: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct DelegatedResponse {
        #[prost(message, repeated, tag = "1")]
        pub(crate) x509_svids: Vec<SvidWithKey>,
        #[prost(string, repeated, tag = "2")]
        pub(crate) federates_with: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct SvidWithKey {
        #[prost(message, optional, tag = "1")]
        pub(crate) x509_svid: Option<TypesSvid>,
        #[prost(bytes = "vec", tag = "2")]
        pub(crate) x509_svid_key: Vec<u8>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TypesSvid {
        #[prost(bytes = "vec", repeated, tag = "1")]
        pub(crate) cert_chain: Vec<Vec<u8>>,
        #[prost(message, optional, tag = "2")]
        pub(crate) id: Option<TypesId>,
        #[prost(int64, tag = "3")]
        pub(crate) expires_at: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct TypesId {
        #[prost(string, tag = "1")]
        pub(crate) trust_domain: String,
        #[prost(string, tag = "2")]
        pub(crate) path: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(crate) struct BundlesResponse {
        #[prost(map = "string, bytes", tag = "1")]
        pub(crate) ca_certificates: HashMap<String, Vec<u8>>,
    }
}
