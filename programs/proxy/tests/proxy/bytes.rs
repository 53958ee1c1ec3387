//! Connections as bytes: what goes in comes out, and an end is an end.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

use crate::support::{
    World, address, chain, closed_port, connect, echo, echo_server, metric, read_all, soon, until,
};

#[tokio::test]
async fn originate_terminate_and_encrypt_again() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let inner = closed_port().await;
    // outer: plain to ALTS; inner: ALTS to plain; again: ALTS to ALTS.
    let proxy = world
        .proxy(&format!(
            "{}[[listen]]\nname = \"again\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
             handshaker = \"dev:front@dev.test\"\nany_peer = true\nupstream = \"alts\"\n",
            chain(server, inner, "")
        ))
        .await;
    echo(&mut connect(address(&proxy, "outer").await).await, "through two proxies").await;
    let mut direct = world.connect("client@dev.test", "server@dev.test", inner).await;
    echo(&mut direct, "to the second alone").await;
    let again = address(&proxy, "again").await;
    let mut again = world.connect("anybody@dev.test", "front@dev.test", again).await;
    echo(&mut again, "encrypted again").await;
}

#[tokio::test]
async fn megabytes_arrive_as_they_were_in_both_directions_at_once() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let proxy = world.proxy(&chain(server, closed_port().await, "")).await;
    let stream = connect(address(&proxy, "outer").await).await;
    let (mut reader, mut writer) = stream.into_split();
    // A period that divides no buffer, so that a piece in the wrong place is seen.
    let data: Vec<u8> = (0..8_000_000u32).map(|n| (n % 251) as u8).collect();
    let sent = data.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let back = read_all(&mut reader).await;
    assert!(back == data, "{} bytes of {}, or others", back.len(), data.len());
    writing.await.unwrap();
    drop(reader);
    let series = "alts_proxy_connections_total{listener=\"inner\",outcome=\"finished\"}";
    until(async || metric(&proxy, series) > 0.0).await;
    for direction in ["received", "sent"] {
        let series =
            format!("alts_proxy_bytes_total{{direction=\"{direction}\",listener=\"inner\"}}");
        assert!((metric(&proxy, &series) - 8_000_000.0).abs() < 0.5, "{direction}");
    }
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = world.proxy(&chain(listener.local_addr().unwrap(), closed_port().await, "")).await;
    let outer = address(&proxy, "outer").await;

    // The client ends first: the server reads the end, and answers only then.
    let mut client = connect(outer).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    assert_eq!(read_all(&mut server).await, b"question");
    server.write_all(b"answer").await.unwrap();
    drop(server);
    assert_eq!(read_all(&mut client).await, b"answer");

    // The server ends first.
    let mut client = connect(outer).await;
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    server.write_all(b"greeting").await.unwrap();
    server.shutdown().await.unwrap();
    assert_eq!(read_all(&mut client).await, b"greeting");
    client.write_all(b"farewell").await.unwrap();
    drop(client);
    assert_eq!(read_all(&mut server).await, b"farewell");
}

#[tokio::test]
async fn a_connection_that_was_cut_does_not_look_like_one_that_has_ended() {
    let world = World::new();
    // An ALTS server that dies in the middle of a frame.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let acceptor = world.acceptor("server@dev.test");
    let proxy = world
        .proxy(&format!(
            "[[listen]]\nname = \"outer\"\ntcp = \"127.0.0.1:0\"\nupstream = \"alts\"\n\
             [[upstream]]\nname = \"alts\"\naddresses = [\"{}\"]\nsecurity = \"alts\"\n\
             handshaker = \"dev:client@dev.test\"\nexpect = [\"server@dev.test\"]\n",
            listener.local_addr().unwrap()
        ))
        .await;
    let mut client = connect(address(&proxy, "outer").await).await;
    let (socket, _) = soon(listener.accept()).await.unwrap();
    let mut server = soon(acceptor.accept(socket)).await.unwrap();
    echo_once(&mut server, &mut client).await;
    let (mut socket, _) = server.into_inner();
    socket.write_all(&[100, 0, 0, 0, 6, 0, 0, 0, 1, 2, 3]).await.unwrap();
    drop(socket);
    let error = soon(client.read(&mut [0; 10])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    let series = "alts_proxy_connections_total{listener=\"outer\",outcome=\"upstream_error\"}";
    until(async || metric(&proxy, series) > 0.0).await;
}

async fn echo_once(
    server: &mut (impl tokio::io::AsyncWrite + Unpin),
    client: &mut (impl tokio::io::AsyncRead + Unpin),
) {
    server.write_all(b"whole").await.unwrap();
    server.flush().await.unwrap();
    let mut whole = [0; 5];
    soon(client.read_exact(&mut whole)).await.unwrap();
    assert_eq!(&whole, b"whole");
}

#[tokio::test]
async fn unix_sockets_on_both_sides() {
    let world = World::new();
    let path = world.directory.path("server.sock");
    let server = tokio::net::UnixListener::bind(&path).unwrap();
    let _proxy = world
        .proxy(
            "[[listen]]\nname = \"outer\"\nunix = \"outer.sock\"\nmode = \"0600\"\n\
             upstream = \"alts\"\n\
             [[upstream]]\nname = \"alts\"\naddresses = [\"unix:inner.sock\"]\nsecurity = \"alts\"\n\
             handshaker = \"dev:client@dev.test\"\nexpect = [\"server@dev.test\"]\n\
             [[listen]]\nname = \"inner\"\nunix = \"inner.sock\"\nsecurity = \"alts\"\n\
             handshaker = \"dev:server@dev.test\"\nallow = [\"client@dev.test\"]\n\
             upstream = \"server\"\n\
             [[upstream]]\nname = \"server\"\naddresses = [\"unix:server.sock\"]\n\
             send_proxy_protocol = true\n",
        )
        .await;
    let mut client = UnixStream::connect(world.directory.path("outer.sock")).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = soon(server.accept()).await.unwrap();
    let got = read_all(&mut server).await;
    assert_eq!(got[..16], *b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xea", "AF_UNIX");
    assert_eq!(got[16..16 + 216], [0; 216], "of which nothing is known but");
    assert_eq!(&got[16 + 216..], b"\xe0\0\x0fclient@dev.testhello", "the account");
}

#[tokio::test]
async fn the_proxy_protocol_says_whose_connection_it_is() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = world
        .proxy(&format!(
            "[[listen]]\nname = \"alts\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
             handshaker = \"dev:server@dev.test\"\nany_peer = true\nupstream = \"server\"\n\
             [[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"server\"\n\
             [[upstream]]\nname = \"server\"\naddresses = [\"{}\"]\nsend_proxy_protocol = true\n",
            listener.local_addr().unwrap()
        ))
        .await;
    let to = address(&proxy, "alts").await;
    let mut client = world.connect("client@dev.test", "server@dev.test", to).await;
    let from = client.get_ref().local_addr().unwrap();
    client.write_all(b"hello").await.unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    let mut wanted = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x1e\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    wanted.extend(from.port().to_be_bytes());
    wanted.extend(to.port().to_be_bytes());
    wanted.extend(b"\xe0\0\x0fclient@dev.testhello");
    assert_eq!(read_all(&mut server).await, wanted);

    let to = address(&proxy, "plain").await;
    let mut client = connect(to).await;
    let from = client.local_addr().unwrap();
    client.shutdown().await.unwrap();
    let (mut server, _) = soon(listener.accept()).await.unwrap();
    let mut wanted = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    wanted.extend(from.port().to_be_bytes());
    wanted.extend(to.port().to_be_bytes());
    assert_eq!(read_all(&mut server).await, wanted);
}

#[tokio::test]
async fn connections_on_which_nothing_happens_are_closed() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let proxy = world.proxy(&chain(server, closed_port().await, "idle = \"300ms\"")).await;
    let mut client = connect(address(&proxy, "outer").await).await;
    echo(&mut client, "hello").await;
    let silent = tokio::time::Instant::now();
    let end = soon(client.read(&mut [0; 10])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(silent.elapsed() > Duration::from_millis(200), "{:?}", silent.elapsed());
}
