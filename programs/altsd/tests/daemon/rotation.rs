//! Connections while certificates are replaced all the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, GrpcHandshaker, ServerConfig};

use crate::support::{Authority, Directory, PATIENCE, Running};

const ACCOUNT: &str = "web@dev.test";
const LOAD: Duration = Duration::from_secs(5);
const ROTATION: Duration = Duration::from_millis(200);
/// 50 in a second.
const CONNECTION: Duration = Duration::from_millis(20);

/// One connection through a daemon, which has both ends, and some bytes on it.
async fn connect(connector: AltsConnector, acceptor: AltsAcceptor) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(65_536);
    let both = async {
        let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
        let mut client = client.map_err(|why| format!("client: {why}"))?;
        let mut server = server.map_err(|why| format!("server: {why}"))?;
        assert_eq!(client.context().peer_service_account(), ACCOUNT);
        let exchange = async {
            client.write_all(b"hello").await?;
            client.flush().await?;
            let mut got = [0; 5];
            server.read_exact(&mut got).await?;
            std::io::Result::Ok(got)
        };
        let got = exchange.await.map_err(|why| format!("records: {why}"))?;
        if &got == b"hello" { Ok(()) } else { Err(format!("{got:?} came")) }
    };
    timeout(PATIENCE, both).await.unwrap_or_else(|_| Err("it takes too long".to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_connection_fails_while_certificates_are_replaced() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "");
    let running = Running::start(&config);
    let service = || GrpcHandshaker::at(&directory.socket()).unwrap();
    let expected = ClientConfig::builder().expect_peer(ACCOUNT).build().unwrap();
    let connector = AltsConnector::new(expected, service());
    let expected = ServerConfig::builder().expect_peer(ACCOUNT).build().unwrap();
    let acceptor = AltsAcceptor::new(expected, service());

    let directory = Arc::new(directory);
    let ours = Arc::clone(&directory);
    let end = Instant::now() + LOAD;
    // Key and certificate are two files: the daemon finds them half replaced now and then.
    let rotation = tokio::task::spawn_blocking(move || {
        let mut count = 0;
        while Instant::now() < end {
            let (certificate, key) = authority.issue(ACCOUNT, 100);
            let files = [("web.key", key, 0o600), ("web.pem", certificate, 0o644)];
            for (name, text, mode) in &files {
                ours.write(name, text, *mode);
                std::thread::sleep(ROTATION / 2);
            }
            count += 1;
        }
        count
    });

    let (mut connections, mut failures, mut count) = (JoinSet::new(), Vec::new(), 0);
    let mut tick = interval(CONNECTION);
    // As many as there should have been, also on a busy machine.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while Instant::now() < end {
        tick.tick().await;
        connections.spawn(connect(connector.clone(), acceptor.clone()));
        count += 1;
    }
    while let Some(one) = connections.join_next().await {
        failures.extend(one.unwrap().err());
    }
    let rotations = rotation.await.unwrap();
    assert_eq!(failures, [""; 0], "of {count}, with {rotations} certificates");
    let renewed = running.log().iter().filter(|line| line.contains("certificates renewed")).count();
    println!("{count} connections, {rotations} certificates, {renewed} of them seen, 0 failed");
    assert!(count > 150 && rotations > 8 && renewed > 4, "{count}, {rotations}, {renewed}");
}
