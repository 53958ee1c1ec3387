//! Metrics and health over plain HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! They are for one or two scrapers. Each connection has one request and little time, and there are
//! few places: the oldest connection makes room for a new one. So nobody who can reach the address
//! keeps a scraper out, or takes descriptors that other listeners need.

use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::{Router, routing};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use crate::accepting::AcceptErrors;
use crate::settings_error::SettingsError;

/// How many connections there are at most.
pub const CONNECTIONS: usize = 32;

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);

/// How long a connection may take, from its beginning to its end.
const CONNECTION: Duration = Duration::from_secs(15);

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that a registry has, in Prometheus' text format.
///
/// # Errors
/// When two metrics contradict each other.
pub fn render(registry: &Registry) -> prometheus::Result<Vec<u8>> {
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    Ok(text)
}

/// Where metrics and health are served.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Listens.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn open(address: SocketAddr) -> Result<Self, SettingsError> {
        let failed = |why: io::Error| {
            SettingsError::new("[metrics]", format!("cannot listen on {address}: {why}"))
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tracing::info!(%address, "metrics");
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves them until the future is dropped. `readiness` says whether the program can do its
    /// work, or why it cannot.
    pub async fn run<F>(self, registry: Registry, readiness: F)
    where
        F: Fn() -> Result<(), String> + Clone + Send + Sync + 'static,
    {
        let text = move || {
            let text = render(&registry).map_err(|why| why.to_string());
            ready(text.map(|text| ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)))
        };
        let readiness = move || {
            ready(match readiness() {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            })
        };
        let router = Router::new()
            .route("/metrics", routing::get(text))
            .route("/healthz", routing::get("alive\n"))
            .route("/readyz", routing::get(readiness));
        let mut connections = JoinSet::new();
        let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
        let mut errors = AcceptErrors::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            let stream = match accepted {
                Ok((stream, _)) => {
                    errors.accepted("metrics");
                    stream
                }
                Err(error) => {
                    errors.failed("metrics", &error).await;
                    continue;
                }
            };
            oldest.retain(|connection| !connection.is_finished());
            if oldest.len() >= CONNECTIONS
                && let Some(connection) = oldest.pop_front()
            {
                connection.abort();
            }
            oldest.push_back(connections.spawn(serve(stream, router.clone())));
        }
    }
}

/// Answers one request.
async fn serve(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A client that goes away or makes no sense is its own business.
    let _ = timeout(CONNECTION, connection).await;
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn requests_that_do_not_end_keep_nobody_out_and_hold_few_connections() {
        let admin = Admin::open("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = admin.address();
        let serving = tokio::spawn(admin.run(Registry::new(), || Err("not yet".to_owned())));
        let mut held = Vec::new();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").await.unwrap();
            held.push(stream);
        }
        let begun = Instant::now();
        assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        let text = get(address, "/readyz").await;
        assert!(text.starts_with("HTTP/1.1 503") && text.ends_with("not yet\n"), "{text}");
        assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        let mut open = 0;
        for stream in &mut held {
            let mut byte = [0];
            // A connection that is still served says nothing.
            if timeout(Duration::from_millis(5), stream.read(&mut byte)).await.is_err() {
                open += 1;
            }
        }
        assert!(open < CONNECTIONS, "{open}");
        serving.abort();
    }
}
