//! tonic's clients and servers over ALTS.

#[path = "../../../examples/src/bin/greeter/service.rs"]
pub(crate) mod greeter;
#[path = "../../../examples/src/bin/greeter/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use alts_core::msg::{HandshakerReq, Request};
use tokio::sync::oneshot;
use tokio_alts::{
    AltsConnectInfo, AltsConnector, AltsHttpConnector, AltsIncoming, ClientConfig, Error,
    ErrorKind, Phase, RequireServiceAccounts, ShareTransportInfo,
};
use tonic::Code;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};

use self::greeter::{Client, Greeter, HELLOS, Vault};
use crate::support::*;

/// The greeter for everybody, and the vault for `admitted`.
async fn serve(service: alts_handshaker::Handshaker, admitted: &str) -> SocketAddr {
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(service)).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let vault = InterceptedService::new(Vault, RequireServiceAccounts::new([admitted]));
    let router = Server::builder().add_service(Greeter).add_service(vault);
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

async fn channel(address: SocketAddr, service: alts_handshaker::Handshaker) -> Channel {
    let connector = AltsHttpConnector::new(connector(service));
    endpoint(address).connect_with_connector(connector).await.unwrap()
}

fn alts_error<'e>(mut error: &'e (dyn std::error::Error + 'static)) -> &'e Error {
    loop {
        match error.downcast_ref() {
            Some(found) => return found,
            None => error = error.source().expect("an error of ALTS among the causes"),
        }
    }
}

#[tokio::test]
async fn calls_know_their_caller() {
    let (ours, theirs) = services();
    let address = serve(theirs, CLIENT).await;
    let mut client = Client::new(channel(address, ours).await);
    let hello = format!("Hello Ferris ({CLIENT})");
    assert_eq!(client.say_hello("Ferris").await.unwrap().message, hello);
    assert_eq!(client.open_vault("Ferris").await.unwrap().message, hello);
    let mut replies = client.say_hellos("Ferris").await.unwrap();
    for _ in 0..HELLOS {
        assert_eq!(replies.message().await.unwrap().unwrap().message, hello);
    }
    assert!(replies.message().await.unwrap().is_none());
    // Larger than any frame, and than HTTP/2's windows.
    let long = "x".repeat(3 << 20);
    assert_eq!(client.say_hello(&long).await.unwrap().message.len(), long.len() + hello.len() - 6);
}

#[tokio::test]
async fn a_listener_on_the_wire_sees_nothing_in_the_clear() {
    const SEEN: [&str; 5] = ["Ferris", "Hello ", "PRI * HTTP/2.0", CLIENT, SERVER];
    let (ours, theirs) = services();
    let sealed = wire::Wire::in_front_of(serve(theirs, CLIENT).await).await.unwrap();
    let mut client = Client::new(channel(sealed.address(), ours).await);
    client.say_hello("Ferris").await.unwrap();
    assert!(sealed.heard() > 1000);
    assert_eq!(sealed.in_the_clear(&SEEN), 0);
    // It would have noticed.
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(Server::builder().add_service(Greeter).serve_with_incoming(incoming));
    let plain = wire::Wire::in_front_of(address).await.unwrap();
    let mut client = Client::new(endpoint(plain.address()).connect().await.unwrap());
    client.say_hello("Ferris").await.unwrap();
    assert!(plain.in_the_clear(&SEEN) >= 32);
}

#[tokio::test]
async fn an_interceptor_admits_nobody_else_and_does_not_say_whom() {
    let (ours, theirs) = services();
    let address = serve(theirs, "admin@dev.test").await;
    let mut client = Client::new(channel(address, ours).await);
    assert!(client.say_hello("Ferris").await.is_ok());
    let status = client.open_vault("Ferris").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(!format!("{status:?}").contains("admin@"), "{status:?}");
}

#[tokio::test]
async fn a_layer_guards_the_whole_server() {
    let (ours, theirs) = services();
    for (admitted, code) in [
        (vec![CLIENT], Code::Ok),
        (vec!["x@y"], Code::PermissionDenied),
        (vec![], Code::PermissionDenied),
    ] {
        let layer = RequireServiceAccounts::new(admitted);
        let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs.clone())).await.unwrap();
        let address = incoming.local_addr().unwrap();
        let router = Server::builder().layer(layer).add_service(Greeter);
        tokio::spawn(router.serve_with_incoming(incoming));
        let mut client = Client::new(channel(address, ours.clone()).await);
        let reply = client.say_hello("Ferris").await;
        assert_eq!(reply.map_or_else(|status| status.code(), |_| Code::Ok), code);
    }
}

#[tokio::test]
async fn without_alts_nobody_is_authenticated() {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let require = RequireServiceAccounts::new([CLIENT]);
    let vault = InterceptedService::new(Vault, require.clone());
    tokio::spawn(Server::builder().add_service(vault).serve_with_incoming(incoming));
    let mut client = Client::new(endpoint(address).connect().await.unwrap());
    assert_eq!(client.open_vault("x").await.unwrap_err().code(), Code::Unauthenticated);

    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(
        Server::builder().layer(require).add_service(Greeter).serve_with_incoming(incoming),
    );
    let mut client = Client::new(endpoint(address).connect().await.unwrap());
    assert_eq!(client.say_hello("x").await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_wrong_server_is_refused_in_words() {
    let (ours, theirs) = services();
    let address = serve(theirs, CLIENT).await;
    let config = ClientConfig::builder().expect_peer("bank@dev.test").build().unwrap();
    let connector = AltsHttpConnector::new(AltsConnector::new(config, ours));
    let error = endpoint(address).connect_with_connector(connector).await.unwrap_err();
    let text = alts_error(&error).to_string();
    assert!(text.contains("bank@dev.test") && text.contains(SERVER), "{text}");
    assert!(text.contains(&address.to_string()), "{text}");
}

#[tokio::test]
async fn no_server_is_an_error_that_names_it_and_the_next_call_finds_one() {
    let (ours, theirs) = services();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let connecting = AltsHttpConnector::new(connector(ours));
    let error = endpoint(address).connect_with_connector(connecting.clone()).await.unwrap_err();
    let error = alts_error(&error);
    assert_eq!(error.phase(), Phase::Connect);
    assert!(matches!(error.kind(), ErrorKind::Io(_)));
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    let mut client = Client::new(endpoint(address).connect_with_connector_lazy(connecting));
    assert_eq!(client.say_hello("x").await.unwrap_err().code(), Code::Unavailable);
    let incoming = AltsIncoming::bind(address, acceptor(theirs)).await.unwrap();
    tokio::spawn(Server::builder().add_service(Greeter).serve_with_incoming(incoming));
    assert!(client.say_hello("x").await.is_ok());
}

#[tokio::test]
async fn the_target_name_is_the_endpoints_host_and_port() {
    let targets = Arc::new(Mutex::new(Vec::new()));
    let note = targets.clone();
    let script = move |_| {
        let note = note.clone();
        Act::Ask(Box::new(move |request: &mut HandshakerReq<'_>| {
            if let Some(Request::ClientStart(start)) = &request.request {
                note.lock().unwrap().push(start.target_name.to_owned());
            }
        }))
    };
    let (ours, theirs) = services();
    let address = serve(theirs, CLIENT).await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let connector = AltsHttpConnector::new(connector(Scripted::new(ours, script))).on_established(
        move |info| {
            let peer = info.context().peer_service_account().to_owned();
            tell.lock().unwrap().push((peer, info.remote_addr()));
        },
    );
    let endpoint = Endpoint::from_shared(format!("http://localhost:{}", address.port())).unwrap();
    endpoint.connect_with_connector(connector).await.unwrap();
    assert_eq!(*targets.lock().unwrap(), [format!("localhost:{}", address.port())]);
    assert_eq!(*told.lock().unwrap(), [(SERVER.to_owned(), Some(address))]);
}

#[tokio::test]
async fn shutdown_lets_calls_end() {
    let (ours, theirs) = services();
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs)).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = Server::builder().add_service(Greeter);
    let server = tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
        let _ = stopped.await;
    }));
    let mut client = Client::new(channel(address, ours).await);
    let mut replies = client.say_hellos("Ferris").await.unwrap();
    stop.send(()).unwrap();
    for _ in 0..HELLOS {
        assert!(replies.message().await.unwrap().is_some());
    }
    server.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn each_target_has_accounts_of_its_own() {
    let (ours, theirs) = services();
    let address = serve(theirs, CLIENT).await;
    let any = ClientConfig::builder().any_peer().build().unwrap();
    let connector = AltsHttpConnector::new(AltsConnector::new(any, ours));
    let name = address.to_string();
    let right = connector.clone().for_target(&*name, [SERVER]);
    endpoint(address).connect_with_connector(right).await.unwrap();
    for wrong in [
        connector.clone().for_target(&*name, ["bank@dev.test"]),
        connector.clone().for_target(&*name, [""; 0]),
        connector.clone().for_target("elsewhere:443", [SERVER]),
    ] {
        let error = endpoint(address).connect_with_connector(wrong).await.unwrap_err();
        let text = alts_error(&error).to_string();
        assert!(text.contains("expected"), "{text}");
    }
}

/// What tonic, and this crate, say of the transport below a call.
type Seen = (Option<SocketAddr>, Option<SocketAddr>, bool);

/// A layer that notes it.
fn noting(seen: Arc<Mutex<Vec<Seen>>>) -> impl tonic::service::Interceptor + Clone {
    move |request: tonic::Request<()>| {
        let info = request.extensions().get::<AltsConnectInfo>().unwrap();
        let credentials = info.transport().peer_credentials();
        let uds = request.extensions().get::<tonic::transport::server::UdsConnectInfo>();
        assert_eq!(credentials.is_some(), uds.is_some_and(|uds| uds.peer_cred.is_some()));
        let note = (request.remote_addr(), info.remote_addr(), credentials.is_some());
        seen.lock().unwrap().push(note);
        Ok(request)
    }
}

#[tokio::test]
async fn tonic_knows_where_a_call_came_from() {
    let (ours, theirs) = services();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs.clone())).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let greeter = InterceptedService::new(Greeter, noting(seen.clone()));
    let router = Server::builder().layer(ShareTransportInfo).add_service(greeter);
    tokio::spawn(router.serve_with_incoming(incoming));
    Client::new(channel(address, ours.clone()).await).say_hello("x").await.unwrap();
    let (tonics, ours_is, unix) = seen.lock().unwrap().pop().unwrap();
    assert!(tonics.is_some_and(|address| address.ip().is_loopback()), "{tonics:?}");
    assert_eq!((tonics, unix), (ours_is, false));

    // Over a UNIX socket, it is a process.
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let accepted = tokio::spawn(acceptor(theirs).accept(far));
    let connected = connector(ours).connect(near).await.unwrap();
    let accepted = accepted.await.unwrap().map_err(|failed| failed.to_string());
    let greeter = InterceptedService::new(Greeter, noting(seen.clone()));
    let router = Server::builder().layer(ShareTransportInfo).add_service(greeter);
    tokio::spawn(router.serve_with_incoming(tokio_stream::once(accepted)));
    let mut connected = Some(connected);
    let connector = tower::service_fn(move |_| {
        let stream = connected.take().map(hyper_util::rt::TokioIo::new);
        std::future::ready(stream.ok_or("it connects once"))
    });
    let endpoint = Endpoint::from_static("http://greeter.test");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    Client::new(channel).say_hello("x").await.unwrap();
    assert_eq!(seen.lock().unwrap().pop().unwrap(), (None, None, true));
}

#[tokio::test]
async fn a_graceful_stop_does_not_wait_for_whoever_is_silent_in_a_handshake() {
    let (ours, theirs) = services();
    let (stop, stopped) = oneshot::channel::<()>();
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs)).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let incoming = incoming.stop_when(async {
        let _ = stopped.await;
    });
    let router = Server::builder().add_service(Greeter);
    let server = tokio::spawn(router.serve_with_incoming(incoming));
    let mut client = Client::new(channel(address, ours).await);
    client.say_hello("x").await.unwrap();
    let mut silent = tokio::net::TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    stop.send(()).unwrap();
    let second = std::time::Duration::from_secs(1);
    let mut byte = [0];
    let end = tokio::io::AsyncReadExt::read(&mut silent, &mut byte);
    assert!(matches!(tokio::time::timeout(second, end).await.unwrap(), Ok(0) | Err(_)));
    client.say_hello("x").await.unwrap();
    drop(client);
    tokio::time::timeout(second, server).await.unwrap().unwrap().unwrap();
}

/// A connection that has said so much, and says no more.
async fn silent_after(
    said: &[u8],
    address: SocketAddr,
    service: alts_handshaker::Handshaker,
) -> tokio_alts::AltsStream<tokio::net::TcpStream> {
    let io = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stream = connector(service).connect(io).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, said).await.unwrap();
    tokio::io::AsyncWriteExt::flush(&mut stream).await.unwrap();
    stream
}

#[tokio::test]
async fn a_graceful_stop_ends_although_clients_are_silent_after_their_handshake_or_preface() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let (ours, theirs) = services();
    let (stop, _) = tokio::sync::watch::channel(false);
    let stopped = |mut stop: tokio::sync::watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let grace = std::time::Duration::from_millis(500);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor(theirs)).await.unwrap();
    let address = incoming.local_addr().unwrap();
    let incoming = incoming.stop_when(stopped(stop.subscribe())).grace(grace);
    let router = Server::builder().add_service(Greeter);
    let ended = stopped(stop.subscribe());
    let server = tokio::spawn(router.serve_with_incoming_shutdown(incoming, ended));
    // An honest client that keeps its connection does not hold it up at all.
    let mut client = Client::new(channel(address, ours.clone()).await);
    client.say_hello("x").await.unwrap();
    let _handshake = silent_after(b"", address, ours.clone()).await;
    let _preface = silent_after(PREFACE, address, ours).await;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let began = std::time::Instant::now();
    stop.send_replace(true);
    let patience = std::time::Duration::from_secs(5);
    tokio::time::timeout(patience, server).await.unwrap().unwrap().unwrap();
    assert!(began.elapsed() >= grace, "{:?}", began.elapsed());
    assert!(began.elapsed() < grace * 3, "{:?}", began.elapsed());
}
