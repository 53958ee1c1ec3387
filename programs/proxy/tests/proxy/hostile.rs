//! Clients that take more than their part, servers that leave, and who is blamed for what.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;

use crate::origin::{self, Origin, body, get, get2, http1, http2, text};
use crate::support::{World, address, chain, closed_port, connect, metric, read_all, soon, until};

/// A plain proxy in front of an HTTP server; `listen` and `upstream` are more settings.
pub fn plain(server: SocketAddr, listen: &str, upstream: &str) -> String {
    format!(
        "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"server\"\n\
         level = \"http\"\n{listen}\n\
         [[upstream]]\nname = \"server\"\naddresses = [\"{server}\"]\n{upstream}\n"
    )
}

pub fn requests(proxy: &alts_proxy::Proxy, class: &str) -> f64 {
    metric(proxy, &format!("alts_proxy_requests_total{{listener=\"plain\",status=\"{class}\"}}"))
}

pub fn broken(proxy: &alts_proxy::Proxy, reason: &str) -> f64 {
    let labels = format!("{{listener=\"plain\",reason=\"{reason}\"}}");
    metric(proxy, &format!("alts_proxy_requests_broken_total{labels}"))
}

/// An HTTP/2 client whose windows are closed: it takes no byte of any response.
pub async fn greedy(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    with_window(address, 0).await
}

/// An HTTP/2 client that takes this many bytes of each response.
pub async fn with_window(address: SocketAddr, bytes: u32) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(bytes)
        .handshake(connect(address).await)
        .await
        .unwrap();
    tokio::spawn(connection);
    soon(client.ready()).await.unwrap()
}

#[tokio::test]
async fn responses_that_a_client_does_not_read_stall_nobody_else() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "")).await;
    let plain = address(&proxy, "plain").await;
    let mut greedy = greedy(plain).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        let request = Request::get("http://x/big").body(()).unwrap();
        held.push(soon(greedy.send_request(request, true).unwrap().0).await.unwrap());
    }
    sleep(Duration::from_millis(300)).await;
    for _ in 0..5 {
        let mut client = http2(connect(plain).await).await;
        let answer = timeout(Duration::from_secs(5), client.send_request(get2("/")));
        let answer = answer.await.expect("stalled by another client").unwrap();
        assert!(text(answer).await.starts_with("GET "));
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 1, "all of it on one connection");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up() {
    let world = World::new();
    let origin = Origin::start().await;
    let settings = "stall_deadline = \"300ms\"";
    let proxy = world.proxy(&plain(origin.address, settings, "")).await;
    let plain = address(&proxy, "plain").await;
    // HTTP/1.1: the connection is closed.
    let mut stuck = connect(plain).await;
    stuck.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let failed = "alts_proxy_connections_total{listener=\"plain\",outcome=\"client_error\"}";
    until(async || metric(&proxy, failed) > 0.5).await;
    // HTTP/2: the request is reset, and others go on.
    let mut greedy = greedy(plain).await;
    let request = |path: &str| Request::get(format!("http://x{path}")).body(()).unwrap();
    let stuck = soon(greedy.send_request(request("/big"), true).unwrap().0).await.unwrap();
    let reset = timeout(Duration::from_secs(10), stuck.into_body().data()).await;
    let reset = reset.expect("it is never reset").unwrap().unwrap_err();
    assert_eq!((reset.is_reset(), reset.reason()), (true, Some(h2::Reason::CANCEL)));
    assert!(soon(greedy.send_request(request("/"), true).unwrap().0).await.is_ok());
    until(async || broken(&proxy, "client_stalled") > 1.5).await;
}

#[tokio::test]
async fn who_takes_requests_back_all_the_time_is_closed() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "protocol = \"http1\"")).await;
    let plain = address(&proxy, "plain").await;
    let (client, connection) = soon(h2::client::handshake(connect(plain).await)).await.unwrap();
    let closed = tokio::spawn(connection);
    let mut client = soon(client.ready()).await.unwrap();
    for _ in 0..1000 {
        let request = Request::get("http://x/silent").body(()).unwrap();
        let Ok((answer, mut stream)) = client.send_request(request, true) else { break };
        sleep(Duration::from_millis(1)).await;
        stream.send_reset(h2::Reason::CANCEL);
        drop(answer);
        match client.ready().await {
            Ok(ready) => client = ready,
            Err(_) => break,
        }
    }
    let _ = timeout(Duration::from_secs(10), closed).await.expect("it goes on and on");
    let count = origin.connections.load(Ordering::Relaxed);
    // A hundred may be taken back before it counts, and some more are on their way.
    assert!(count <= 110, "{count} connections to the upstream");
}

#[tokio::test]
async fn an_upstream_has_no_more_connections_than_the_limit_and_a_client_half_of_them() {
    let world = World::new();
    let origin = Origin::start().await;
    let socket = world.directory.path("front.sock");
    let text = plain(
        origin.address,
        "",
        &format!(
            "protocol = \"http1\"\nconnect_deadline = \"300ms\"\n\
             [limits]\nupstream_connections = 5\n\
             [[listen]]\nname = \"unix\"\nunix = \"{}\"\nlevel = \"http\"\nupstream = \"server\"\n",
            socket.display()
        ),
    );
    let proxy = world.proxy(&text).await;
    let mut one = http2(connect(address(&proxy, "plain").await).await).await;
    let mut other = http2(UnixStream::connect(&socket).await.unwrap()).await;
    let mut waiting = Vec::new();
    for (client, of_it, in_all) in [(&mut one, 3, 3), (&mut other, 2, 5)] {
        let answer = soon(client.send_request(get2("/"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "there is room for it");
        origin::text(answer).await;
        for _ in 0..of_it {
            waiting.push(tokio::spawn(client.send_request(get2("/silent"))));
        }
        until(async || origin.connections.load(Ordering::Relaxed) == in_all).await;
        let refused = soon(client.send_request(get2("/"))).await.unwrap();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(origin.connections.load(Ordering::Relaxed), 5);
    for one in waiting {
        one.abort();
    }
    until(async || soon(one.send_request(get2("/"))).await.unwrap().status() == StatusCode::OK)
        .await;
}

/// An HTTP/2 server, frame by frame.
struct Frames {
    stream: TcpStream,
}

impl Frames {
    async fn accept(listener: &TcpListener, settings: &[u8]) -> Self {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        let mut this = Self { stream };
        this.write(4, 0, 0, settings).await;
        this
    }

    async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        let _ = self.stream.write_all(&frame).await;
    }

    /// The next request's stream, once all of it is there; none at the end.
    async fn request(&mut self) -> Option<u32> {
        loop {
            if let stream @ 1.. = self.frame().await? {
                return Some(stream);
            }
        }
    }

    /// Reads one frame: the stream of a request that it ends, or 0.
    async fn frame(&mut self) -> Option<u32> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        match (head[3], head[4]) {
            (4, flags) if flags & 1 == 0 => self.write(4, 1, 0, &[]).await,
            (6, flags) if flags & 1 == 0 => self.write(6, 1, 0, &payload).await,
            (0 | 1, flags) if flags & 1 == 1 => return Some(stream),
            _ => {}
        }
        Some(0)
    }

    /// `:status: 200`, and no body.
    async fn answer(&mut self, stream: u32) {
        self.write(1, 5, stream, &[0x88]).await;
    }
}

#[tokio::test]
async fn what_a_server_that_leaves_has_not_looked_at_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    // Ten requests for each connection, one of them refused, and then GOAWAY.
    tokio::spawn(async move {
        loop {
            let mut frames = Frames::accept(&listener, &[]).await;
            tokio::spawn(async move {
                let mut last = 0;
                for count in 0..10 {
                    let Some(stream) = frames.request().await else { return };
                    last = last.max(stream);
                    if count == 1 {
                        frames.write(3, 0, stream, &7_u32.to_be_bytes()).await;
                    } else {
                        frames.answer(stream).await;
                    }
                }
                // The next one has come when it is said that it is too late.
                let Some(next) = frames.request().await else { return };
                let mut goaway = last.to_be_bytes().to_vec();
                goaway.extend([0; 4]);
                frames.write(7, 0, 0, &goaway).await;
                let mut behind = Some(next);
                while let Some(stream) = behind {
                    if stream <= last {
                        frames.answer(stream).await;
                    }
                    behind = frames.request().await;
                }
            });
        }
    });
    let world = World::new();
    let proxy = world.proxy(&plain(server, "", "protocol = \"http2\"")).await;
    let address = address(&proxy, "plain").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(tokio::spawn(async move {
            let mut client = http2(connect(address).await).await;
            for count in 0..25 {
                let request = Request::post("http://x/").body(body("a body".to_owned())).unwrap();
                let answer = soon(client.send_request(request)).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK, "request {count}");
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let aside = "alts_proxy_upstream_addresses_aside{upstream=\"server\"}";
    assert!(metric(&proxy, aside) < 0.5, "the address is as good as before");
}

#[tokio::test]
async fn what_is_more_than_a_server_takes_at_once_goes_over_another_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let (count, all) = (Arc::clone(&connections), watch::Sender::new(0));
    // MAX_CONCURRENT_STREAMS is 4, and nothing is answered before there are 10 requests.
    tokio::spawn(async move {
        loop {
            let mut frames = Frames::accept(&listener, &[0, 3, 0, 0, 0, 4]).await;
            count.fetch_add(1, Ordering::Relaxed);
            let (all, mut seen) = (all.clone(), all.subscribe());
            tokio::spawn(async move {
                let (mut own, mut byte) = (Vec::new(), [0]);
                loop {
                    let enough = async {
                        let _ = seen.wait_for(|count| *count >= 10).await;
                    };
                    tokio::select! {
                        _ = frames.stream.peek(&mut byte) => match frames.frame().await {
                            None => return,
                            Some(0) => {}
                            Some(stream) => {
                                own.push(stream);
                                all.send_modify(|count| *count += 1);
                            }
                        },
                        () = enough, if !own.is_empty() => {
                            for stream in own.drain(..) {
                                frames.answer(stream).await;
                            }
                        }
                    }
                }
            });
        }
    });
    let world = World::new();
    let proxy = world.proxy(&plain(server, "", "")).await;
    let mut client = http2(connect(address(&proxy, "plain").await).await).await;
    let asked: Vec<_> = (0..10).map(|_| tokio::spawn(client.send_request(get2("/")))).collect();
    for one in asked {
        let answer = timeout(Duration::from_secs(10), one).await.expect("it waits for ever");
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn deadlines_do_not_run_while_data_moves_and_are_the_clients_when_it_is_silent() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "response_deadline = \"500ms\"")).await;
    let plain = address(&proxy, "plain").await;
    let pieces = || {
        let (sender, receiver) = mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
        let body = StreamBody::new(ReceiverStream::new(receiver)).boxed_unsync();
        (sender, Request::post("/collect").header(header::HOST, "x").body(body).unwrap())
    };
    let (sender, request) = pieces();
    tokio::spawn(async move {
        for _ in 0..15 {
            sender.send(Ok(Frame::data("0123456789".into()))).await.unwrap();
            sleep(Duration::from_millis(100)).await;
        }
    });
    let mut client = http1(connect(plain).await).await;
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text(answer).await, "150");
    let (silent, request) = pieces();
    silent.send(Ok(Frame::data("x".into()))).await.unwrap();
    let mut client = http1(connect(plain).await).await;
    let answer = soon(client.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    until(async || requests(&proxy, "4xx") > 0.5).await;
    assert!(requests(&proxy, "5xx") < 0.5);
}

#[tokio::test]
async fn a_client_that_has_said_all_gets_its_answer() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "")).await;
    let mut raw = connect(address(&proxy, "plain").await).await;
    raw.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    raw.shutdown().await.unwrap();
    let said = String::from_utf8(read_all(&mut raw).await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200") && said.contains("GET /x"), "{said}");
}

#[tokio::test]
async fn the_number_of_headers_is_a_limit_of_the_configuration() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "", "")).await;
    let plain = address(&proxy, "plain").await;
    for (count, wanted) in
        [(200, StatusCode::OK), (300, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)]
    {
        let mut request = get("/");
        for index in 0..count {
            let name = http::HeaderName::from_bytes(format!("x-{index}").as_bytes()).unwrap();
            request.headers_mut().insert(name, "1".parse().unwrap());
        }
        let mut client = http1(connect(plain).await).await;
        let answer = soon(client.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), wanted, "{count}");
        assert!(!text(answer).await.is_empty());
    }
}

#[tokio::test]
async fn websockets_end_when_nothing_is_said_and_count_until_then() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world.proxy(&plain(origin.address, "idle = \"400ms\"", "")).await;
    let mut client = http1(connect(address(&proxy, "plain").await).await).await;
    let mut request = get("/upgrade");
    request.headers_mut().insert(header::CONNECTION, "Upgrade".parse().unwrap());
    request.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
    let mut response = soon(client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let upgraded = soon(hyper::upgrade::on(&mut response)).await.unwrap();
    let mut stream = hyper_util::rt::TokioIo::new(upgraded);
    let open = "alts_proxy_connections{listener=\"plain\"}";
    for _ in 0..5 {
        stream.write_all(b"hello").await.unwrap();
        soon(stream.read_exact(&mut [0; 5])).await.unwrap();
        sleep(Duration::from_millis(150)).await;
        assert!(metric(&proxy, open) > 0.5, "it counts as one that is open");
        assert!(requests(&proxy, "1xx") < 0.5, "its line comes at its end");
    }
    let begun = Instant::now();
    assert!(matches!(soon(stream.read(&mut [0; 5])).await, Ok(0) | Err(_)));
    assert!(begun.elapsed() < Duration::from_secs(5));
    until(async || metric(&proxy, open) < 0.5).await;
    assert!(requests(&proxy, "1xx") > 0.5);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_clients_that_say_nothing() {
    let world = World::new();
    let origin = Origin::start().await;
    let inner = closed_port().await;
    let proxy = world.proxy(&chain(origin.address, inner, "level = \"http\"")).await;
    // Nothing at all, half a preface, a preface, and an ALTS handshake with nothing behind it.
    let outer = address(&proxy, "outer").await;
    let mut held = vec![connect(outer).await, connect(inner).await];
    for beginning in [&b"PRI * HT"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = connect(outer).await;
        client.write_all(beginning).await.unwrap();
        held.push(client);
    }
    let alts = world.connect("client@dev.test", "server@dev.test", inner).await;
    let idle = http2(connect(outer).await).await;
    sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    assert!(soon(proxy.shutdown()).await, "all had ended by themselves");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    drop((held, alts, idle));
}
