//! What Prometheus may know: numbers of handshakes, refusals, connections, and when identities end.
//!
//! Nothing here names a caller or a peer, so that the number of series stays bounded by the
//! configuration.

use std::time::Duration;

use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The metrics of one daemon; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    handshakes: IntCounterVec,
    duration: Histogram,
    in_progress: IntGauge,
    refusals: IntCounterVec,
    connections: IntGaugeVec,
    connections_refused: IntCounterVec,
    reloads: IntCounterVec,
    expiry: GaugeVec,
    stale: IntGaugeVec,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None in practice: the names are right.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            prometheus::Result::Ok(counters)
        };
        let handshakes = counters(
            "altsd_handshakes_total",
            "Handshakes that have ended, by side, outcome (success, failure, abandoned), gRPC \
             status code and whose fault it was.",
            &["side", "outcome", "code", "fault"],
        )?;
        let refusals = counters(
            "altsd_refusals_total",
            "Handshakes that did not begin, by reason (policy, caller_limit, total_limit).",
            &["reason"],
        )?;
        let connections_refused = counters(
            "altsd_connections_refused_total",
            "Connections that were closed at once, by reason (caller_limit, total_limit).",
            &["reason"],
        )?;
        let reloads = counters(
            "altsd_reloads_total",
            "Times that configuration or certificates were read again, by outcome (success, \
             failure).",
            &["outcome"],
        )?;
        for outcome in ["success", "failure"] {
            reloads.with_label_values(&[outcome]);
        }
        let duration = Histogram::with_opts(
            HistogramOpts::new(
                "altsd_handshake_duration_seconds",
                "Time from the beginning of a handshake to its result, of those that succeeded.",
            )
            .buckets(vec![
                0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
            ]),
        )?;
        registry.register(Box::new(duration.clone()))?;
        let in_progress =
            IntGauge::new("altsd_handshakes_in_progress", "Handshakes that are under way.")?;
        registry.register(Box::new(in_progress.clone()))?;
        let connections = IntGaugeVec::new(
            Opts::new("altsd_connections", "Open connections, by listener."),
            &["listener"],
        )?;
        registry.register(Box::new(connections.clone()))?;
        let expiry = GaugeVec::new(
            Opts::new(
                "altsd_certificate_expiry_timestamp_seconds",
                "When the certificate of an identity expires: seconds since the UNIX epoch.",
            ),
            &["identity"],
        )?;
        registry.register(Box::new(expiry.clone()))?;
        let stale = IntGaugeVec::new(
            Opts::new(
                "altsd_certificate_reload_failed",
                "1 while the files of an identity are bad and older ones stay in use.",
            ),
            &["identity"],
        )?;
        registry.register(Box::new(stale.clone()))?;
        let info = IntGaugeVec::new(Opts::new("altsd_info", "Always 1."), &["version"])?;
        registry.register(Box::new(info.clone()))?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            registry,
            handshakes,
            duration,
            in_progress,
            refusals,
            connections,
            connections_refused,
            reloads,
            expiry,
            stale,
        })
    }

    /// Where they are registered.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn began(&self) {
        self.in_progress.inc();
    }

    pub(crate) fn ended(
        &self,
        side: &str,
        outcome: &str,
        code: &str,
        fault: &str,
        duration: Option<Duration>,
    ) {
        self.in_progress.dec();
        self.handshakes.with_label_values(&[side, outcome, code, fault]).inc();
        if let Some(duration) = duration {
            self.duration.observe(duration.as_secs_f64());
        }
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, reason: &str) {
        self.refusals.with_label_values(&[reason]).inc();
    }

    /// Counts a connection that was closed at once.
    pub(crate) fn connection_refused(&self, reason: &str) {
        self.connections_refused.with_label_values(&[reason]).inc();
    }

    pub(crate) fn connection(&self, listener: &str) -> IntGauge {
        self.connections.with_label_values(&[listener])
    }

    pub(crate) fn reloaded(&self, good: bool) {
        self.reloads.with_label_values(&[if good { "success" } else { "failure" }]).inc();
    }

    pub(crate) fn forget_identities(&self) {
        self.expiry.reset();
        self.stale.reset();
    }

    pub(crate) fn identity(&self, identity: &str, expires: Duration, stale: bool) {
        self.expiry.with_label_values(&[identity]).set(expires.as_secs_f64());
        self.stale.with_label_values(&[identity]).set(i64::from(stale));
    }
}
