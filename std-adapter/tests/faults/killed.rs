//! The handshaker service is killed during 1,000 handshakes, and comes back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use alts_core::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{sleep, timeout};
use tokio_alts::{
    AltsAcceptor, AltsConnector, ClientConfig, ErrorKind, GrpcHandshaker, HandshakeFailure,
    ServerConfig,
};

use crate::children;

const HANDSHAKES: usize = 1_000;
const DEADLINE: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshaker_killed_during_1000_handshakes_and_restarted() {
    let path = std::env::temp_dir().join(format!("alts-faults-{}.sock", std::process::id()));
    let path = path.to_str().unwrap().to_owned();
    let service = children::spawn("children::handshaker", &path, ":");
    service.line("READY");

    let at = || GrpcHandshaker::at(&format!("unix:{path}")).unwrap();
    let config = ClientConfig::builder().expect_peer("both@dev.test").deadline(DEADLINE);
    let config = config.max_concurrent_handshakes(HANDSHAKES).build().unwrap();
    let connector = AltsConnector::new(config, at());
    let config = ServerConfig::builder().any_peer().deadline(DEADLINE);
    let config = config.max_concurrent_handshakes(HANDSHAKES).build().unwrap();
    let acceptor = AltsAcceptor::new(config, at());

    let began = Instant::now();
    let done = Arc::new(AtomicUsize::new(0));
    let failures = Arc::new(Mutex::new(BTreeMap::<&str, usize>::new()));
    let successes = Arc::new(Mutex::new(Vec::with_capacity(HANDSHAKES)));
    let tasks: Vec<_> = (0..HANDSHAKES)
        .map(|_| {
            let (connector, acceptor) = (connector.clone(), acceptor.clone());
            let (done, failures, successes) = (done.clone(), failures.clone(), successes.clone());
            tokio::spawn(async move {
                loop {
                    let (near, far) = duplex(64 * 1024);
                    // A failure has the connection in it: it is closed at once, as a server would.
                    let both = tokio::join!(
                        async {
                            connector.connect(near).await.map_err(HandshakeFailure::into_error)
                        },
                        async { acceptor.accept(far).await.map_err(HandshakeFailure::into_error) },
                    );
                    let (mut client, mut server) = match both {
                        (Ok(client), Ok(server)) => (client, server),
                        (client, server) => {
                            for error in [client.err(), server.err()].into_iter().flatten() {
                                let timed_out = matches!(error.kind(), ErrorKind::TimedOut { .. });
                                let what = match error.fault() {
                                    _ if timed_out => "timed out",
                                    Fault::HandshakerService => "service at fault",
                                    Fault::Peer => "peer at fault",
                                    _ => "this side at fault",
                                };
                                *failures.lock().unwrap().entry(what).or_default() += 1;
                            }
                            sleep(Duration::from_millis(20)).await;
                            continue;
                        }
                    };
                    client.write_all(b"hello").await.unwrap();
                    client.flush().await.unwrap();
                    let mut heard = [0; 5];
                    server.read_exact(&mut heard).await.unwrap();
                    assert_eq!(&heard, b"hello");
                    successes.lock().unwrap().push(Instant::now());
                    done.fetch_add(1, Ordering::SeqCst);
                    return;
                }
            })
        })
        .collect();

    while done.load(Ordering::SeqCst) < HANDSHAKES / 10 {
        sleep(Duration::from_millis(1)).await;
    }
    service.kill();
    let before = done.load(Ordering::SeqCst);
    let first_of_all = successes.lock().unwrap().iter().min().map(|at| *at - began);
    sleep(Duration::from_millis(200)).await;
    let service = children::spawn("children::handshaker", &path, ":");
    service.line("READY");
    let restarted = Instant::now();
    for task in tasks {
        timeout(Duration::from_secs(180), task).await.expect("it hangs").unwrap();
    }
    let all = restarted.elapsed();
    let first = successes.lock().unwrap().iter().filter(|at| **at >= restarted).min().copied();
    let failures = failures.lock().unwrap().clone();
    println!(
        "handshaker killed after {before} of {HANDSHAKES} handshakes: {failures:?}; first success \
         {} ms after the restart ({} ms after the start), all done {} ms after it",
        first.map_or(0, |at| (at - restarted).as_millis()),
        first_of_all.unwrap_or_default().as_millis(),
        all.as_millis(),
    );
    assert!(before < HANDSHAKES, "it was killed too late");
    assert!(failures.contains_key("service at fault"), "nobody noticed");
    assert_eq!(failures.get("timed out"), None, "noticed at once, not at the deadline");
    assert_eq!(failures.get("this side at fault"), None);
    drop(service);
    let _ = std::fs::remove_file(&path);
}
