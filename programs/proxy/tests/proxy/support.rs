//! Proxies in this process, whose identities believe each other, and what is at their two ends.
#![allow(dead_code, reason = "the tests of the command use a part of this")]

use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use alts_handshaker::locator::{Development, Locator};
use alts_proxy::Proxy;
use alts_proxy::config::Config;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_alts::{AltsAcceptor, AltsConnector, AltsStream, ClientConfig, ServerConfig};

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

/// Waits until something is so.
pub async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    soon(async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// A directory that is gone when the test is over.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("alts-proxy-test-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes `proxy.toml`.
    pub fn config(&self, text: &str) -> PathBuf {
        let path = self.path("proxy.toml");
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Identities that believe each other, and a place for files.
pub struct World {
    pub development: Arc<Development>,
    pub directory: Directory,
}

impl World {
    pub fn new() -> Self {
        Self { development: Arc::default(), directory: Directory::new() }
    }

    /// A proxy that has read this text from a file.
    pub async fn proxy(&self, text: &str) -> Proxy {
        let path = self.directory.config(text);
        let config = Config::read(&path).unwrap();
        Proxy::start(config, Some(path), Arc::clone(&self.development)).await.unwrap()
    }

    /// Connections as `account` to servers that are `expected`.
    pub fn connector(&self, account: &str, expected: &str) -> AltsConnector {
        let service = Locator::Development(account.to_owned()).service(&self.development);
        let config = ClientConfig::builder().expect_peer(expected).build().unwrap();
        AltsConnector::new(config, service.unwrap())
    }

    /// A connection as `account` to a server that is `expected`.
    pub async fn connect(
        &self,
        account: &str,
        expected: &str,
        address: SocketAddr,
    ) -> AltsStream<TcpStream> {
        let socket = connect(address).await;
        soon(self.connector(account, expected).connect(socket)).await.unwrap()
    }

    /// Accepts as `account`.
    pub fn acceptor(&self, account: &str) -> AltsAcceptor {
        let service = Locator::Development(account.to_owned()).service(&self.development);
        AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), service.unwrap())
    }
}

/// Where a listener listens.
pub async fn address(proxy: &Proxy, name: &str) -> SocketAddr {
    let listeners = proxy.listeners().await;
    listeners.iter().find(|(one, _)| one == name).unwrap().1.parse().unwrap()
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    soon(TcpStream::connect(address)).await.unwrap()
}

/// What a connection says until its end.
pub async fn read_all(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    soon(stream.read_to_end(&mut all)).await.unwrap();
    all
}

/// Says something and waits for it to come back.
pub async fn echo(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    text: &str,
) {
    soon(async {
        stream.write_all(text.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(back, text.as_bytes());
    })
    .await;
}

/// A server that sends back what it gets, and says `name` to who asks with `?`.
pub async fn echo_server(name: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buffer = vec![0; 65_536];
                while let Ok(count @ 1..) = stream.read(&mut buffer).await {
                    let answer = &buffer[..count];
                    let answer = if answer == b"?" { name.as_bytes() } else { answer };
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, server)
}

/// The name of the server that a connection has come to.
pub async fn name_of(address: SocketAddr) -> String {
    let mut stream = connect(address).await;
    stream.write_all(b"?").await.unwrap();
    stream.shutdown().await.unwrap();
    String::from_utf8(read_all(&mut stream).await).unwrap()
}

/// An address on which nobody listens, and nobody will: it is given out once, and its port is none that
/// the kernel chooses for the other tests' sockets.
pub async fn closed_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() * 97);
        let port = 10_000 + u16::try_from(number % 20_000).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener.local_addr().unwrap();
        }
    }
}

/// A server that accepts connections and says nothing on them; also a handshaker service of the
/// worst kind.
pub async fn silent_server() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    (address, server)
}

/// A value of the proxy's metrics; 0 unless there.
pub fn metric(proxy: &Proxy, series: &str) -> f64 {
    let text =
        String::from_utf8(alts_serving::metrics::render(proxy.metrics().registry()).unwrap())
            .unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap())
}

/// The configuration of a chain: plain clients, ALTS between two listeners of the same proxy, and
/// a plain server. `more` is for both listeners.
pub fn chain(server: SocketAddr, inner: SocketAddr, more: &str) -> String {
    format!(
        "[[listen]]\nname = \"outer\"\ntcp = \"127.0.0.1:0\"\nupstream = \"alts\"\n{more}\n\
         [[upstream]]\nname = \"alts\"\naddresses = [\"{inner}\"]\nsecurity = \"alts\"\n\
         handshaker = \"dev:client@dev.test\"\nexpect = [\"server@dev.test\"]\n\
         [[listen]]\nname = \"inner\"\ntcp = \"{inner}\"\nsecurity = \"alts\"\n\
         handshaker = \"dev:server@dev.test\"\nallow = [\"client@dev.test\"]\n\
         upstream = \"server\"\n{more}\n\
         [[upstream]]\nname = \"server\"\naddresses = [\"{server}\"]\n"
    )
}
