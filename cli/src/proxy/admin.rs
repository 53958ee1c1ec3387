//! Metrics and health over plain HTTP: `/metrics`, `/healthz`, `/readyz`.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    http::{StatusCode, header},
    routing,
};
use tokio::{net::TcpListener, sync::watch};

use super::{config::ConfigError, life::Life, metrics::Metrics, upstream::Upstream};

/// Where they are served.
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

    /// Serves them until the future is dropped.
    pub async fn run(
        self,
        metrics: Metrics,
        upstreams: watch::Receiver<Vec<Arc<Upstream>>>,
        life: Arc<Life>,
    ) {
        let render = move || {
            let text = metrics.render().map_err(|why| why.to_string());
            let content_type = [(header::CONTENT_TYPE, altsd::daemon::metrics::CONTENT_TYPE)];
            core::future::ready(text.map(|text| (content_type, text)))
        };
        let ready = move || core::future::ready(readiness(&upstreams.borrow(), life.is_serving()));
        let router = Router::new()
            .route("/metrics", routing::get(render))
            .route("/healthz", routing::get("alive\n"))
            .route("/readyz", routing::get(ready));
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!(%error, "metrics and health are not served any more");
        }
    }
}

/// Whether connections are accepted and can go somewhere.
fn readiness(upstreams: &[Arc<Upstream>], is_serving: bool) -> (StatusCode, String) {
    if !is_serving {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    let lost: Vec<_> =
        upstreams.iter().filter(|one| !one.is_usable()).map(|one| one.name()).collect();
    if lost.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        let text = format!("no address of these upstreams is in order: {}\n", lost.join(", "));
        (StatusCode::SERVICE_UNAVAILABLE, text)
    }
}
