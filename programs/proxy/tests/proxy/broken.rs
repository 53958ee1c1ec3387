//! Requests without a whole response: what they were is said, and no side is blamed for another's.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::hostile::{broken, greedy, plain, requests, with_window};
use crate::origin::{Io, Origin, PIECE, get, get2, http1, http2, text};
use crate::support::{World, address, connect, metric, read_all, soon, until};

#[tokio::test]
async fn an_upstream_that_goes_silent_ends_the_stream_of_its_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
        sleep(Duration::from_secs(60)).await;
    });
    let world = World::new();
    let text = plain(server, "idle = \"400ms\"", "protocol = \"http1\"");
    let proxy = world.proxy(&text).await;
    let mut client = http2(connect(address(&proxy, "plain").await).await).await;
    let answer = soon(client.send_request(get2("/"))).await.unwrap();
    let whole = timeout(Duration::from_secs(10), answer.into_body().collect()).await;
    assert!(whole.expect("it waits for ever").is_err());
    until(async || broken(&proxy, "upstream_stalled") > 0.5).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_connection_is_closed() {
    let world = World::new();
    let origin = Origin::start().await;
    let settings = "stall_deadline = \"300ms\"";
    let proxy = world.proxy(&plain(origin.address, settings, "")).await;
    let mut raw = connect(address(&proxy, "plain").await).await;
    // Windows as large as they can be, and a request: what stalls is the socket.
    let mut hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    hello.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x7f, 0xff, 0xff, 0xff]);
    hello.extend([0, 0, 4, 8, 0, 0, 0, 0, 0, 0x7f, 0, 0, 0]);
    hello.extend([0, 0, 11, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x41, 1, b'x', 0x04, 4]);
    hello.extend(b"/big");
    raw.write_all(&hello).await.unwrap();
    let failed = "alts_proxy_connections_total{listener=\"plain\",outcome=\"client_error\"}";
    let closed = until(async || metric(&proxy, failed) > 0.5);
    timeout(Duration::from_secs(10), closed).await.expect("it is never closed");
}

#[tokio::test]
async fn a_request_that_its_client_takes_back_is_that_in_log_and_metrics() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "protocol = \"http1\"")).await;
    let plain = address(&proxy, "plain").await;
    let (client, connection) = soon(h2::client::handshake(connect(plain).await)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = soon(client.ready()).await.unwrap();
    let mut count = 0.5;
    // In the middle of its body, and of the response's.
    for (path, reason) in [
        ("/collect", h2::Reason::CANCEL),
        ("/collect", h2::Reason::NO_ERROR),
        ("/echo", h2::Reason::CANCEL),
    ] {
        let request = Request::post(format!("http://x{path}")).body(()).unwrap();
        let (answer, mut stream) = client.send_request(request, false).unwrap();
        stream.send_data("half".into(), false).unwrap();
        let answer = if path == "/echo" { Ok(soon(answer).await.unwrap()) } else { Err(answer) };
        sleep(Duration::from_millis(100)).await;
        stream.send_reset(reason);
        let counted = until(async || broken(&proxy, "client_reset") > count);
        timeout(Duration::from_secs(10), counted).await.expect("it has no reason");
        count += 1.0;
        drop(answer);
        client = soon(client.ready()).await.unwrap();
    }
    assert!(requests(&proxy, "5xx") < 0.5);
    // The whole connection, in both versions.
    let request = Request::get("http://x/silent").body(()).unwrap();
    let answer = client.send_request(request, true).unwrap();
    sleep(Duration::from_millis(100)).await;
    connection.abort();
    let mut raw = connect(plain).await;
    raw.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    raw.set_zero_linger().unwrap();
    drop(raw);
    let gone = until(async || broken(&proxy, "client_gone") > 1.5);
    timeout(Duration::from_secs(10), gone).await.expect("it has no reason");
    let open = "alts_proxy_connections{listener=\"plain\"}";
    let closed = until(async || metric(&proxy, open) < 0.5);
    timeout(Duration::from_secs(10), closed).await.expect("connections stay");
    drop((answer, client));
}

#[tokio::test]
async fn what_a_client_breaks_is_not_the_upstreams_fault() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "")).await;
    let plain = address(&proxy, "plain").await;
    let head = "POST /collect HTTP/1.1\r\nHost: x\r\n";
    for (request, so_many) in [
        format!("{head}Content-Length: 100\r\n\r\n0123456789"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\nzz\r\n"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\n01"),
    ]
    .into_iter()
    .zip([0.5, 1.5, 2.5])
    {
        let mut raw = connect(plain).await;
        raw.write_all(request.as_bytes()).await.unwrap();
        sleep(Duration::from_millis(50)).await;
        raw.shutdown().await.unwrap();
        let said = String::from_utf8(read_all(&mut raw).await).unwrap();
        assert!(!said.starts_with("HTTP/1.1 5"), "{request}: {said}");
        until(async || requests(&proxy, "4xx") + requests(&proxy, "none") > so_many).await;
    }
    assert!(requests(&proxy, "5xx") < 0.5);
    let said = text(soon(http1(connect(plain).await).await.send_request(get("/"))).await.unwrap());
    assert!(said.await.starts_with("GET "), "and others are served");
}

#[tokio::test]
async fn a_request_without_a_host_gets_the_upstreams() {
    let world = World::new();
    let origin = Origin::start().await;
    for protocol in ["http1", "http2"] {
        let settings = format!("protocol = \"{protocol}\"");
        let proxy = world.proxy(&plain(origin.address, "", &settings)).await;
        let mut raw = connect(address(&proxy, "plain").await).await;
        raw.write_all(b"GET /x HTTP/1.0\r\n\r\n").await.unwrap();
        let said = String::from_utf8(read_all(&mut raw).await).unwrap();
        let wanted = match protocol {
            "http1" => format!("\nhost: {}\n", origin.address),
            _ => format!("GET http://{}/x HTTP/2", origin.address),
        };
        assert!(said.contains(&wanted), "{said}");
    }
}

#[tokio::test]
async fn short_answers_that_a_client_does_not_read_are_given_up() {
    let world = World::new();
    let origin = Origin::start().await;
    let forbidden = "[[listen.route]]\nprefix = \"/open\"\nany_peer = true\n";
    let settings = format!("stall_deadline = \"300ms\"\n{forbidden}");
    let proxy = world.proxy(&plain(origin.address, &settings, "")).await;
    let mut greedy = greedy(address(&proxy, "plain").await).await;
    let mut count = 0.5;
    // The upstream's, and the proxy's own.
    for (path, status) in [("/open", StatusCode::OK), ("/", StatusCode::FORBIDDEN)] {
        let request = Request::get(format!("http://x{path}")).body(()).unwrap();
        let answer = soon(greedy.send_request(request, true).unwrap().0).await.unwrap();
        assert_eq!(answer.status(), status);
        let reset = timeout(Duration::from_secs(10), answer.into_body().data()).await;
        let reset = reset.expect("it is never reset").unwrap().unwrap_err();
        assert_eq!((reset.is_reset(), reset.reason()), (true, Some(h2::Reason::CANCEL)));
        until(async || broken(&proxy, "client_stalled") > count).await;
        count += 1.0;
    }
    // Without a body, there is nothing to read.
    let request = Request::head("http://x/").body(()).unwrap();
    let answer = soon(greedy.send_request(request, true).unwrap().0).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let end = timeout(Duration::from_secs(10), answer.into_body().data()).await;
    assert!(end.expect("it has a body").is_none());
}

#[tokio::test]
async fn pieces_of_which_a_client_does_not_read_the_last_byte_are_given_up() {
    let world = World::new();
    let origin = Origin::start().await;
    let settings = "stall_deadline = \"300ms\"";
    let proxy = world.proxy(&plain(origin.address, settings, "")).await;
    let window = u32::try_from(PIECE).unwrap() - 1;
    let mut client = with_window(address(&proxy, "plain").await, window).await;
    let request = Request::get("http://x/piece").body(()).unwrap();
    let answer = soon(client.send_request(request, true).unwrap().0).await.unwrap();
    let mut body = answer.into_body();
    let reset = async {
        loop {
            if let Err(error) = body.data().await.expect("all of it has come") {
                return error.reason();
            }
        }
    };
    let reset = timeout(Duration::from_secs(10), reset).await.expect("it is never reset");
    assert_eq!(reset, Some(h2::Reason::CANCEL));
    until(async || broken(&proxy, "client_stalled") > 0.5).await;
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed_while_the_upstream_is_slow() {
    let world = World::new();
    let origin = Origin::start().await;
    let socket = world.directory.path("front.sock");
    let unix = format!(
        "[[listen]]\nname = \"unix\"\nunix = \"{}\"\nlevel = \"http\"\nupstream = \"server\"\n",
        socket.display()
    );
    let proxy = world.proxy(&(plain(origin.address, "", "") + &unix)).await;
    let request = b"GET /silent HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut reset = connect(address(&proxy, "plain").await).await;
    reset.write_all(request).await.unwrap();
    let mut closed = UnixStream::connect(&socket).await.unwrap();
    closed.write_all(request).await.unwrap();
    until(async || origin.connections.load(Ordering::Relaxed) == 2).await;
    reset.set_zero_linger().unwrap();
    drop((reset, closed));
    for listener in ["plain", "unix"] {
        let labels = format!("{{listener=\"{listener}\",reason=\"client_gone\"}}");
        let gone = format!("alts_proxy_requests_broken_total{labels}");
        let noticed = until(async || metric(&proxy, &gone) > 0.5);
        timeout(Duration::from_secs(10), noticed).await.expect("it is not noticed");
    }
}

#[tokio::test]
async fn a_client_that_has_said_all_waits_for_a_slow_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 1000]).await;
                sleep(Duration::from_millis(2500)).await;
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").await
            });
        }
    });
    let world = World::new();
    let socket = world.directory.path("front.sock");
    let unix = format!(
        "[[listen]]\nname = \"unix\"\nunix = \"{}\"\nlevel = \"http\"\nupstream = \"server\"\n",
        socket.display()
    );
    let proxy = world.proxy(&(plain(server, "", "") + &unix)).await;
    let mut tcp = connect(address(&proxy, "plain").await).await;
    let mut unix = UnixStream::connect(&socket).await.unwrap();
    for stream in [&mut tcp as &mut dyn Io, &mut unix] {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
    }
    for mut stream in [&mut tcp as &mut dyn Io, &mut unix] {
        let said = String::from_utf8(read_all(&mut stream).await).unwrap();
        assert!(said.ends_with("late"), "{said}");
    }
}
