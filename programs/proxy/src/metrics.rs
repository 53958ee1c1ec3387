//! What Prometheus may know: connections, requests, bytes, upstreams and reloads.
//!
//! Labels are names from the configuration and fixed words, never a peer or a path, so that the
//! number of series stays bounded.

use std::sync::Arc;
use std::time::Duration;

use alts_serving::registrar::{Registrar, Reloads};
use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
};

use crate::broken::Broken;
use crate::outcome::Outcome;

const RECEIVED: &str = "received";
const SENT: &str = "sent";
/// The classes of statuses; none: the client had gone before there was one.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// What became of an attempt to connect to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// There is a connection.
    Success,
    /// The network said no, or what answered was not HTTP.
    Refused,
    /// The ALTS handshake failed.
    Handshake,
    /// It took too long.
    Timeout,
    /// This process or its machine had nothing left for another connection.
    Exhausted,
}

impl Attempt {
    /// All of them, in their order.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Refused, Self::Handshake, Self::Timeout, Self::Exhausted];

    /// The label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Refused => "refused",
            Self::Handshake => "handshake",
            Self::Timeout => "timeout",
            Self::Exhausted => "exhausted",
        }
    }
}

/// The metrics of one proxy; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    connections: IntGaugeVec,
    ended: IntCounterVec,
    bytes: IntCounterVec,
    requests: IntCounterVec,
    broken: IntCounterVec,
    durations: HistogramVec,
    connects: IntCounterVec,
    aside: IntGaugeVec,
    reloads: Reloads,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None in practice: the names are right.
    pub fn new() -> prometheus::Result<Self> {
        let registrar = Registrar::new();
        let connections = registrar.gauges(
            "alts_proxy_connections",
            "Open client connections, by listener.",
            &["listener"],
        )?;
        let ended = registrar.counters(
            "alts_proxy_connections_total",
            "Client connections that have ended, by listener and outcome.",
            &["listener", "outcome"],
        )?;
        let bytes = registrar.counters(
            "alts_proxy_bytes_total",
            "Bytes of clients' connections without ALTS around them, by listener and direction \
             (received, sent).",
            &["listener", "direction"],
        )?;
        let requests = registrar.counters(
            "alts_proxy_requests_total",
            "HTTP requests that have ended, by listener and class of the status.",
            &["listener", "status"],
        )?;
        let broken = registrar.counters(
            "alts_proxy_requests_broken_total",
            "HTTP requests without a whole response, by listener and reason (client_reset, \
             client_gone, client_body, client_stalled, upstream, upstream_stalled, cut).",
            &["listener", "reason"],
        )?;
        let durations = registrar.durations(
            "alts_proxy_request_duration_seconds",
            "Time from a request's headers to the end of its response.",
            &["listener"],
            60.0,
        )?;
        let connects = registrar.counters(
            "alts_proxy_upstream_connects_total",
            "Attempts to connect, by upstream and outcome (success, refused, handshake, timeout, \
             exhausted).",
            &["upstream", "outcome"],
        )?;
        let aside = registrar.gauges(
            "alts_proxy_upstream_addresses_aside",
            "Addresses that are not in order and tried last, by upstream.",
            &["upstream"],
        )?;
        let reloads = registrar.reloads(
            "alts_proxy_reloads_total",
            "Times that the configuration was read again, by outcome (success, failure).",
        )?;
        registrar.info("alts_proxy_info", env!("CARGO_PKG_VERSION"))?;
        Ok(Self {
            registry: registrar.finish(),
            connections,
            ended,
            bytes,
            requests,
            broken,
            durations,
            connects,
            aside,
            reloads,
        })
    }

    /// Where they are registered.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Those of one listener.
    #[must_use]
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics {
            connections: self.connections.with_label_values(&[name]),
            received: self.bytes.with_label_values(&[name, RECEIVED]),
            sent: self.bytes.with_label_values(&[name, SENT]),
            duration: self.durations.with_label_values(&[name]),
            requests: CLASSES.map(|class| self.requests.with_label_values(&[name, class])),
            broken: Broken::ALL.map(|reason| self.broken.with_label_values(&[name, reason.name()])),
            ended: self.ended.clone(),
            name: name.into(),
        }
    }

    /// Those of one upstream.
    #[must_use]
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            connects: Attempt::ALL
                .map(|outcome| self.connects.with_label_values(&[name, outcome.name()])),
            aside: self.aside.with_label_values(&[name]),
        }
    }

    /// Forgets a listener that is not there any more.
    pub fn forget_listener(&self, name: &str) {
        // What was never counted is not there to be removed.
        let _ = self.connections.remove_label_values(&[name]);
        let _ = self.durations.remove_label_values(&[name]);
        for direction in [RECEIVED, SENT] {
            let _ = self.bytes.remove_label_values(&[name, direction]);
        }
        for class in CLASSES {
            let _ = self.requests.remove_label_values(&[name, class]);
        }
        for reason in Broken::ALL {
            let _ = self.broken.remove_label_values(&[name, reason.name()]);
        }
        for outcome in Outcome::NAMES {
            let _ = self.ended.remove_label_values(&[name, outcome]);
        }
    }

    /// Forgets an upstream that is not there any more.
    pub fn forget_upstream(&self, name: &str) {
        let _ = self.aside.remove_label_values(&[name]);
        for outcome in Attempt::ALL {
            let _ = self.connects.remove_label_values(&[name, outcome.name()]);
        }
    }

    /// Counts a reload.
    pub fn reloaded(&self, good: bool) {
        self.reloads.count(good);
    }
}

/// The metrics of one listener.
#[derive(Clone, Debug)]
pub struct ListenerMetrics {
    /// Open connections.
    pub connections: IntGauge,
    /// Bytes from clients.
    pub received: IntCounter,
    /// Bytes to clients.
    pub sent: IntCounter,
    duration: Histogram,
    requests: [IntCounter; 6],
    broken: [IntCounter; 7],
    ended: IntCounterVec,
    name: Arc<str>,
}

impl ListenerMetrics {
    /// Counts a connection that has ended.
    pub fn ended(&self, outcome: &str) {
        self.ended.with_label_values(&[&*self.name, outcome]).inc();
    }

    /// Counts a request that got no whole response.
    pub fn broken(&self, why: Broken) {
        if let Some(counter) = self.broken.get(why as usize) {
            counter.inc();
        }
    }

    /// Counts a request that has ended.
    pub fn request(&self, status: u16, duration: Duration) {
        if let Some(class) = self.requests.get(usize::from(status / 100)) {
            class.inc();
        }
        self.duration.observe(duration.as_secs_f64());
    }
}

/// The metrics of one upstream.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    connects: [IntCounter; 5],
    aside: IntGauge,
}

impl UpstreamMetrics {
    /// Counts an attempt to connect.
    pub fn attempted(&self, outcome: Attempt) {
        if let Some(counter) = self.connects.get(outcome as usize) {
            counter.inc();
        }
    }

    /// How many addresses are not in order.
    pub fn aside(&self, count: usize) {
        self.aside.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
