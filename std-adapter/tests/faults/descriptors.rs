//! No descriptor is left: a server lets its listener rest, and goes on when there are some.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use alts_handshaker::dev::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsIncoming, ClientConfig, IncomingFailure, ServerConfig,
};
use tokio_stream::StreamExt;

use crate::children;

/// What the operating system says when a process has no descriptor left (EMFILE on Linux).
const TOO_MANY_OPEN_FILES: i32 = 24;

#[test]
fn a_server_out_of_descriptors_recovers() {
    let child = children::spawn("descriptors::few_descriptors", "go", "ulimit -n 64");
    println!("descriptors exhausted (limit 64): {}", child.line("RECOVERED"));
    assert!(child.succeeded());
}

#[test]
#[ignore = "a child process of another test: it needs a low limit of descriptors"]
fn few_descriptors() {
    if children::instruction().is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let authority = Authority::new().unwrap();
        let handshaker = |account| authority.handshaker(account).unwrap();
        let failed = Arc::new(AtomicUsize::new(0));
        let told = failed.clone();
        let acceptor = AltsAcceptor::new(
            ServerConfig::builder().any_peer().build().unwrap(),
            handshaker("server@dev.test"),
        );
        let mut incoming =
            AltsIncoming::bind("127.0.0.1:0", acceptor).await.unwrap().on_failure(move |failure| {
                if let IncomingFailure::Accept(error) = failure {
                    assert_eq!(error.raw_os_error(), Some(TOO_MANY_OPEN_FILES), "{error}");
                    told.fetch_add(1, Ordering::SeqCst);
                }
            });
        let address = incoming.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut stream = incoming.next().await.unwrap().unwrap();
            let mut heard = [0; 5];
            stream.read_exact(&mut heard).await.unwrap();
            heard
        });

        // Both ends are in this process: clients, until none are left for either.
        let mut silent = Vec::new();
        while failed.load(Ordering::SeqCst) < 3 {
            assert!(silent.len() < 1000, "the limit is not low");
            match TcpStream::connect(address).await {
                Ok(stream) => silent.push(stream),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(TOO_MANY_OPEN_FILES), "{error}");
                    assert_ne!(error.kind(), ErrorKind::ConnectionRefused);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
        let held = silent.len();
        drop(silent);
        let freed = Instant::now();
        let config = ClientConfig::builder().expect_peer("server@dev.test").build().unwrap();
        let connector = AltsConnector::new(config, handshaker("client@dev.test"));
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect(stream).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(&server.await.unwrap(), b"hello");
        println!(
            "RECOVERED {held} silent connections, accept failed {} times; a handshake was done \
             {} ms after descriptors were free",
            failed.load(Ordering::SeqCst),
            freed.elapsed().as_millis()
        );
    });
}
