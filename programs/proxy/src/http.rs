//! Connections as HTTP/1.1 and HTTP/2: the server behind the proxy learns who is calling.
//!
//! The header `x-alts-peer-service-account` of a request is the client's service account, and is
//! there only if the proxy has put it there. [`routes`] says who may call what, [`forward`] passes
//! requests on over the upstream's connections.
//!
//! What hop-by-hop headers ask for ends here. Request smuggling is left to hyper, which reads
//! and writes all messages.

pub mod answer;
pub mod body;
pub mod forward;
pub mod host;
pub mod routes;
pub mod streams;

use std::convert::Infallible;
use std::error::Error;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alts_serving::life::Alive;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::time::{Instant, interval, sleep_until};

use self::answer::Refusal;
use self::body::ResponseBody;
use self::streams::Streams;
use crate::access::{Access, Activity};
use crate::client::Client;
use crate::config::{self, Limits};
use crate::counted::Counted;
use crate::headers;
use crate::http2::{FRAME, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT, connection_window};
use crate::listener::Listener;
use crate::outcome::{Outcome, Why};
use crate::reason::root;
use crate::socket::{FOREVER, Stream};
use crate::term::{Bounds, Term};

/// How often responses that wait are looked at, at most and at least.
const SHORTEST_WATCH: Duration = Duration::from_millis(50);
const LONGEST_WATCH: Duration = Duration::from_secs(1);

/// How long a client without a request may take to close its connection when the proxy is to end.
const LEAVING: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
pub async fn serve(
    client: &Arc<Client>,
    listener: &Arc<Listener>,
    stream: Stream,
    term: Term,
    alive: Alive,
) -> Outcome {
    let Listener { settings, limits, .. } = &**listener;
    let activity = Arc::new(Activity::new(alive.clone()));
    let streams = Streams::default();
    let service = {
        let (client, listener) = (Arc::clone(client), Arc::clone(listener));
        let (activity, bounds, streams) = (
            Arc::clone(&activity),
            Bounds { alive: alive.clone(), term: term.clone() },
            streams.clone(),
        );
        service_fn(move |request| {
            let access = Arc::new(Access::new(&client, &activity, &request));
            if request.version() == Version::HTTP_2 {
                streams.announce(&access);
            }
            let (client, listener) = (Arc::clone(&client), Arc::clone(&listener));
            let (bounds, activity) = (bounds.clone(), Arc::clone(&activity));
            async move {
                let mut response = handle(&access, &client, &listener, request, bounds).await;
                // An upgraded connection carries no more requests anyway.
                if activity.is_leaving() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                }
                Ok::<_, Infallible>(response)
            }
        })
    };
    let builder = server(streams, limits, settings.header_deadline);
    let io = TokioIo::new(Counted::new(stream, Arc::clone(&client.traffic)));
    let serving = Box::pin(builder.serve_connection_with_upgrades(io, service));
    let over = term.clone().over();
    let mut to_its_end = Box::pin(to_its_end(client, settings, serving, &activity, term, alive));
    tokio::select! {
        outcome = &mut to_its_end => outcome,
        // What it was upgraded to ends by itself.
        why = over => {
            activity.cut();
            Outcome::Due { why, is_cut: true }
        }
    }
}

/// A connection of hyper's that can be asked to end.
trait Serving: Future<Output = Result<(), Box<dyn Error + Send + Sync>>> {
    fn ask_to_end(self: Pin<&mut Self>);
}

impl<I, S, B> Serving for auto::UpgradeableConnection<'_, I, S, Streams>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Future: 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    Streams: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn ask_to_end(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Drives a connection until it has ended, or has to. What is dropped with it had not been answered.
async fn to_its_end(
    client: &Client,
    settings: &config::Listen,
    mut serving: Pin<Box<impl Serving>>,
    activity: &Activity,
    term: Term,
    mut alive: Alive,
) -> Outcome {
    let idle = settings.idle.min(FOREVER);
    let mut alarm = pin!(sleep_until(Instant::now() + settings.header_deadline.min(idle)));
    let stall = settings.stall_deadline.min(FOREVER);
    let mut watch = interval((stall.min(idle) / 4).clamp(SHORTEST_WATCH, LONGEST_WATCH));
    let mut due = pin!(term.due());
    let (mut ending, mut asked) = (None, Instant::now());
    let mut stuck: Option<(Instant, u64)> = None;
    let end = loop {
        let why = tokio::select! {
            end = serving.as_mut() => break end,
            () = activity.abused() => {
                activity.gone();
                return Outcome::ClientError("more requests were taken back than answered".to_owned());
            }
            _ = watch.tick() => {
                if activity.is_http1() && activity.idle_since().is_none() {
                    // Until there is a response hyper does not look at the client.
                    client.traffic.doubt();
                }
                let sent = client.traffic.sent.load(Ordering::Relaxed);
                stuck = stuck.filter(|(_, before)| *before == sent);
                if activity.expire(stall, idle) {
                    stuck.get_or_insert((Instant::now(), sent));
                }
                // In HTTP/1.1, nothing but the response can be sent. In HTTP/2, a reset can: if
                // the client reads at all.
                if stuck.is_some_and(|(since, _)| activity.is_http1() || since.elapsed() >= stall) {
                    return Outcome::ClientError(format!("took nothing for {stall:?}"));
                }
                if let Some(outcome) = &ending
                    && asked.elapsed() > LEAVING
                    && activity.idle_since().is_some_and(|since| since.elapsed() > LEAVING)
                {
                    // Asked to end, it says nothing.
                    return Outcome::clone(outcome);
                }
                continue;
            },
            why = due.as_mut(), if ending.is_none() => Outcome::Due { why, is_cut: false },
            () = alive.draining(), if ending.is_none() => Outcome::Finished,
            () = alarm.as_mut(), if ending.is_none() => match activity.idle_since() {
                Some(since) if since.elapsed() >= idle || !activity.has_begun() => Outcome::Idle,
                since => {
                    alarm.as_mut().reset(since.unwrap_or_else(Instant::now) + idle);
                    continue;
                }
            },
        };
        if let Outcome::Due { why, .. } = why {
            tracing::debug!(
                listener = client.listener,
                peer = client.account(),
                reason = why.name(),
                "the connection is asked to end"
            );
        }
        let between_requests =
            activity.is_http1() && activity.has_begun() && activity.idle_since().is_some();
        let is_admitted = matches!(&why, Outcome::Due { why, .. } if !matches!(why, Why::Rules));
        if between_requests && is_admitted {
            // Its next request may be on the way: the answer says that it is the last one. If
            // there is none, the connection is closed in a while.
            activity.leave();
        } else {
            serving.as_mut().ask_to_end();
        }
        (ending, asked) = (Some(why), Instant::now());
    };
    activity.gone();
    // With it go the requests that it had not answered; what it was upgraded to is still there.
    drop(serving);
    activity.over().await;
    match (end, ending) {
        (_, Some(outcome)) => outcome,
        (Ok(()), None) => Outcome::Finished,
        (Err(error), None) => Outcome::ClientError(root(&*error)),
    }
}

fn server(streams: Streams, limits: &Limits, header_deadline: Duration) -> auto::Builder<Streams> {
    let mut server = auto::Builder::new(streams);
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_deadline)
        // Beyond this hyper answers by itself, with a status and nothing else.
        .max_headers(limits.headers.saturating_mul(2))
        // A client that has said all that it has to say still wants the answer.
        .half_close(true)
        .max_buf_size(limits.buffer_bytes);
    server
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits.window_bytes)
        // Requests that nobody reads leave room for others, however many there are.
        .initial_connection_window_size(connection_window(
            limits.window_bytes,
            limits.streams as usize,
        ))
        .max_frame_size(FRAME)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes)
        .max_send_buf_size(limits.buffer_bytes)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    server
}

/// Answers a request, or has it answered.
async fn handle(
    access: &Arc<Access>,
    client: &Client,
    listener: &Listener,
    mut request: Request<Incoming>,
    bounds: Bounds,
) -> Response<ResponseBody> {
    let is_grpc = tokio_alts::is_grpc(request.headers());
    let answer = match admit(client.account(), listener, &mut request) {
        Ok(()) => forward::forward(access, client, listener, request, is_grpc, bounds).await,
        Err(refusal) => Err(refusal),
    };
    let response =
        answer.unwrap_or_else(|refusal| refusal.into_response(is_grpc, Arc::clone(access)));
    access.answered(response.status());
    response
}

/// Whether a request may be passed on; its path may be rewritten to the one that was judged.
fn admit(
    account: Option<&str>,
    listener: &Listener,
    request: &mut Request<Incoming>,
) -> Result<(), Refusal> {
    let Listener { settings, limits, .. } = listener;
    if headers::size(request.headers()) > limits.header_bytes as usize
        || request.headers().len() > limits.headers
    {
        return Err(Refusal::HEADERS_TOO_LARGE);
    }
    if *request.method() == Method::CONNECT {
        return Err(Refusal::NO_TUNNELS);
    }
    if headers::has_foreign_encoding(request.headers()) {
        return Err(Refusal::UNKNOWN_ENCODING);
    }
    host::check(request)?;
    routes::judge(&settings.routes, account, request.uri_mut())
}
