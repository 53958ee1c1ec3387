//! Servers of all kinds for the program to talk to, and the program.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of this")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use alts_handshaker::dev::Authority;
use alts_handshaker::grpc::{Admission, AnyCaller, HandshakerServer};
use alts_handshaker::{Call, Handshaker, Limits};
use http::Extensions;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio_alts::{AltsAcceptor, AltsIncoming, RequireServiceAccounts, ServerConfig};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::Server;

pub const CLIENT: &str = "client@dev.test";
pub const SERVER: &str = "server@dev.test";

/// What a run of the program has come to.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Fails unless the exit status is this and all the words are in the output.
    #[track_caller]
    pub fn assert(&self, status: i32, words: &[&str]) {
        assert_eq!(self.status, status, "{self:#?}");
        for word in words {
            assert!(self.out.contains(word), "no {word:?} in {}", self.out);
        }
    }

    /// Each line of the output, which is JSON.
    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs the program.
pub async fn alts(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alts"));
    command.env_clear().args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory that is removed at the end.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("alts-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn socket(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A port that is taken, and on which nobody listens while the socket lives.
pub fn nobody() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

/// A handshaker service on TCP.
pub async fn handshaker(handshaker: Handshaker) -> String {
    serve_handshaker(AnyCaller(handshaker)).await
}

/// A handshaker service on TCP, with a policy of its own.
pub async fn serve_handshaker(admission: impl Admission) -> String {
    let (listener, address) = listener().await;
    let router = Server::builder().add_service(HandshakerServer::new(admission));
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

/// A handshaker service on a UNIX socket.
pub fn unix_handshaker(handshaker: Handshaker, path: PathBuf) {
    let listener = UnixListener::bind(path).unwrap();
    let router = Server::builder().add_service(HandshakerServer::new(AnyCaller(handshaker)));
    tokio::spawn(router.serve_with_incoming(UnixListenerStream::new(listener)));
}

/// A handshaker service whose policy has nothing for any caller, and says so as altsd does.
pub struct Refusing(pub &'static str);

impl Admission for Refusing {
    type Caller = ();

    fn admit(&self, _: &Extensions, now: Duration) -> Result<(Call, ()), tonic::Status> {
        Ok((Call::refused(Limits::default(), self.0, now), ()))
    }

    fn ended(&self, (): (), _: &Call, _: Duration) {}
}

/// A server that says these bytes when it has read some, and closes; without bytes, at once.
pub async fn saying(words: &'static [u8]) -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut read = vec![0; 4096];
                let _ = stream.read(&mut read).await;
                let _ = stream.write_all(words).await;
            });
        }
    });
    address
}

/// A server that closes without a word, unless it is greeted in TLS.
pub async fn only_tls() -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = [0; 4096];
            let count = stream.read(&mut read).await.unwrap_or_default();
            if read[..count].starts_with(b"\x16\x03") {
                let _ = stream.write_all(b"\x16\x03\x03\x00\x02\x02\x00").await;
            }
        }
    });
    address
}

/// A server that accepts connections and never says anything.
pub async fn silent() -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            open.push(listener.accept().await.unwrap());
        }
    });
    address
}

/// An HTTP/1 server.
pub async fn http1() -> String {
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|_: http::Request<Incoming>| async {
                Ok::<_, Infallible>(http::Response::new(String::new()))
            });
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    address
}

/// A gRPC server without TLS or ALTS, and without any method.
pub async fn plain_grpc() -> String {
    let (listener, address) = listener().await;
    let router = Server::builder().add_routes(Routes::default());
    tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

pub async fn incoming(handshaker: Handshaker) -> (AltsIncoming, String) {
    let acceptor =
        AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), handshaker);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await.unwrap();
    let address = incoming.local_addr().unwrap().to_string();
    (incoming, address)
}

/// A gRPC server with ALTS, and without any method.
pub async fn alts_grpc(handshaker: Handshaker) -> String {
    let (incoming, address) = incoming(handshaker).await;
    let router = Server::builder().add_routes(Routes::default());
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

/// The same, which admits only that account.
pub async fn alts_grpc_for(handshaker: Handshaker, account: &str) -> String {
    let (incoming, address) = incoming(handshaker).await;
    let layer = RequireServiceAccounts::new([account]);
    let router = Server::builder().layer(layer).add_routes(Routes::default());
    tokio::spawn(router.serve_with_incoming(incoming));
    address
}

/// A server with ALTS that closes each connection after its handshake.
pub async fn alts_closing(handshaker: Handshaker) -> String {
    let (mut incoming, address) = incoming(handshaker).await;
    tokio::spawn(async move { while incoming.next().await.is_some() {} });
    address
}

/// A server with ALTS that sends back what it receives.
pub async fn alts_echo(handshaker: Handshaker) -> String {
    let (mut incoming, address) = incoming(handshaker).await;
    tokio::spawn(async move {
        while let Some(Ok(stream)) = incoming.next().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(stream);
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// Two identities that believe each other: the client's service, and the server's handshaker.
pub async fn pair() -> (String, Handshaker) {
    let authority = Authority::new().unwrap();
    let service = handshaker(authority.handshaker(CLIENT).unwrap()).await;
    (service, authority.handshaker(SERVER).unwrap())
}
