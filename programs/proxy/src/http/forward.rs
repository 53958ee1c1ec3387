//! Requests on their way to an upstream, and responses on their way back.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alts_serving::limits::Key;
use http::header::{HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, interval, timeout};
use tokio_alts::BoxFuture;

use super::answer::Refusal;
use super::body::ResponseBody;
use crate::access::Access;
use crate::client::Client;
use crate::config::Protocol;
use crate::counted::Counted;
use crate::headers;
use crate::listener::Listener;
use crate::outcome::Why;
use crate::reason::root;
use crate::relay::Traffic;
use crate::socket::FOREVER;
use crate::term::Bounds;
use crate::upstream::body::Source;
use crate::upstream::pool::Lease;
use crate::upstream::{Upstream, again};

/// How often a request is sent, when connections turn out to be closed or the upstream has not looked
/// at it.
const ATTEMPTS: usize = 6;

/// How often what a connection has become is looked at, at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);

/// Passes a request on, and returns the response as soon as it begins.
pub(super) async fn forward(
    access: &Arc<Access>,
    client: &Client,
    listener: &Listener,
    mut request: Request<Incoming>,
    is_grpc: bool,
    bounds: Bounds,
) -> Result<Response<ResponseBody>, Refusal> {
    let (upstream, forwarding) = (&*listener.upstream.current(), listener.settings.forwarding);
    let settings = upstream.settings();
    let wants_websocket =
        request.version() != Version::HTTP_2 && headers::is_websocket(request.headers());
    let upgrade = wants_websocket.then(|| hyper::upgrade::on(&mut request));
    let by_http2 = match settings.protocol {
        Protocol::Http2 if upgrade.is_some() => return Err(Refusal::NO_UPGRADE),
        Protocol::Http2 => true,
        Protocol::Http1 => false,
        Protocol::Same => request.version() == Version::HTTP_2,
    };
    let (mut head, body) = request.into_parts();
    let address = client.addresses.map(|(remote, _)| remote.ip());
    headers::for_upstream(&mut head.headers, client.account(), forwarding, address);
    if by_http2 {
        for_http2(&mut head, upstream.authority())?;
    } else {
        for_http1(&mut head, &body, upstream.authority())?;
    }
    if wants_websocket {
        headers::become_websocket(&mut head.headers);
    }
    let request = (head, Source::new(body, Arc::clone(access), forwarding));
    let (mut response, lease) = {
        let key = client.key();
        let sending = send(access, &key, upstream, request, by_http2);
        // A gRPC call brings its own deadline; the connection's limit is for those that do not.
        let idle = listener.settings.idle;
        within(if is_grpc { idle } else { settings.response_deadline }, access, sending).await?
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade.filter(|_| headers::is_websocket(response.headers())) else {
            return Err(Refusal::BROKEN);
        };
        let server = hyper::upgrade::on(&mut response);
        let ends = Ends { bounds, server: Box::pin(lease.over()) };
        let (access, idle) = (Arc::clone(access), listener.settings.idle);
        tokio::spawn(tunnel(client, server, Arc::clone(&access), idle, ends));
        headers::strip_hop_by_hop(response.headers_mut());
        headers::become_websocket(response.headers_mut());
        return Ok(response.map(|_| ResponseBody::empty(access)));
    }
    headers::strip_hop_by_hop(response.headers_mut());
    // That of the client's connection is hyper's business.
    *response.version_mut() = Version::default();
    Ok(response.map(|body| ResponseBody::of_upstream(body, Arc::clone(access), lease)))
}

/// Gives up when no part of the request or its response has come for `deadline`.
async fn within<T>(
    deadline: Duration,
    access: &Access,
    sending: impl Future<Output = Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let mut sending = pin!(sending);
    loop {
        let left = deadline.saturating_sub(access.silent_for());
        if left.is_zero() {
            return Err(if access.is_waiting_for_client() {
                Refusal::SLOW_CLIENT
            } else {
                Refusal::SILENT
            });
        }
        if let Ok(sent) = timeout(left.min(FOREVER), sending.as_mut()).await {
            return sent;
        }
    }
}

/// Sends a request on a connection of its own version; again on another one if it may be.
async fn send(
    access: &Access,
    client: &Key,
    upstream: &Upstream,
    (head, source): (Parts, Source),
    by_http2: bool,
) -> Result<(Response<Incoming>, Lease), Refusal> {
    let mut unsent = None;
    for _ in 0..ATTEMPTS {
        let again = || Some(Request::from_parts(head.clone(), source.body()?));
        let Some(request) = unsent.take().or_else(again) else { break };
        let pool = upstream.pool();
        let leased = if by_http2 { pool.http2().await } else { pool.http1(client).await };
        let mut lease = leased.map_err(|error| {
            access.failed(&error);
            Refusal::unreachable(&error)
        })?;
        let error = match lease.send(request).await {
            Ok(response) => {
                source.forget();
                return Ok((response, lease));
            }
            Err((error, request)) => {
                unsent = request;
                error
            }
        };
        if access.has_client_failed() {
            return Err(Refusal::CLIENT_BROKE);
        }
        if unsent.is_none() && !again::may_be(&head.method, &error, lease.is_used) {
            access.failed(&root(&error));
            return Err(Refusal::BROKEN);
        }
    }
    access.failed(&"no connection took the request");
    Err(Refusal::BROKEN)
}

/// Turns the head of a request into that of an HTTP/1.1 request.
fn for_http1(head: &mut Parts, body: &Incoming, upstream: &Authority) -> Result<(), Refusal> {
    // An HTTP/1.0 client may name no host, and an HTTP/1.1 request has one (RFC 9112, section 3.2).
    let missing = (!head.headers.contains_key(HOST)).then_some(upstream);
    if let Some(authority) = head.uri.authority().or(missing) {
        let host = HeaderValue::from_str(authority.as_str())
            .map_err(|_| Refusal::bad_request("the authority cannot be a Host header"))?;
        head.headers.insert(HOST, host);
    }
    if head.version == Version::HTTP_2 {
        headers::join_cookies(&mut head.headers);
    }
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        // Said here, a body goes on with every method: for some, hyper takes it that there is none.
        head.headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let path = head.uri.path_and_query().cloned();
    head.uri = path.unwrap_or_else(|| PathAndQuery::from_static("/")).into();
    head.version = Version::HTTP_11;
    Ok(())
}

/// Turns the head of a request into that of an HTTP/2 request.
fn for_http2(head: &mut Parts, upstream: &Authority) -> Result<(), Refusal> {
    let host = head.headers.remove(HOST);
    let mut uri = std::mem::take(&mut head.uri).into_parts();
    if uri.authority.is_none() {
        let host = host.filter(|host| !host.is_empty());
        let authority =
            host.map_or(Ok(upstream.clone()), |host| Authority::try_from(host.as_bytes()));
        let authority =
            authority.map_err(|_| Refusal::bad_request("the Host header is not an authority"))?;
        uri.authority = Some(authority);
    }
    uri.scheme.get_or_insert(Scheme::HTTP);
    uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    head.uri = Uri::from_parts(uri)
        .map_err(|_| Refusal::bad_request("the target of the request is incomplete"))?;
    head.version = Version::HTTP_2;
    Ok(())
}

/// When what a connection was upgraded to has to end.
struct Ends {
    bounds: Bounds,
    /// Ready when the connection to the upstream is over.
    server: BoxFuture<'static, Why>,
}

/// Carries what an upgraded connection has become, whatever that is, until nothing has come for
/// `idle`.
async fn tunnel(
    client: OnUpgrade,
    server: OnUpgrade,
    access: Arc<Access>,
    idle: Duration,
    ends: Ends,
) {
    let Ends { bounds: Bounds { mut alive, term }, server: server_is_over } = ends;
    let traffic = Arc::<Traffic>::default();
    let carried = async {
        let (client, server) = tokio::try_join!(client, server).map_err(|error| root(&error))?;
        let mut client = Counted::new(TokioIo::new(client), Arc::clone(&traffic));
        let mut server = TokioIo::new(server);
        let carried = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        carried.map(drop).map_err(|error| error.to_string())
    };
    let silence = async {
        let idle = idle.min(FOREVER);
        let (mut last, mut before) = (Instant::now(), traffic.moved());
        // Looked at this often, what ends too late ends a quarter too late.
        let mut next = interval((idle / 4).max(SHORTEST_LOOK));
        while last.elapsed() < idle {
            next.tick().await;
            let now = traffic.moved();
            if now != before {
                (last, before) = (Instant::now(), now);
            }
        }
    };
    tokio::select! {
        carried = carried => {
            if let Err(error) = carried {
                access.failed(&error);
            }
        }
        () = silence => access.failed(&format!("nothing was said for {idle:?}")),
        why = term.over() => access.failed(&cut(why)),
        why = server_is_over => access.failed(&cut(why)),
        () = alive.over() => access.failed(&"cut when the proxy had to end"),
    }
    let count = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    access.received(count(traffic.received.load(Ordering::Relaxed)));
    access.sent(count(traffic.sent.load(Ordering::Relaxed)));
}

fn cut(why: Why) -> String {
    format!("cut when its grace was over ({})", why.name())
}
