//! Who may be at the other end, on either side, and who makes others wait.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    World, address, chain, closed_port, connect, echo, echo_server, metric, name_of, silent_server,
    soon, until,
};

/// Whether a connection is closed without a byte.
async fn is_turned_away(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    matches!(soon(stream.read(&mut [0; 10])).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_client_that_is_not_allowed_reaches_nobody() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let inner = closed_port().await;
    let proxy = world.proxy(&chain(server, inner, "")).await;
    let mut stranger = world.connect("stranger@dev.test", "server@dev.test", inner).await;
    let _ = stranger.write_all(b"?").await;
    assert!(is_turned_away(&mut stranger).await);
    let refused = "alts_proxy_connections_total{listener=\"inner\",outcome=\"refused\"}";
    until(async || metric(&proxy, refused) > 0.0).await;
    let connects = "alts_proxy_upstream_connects_total{outcome=\"success\",upstream=\"server\"}";
    assert!(metric(&proxy, connects) < 0.5, "nothing was opened on its behalf");

    // One whom the handshaker does not believe at all.
    let other = World::new().connector("client@dev.test", "server@dev.test");
    assert!(soon(other.connect(connect(inner).await)).await.is_err());
    // One that does not speak ALTS.
    let mut plain = connect(inner).await;
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = soon(plain.read_to_end(&mut said)).await;
    assert!(!said.starts_with(b"GET") && said.len() < 100, "at most an alert: {said:?}");
    let failed = "alts_proxy_connections_total{listener=\"inner\",outcome=\"handshake\"}";
    until(async || metric(&proxy, failed) > 1.5).await;
    echo(&mut connect(address(&proxy, "outer").await).await, "and others are served").await;
}

#[tokio::test]
async fn a_server_that_is_not_expected_gets_nothing() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let text =
        chain(server, closed_port().await, "").replace("\"server@dev.test\"", "\"x@dev.test\"");
    let proxy = world.proxy(&text).await;
    let mut client = connect(address(&proxy, "outer").await).await;
    let _ = client.write_all(b"secret").await;
    assert!(is_turned_away(&mut client).await);
    let failed = "alts_proxy_upstream_connects_total{outcome=\"handshake\",upstream=\"alts\"}";
    assert!(metric(&proxy, failed) > 0.5);
    let received = "alts_proxy_bytes_total{direction=\"received\",listener=\"inner\"}";
    assert!(metric(&proxy, received) < 0.5);
}

#[tokio::test]
async fn a_handshaker_that_hangs_delays_nobody_else() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let (silent, _silent) = silent_server().await;
    let text = format!(
        "{}[[listen]]\nname = \"hanging\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
         handshaker = \"{silent}\"\nany_peer = true\nupstream = \"server\"\n\
         handshake_deadline = \"1h\"\n\
         [[listen]]\nname = \"towards\"\ntcp = \"127.0.0.1:0\"\nupstream = \"hanging\"\n\
         [[upstream]]\nname = \"hanging\"\naddresses = [\"{server}\"]\nsecurity = \"alts\"\n\
         handshaker = \"{silent}\"\nany_peer = true\nhandshake_deadline = \"1h\"\n\
         connect_deadline = \"1h\"\n",
        chain(server, closed_port().await, "")
    );
    let proxy = world.proxy(&text).await;
    // As many as there are, on both sides of the proxy, and all of them wait for the service.
    let mut waiting = Vec::new();
    let (hanging, towards) = (address(&proxy, "hanging").await, address(&proxy, "towards").await);
    for _ in 0..50 {
        let mut client = connect(hanging).await;
        client.write_all(b"the beginning of a handshake").await.unwrap();
        waiting.push(client);
        waiting.push(connect(towards).await);
    }
    let outer = address(&proxy, "outer").await;
    for _ in 0..20 {
        assert_eq!(name_of(outer).await, "echo");
    }
    let open =
        |name: &str| metric(&proxy, &format!("alts_proxy_connections{{listener=\"{name}\"}}"));
    assert!((open("hanging") - 50.0).abs() < 0.5, "they were all still waiting");
    assert!((open("towards") - 50.0).abs() < 0.5, "they were all still waiting");
}

#[tokio::test]
async fn who_says_nothing_is_closed_at_the_deadline() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let (silent, _silent) = silent_server().await;
    let inner = closed_port().await;
    let text = format!(
        "{}[[listen]]\nname = \"towards\"\ntcp = \"127.0.0.1:0\"\nupstream = \"silent\"\n\
         [[upstream]]\nname = \"silent\"\naddresses = [\"{silent}\"]\nsecurity = \"alts\"\n\
         handshaker = \"dev:client@dev.test\"\nany_peer = true\nhandshake_deadline = \"300ms\"\n",
        chain(server, inner, "").replace(
            "allow = [\"client@dev.test\"]",
            "allow = [\"client@dev.test\"]\nhandshake_deadline = \"300ms\""
        )
    );
    let proxy = world.proxy(&text).await;
    let begun = tokio::time::Instant::now();
    let mut client = connect(inner).await;
    let mut to_silent = connect(address(&proxy, "towards").await).await;
    assert!(is_turned_away(&mut client).await);
    assert!(is_turned_away(&mut to_silent).await);
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_plain_listener_lets_in_the_callers_that_it_names_and_no_others() {
    use std::fmt::Write as _;
    use std::os::unix::fs::MetadataExt as _;

    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let own = std::fs::metadata("/proc/self").unwrap().uid();
    let directory = world.directory.0.display();
    let mut text = format!("[[upstream]]\nname = \"up\"\naddresses = [\"{server}\"]\n");
    for (kind, at) in [("tcp", "127.0.0.1:0"), ("tcp", "[::1]:0"), ("unix", "")] {
        for (name, callers) in [("mine", own), ("others", own + 1)] {
            let at =
                if kind == "unix" { format!("{directory}/{name}.sock") } else { at.to_owned() };
            let _ = write!(
                text,
                "[[listen]]\nname = \"{name} {at}\"\n{kind} = \"{at}\"\nupstream = \"up\"\n\
                 callers = [\"user:no-such-user\", \"uid:{callers}\"]\n"
            );
        }
    }
    let proxy = world.proxy(&text).await;
    for (name, at) in proxy.listeners().await {
        let refused =
            format!("alts_proxy_connections_total{{listener=\"{name}\",outcome=\"refused\"}}");
        let (mut tcp, mut unix);
        let mut stream: &mut dyn Io = if let Some(path) = at.strip_prefix("unix:") {
            unix = tokio::net::UnixStream::connect(path).await.unwrap();
            &mut unix
        } else {
            tcp = connect(at.parse().unwrap()).await;
            &mut tcp
        };
        if name.starts_with("mine") {
            echo(&mut stream, "hello").await;
            assert!(metric(&proxy, &refused) < 0.5, "{name}");
        } else {
            let _ = stream.write_all(b"?").await;
            assert!(is_turned_away(&mut stream).await, "{name}");
            until(async || metric(&proxy, &refused) > 0.5).await;
        }
    }
    let connects = "alts_proxy_upstream_connects_total{outcome=\"success\",upstream=\"up\"}";
    assert!((metric(&proxy, connects) - 3.0).abs() < 0.5, "nothing was opened for the others");
}

trait Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Io for T {}
