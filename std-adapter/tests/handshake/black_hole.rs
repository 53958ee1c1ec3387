//! A name with two addresses, of which the first takes no connection and says nothing.
//!
//! The name is in a hosts file that only a child of this test sees, in a mount namespace of its own.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_alts::{AltsHttpConnector, AltsIncoming};
use tonic::transport::{Endpoint, Server};
use tower::Service;

use crate::support::*;
use crate::tonic_calls::greeter::{Client, Greeter};

const NAME: &str = "two.alts.test";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_second_address_is_reached_behind_a_black_hole() {
    let hosts = std::env::temp_dir().join(format!("tokio-alts-hosts-{}", std::process::id()));
    std::fs::write(&hosts, format!("127.0.0.2 {NAME}\n127.0.0.3 {NAME}\n")).unwrap();
    let own = "mount --bind \"$0\" /etc/hosts || exit 77; exec \"$1\" --exact --ignored \"$2\"";
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", own])
        .arg(&hosts)
        .arg(std::env::current_exe().unwrap())
        .arg("black_hole::with_a_hosts_file_of_its_own")
        .output()
        .unwrap();
    std::fs::remove_file(&hosts).unwrap();
    let said = [child.stdout, child.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(child.status.success(), "{said:?}");
    assert!(said[0].contains("1 passed"), "{said:?}");
}

/// A port that is a black hole at the first address, and nobody's at the second.
async fn black_hole(first: IpAddr, second: IpAddr) -> (u16, TcpListener, Vec<TcpStream>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((first, 0).into()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        if TcpListener::bind((second, address.port())).await.is_err() {
            continue;
        }
        // A listener whose queue is full drops what comes.
        let mut queue = Vec::new();
        while let Ok(queued) = timeout(SECOND / 5, TcpStream::connect(address)).await {
            queue.push(queued.unwrap());
        }
        return (address.port(), listener, queue);
    }
}

#[tokio::test]
#[ignore = "a child of the test above"]
async fn with_a_hosts_file_of_its_own() {
    let found: Vec<SocketAddr> = lookup_host((NAME, 1)).await.unwrap().collect();
    let [first, second] = found[..] else { panic!("{found:?}") };
    let (port, _listener, _queue) = black_hole(first.ip(), second.ip()).await;
    let (ours, theirs) = services();
    let incoming = AltsIncoming::bind((second.ip(), port), acceptor(theirs)).await.unwrap();
    tokio::spawn(Server::builder().add_service(Greeter).serve_with_incoming(incoming));
    let uri = format!("http://{NAME}:{port}");
    let mut connector = AltsHttpConnector::new(connector(ours));

    let began = Instant::now();
    let stream = connector.call(uri.parse().unwrap()).await.unwrap();
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(stream.get_ref().peer_addr().unwrap().ip(), second.ip());

    let began = Instant::now();
    let endpoint = Endpoint::from_shared(uri).unwrap();
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    Client::new(channel).say_hello("x").await.unwrap();
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}
