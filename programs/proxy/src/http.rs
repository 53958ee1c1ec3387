//! Connections as HTTP/1.1 and HTTP/2: whoever is behind the proxy is told who is calling.
//!
//! The header `x-alts-peer-service-account` of a request is the client's service account, and is
//! there only if the proxy has put it there. [`routes`] says who may call what, [`forward`] passes
//! requests on over the upstream's connections.
//!
//! What hop-by-hop headers ask for ends here. Request smuggling is a matter of hyper, which reads
//! and writes all messages.

pub mod answer;
pub mod body;
pub mod forward;
pub mod host;
pub mod routes;

use alts_serving::life::Alive;
use core::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};
use std::{
    io::{self, IoSlice},
    sync::Arc,
};

use http::{Method, Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep_until},
};

use self::{answer::Refusal, body::ResponseBody};
use crate::{
    access::{Access, Activity},
    client::Client,
    config::Limits,
    headers,
    http2::{FRAME, KEEP_ALIVE, KEEP_ALIVE_TIMEOUT},
    listener::Listener,
    outcome::Outcome,
    reason::root,
    socket::{FOREVER, Stream},
};

/// Serves a connection to its end.
pub async fn serve(
    client: &Arc<Client>,
    listener: &Arc<Listener>,
    stream: Stream,
    mut alive: Alive,
) -> Outcome {
    let Listener { settings, limits, .. } = &**listener;
    let activity = Arc::<Activity>::default();
    let service = {
        let (client, listener) = (Arc::clone(client), Arc::clone(listener));
        let (activity, alive) = (Arc::clone(&activity), alive.clone());
        service_fn(move |request| {
            let access = Arc::new(Access::new(&client, &activity, &request));
            let (client, listener) = (Arc::clone(&client), Arc::clone(&listener));
            let alive = alive.clone();
            async move { Ok::<_, Infallible>(handle(&access, &client, &listener, request, alive).await) }
        })
    };
    let builder = server(limits, settings.header_deadline);
    let io = TokioIo::new(Counted { stream, client: Arc::clone(client) });
    let mut serving = pin!(builder.serve_connection_with_upgrades(io, service));
    let idle = settings.idle.min(FOREVER);
    let mut alarm = pin!(sleep_until(Instant::now() + settings.header_deadline.min(idle)));
    let mut ending = None;
    let end = loop {
        tokio::select! {
            end = serving.as_mut() => break end,
            () = alive.draining(), if ending.is_none() => {
                ending = Some(Outcome::Finished);
                serving.as_mut().graceful_shutdown();
            }
            () = alarm.as_mut(), if ending.is_none() => match activity.idle_since() {
                Some(since) if since.elapsed() >= idle || !activity.has_begun() => {
                    ending = Some(Outcome::Idle);
                    serving.as_mut().graceful_shutdown();
                }
                since => alarm.as_mut().reset(since.unwrap_or_else(Instant::now) + idle),
            },
        }
    };
    match (end, ending) {
        (_, Some(outcome)) => outcome,
        (Ok(()), None) => Outcome::Finished,
        (Err(error), None) => Outcome::ClientError(root(&*error)),
    }
}

fn server(limits: &Limits, header_deadline: Duration) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_deadline)
        .max_buf_size(limits.buffer_bytes);
    server
        .http2()
        .timer(TokioTimer::new())
        // One request that nobody reads leaves room for the others.
        .initial_stream_window_size(limits.window_bytes / 2)
        .initial_connection_window_size(limits.window_bytes)
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
    alive: Alive,
) -> Response<ResponseBody> {
    let is_grpc = headers::is_grpc(request.headers());
    let answer = match admit(client.account(), listener, &mut request) {
        Ok(()) => forward::forward(access, client, listener, request, is_grpc, alive).await,
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
    if headers::size(request.headers()) > limits.header_bytes as usize {
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

/// A client's connection whose bytes are counted.
struct Counted {
    stream: Stream,
    client: Arc<Client>,
}

impl Counted {
    fn sent(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = written {
            self.client.traffic.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let count = buf.filled().len().saturating_sub(before) as u64;
        self.client.traffic.received.fetch_add(count, Ordering::Relaxed);
        read
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.sent(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.sent(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
