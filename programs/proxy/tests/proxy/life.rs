//! Upstreams that fail, configurations that change, limits, and the end.

use std::convert::Infallible;
use std::fs;
use std::time::Duration;

use alts_proxy::Proxy;
use http::{StatusCode, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::origin::{Origin, get, get2, http1, http2, text};
use crate::support::{
    World, address, chain, closed_port, connect, echo, echo_server, metric, name_of, read_all,
    silent_server, soon, until,
};

fn plain(addresses: &[std::net::SocketAddr], of_listener: &str, of_upstream: &str) -> String {
    let addresses: Vec<_> = addresses.iter().map(|one| format!("\"{one}\"")).collect();
    format!(
        "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"up\"\n{of_listener}\n\
         [[upstream]]\nname = \"up\"\naddresses = [{}]\n{of_upstream}\n",
        addresses.join(", ")
    )
}

/// What the proxy says at a path of its own.
async fn admin(proxy: &Proxy, path: &str) -> (StatusCode, String) {
    let mut client = http1(connect(proxy.metrics_address().unwrap()).await).await;
    let response = soon(client.send_request(get(path))).await.unwrap();
    (response.status(), text(response).await)
}

#[tokio::test]
async fn another_address_is_used_when_one_gives_no_connection() {
    let world = World::new();
    let (good, _good) = echo_server("second").await;
    let closed = closed_port().await;
    let proxy = world.proxy(&plain(&[closed, good], "", "")).await;
    let plain = address(&proxy, "plain").await;
    for _ in 0..3 {
        assert_eq!(name_of(plain).await, "second");
    }
    let failed = "alts_proxy_upstream_connects_total{outcome=\"refused\",upstream=\"up\"}";
    assert!(metric(&proxy, failed) > 0.5);
    let aside = "alts_proxy_upstream_addresses_aside{upstream=\"up\"}";
    assert!(metric(&proxy, aside) > 0.5, "the first one is tried last for a while");
    // It comes back, and is the preferred one again.
    let listener = tokio::net::TcpListener::bind(closed).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"first").await.unwrap();
        }
    });
    until(async || name_of(plain).await == "first").await;
    until(async || metric(&proxy, aside) < 0.5).await;
}

#[tokio::test]
async fn one_that_says_nothing_leaves_time_for_the_next() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let (silent, _silent) = silent_server().await;
    let inner = closed_port().await;
    // The first address accepts connections and never answers the handshake.
    let text = chain(server, inner, "").replace(
        &format!("addresses = [\"{inner}\"]"),
        &format!("addresses = [\"{silent}\", \"{inner}\"]\nconnect_deadline = \"4s\""),
    );
    let proxy = world.proxy(&text).await;
    assert_eq!(name_of(address(&proxy, "outer").await).await, "echo");
}

#[tokio::test]
async fn addresses_are_tried_without_need_when_that_is_wanted() {
    let world = World::new();
    let closed = closed_port().await;
    let text = plain(&[closed], "", "health_interval = \"50ms\"");
    let proxy = world.proxy(&format!("{text}[metrics]\naddress = \"127.0.0.1:0\"\n")).await;
    // Before the first look at the handshakers it is not ready for another reason.
    let aside = "no address of these upstreams is in order: up\n".to_owned();
    let not_ready = (StatusCode::SERVICE_UNAVAILABLE, aside);
    until(async || admin(&proxy, "/readyz").await == not_ready).await;
    let _listener = tokio::net::TcpListener::bind(closed).await.unwrap();
    let aside = "alts_proxy_upstream_addresses_aside{upstream=\"up\"}";
    until(async || metric(&proxy, aside) < 0.5).await;
    assert_eq!(admin(&proxy, "/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    assert_eq!(admin(&proxy, "/healthz").await.0, StatusCode::OK);
    let (_, metrics) = admin(&proxy, "/metrics").await;
    assert!(metrics.contains("alts_proxy_connections{listener=\"plain\"} 0"), "{metrics}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_others_go_on() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let text = plain(&[server], "", "");
    let proxy = world
        .proxy(&format!("{text}[limits]\nconnections = 5\nconnections_per_listener = 4\n"))
        .await;
    let plain = address(&proxy, "plain").await;
    let mut held = [connect(plain).await, connect(plain).await];
    for client in &mut held {
        echo(client, "in").await;
    }
    let mut third = connect(plain).await;
    assert!(matches!(soon(third.read(&mut [0; 10])).await, Ok(0) | Err(_)));
    let limit = "alts_proxy_connections_total{listener=\"plain\",outcome=\"limit\"}";
    assert!(metric(&proxy, limit) > 0.5);
    let [mut first, second] = held;
    echo(&mut first, "still in").await;
    drop(second);
    let open = "alts_proxy_connections{listener=\"plain\"}";
    until(async || metric(&proxy, open) < 1.5).await;
    echo(&mut connect(plain).await, "there is room again").await;
}

#[tokio::test]
async fn a_reload_is_for_new_connections_and_the_socket_stays() {
    let world = World::new();
    let (first, _first) = echo_server("first").await;
    let (second, _second) = echo_server("second").await;
    let proxy = world.proxy(&plain(&[first], "", "")).await;
    let at = address(&proxy, "plain").await;
    let mut old = connect(at).await;
    echo(&mut old, "before").await;

    world.directory.config(&plain(&[second], "idle = \"2h\"", ""));
    assert!(proxy.reload().await);
    assert_eq!(address(&proxy, "plain").await, at, "the socket stays");
    assert_eq!(name_of(at).await, "second");
    echo(&mut old, "after").await;
    old.write_all(b"?").await.unwrap();
    old.shutdown().await.unwrap();
    assert_eq!(read_all(&mut old).await, b"first", "old connections keep what they began with");

    // One more listener, then without the first.
    let both = plain(&[second], "", "")
        + "[[listen]]\nname = \"more\"\ntcp = \"127.0.0.1:0\"\nupstream = \"up\"\n";
    world.directory.config(&both);
    assert!(proxy.reload().await);
    let more = address(&proxy, "more").await;
    assert_eq!((name_of(at).await, name_of(more).await), ("second".into(), "second".into()));
    let mut old = connect(at).await;
    echo(&mut old, "to a listener that will go").await;
    world.directory.config(&plain(&[second], "", "").replace("\"plain\"", "\"more\""));
    assert!(proxy.reload().await);
    until(async || TcpStream::connect(at).await.is_err()).await;
    assert_eq!(name_of(more).await, "second");
    echo(&mut old, "the connection stays").await;
    let metrics =
        String::from_utf8(alts_serving::metrics::render(proxy.metrics().registry()).unwrap())
            .unwrap();
    assert!(metrics.contains("\"more\"") && !metrics.contains("\"plain\""), "{metrics}");
}

#[tokio::test]
async fn nobody_is_turned_away_while_configurations_change() {
    let world = World::new();
    let (first, _first) = echo_server("first").await;
    let proxy = world.proxy(&plain(&[first], "", "")).await;
    let at = address(&proxy, "plain").await;
    let calling = tokio::spawn(async move {
        for _ in 0..200 {
            assert_eq!(name_of(at).await, "first");
        }
    });
    let mut reloads = 0;
    while !calling.is_finished() {
        world.directory.config(&plain(&[first], &format!("idle = \"{}h\"", reloads % 3 + 1), ""));
        assert!(proxy.reload().await);
        reloads += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    calling.await.unwrap();
    assert!(reloads > 1);
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let good = plain(&[server], "", "");
    let proxy = world.proxy(&good).await;
    let at = address(&proxy, "plain").await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!(
        "{good}[[listen]]\nname = \"taken\"\ntcp = \"{}\"\nupstream = \"up\"\n",
        taken.local_addr().unwrap()
    );
    let unknown = good.replace("upstream = \"up\"", "upstream = \"down\"");
    for bad in ["rubbish", &unknown, &taken, &format!("{good}[limits]\nconections = 5\n")] {
        world.directory.config(bad);
        assert!(!proxy.reload().await, "{bad}");
        assert_eq!(name_of(at).await, "echo");
    }
    fs::remove_file(world.directory.path("proxy.toml")).unwrap();
    assert!(!proxy.reload().await);
    assert_eq!(name_of(at).await, "echo");
    assert_eq!(proxy.listeners().await.len(), 1);
    assert!((metric(&proxy, "alts_proxy_reloads_total{outcome=\"failure\"}") - 5.0).abs() < 0.5);
}

#[tokio::test]
async fn at_the_end_connections_may_finish() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let proxy = world.proxy(&plain(&[server], "", "")).await;
    let at = address(&proxy, "plain").await;
    let mut open = connect(at).await;
    echo(&mut open, "before").await;
    let ending = tokio::spawn(proxy.shutdown());
    until(async || TcpStream::connect(at).await.is_err()).await;
    // It may be silent for a while: what it speaks is unknown.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    echo(&mut open, "while it ends").await;
    drop(open);
    assert!(soon(ending).await.unwrap(), "all had ended by themselves");
}

#[tokio::test]
async fn at_the_end_connections_that_do_not_finish_are_cut() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let text = plain(&[server], "", "");
    let proxy = world.proxy(&format!("{text}[shutdown]\ngrace = \"300ms\"\n")).await;
    let mut open = connect(address(&proxy, "plain").await).await;
    echo(&mut open, "before").await;
    let begun = tokio::time::Instant::now();
    assert!(!soon(proxy.shutdown()).await);
    assert!(begun.elapsed() > Duration::from_millis(200), "{:?}", begun.elapsed());
    let error = soon(open.read(&mut [0; 10])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "cut, not ended");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_connections_on_which_nothing_was_ever_said() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let inner = closed_port().await;
    let proxy = world.proxy(&chain(server, inner, "")).await;
    let plain = connect(address(&proxy, "outer").await).await;
    let mut alts = world.connect("client@dev.test", "server@dev.test", inner).await;
    let open = "alts_proxy_connections{listener=\"inner\"}";
    until(async || metric(&proxy, open) > 1.5).await;
    let begun = tokio::time::Instant::now();
    soon(proxy.shutdown()).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(soon(alts.read(&mut [0; 1])).await.is_err(), "cut, not ended");
    drop(plain);
}

#[tokio::test]
async fn at_the_end_http_is_told_so() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(&[origin.address], "level = \"http\"", "")).await;
    let at = address(&proxy, "plain").await;
    let mut one = http1(connect(at).await).await;
    text(soon(one.send_request(get("/"))).await.unwrap()).await;
    let mut two = http2(connect(at).await).await;
    text(soon(two.send_request(get2("/"))).await.unwrap()).await;
    // One request is under way on a third connection, and ends well.
    let (pieces, receiver) = tokio::sync::mpsc::channel(1);
    let body =
        http_body_util::StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let request = http::Request::post("/echo").header(header::HOST, "example.test");
    let request = request.body(http_body_util::BodyExt::boxed_unsync(body)).unwrap();
    let mut three = http1(connect(at).await).await;
    let response = soon(three.send_request(request)).await.unwrap();
    let ending = tokio::spawn(proxy.shutdown());
    // The idle ones are closed, by HTTP/2 with GOAWAY: no request is lost on them.
    until(async || one.is_closed() && two.is_closed()).await;
    assert!(!ending.is_finished());
    pieces.send(Ok(hyper::body::Frame::data("last".into()))).await.unwrap();
    drop(pieces);
    assert_eq!(text(response).await, "last");
    assert!(soon(ending).await.unwrap());
}

/// The answers of `grpc.health.v1`.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

/// What says of a handshaker how it is, or does not know the question.
fn handshaker(socket: &std::path::Path, status: Option<u8>) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::UnixListener::bind(socket).unwrap();
    let answer = move |_| async move {
        let frame = status
            .map(|one| hyper::body::Frame::data(bytes::Bytes::from(vec![0, 0, 0, 0, 2, 8, one])));
        let body =
            http_body_util::StreamBody::new(tokio_stream::iter(frame.map(Ok::<_, Infallible>)));
        let code = if status.is_some() { "0" } else { "12" };
        http::Response::builder().header("grpc-status", code).body(body)
    };
    tokio::spawn(async move {
        loop {
            let io = hyper_util::rt::TokioIo::new(listener.accept().await.unwrap().0);
            let executor = hyper_util::rt::TokioExecutor::new();
            let server = hyper::server::conn::http2::Builder::new(executor);
            tokio::spawn(server.serve_connection(io, hyper::service::service_fn(answer)));
        }
    })
}

#[tokio::test]
async fn a_handshaker_that_does_not_answer_or_serve_is_not_there() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let (hanging, _hanging) = silent_server().await;
    let refusing = world.directory.path("refusing.sock");
    handshaker(&refusing, Some(NOT_SERVING));
    let old = world.directory.path("old.sock");
    handshaker(&old, None);
    for (address, said) in [
        (hanging.to_string(), "no answer within 2s"),
        (format!("unix:{}", refusing.display()), "it says that it does not serve"),
        (server.to_string(), "it does not speak HTTP/2"),
        (format!("unix:{}", old.display()), "ready\n"),
    ] {
        let text = plain(&[server], "", "")
            + &format!(
                "[[listen]]\nname = \"alts\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
                 handshaker = \"{address}\"\nany_peer = true\nupstream = \"up\"\n\
                 [metrics]\naddress = \"127.0.0.1:0\"\n"
            );
        let proxy = world.proxy(&text).await;
        until(async || !admin(&proxy, "/readyz").await.1.contains("nothing is known")).await;
        let (_, text) = admin(&proxy, "/readyz").await;
        assert!(text.contains(said), "{address}: {text}");
    }
}

#[tokio::test]
async fn it_is_not_ready_while_its_handshaker_is_away() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let socket = world.directory.path("handshaker.sock");
    let text = plain(&[server], "", "")
        + &format!(
            "[[listen]]\nname = \"alts\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
             handshaker = \"unix:{}\"\nany_peer = true\nupstream = \"up\"\n\
             [metrics]\naddress = \"127.0.0.1:0\"\n",
            socket.display()
        );
    let proxy = world.proxy(&text).await;
    for _ in 0..2 {
        until(async || admin(&proxy, "/readyz").await.1.contains("handshakers are not there"))
            .await;
        let (status, said) = admin(&proxy, "/readyz").await;
        assert!(status == StatusCode::SERVICE_UNAVAILABLE && said.contains("handshaker.sock"));
        let handshaker = handshaker(&socket, Some(SERVING));
        until(async || admin(&proxy, "/readyz").await.0 == StatusCode::OK).await;
        handshaker.abort();
        fs::remove_file(&socket).unwrap();
    }
    assert_eq!(admin(&proxy, "/healthz").await.0, StatusCode::OK, "alive all the same");
}

#[tokio::test]
async fn a_handshaker_of_another_user_is_not_there() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let socket = world.directory.path("handshaker.sock");
    handshaker(&socket, Some(SERVING));
    let own = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&socket).unwrap());
    let configuration = |user: u32| {
        plain(&[server], "", "")
            + &format!(
                "[[listen]]\nname = \"alts\"\ntcp = \"127.0.0.1:0\"\nsecurity = \"alts\"\n\
                 handshaker = \"unix:{}\"\nrequire_user = \"{user}\"\nany_peer = true\n\
                 upstream = \"up\"\n[metrics]\naddress = \"127.0.0.1:0\"\n",
                socket.display()
            )
    };
    let proxy = world.proxy(&configuration(own)).await;
    until(async || admin(&proxy, "/readyz").await.0 == StatusCode::OK).await;
    let proxy = world.proxy(&configuration(own + 1)).await;
    let is = format!("uid {} is required", own + 1);
    until(async || admin(&proxy, "/readyz").await.1.contains(&is)).await;
}
