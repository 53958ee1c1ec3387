//! Sockets at the beginning, and the end.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, GrpcHandshaker, ServerConfig};

use crate::common::Start;
use crate::support::{Authority, Caller, Directory, Running, altsd, channel, finish, with_itself};

/// What the program says when it does not start.
fn failure(config: &Path) -> String {
    let output = altsd().arg("--config").arg(config).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_was_left_behind_is_replaced_and_nothing_else_is() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "");
    let socket = directory.path("s.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists(), "left behind");
    let mut running = Running::start(&config);
    let metadata = fs::symlink_metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o666, "the mode that was asked for");
    with_itself(&directory.socket()).await;

    let second = failure(&config);
    assert!(second.contains("another daemon listens there"), "{second}");
    with_itself(&directory.socket()).await;
    running.signal(Signal::SIGTERM);
    assert!(running.wait().0.success());
    assert!(!socket.exists(), "removed at the end");

    let listener = UnixListener::bind(&socket).unwrap();
    let text = failure(&config);
    assert!(text.contains("another process listens there"), "{text}");
    drop(listener);
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    let text = failure(&config);
    assert!(text.contains("it is not a socket: move it away"), "{text}");
    assert!(text.contains("line 2, [[listen]]"), "{text}");
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_listeners_of_every_kind() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let name = format!("altsd-test-{}", std::process::id());
    let config = directory.simple(
        &authority,
        "\"anyone\"",
        &format!(
            "[[listen]]\nunix = \"t.sock\"\nmode = \"0600\"\nowner = \"{}\"\n\
             [[listen]]\nabstract = \"{name}\"\n[[listen]]\ntcp = \"127.0.0.1:0\"\n",
            crate::support::own_uid()
        ),
    );
    let mut running = Running::start(&config);
    running.wait_for("127.0.0.1:");
    with_itself(&directory.socket()).await;
    with_itself(&format!("unix:{}", directory.path("t.sock").display())).await;
    let mode = fs::metadata(directory.path("t.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let line = running.wait_for("\"127.0.0.1:");
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    with_itself(line["fields"]["address"].as_str().unwrap()).await;

    let service = || GrpcHandshaker::at(&format!("unix-abstract:{name}")).unwrap();
    let config = ClientConfig::builder().expect_peer("web@dev.test").build().unwrap();
    let (one, other) = tokio::io::duplex(65_536);
    let connector = AltsConnector::new(config, service());
    let acceptor =
        AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), service());
    let (client, server) = tokio::join!(connector.connect(one), acceptor.accept(other));
    assert_eq!(client.unwrap().context().peer_service_account(), "web@dev.test");
    assert_eq!(server.unwrap().context().peer_service_account(), "web@dev.test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_are_under_way_may_end() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "");
    let mut running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    let (mut client, hello) = Caller::client(&channel).await.unwrap();
    let first = Start::default().server(&hello.out);
    let (mut server, init) = Caller::call(&channel, first).await.unwrap();
    running.signal(Signal::SIGTERM);
    running.wait_for("stopping");
    while directory.path("s.sock").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    finish(&mut client, &mut server, init).await;
    drop((client, server, channel));
    let (status, _) = running.wait();
    assert!(status.success());
    running.wait_for_end("stopped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_do_not_end_are_not_waited_for() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "[shutdown]\ngrace = \"300ms\"\n");
    let mut running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    let _held = Caller::client(&channel).await.unwrap();
    running.signal(Signal::SIGINT);
    let (status, took) = running.wait();
    assert!(status.success());
    assert!(took > Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    running.wait_for_end("handshakes were under way when the time to stop ran out");
}
