//! Metrics and health over plain HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::{io, net::SocketAddr};

use axum::{
    Router,
    http::{StatusCode, header},
    routing,
};
use prometheus::{Encoder as _, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::config_error::ConfigError;

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that a registry has, in Prometheus' text format.
///
/// # Errors
///
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
    ///
    /// When the address cannot be listened on.
    pub async fn open(address: SocketAddr) -> Result<Self, ConfigError> {
        let failed = |why: io::Error| {
            ConfigError::new("[metrics]", format!("cannot listen on {address}: {why}"))
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
            core::future::ready(text.map(|text| ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)))
        };
        let ready = move || {
            core::future::ready(match readiness() {
                Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
                Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            })
        };
        let router = Router::new()
            .route("/metrics", routing::get(text))
            .route("/healthz", routing::get("alive\n"))
            .route("/readyz", routing::get(ready));
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "metrics and health are not served any more");
        }
    }
}
