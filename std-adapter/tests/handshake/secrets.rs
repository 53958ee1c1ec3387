//! What is reported of handshakes, and what never is.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use alts_core::msg::{HandshakeProtocol, HandshakerReq, HandshakerResp, Request};
use alts_core::wire::Message as _;
use alts_handshaker::grpc::{AnyCaller, HandshakerServer};
use leaks::Secrets;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_alts::{
    AltsAcceptor, AltsConnector, BoxFuture, ClientConfig, GrpcHandshaker, HandshakerCall,
    HandshakerService, ServerConfig, ServiceError, ServiceMessage,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::support::*;

#[path = "../../../handshaker/tests/common/leaks.rs"]
mod leaks;

const TOKEN: &str = "ya29.never-to-be-seen";

/// Everything that is reported through tracing, as text.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

struct Line<'a>(&'a mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Told {
    fn add(&self, metadata: &Metadata<'_>, record: impl FnOnce(&mut Line<'_>)) {
        let mut text = self.0.lock().unwrap();
        let _ = write!(text, "\n{} {} {} ", metadata.level(), metadata.target(), metadata.name());
        record(&mut Line(&mut text));
    }
}

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.add(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.add(event.metadata(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Takes the token out of a start message: the service that is behind the script refuses any.
fn take_token(request: &mut HandshakerReq<'_>) {
    assert!(!format!("{request:?}").contains(TOKEN));
    let token = match &mut request.request {
        Some(Request::ClientStart(start)) => std::mem::take(&mut start.access_token).expose(),
        Some(Request::ServerStart(start)) => {
            let parameters = start.handshake_parameters.get_mut(&HandshakeProtocol::ALTS);
            parameters.unwrap().token.take().unwrap().expose()
        }
        _ => panic!("not a start message"),
    };
    assert_eq!(token, TOKEN);
}

#[tokio::test]
async fn handshakes_are_told_of_and_tokens_are_not() {
    let told = Told::default();
    // With a single subscriber, the first thread to pass an event decides whether it is ever
    // reported, and the other tests' threads have none.
    let _second = tracing::Dispatch::new(Told::default());
    let _guard = tracing::subscriber::set_default(told.clone());
    let (ours, theirs) = services();
    let script = |request| match request {
        0 => Act::Ask(Box::new(take_token)),
        _ => Act::Honest,
    };
    let (ours, theirs) = (Scripted::new(ours, script), Scripted::new(theirs, script));
    let config = ClientConfig::builder().any_peer().access_token(TOKEN).target_name("greeter:1");
    let connector = AltsConnector::new(config.build().unwrap(), ours);
    let acceptor =
        AltsAcceptor::new(ServerConfig::builder().any_peer().token(TOKEN).build().unwrap(), theirs);
    let (near, far) = duplex(64 * 1024);
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (client, server) = (client.unwrap(), server.unwrap());

    let (near, far) = duplex(64 * 1024);
    drop(far);
    let failure = connector.connect(near).await.err().unwrap();
    let (near, _far) = duplex(64 * 1024);
    let abandoned = tokio::time::timeout(std::time::Duration::ZERO, acceptor.accept(near)).await;
    assert!(abandoned.is_err());

    let text = told.0.lock().unwrap().clone();
    for expected in [
        "side=\"client\" service=\"scripted.test:1\" target_name=\"greeter:1\"",
        "side=\"server\" service=\"scripted.test:1\"",
        "peer=\"server@dev.test\"",
        "peer=\"client@dev.test\"",
        "record_protocol=\"ALTSRP_GCM_AES128_REKEY\"",
        "message=handshake established",
        "message=handshake failed",
        "message=handshake abandoned",
        "elapsed=",
    ] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let shown = format!("{connector:?} {acceptor:?} {client:?} {server:?} {failure:?} {failure}");
    assert!(shown.contains("[redacted]"), "{shown}");
    assert!(!text.contains(TOKEN) && !shown.contains(TOKEN));
}

/// A service whose answers are listened to: the keys in them are remembered.
#[derive(Clone)]
struct Overheard<S> {
    of: S,
    secrets: Arc<Mutex<Secrets>>,
}

struct OverheardCall {
    of: Box<dyn HandshakerCall>,
    secrets: Arc<Mutex<Secrets>>,
}

impl<S: HandshakerService> HandshakerService for Overheard<S> {
    fn open(&self) -> Box<dyn HandshakerCall> {
        Box::new(OverheardCall { of: self.of.open(), secrets: Arc::clone(&self.secrets) })
    }

    fn address(&self) -> &str {
        self.of.address()
    }
}

impl HandshakerCall for OverheardCall {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        Box::pin(async move {
            let answer = self.of.exchange(request).await?;
            if let Some(answer) = &answer
                && let Some(result) = HandshakerResp::decode(answer).unwrap().result
            {
                self.secrets.lock().unwrap().add_key_data(result.key_data.expose());
            }
            Ok(answer)
        })
    }
}

/// An address at which a service answers over gRPC.
async fn over_grpc(handshaker: alts_handshaker::Handshaker) -> GrpcHandshaker {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = Server::builder().add_service(HandshakerServer::new(AnyCaller(handshaker)));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    GrpcHandshaker::at(&address).unwrap()
}

/// Both sides shake hands and talk; then a client with a token is refused.
async fn handshakes(
    ours: impl HandshakerService + Clone,
    theirs: impl HandshakerService + Clone,
) -> Secrets {
    let secrets = Arc::new(Mutex::new(Secrets::default()));
    let ours = Overheard { of: ours, secrets: Arc::clone(&secrets) };
    let theirs = Overheard { of: theirs, secrets: Arc::clone(&secrets) };
    let (connector, acceptor) = (connector(ours.clone()), acceptor(theirs));
    for payload in ["w0Zq.payload.Xk2", "payload-of-Vb7uPn"] {
        let (near, far) = duplex(64 * 1024);
        let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        client.write_all(payload.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        server.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, payload);
        secrets.lock().unwrap().add("a payload", payload.as_bytes());
    }
    let config = ClientConfig::builder().any_peer().access_token(TOKEN).build().unwrap();
    let (near, _far) = duplex(64 * 1024);
    assert!(AltsConnector::new(config, ours).connect(near).await.is_err());
    let mut secrets = std::mem::take(&mut *secrets.lock().unwrap());
    secrets.add("the token", TOKEN.as_bytes());
    secrets
}

#[tokio::test]
async fn no_crate_tells_a_key_a_token_or_a_payload_at_any_level() {
    let _second = tracing::Dispatch::new(Told::default());
    let (ours, theirs) = services();

    let told = Told::default();
    let guard = tracing::subscriber::set_default(told.clone());
    let secrets = handshakes(ours.clone(), theirs.clone()).await;
    secrets.assert_not_in(&told.0.lock().unwrap(), "the log of services in process");
    drop(guard);

    let told = Told::default();
    let _guard = tracing::subscriber::set_default(told.clone());
    let (ours, theirs) = (over_grpc(ours).await, over_grpc(theirs).await);
    let secrets = handshakes(Arc::new(ours), Arc::new(theirs)).await;
    let text = told.0.lock().unwrap().clone();
    // At both ends of the path between program and service, and everything in between.
    for crate_name in ["tokio_alts", "alts_handshaker", "tonic", "tower", "h2"] {
        assert!(text.contains(&format!(" {crate_name}::")), "{crate_name} told nothing: {text}");
    }
    secrets.assert_not_in(&text, "the log of services over gRPC");
    // The control: what any code logs at the finest level would have been seen.
    tracing::trace!(token = ?TOKEN.as_bytes(), "a leak");
    let found = secrets.found_in(&told.0.lock().unwrap());
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["the token as a list"]);
}

#[cfg(feature = "metrics")]
mod metrics {
    use std::collections::BTreeMap;

    use ::metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata,
        Recorder, SharedString, Unit, with_local_recorder,
    };

    use super::*;

    /// The sum of what each metric was given.
    #[derive(Clone, Default)]
    struct Sums(Arc<Mutex<BTreeMap<String, f64>>>);

    struct Sum(Sums, String);

    impl Sum {
        fn add(&self, value: f64) {
            *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
        }
    }

    impl CounterFn for Sum {
        fn increment(&self, value: u64) {
            self.add(f64::from(u32::try_from(value).unwrap()));
        }

        fn absolute(&self, _: u64) {}
    }

    impl GaugeFn for Sum {
        fn increment(&self, value: f64) {
            self.add(value);
        }

        fn decrement(&self, value: f64) {
            self.add(-value);
        }

        fn set(&self, _: f64) {}
    }

    impl HistogramFn for Sum {
        fn record(&self, value: f64) {
            assert!(value >= 0.0);
            self.add(1.0);
        }
    }

    impl Sums {
        fn of(&self, key: &Key) -> Arc<Sum> {
            let labels = key.labels().map(::metrics::Label::value).collect::<Vec<_>>().join(",");
            Arc::new(Sum(self.clone(), format!("{}({labels})", key.name())))
        }
    }

    impl Recorder for Sums {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.of(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.of(key))
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::from_arc(self.of(key))
        }
    }

    #[test]
    fn handshakes_are_counted_by_side_and_outcome() {
        let sums = Sums::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        with_local_recorder(&sums, || {
            runtime.block_on(async {
                let (ours, theirs) = services();
                let (connector, acceptor) = (connector(ours), acceptor(theirs));
                for _ in 0..2 {
                    let (near, far) = duplex(64 * 1024);
                    let (client, server) =
                        tokio::join!(connector.connect(near), acceptor.accept(far));
                    assert!(client.is_ok() && server.is_ok());
                }
                let (near, far) = duplex(64);
                drop(far);
                assert!(acceptor.accept(near).await.is_err());
                let (near, _far) = duplex(64);
                let zero = std::time::Duration::ZERO;
                assert!(tokio::time::timeout(zero, connector.connect(near)).await.is_err());
            });
        });
        let sums = sums.0.lock().unwrap();
        let sum = |name: &str| sums.get(name).copied().unwrap_or(-1.0);
        assert!((sum("alts_handshakes_total(client,established)") - 2.0).abs() < 0.1, "{sums:?}");
        assert!((sum("alts_handshakes_total(server,established)") - 2.0).abs() < 0.1);
        assert!((sum("alts_handshakes_total(server,probe)") - 1.0).abs() < 0.1);
        assert!((sum("alts_handshakes_total(client,abandoned)") - 1.0).abs() < 0.1);
        assert!((sum("alts_handshake_duration_seconds(client,established)") - 2.0).abs() < 0.1);
        assert!(sum("alts_handshakes_in_progress(client)").abs() < 0.1, "{sums:?}");
        assert!(sum("alts_handshakes_in_progress(server)").abs() < 0.1);
    }

    #[test]
    fn a_refused_call_is_told_of_at_info_and_counted() {
        use tower::{Layer as _, ServiceExt as _};

        let (sums, told) = (Sums::default(), Told::default());
        let _second = tracing::Dispatch::new(Told::default());
        let _guard = tracing::subscriber::set_default(told.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let require = tokio_alts::RequireServiceAccounts::new([CLIENT]);
        let service = require.layer(tower::service_fn(|_: http::Request<()>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
        }));
        let answer = with_local_recorder(&sums, || {
            runtime.block_on(service.oneshot(http::Request::new(()))).unwrap()
        });
        assert_eq!(answer.status(), http::StatusCode::UNAUTHORIZED);
        let told = told.0.lock().unwrap();
        let line = told.lines().find(|line| line.contains("call refused")).unwrap();
        assert!(line.starts_with("INFO ") && line.contains("unauthenticated"), "{line}");
        let counted = sums.0.lock().unwrap();
        assert!((counted["alts_calls_refused_total(unauthenticated)"] - 1.0).abs() < 0.1);
    }
}
