//! Connections that come of age, and certificates that end: who closes what, when, and what is lost.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use alts_core::Fault;
use alts_core::context::{LOCAL_CERTIFICATE_END, PEER_CERTIFICATE_END};
use alts_core::handshake::HandshakeErrorKind;
use alts_core::msg::HandshakerResp;
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use http::uri::PathAndQuery;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_alts::{
    AltsHttpConnector, AltsIncoming, AltsStream, ConnectionAge, EndReason, ErrorKind, ResendUnsent,
};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_prost::ProstCodec;
use tower::{Layer, Service};

use crate::support::*;
use crate::tonic_calls::greeter::{Client, Greeter, HelloReply, HelloRequest};

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A greeter that takes its time.
#[derive(Clone)]
struct Slow(Duration);

impl NamedService for Slow {
    const NAME: &'static str = Greeter::NAME;
}

impl Service<http::Request<Body>> for Slow {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = tokio_alts::BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let pause = self.0;
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            Greeter.call(request).await
        })
    }
}

/// A tonic server of connections that end with `age`, whose calls take so long.
async fn serve(service: Handshaker, age: ConnectionAge, pause: Duration) -> SocketAddr {
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(service)).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let incoming = incoming.connection_age(age);
    let router = Server::builder().add_service(Slow(pause));
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

/// A channel, and how many connections it has made.
async fn channel(
    address: SocketAddr,
    service: Handshaker,
    change: impl FnOnce(AltsHttpConnector) -> AltsHttpConnector,
) -> (Channel, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&count);
    let connector = AltsHttpConnector::new(connector(service))
        .on_established(move |_| _ = counter.fetch_add(1, Ordering::Relaxed));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    (endpoint.connect_with_connector(change(connector)).await.unwrap(), count)
}

/// Calls from several tasks at once for so long; returns how many calls there were. None may fail.
async fn load(channel: &Channel, time: Duration) -> usize {
    let channel = ResendUnsent.layer(channel.clone());
    let until = Instant::now() + time;
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let mut client = tonic::client::Grpc::new(channel.clone());
            tokio::spawn(async move {
                let mut calls = 0;
                while Instant::now() < until {
                    client.ready().await.unwrap();
                    let request = tonic::Request::new(HelloRequest { name: "x".to_owned() });
                    let path = PathAndQuery::from_static("/greeter.Greeter/SayHello");
                    let codec = ProstCodec::<HelloRequest, HelloReply>::default();
                    if let Err(status) = client.unary(request, path, codec).await {
                        panic!("call {calls} of caller {caller}: {status:?}");
                    }
                    calls += 1;
                }
                calls
            })
        })
        .collect();
    let mut calls = 0;
    for caller in callers {
        calls += caller.await.unwrap();
    }
    calls
}

async fn connect(address: SocketAddr, service: Handshaker) -> AltsStream<TcpStream> {
    let io = TcpStream::connect(address).await.unwrap();
    connector(service).connect(io).await.unwrap()
}

/// A client that says only the preface of HTTP/2; what it hears, and when: the frames' types, and the
/// end as 255.
async fn listen(mut stream: AltsStream<TcpStream>) -> Vec<(u8, Duration, Vec<u8>)> {
    let began = Instant::now();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = Vec::new();
    loop {
        let mut header = [0; 9];
        if stream.read_exact(&mut header).await.is_err() {
            heard.push((255, began.elapsed(), Vec::new()));
            return heard;
        }
        let mut payload = vec![0; usize::from(u16::from_be_bytes([header[1], header[2]]))];
        stream.read_exact(&mut payload).await.unwrap();
        heard.push((header[3], began.elapsed(), payload));
    }
}

#[tokio::test]
async fn both_sides_know_when_certificates_end() {
    let authority = Authority::new().unwrap();
    let server = authority.handshaker(SERVER).unwrap();
    let client = authority.lifetime(seconds(100)).handshaker(CLIENT).unwrap();
    let ends = [client.expires(), server.expires()].map(|end| SystemTime::UNIX_EPOCH + end);
    let (near, far) = tokio::io::duplex(1 << 16);
    let (client, server) =
        tokio::join!(connector(client).connect(near), acceptor(server).accept(far));
    let (client, server) = (client.unwrap(), server.unwrap());
    let known = |stream: &AltsStream<_>| {
        (stream.local_certificate_end().unwrap(), stream.peer_certificate_end().unwrap())
    };
    assert_eq!(known(&client), (ends[0], ends[1]));
    assert_eq!(known(&server), (ends[1], ends[0]));
    let info = tokio_alts::AltsConnectInfo::of(&server);
    assert_eq!(info.peer_certificate_end(), Some(ends[0]));
    assert_eq!(info.local_certificate_end(), Some(ends[1]));
}

/// Gives the peer another attribute, if this is the result.
fn set(response: &mut HandshakerResp<'_>, name: &'static str, value: &'static str) {
    if let Some(result) = &mut response.result {
        result.peer_identity.as_mut().unwrap().attributes.insert(name, value).unwrap();
    }
}

#[tokio::test]
async fn a_service_that_lies_about_an_end_is_to_blame() {
    type Change = fn(&mut HandshakerResp<'_>);
    let changes: [Change; 2] = [
        |response| set(response, PEER_CERTIFICATE_END, "tomorrow"),
        |response| set(response, LOCAL_CERTIFICATE_END, "99999999999999999999"),
    ];
    for change in changes {
        let (ours, theirs) = services();
        let lying = Scripted::new(ours, move |_| Act::Change(change));
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = tokio::spawn(acceptor(theirs).accept(far));
        let error = connector(lying).connect(near).await.unwrap_err().into_error();
        assert_eq!(error.fault(), Fault::HandshakerService);
        let ErrorKind::Handshake(HandshakeErrorKind::Context(_)) = error.kind() else {
            panic!("{error}");
        };
        assert!(error.to_string().contains("peer_attributes: not an acceptable value"), "{error}");
        drop(server);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_connections_come_of_age() {
    let (ours, theirs) = services();
    let age = ConnectionAge::new().max_age(millis(200)).grace(seconds(10));
    let address = serve(theirs, age, Duration::ZERO).await;
    let (channel, connections) = channel(address, ours, |connector| connector).await;
    let calls = load(&channel, seconds(4)).await;
    let connections = connections.load(Ordering::Relaxed);
    assert!((10..=30).contains(&connections), "{connections} connections for {calls} calls");
    assert!(calls > 200, "{calls}");
}

#[tokio::test]
async fn goaway_comes_at_the_age_and_the_end_after_the_grace() {
    let (ours, theirs) = services();
    let age = ConnectionAge::new().max_age(millis(1000)).grace(millis(500));
    let address = serve(theirs, age, Duration::ZERO).await;
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let ours = ours.clone();
            tokio::spawn(async move { listen(connect(address, ours).await).await })
        })
        .collect();
    let mut ages = Vec::new();
    for client in clients {
        let heard = client.await.unwrap();
        let kinds: Vec<_> =
            heard.iter().map(|(kind, ..)| *kind).filter(|kind| *kind != 8).collect();
        assert_eq!(kinds, [4, 4, 7, 255], "settings, their acknowledgement, GOAWAY, the end");
        let (_, age, payload) = heard.iter().find(|(kind, ..)| *kind == 7).unwrap();
        assert_eq!(payload, b"\x7f\xff\xff\xff\0\0\0\0");
        // The handshake comes before the first of both clocks, and this machine may be busy.
        assert!(*age >= millis(880) && *age < millis(1400), "{age:?}");
        let (_, end, _) = heard.last().unwrap();
        let grace = end.saturating_sub(*age);
        assert!(grace >= millis(450) && grace < millis(1200), "{age:?} {end:?}");
        ages.push(*age);
    }
    ages.sort();
    assert!(ages[7].saturating_sub(ages[0]) > millis(10), "they do not end together: {ages:?}");
}

#[tokio::test]
async fn a_call_ends_within_the_grace_or_is_cut_by_its_end() {
    for (pause, is_cut) in [(millis(900), false), (seconds(20), true)] {
        let (ours, theirs) = services();
        let age = ConnectionAge::new().max_age(millis(300)).grace(seconds(2));
        let address = serve(theirs, age, pause).await;
        let (channel, _) = channel(address, ours, |connector| connector).await;
        let began = Instant::now();
        let called = Client::new(channel).say_hello("x").await;
        assert_eq!(called.is_err(), is_cut, "{called:?}");
        if is_cut {
            assert!(began.elapsed() >= millis(2200) && began.elapsed() < seconds(8));
        }
    }
}

#[tokio::test]
async fn a_server_ends_connections_when_the_clients_certificate_ends() {
    let authority = Authority::new().unwrap();
    let theirs = authority.handshaker(SERVER).unwrap();
    let ours = authority.lifetime(seconds(4)).handshaker(CLIENT).unwrap();
    let end = SystemTime::UNIX_EPOCH + ours.expires();
    let age = ConnectionAge::new().at_certificate_end(true).grace(millis(500));
    let address = serve(theirs, age, Duration::ZERO).await;
    let heard = listen(connect(address, ours).await).await;
    let late = SystemTime::now().duration_since(end).map_err(|early| early.duration());
    assert_eq!(heard.iter().filter(|(kind, ..)| *kind == 7).count(), 1, "{heard:?}");
    assert!(late < Ok(seconds(2)) || late.is_err_and(|early| early < seconds(1)), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_leaves_a_connection_whose_certificate_has_ended_and_loses_no_call() {
    let authority = Authority::new().unwrap();
    let theirs = authority.handshaker(SERVER).unwrap();
    let renewed = authority.handshaker(CLIENT).unwrap();
    let ours = authority.lifetime(seconds(3)).handshaker(CLIENT).unwrap();
    let address = serve(theirs, ConnectionAge::new(), Duration::ZERO).await;
    let (channel, connections) = channel(address, ours.clone(), |connector| connector).await;
    ours.replace(&renewed).unwrap();
    assert!(load(&channel, seconds(1)).await > 50);
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    assert!(load(&channel, seconds(4)).await > 200);
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_idle_client_makes_its_next_call_over_a_new_connection() {
    let (ours, theirs) = services();
    let address = serve(theirs, ConnectionAge::new(), Duration::ZERO).await;
    let age = ConnectionAge::new().max_age(millis(300));
    let (channel, connections) =
        channel(address, ours, |connector| connector.connection_age(age)).await;
    let mut client = Client::new(channel);
    client.say_hello("x").await.unwrap();
    client.say_hello("x").await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    tokio::time::sleep(millis(500)).await;
    client.say_hello("x").await.unwrap();
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_raw_stream_fails_when_it_is_over() {
    let (ours, theirs) = services();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (client, server) =
        tokio::join!(connector(ours).connect(near), acceptor(theirs).accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let age = ConnectionAge::new().max_age(seconds(100)).grace(seconds(10));
    let end = age.of(server.context());
    assert_eq!(end.reason(), Some(EndReason::Age));
    server.end_with(&end);
    let began = tokio::time::Instant::now();
    assert_eq!(end.due().await, EndReason::Age);
    talk(&mut client, &mut server).await;
    let error = server.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("has reached its age"), "{error}");
    assert!(server.write_all(b"x").await.is_err());
    let waited = began.elapsed();
    assert!(waited >= seconds(100) && waited <= seconds(121), "{waited:?}");
    assert_eq!(end.over_at().unwrap() - end.due_at().unwrap(), seconds(10));
}

#[tokio::test]
async fn a_driven_http1_connection_ends_behind_its_next_answer() {
    let (ours, theirs) = services();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let stream = acceptor(theirs).accept(listener.accept().await.unwrap().0).await.unwrap();
        let end = ConnectionAge::new().max_age(millis(300)).of(stream.context());
        let service =
            hyper::service::service_fn(async |_: http::Request<hyper::body::Incoming>| {
                tokio::time::sleep(millis(200)).await;
                Ok::<_, Infallible>(http::Response::new(String::from("ok")))
            });
        let builder = auto::Builder::new(TokioExecutor::new());
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        end.drive(connection, auto::Connection::graceful_shutdown).await
    });
    let mut client = connect(address, ours).await;
    let mut answers = Vec::new();
    while answers.last().is_none_or(|answer: &String| !answer.contains("connection: close")) {
        client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        client.flush().await.unwrap();
        let mut answer = vec![0; 1000];
        let count = client.read(&mut answer).await.unwrap();
        answers.push(String::from_utf8(answer[..count].to_vec()).unwrap());
        assert!(answers.last().unwrap().ends_with("ok"), "{answers:?}");
    }
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(server.await.unwrap().is_ok());
}
