//! Connections as HTTP: who is calling, what passes, and what is said when it does not.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::{Request, StatusCode, Version, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::origin::{Origin, call, empty, get, get2, http1, http2, text};
use crate::support::{
    World, address, chain, closed_port, connect, echo, metric, read_all, silent_server, soon, until,
};

const HTTP: &str = "level = \"http\"";

#[tokio::test]
async fn the_upstream_is_told_who_calls_and_nobody_tells_it_otherwise() {
    let world = World::new();
    let origin = Origin::start().await;
    let inner = closed_port().await;
    let proxy = world.proxy(&chain(origin.address, inner, HTTP)).await;
    let forged = |mut request: Request<_>| {
        for name in ["x-alts-peer-service-account", "X_Alts_Peer-Service_Account"] {
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().append(name, "admin@dev.test".parse().unwrap());
        }
        request
    };
    let named = "\nx-alts-peer-service-account: client@dev.test\n";

    // Through both proxies, the first of which has no account to report.
    let outer = address(&proxy, "outer").await;
    let mut client = http1(connect(outer).await).await;
    let mut request = forged(get("/a?b=c"));
    let connection = "keep-alive, x-own, x-alts-peer-service-account".parse().unwrap();
    request.headers_mut().insert(header::CONNECTION, connection);
    request.headers_mut().insert("x-own", "1".parse().unwrap());
    let response = soon(client.send_request(request)).await.unwrap();
    assert!(!response.headers().contains_key("x-hop"), "it was for the proxy");
    assert!(!response.headers().contains_key(header::CONNECTION));
    let said = text(response).await;
    assert!(said.starts_with("GET /a?b=c HTTP/1.1\n"), "{said}");
    assert!(said.contains("\nhost: example.test\n") && said.contains(named), "{said}");
    assert!(!said.contains("admin") && !said.contains("x-own"), "{said}");

    let mut client = http2(connect(outer).await).await;
    let response = soon(client.send_request(forged(get2("/a?b=c")))).await.unwrap();
    let said = text(response).await;
    assert!(said.starts_with("GET http://example.test/a?b=c HTTP/2.0\n"), "{said}");
    assert!(said.contains(named) && !said.contains("admin"), "{said}");

    // Only to the second, by ALTS.
    let stream = world.connect("client@dev.test", "server@dev.test", inner).await;
    let mut client = http1(stream).await;
    let said = text(soon(client.send_request(forged(get("/")))).await.unwrap()).await;
    assert!(said.contains(named) && !said.contains("admin"), "{said}");

    // A listener without ALTS reports nothing.
    let plain = format!(
        "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"server\"\n{HTTP}\n\
         [[upstream]]\nname = \"server\"\naddresses = [\"{}\"]\n",
        origin.address
    );
    let proxy = World::new().proxy(&plain).await;
    let mut client = http1(connect(address(&proxy, "plain").await).await).await;
    let said = text(soon(client.send_request(forged(get("/")))).await.unwrap()).await;
    assert!(!said.to_lowercase().contains("account"), "{said}");
}

#[tokio::test]
async fn calls_of_grpc_pass_with_their_trailers() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&chain(origin.address, closed_port().await, HTTP)).await;
    let mut client = http2(connect(address(&proxy, "outer").await).await).await;
    let response = soon(client.send_request(call("/grpc.Service/Call"))).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let body = soon(response.into_body().collect()).await.unwrap();
    let trailers = body.trailers().unwrap().clone();
    assert_eq!(body.to_bytes(), "message");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(trailers["x-of-client"], "1", "those of the request pass too");
    assert_eq!(trailers["caller"], "client@dev.test");
    assert!(!trailers.contains_key("x-alts-peer-service-account"), "forged: {trailers:?}");
}

#[tokio::test]
async fn bodies_pass_piece_by_piece_in_both_directions() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&chain(origin.address, closed_port().await, HTTP)).await;
    let outer = address(&proxy, "outer").await;
    let pieces = || {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
        let body = StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync();
        let request =
            Request::post("http://example.test/echo").header(header::HOST, "example.test");
        (sender, request.body(body).unwrap())
    };
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let (sender, mut request) = pieces();
        // The answer begins before the request has ended.
        let response = if version == Version::HTTP_2 {
            request.headers_mut().remove(header::HOST);
            let mut client = http2(connect(outer).await).await;
            soon(client.send_request(request)).await.unwrap()
        } else {
            *request.uri_mut() = "/echo".parse().unwrap();
            let mut client = http1(connect(outer).await).await;
            soon(client.send_request(request)).await.unwrap()
        };
        let mut body = response.into_body();
        for piece in ["one", "two", "three"] {
            sender.send(Ok(Frame::data(piece.into()))).await.unwrap();
            let frame = soon(body.frame()).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece, "{version:?}");
        }
        drop(sender);
        let rest = soon(body.collect()).await.unwrap().to_bytes();
        assert!(rest.is_empty(), "{version:?}: {rest:?}");
    }
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&chain(origin.address, closed_port().await, HTTP)).await;
    let outer = address(&proxy, "outer").await;
    let data: Bytes = (0..6_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let request = |uri: &str| {
        Request::post(uri)
            .header(header::HOST, "example.test")
            .body(crate::origin::body(data.clone()))
            .unwrap()
    };
    let mut client = http1(connect(outer).await).await;
    let response = soon(client.send_request(request("/echo"))).await.unwrap();
    assert!(soon(response.into_body().collect()).await.unwrap().to_bytes() == data);
    let mut client = http2(connect(outer).await).await;
    let response = soon(client.send_request(request("http://example.test/echo"))).await.unwrap();
    assert!(soon(response.into_body().collect()).await.unwrap().to_bytes() == data);
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&chain(origin.address, closed_port().await, HTTP)).await;
    let outer = address(&proxy, "outer").await;
    let mut client = http1(connect(outer).await).await;
    for _ in 0..30 {
        let response = soon(async {
            client.ready().await.unwrap();
            client.send_request(get("/")).await.unwrap()
        })
        .await;
        text(response).await;
    }
    // One more may be opened when the next request is faster than the end of the last.
    let count = origin.connections.load(Ordering::Relaxed);
    assert!(count <= 10, "{count} connections for 30 requests");
    let mut client = http2(connect(outer).await).await;
    for _ in 0..30 {
        let response = soon(client.send_request(get2("/"))).await.unwrap();
        text(response).await;
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), count + 1);
}

#[tokio::test]
async fn the_version_towards_the_upstream_may_be_another_one() {
    let world = World::new();
    let origin = Origin::start().await;
    let with = |protocol: &str| {
        format!(
            "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"server\"\n{HTTP}\n\
             [[upstream]]\nname = \"server\"\naddresses = [\"{}\"]\nprotocol = \"{protocol}\"\n",
            origin.address
        )
    };
    let proxy = world.proxy(&with("http2")).await;
    let mut client = http1(connect(address(&proxy, "plain").await).await).await;
    let said = text(soon(client.send_request(get("/x"))).await.unwrap()).await;
    assert!(said.starts_with("GET http://example.test/x HTTP/2.0\n"), "{said}");
    let mut upgrade = get("/upgrade");
    upgrade.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
    upgrade.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
    let response = soon(client.send_request(upgrade)).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);

    let proxy = world.proxy(&with("http1")).await;
    let mut client = http2(connect(address(&proxy, "plain").await).await).await;
    let mut request = get2("/x");
    for cookie in ["a=1", "b=2"] {
        request.headers_mut().append(header::COOKIE, cookie.parse().unwrap());
    }
    let said = text(soon(client.send_request(request)).await.unwrap()).await;
    assert!(said.starts_with("GET /x HTTP/1.1\n"), "{said}");
    assert!(said.contains("\nhost: example.test\n") && said.contains("\ncookie: a=1; b=2\n"));
}

#[tokio::test]
async fn websockets_pass_and_tunnels_do_not() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&chain(origin.address, closed_port().await, HTTP)).await;
    let outer = address(&proxy, "outer").await;
    let mut client = http1(connect(outer).await).await;
    let mut request = get("/upgrade");
    request.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
    let mut response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()[header::UPGRADE], "websocket");
    let upgraded = soon(hyper::upgrade::on(&mut response)).await.unwrap();
    let mut stream = TokioIo::new(upgraded);
    for _ in 0..2 {
        stream.write_all(b"hello").await.unwrap();
        let mut back = [0; 5];
        soon(stream.read_exact(&mut back)).await.unwrap();
        assert_eq!(&back, b"olleh");
    }

    // What would let requests pass that nobody has looked at is not asked for.
    let mut client = http1(connect(outer).await).await;
    let mut request = get("/head");
    request.headers_mut().insert(header::CONNECTION, "Upgrade, HTTP2-Settings".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "h2c".parse().unwrap());
    request.headers_mut().insert("http2-settings", "AAMAAABkAAQAAP__".parse().unwrap());
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let said = text(response).await;
    assert!(!said.contains("h2c") && !said.contains("settings"), "{said}");

    let mut client = http1(connect(outer).await).await;
    let request = Request::connect("example.test:443").body(empty()).unwrap();
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_IMPLEMENTED);
}

/// The answer to an HTTP request, and the status of a gRPC one, where there is no good upstream.
async fn failure(upstream: &str, path: &str) -> (StatusCode, String, String) {
    let world = World::new();
    let proxy = world
        .proxy(&format!(
            "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"bad\"\n{HTTP}\n\
             [[upstream]]\nname = \"bad\"\n{upstream}\n"
        ))
        .await;
    let plain = address(&proxy, "plain").await;
    let mut client = http1(connect(plain).await).await;
    let response = soon(client.send_request(get(path))).await.unwrap();
    let status = response.status();
    let said = text(response).await;
    let mut client = http2(connect(plain).await).await;
    let response = soon(client.send_request(call(path))).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "14");
    let message = response.headers()["grpc-message"].to_str().unwrap().to_owned();
    (status, said, message)
}

#[tokio::test]
async fn what_went_wrong_is_said_without_addresses() {
    let closed = closed_port().await;
    let (status, said, message) = failure(&format!("addresses = [\"{closed}\"]"), "/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said, "alts proxy: the upstream cannot be reached\n");
    assert_eq!(message, "alts proxy: the upstream cannot be reached");

    let origin = Origin::start().await;
    let not_alts = format!(
        "addresses = [\"{}\"]\nsecurity = \"alts\"\nhandshaker = \"dev:a@dev.test\"\nany_peer = true",
        origin.address
    );
    let (status, said, _) = failure(&not_alts, "/").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(said, "alts proxy: the ALTS handshake with the upstream failed\n");

    let (silent, _silent) = silent_server().await;
    let no_handshake = format!(
        "addresses = [\"{silent}\"]\nsecurity = \"alts\"\nhandshaker = \"dev:a@dev.test\"\n\
         any_peer = true\nconnect_deadline = \"300ms\""
    );
    let (status, said, _) = failure(&no_handshake, "/").await;
    assert_eq!(status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(said, "alts proxy: there was no connection to the upstream in time\n");

    // One that closes every connection as soon as it has read something.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { stream.read(&mut [0; 1000]).await });
        }
    });
    let (status, said, _) = failure(&format!("addresses = [\"{broken}\"]"), "/").await;
    assert_eq!(status, StatusCode::BAD_GATEWAY);
    assert_eq!(said, "alts proxy: the connection to the upstream broke before it had answered\n");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_given_up() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world
        .proxy(&format!(
            "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"slow\"\n{HTTP}\n\
             [[upstream]]\nname = \"slow\"\naddresses = [\"{}\"]\nresponse_deadline = \"300ms\"\n",
            origin.address
        ))
        .await;
    let mut client = http1(connect(address(&proxy, "plain").await).await).await;
    let response = soon(client.send_request(get("/silent"))).await.unwrap();
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(text(response).await, "alts proxy: the upstream did not answer in time\n");
    let series = "alts_proxy_requests_total{listener=\"plain\",status=\"5xx\"}";
    until(async || metric(&proxy, series) > 0.5).await;
}

#[tokio::test]
async fn what_is_too_large_or_can_be_read_in_two_ways_is_refused() {
    let world = World::new();
    let origin = Origin::start().await;
    let text = format!(
        "{}[limits]\nheader_bytes = 8192\n",
        chain(origin.address, closed_port().await, HTTP)
    );
    let proxy = world.proxy(&text).await;
    let outer = address(&proxy, "outer").await;
    let mut client = http1(connect(outer).await).await;
    let mut request = get("/");
    request.headers_mut().insert("x-large", "x".repeat(9000).parse().unwrap());
    let response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a@x\r\n\r\n",
        "GET http://a@x.test/ HTTP/1.1\r\nHost: x.test\r\n\r\n",
    ] {
        assert_eq!(status_of(outer, request).await, "HTTP/1.1 400", "{request:?}");
    }
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert_eq!(status_of(outer, request).await, "HTTP/1.1 501", "{request:?}");
    }
    let kept = "GET /x HTTP/1.1\r\nHost: x.test\r\nConnection: host, close\r\n\r\n";
    let mut raw = connect(outer).await;
    raw.write_all(kept.as_bytes()).await.unwrap();
    let said = String::from_utf8(read_all(&mut raw).await).unwrap();
    assert!(said.contains("\nhost: x.test\n"), "{said}");
}

/// The beginning of the answer to what is written.
async fn status_of(address: std::net::SocketAddr, request: &str) -> String {
    let mut raw = connect(address).await;
    raw.write_all(request.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    soon(raw.read_exact(&mut status)).await.unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

#[tokio::test]
async fn the_body_of_a_get_passes_whatever_the_versions_are() {
    let world = World::new();
    let origin = Origin::start().await;
    for protocol in ["http1", "http2", "same"] {
        let proxy = world
            .proxy(&format!(
                "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"server\"\n{HTTP}\n\
                 [[upstream]]\nname = \"server\"\naddresses = [\"{}\"]\nprotocol = \"{protocol}\"\n",
                origin.address
            ))
            .await;
        let plain = address(&proxy, "plain").await;
        let mut client = http2(connect(plain).await).await;
        let pieces = StreamBody::new(tokio_stream::iter([Ok(Frame::data("a body".into()))]));
        let request = Request::get("http://example.test/echo").body(pieces.boxed_unsync()).unwrap();
        let response = soon(client.send_request(request)).await.unwrap();
        assert_eq!(text(response).await, "a body", "from HTTP/2 to {protocol}");
        let mut raw = connect(plain).await;
        let request = "GET /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                       Transfer-Encoding: chunked\r\n\r\n6\r\na body\r\n0\r\n\r\n";
        raw.write_all(request.as_bytes()).await.unwrap();
        let said = String::from_utf8(read_all(&mut raw).await).unwrap();
        assert!(said.contains("a body"), "from HTTP/1.1 to {protocol}: {said}");
    }
}

#[tokio::test]
async fn bytes_of_another_protocol_are_no_http() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&chain(origin.address, closed_port().await, HTTP)).await;
    let mut raw = connect(address(&proxy, "outer").await).await;
    raw.write_all(b"SSH-2.0-x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(raw.read_to_end(&mut answer)).await;
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    let mut bytes = http1(connect(address(&proxy, "outer").await).await).await;
    assert_eq!(soon(bytes.send_request(get("/"))).await.unwrap().status(), StatusCode::OK);
    // For comparison: bytes pass where nobody looks at them.
    let (server, _echo) = crate::support::echo_server("echo").await;
    let proxy = world.proxy(&chain(server, closed_port().await, "")).await;
    echo(&mut connect(address(&proxy, "outer").await).await, "SSH-2.0-x\r\n").await;
}
