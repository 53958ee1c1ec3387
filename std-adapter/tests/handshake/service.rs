//! The handshaker service over gRPC, where it listens, and when it does not.

use std::net::SocketAddr;
use std::time::Duration;

use alts_core::Fault;
use alts_handshaker::Handshaker;
use alts_handshaker::grpc::{AnyCaller, HandshakerServer};
use tokio::io::duplex;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_alts::{
    AddressError, AltsConnector, ClientConfig, Error, ErrorKind, GrpcHandshaker, platform,
};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::transport::Server;

use crate::support::*;

fn serve_tcp(handshaker: Handshaker, listener: TcpListener) -> JoinHandle<()> {
    let router = Server::builder().add_service(HandshakerServer::new(AnyCaller(handshaker)));
    tokio::spawn(async move {
        router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
    })
}

fn serve_unix(handshaker: Handshaker, listener: UnixListener) -> JoinHandle<()> {
    let router = Server::builder().add_service(HandshakerServer::new(AnyCaller(handshaker)));
    tokio::spawn(async move {
        router.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
    })
}

async fn free_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A handshake with `connector`, against an honest server in this process.
async fn handshake(connector: &AltsConnector, theirs: &Handshaker) -> Result<(), Error> {
    let (near, far) = duplex(64 * 1024);
    let acceptor = acceptor(theirs.clone());
    let server = tokio::spawn(async move { acceptor.accept(far).await.ok() });
    let mut client = connector.connect(near).await?;
    let mut server = server.await.unwrap().unwrap();
    talk(&mut client, &mut server).await;
    assert_eq!(client.context().peer_service_account(), SERVER);
    assert_eq!(server.context().peer_service_account(), CLIENT);
    Ok(())
}

#[tokio::test]
async fn over_tcp_in_both_notations() {
    let (ours, theirs) = services();
    let (listener, address) = free_port().await;
    let _service = serve_tcp(ours, listener);
    let port = address.port();
    for address in [format!("127.0.0.1:{port}"), format!("dns:///localhost:{port}")] {
        let connector = connector(GrpcHandshaker::at(&address).unwrap());
        handshake(&connector, &theirs).await.unwrap();
        handshake(&connector, &theirs).await.unwrap();
    }
}

#[tokio::test]
async fn both_sides_over_one_shared_channel() {
    let (ours, _) = services();
    let (listener, address) = free_port().await;
    let _service = serve_tcp(ours, listener);
    let service = std::sync::Arc::new(GrpcHandshaker::at(&address.to_string()).unwrap());
    let config = ClientConfig::builder().expect_peer(CLIENT).build().unwrap();
    let connector = AltsConnector::new(config, service.clone());
    let acceptor = acceptor(service);
    let handshakes = (0..20).map(|_| {
        let (connector, acceptor) = (connector.clone(), acceptor.clone());
        tokio::spawn(async move {
            let (near, far) = duplex(64 * 1024);
            let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
            talk(&mut client.unwrap(), &mut server.unwrap()).await;
        })
    });
    for handshake in handshakes.collect::<Vec<_>>() {
        handshake.await.unwrap();
    }
}

#[tokio::test]
async fn over_unix_sockets() {
    let (ours, theirs) = services();
    let path = std::env::temp_dir().join(format!("tokio-alts-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let _service = serve_unix(ours.clone(), UnixListener::bind(&path).unwrap());
    for address in [format!("unix:{}", path.display()), format!("unix://{}", path.display())] {
        let connector = connector(GrpcHandshaker::at(&address).unwrap());
        handshake(&connector, &theirs).await.unwrap();
    }
    std::fs::remove_file(&path).unwrap();
    let gone = connector(GrpcHandshaker::at(&format!("unix:{}", path.display())).unwrap());
    let error = handshake(&gone, &theirs).await.unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn over_abstract_unix_sockets() {
    let (ours, theirs) = services();
    let name = format!("tokio-alts-{}", std::process::id());
    let _service = serve_unix(ours, UnixListener::bind(format!("\0{name}")).unwrap());
    let connector = connector(GrpcHandshaker::at(&format!("unix-abstract:{name}")).unwrap());
    handshake(&connector, &theirs).await.unwrap();
}

#[tokio::test]
async fn a_service_that_is_down_is_named_and_one_that_comes_back_is_used() {
    let (ours, theirs) = services();
    let (listener, address) = free_port().await;
    drop(listener);
    let connector = connector(GrpcHandshaker::at(&address.to_string()).unwrap());
    let error = handshake(&connector, &theirs).await.unwrap_err();
    let ErrorKind::Service(cause) = error.kind() else { panic!("{error}") };
    assert_eq!(cause.code(), Some(14));
    assert_eq!(error.fault(), Fault::HandshakerService);
    let text = error.to_string();
    assert!(
        text.contains(&address.to_string()) && text.contains("status UNAVAILABLE (14): "),
        "{text}"
    );
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("refused"), "{source}");

    for _ in 0..2 {
        let listener = TcpListener::bind(address).await.unwrap();
        let service = serve_tcp(ours.clone(), listener);
        handshake(&connector, &theirs).await.unwrap();
        handshake(&connector, &theirs).await.unwrap();
        service.abort();
        assert!(service.await.unwrap_err().is_cancelled());
    }
}

/// Restarted while a handshake is under way: that one fails, the next one works.
#[tokio::test]
async fn a_service_that_dies_in_a_handshake_fails_that_one_alone() {
    let (ours, theirs) = services();
    let (listener, address) = free_port().await;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    // The port stays this test's: whoever else binds one meanwhile cannot get it.
    let kept = listener.into_std().unwrap();
    let used = kept.try_clone().unwrap();
    let honest = ours.clone();
    runtime.spawn(async move {
        let listener = TcpListener::from_std(used).unwrap();
        serve_tcp(honest, listener).await.unwrap();
    });
    let connector = connector(GrpcHandshaker::at(&address.to_string()).unwrap());
    handshake(&connector, &theirs).await.unwrap();

    // Half way: the client's first message is out, and the peer is silent.
    let (near, mut far) = duplex(64 * 1024);
    let half = connector.clone();
    let half = tokio::spawn(async move { half.connect(near).await.err().unwrap().into_error() });
    tokio::io::AsyncReadExt::read_exact(&mut far, &mut [0; 16]).await.unwrap();
    // The process dies: its connections with it. It has ended before anything else is tried.
    let end = move || runtime.shutdown_timeout(Duration::from_secs(10));
    tokio::task::spawn_blocking(end).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut far, b"anything").await.unwrap();
    let error = half.await.unwrap();
    assert_eq!(error.fault(), Fault::HandshakerService, "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    let _service = serve_tcp(ours, TcpListener::from_std(kept).unwrap());
    handshake(&connector, &theirs).await.unwrap();
}

#[tokio::test]
async fn a_service_that_accepts_and_says_nothing_is_given_up() {
    let (listener, address) = free_port().await;
    let _held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let deadline = Duration::from_millis(300);
    let config = ClientConfig::builder().any_peer().deadline(deadline).build().unwrap();
    let connector = AltsConnector::new(config, GrpcHandshaker::at(&address.to_string()).unwrap());
    let (near, _far) = duplex(64);
    let error = connector.connect(near).await.err().unwrap().into_error();
    let waiting_for = Fault::HandshakerService;
    assert!(
        matches!(error.kind(), ErrorKind::TimedOut { waiting_for: w } if *w == waiting_for),
        "{error}"
    );
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn what_is_no_handshaker_service_is_named_with_its_status() {
    let (listener, address) = free_port().await;
    let router = Server::builder().add_service(crate::tonic_calls::greeter::Greeter);
    let _other = tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    let connector = connector(GrpcHandshaker::at(&address.to_string()).unwrap());
    let (_, theirs) = services();
    let error = handshake(&connector, &theirs).await.unwrap_err();
    let ErrorKind::Service(cause) = error.kind() else { panic!("{error}") };
    assert_eq!(cause.code(), Some(12));
    assert!(cause.message().starts_with("status UNIMPLEMENTED (12): "), "{}", cause.message());
    let text = error.to_string();
    assert!(text.contains("UNIMPLEMENTED (12)") && text.contains(&address.to_string()), "{text}");
}

#[test]
fn the_default_service_is_googles_and_refused_elsewhere() {
    assert!(GrpcHandshaker::at(tokio_alts::GOOGLE_CLOUD).is_ok());
    match GrpcHandshaker::google_cloud() {
        Ok(_) => assert!(platform::is_google_cloud()),
        Err(error) => {
            assert!(!platform::is_google_cloud());
            assert!(error.to_string().starts_with("this is not Google Cloud"), "{error}");
        }
    }
}

#[test]
fn a_service_is_reached_from_a_second_runtime_after_the_first_has_ended() {
    let (ours, theirs) = services();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let serving = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (listener, address) = serving.block_on(free_port());
    serving.spawn(async move { serve_tcp(ours, listener).await });
    let connector = connector(GrpcHandshaker::at(&address.to_string()).unwrap());
    for _ in 0..2 {
        runtime().block_on(handshake(&connector, &theirs)).unwrap();
    }
}

#[tokio::test]
async fn a_service_of_another_user_gets_nothing() {
    use std::os::unix::fs::MetadataExt;

    let own = std::fs::metadata("/proc/self").unwrap().uid();
    let (ours, theirs) = services();
    let name = format!("tokio-alts-user-{}", std::process::id());
    let _service = serve_unix(ours, UnixListener::bind(format!("\0{name}")).unwrap());
    let at = || GrpcHandshaker::at(&format!("unix-abstract:{name}")).unwrap();
    handshake(&connector(at().require_uid(own).unwrap()), &theirs).await.unwrap();
    let other = connector(at().require_uid(own + 1).unwrap());
    // Also while it backs off.
    for _ in 0..3 {
        let error = handshake(&other, &theirs).await.unwrap_err();
        assert_eq!(error.fault(), Fault::HandshakerService);
        let source = std::error::Error::source(&error).unwrap().to_string();
        let says = format!("has uid {own}, and uid {} is required", own + 1);
        assert!(source.contains(&says), "{source}");
    }
    // Over TCP, nobody can know.
    for address in ["127.0.0.1:1", "dns:///localhost:1"] {
        let refused = GrpcHandshaker::at(address).unwrap().require_uid(own).err().unwrap();
        assert_eq!(refused, AddressError::NoUser);
        assert!(refused.to_string().contains("write unix:/path"), "{refused}");
    }
}
