//! What Prometheus may know: numbers of handshakes, refusals, connections, and when identities end.
//!
//! Nothing here names a caller or a peer, so that the number of series stays bounded by the
//! configuration.

use std::time::Duration;

use alts_serving::registrar::{Registrar, Reloads};
use prometheus::{GaugeVec, Histogram, IntCounterVec, IntGauge, IntGaugeVec, Registry};

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
    reloads: Reloads,
    expiry: GaugeVec,
    stale: IntGaugeVec,
    spiffe_processes: IntGaugeVec,
    lists: GaugeVec,
}

impl Metrics {
    /// All at zero.
    ///
    /// # Errors
    /// None in practice: the names are right.
    pub fn new() -> prometheus::Result<Self> {
        let registrar = Registrar::new();
        let handshakes = registrar.counters(
            "altsd_handshakes_total",
            "Handshakes that have ended, by side, outcome (success, failure, abandoned), gRPC \
             status code and whose fault it was.",
            &["side", "outcome", "code", "fault"],
        )?;
        let refusals = registrar.counters(
            "altsd_refusals_total",
            "Handshakes that did not begin, by reason (policy, caller_limit, total_limit).",
            &["reason"],
        )?;
        let connections_refused = registrar.counters(
            "altsd_connections_refused_total",
            "Connections that were closed at once, by reason (caller_limit, total_limit).",
            &["reason"],
        )?;
        let reloads = registrar.reloads(
            "altsd_reloads_total",
            "Times that configuration or certificates were read again, by outcome (success, \
             failure).",
        )?;
        let duration = registrar
            .durations(
                "altsd_handshake_duration_seconds",
                "Time from the beginning of a handshake to its result, of those that succeeded.",
                &[],
                30.0,
            )?
            .with_label_values(&[] as &[&str]);
        let in_progress =
            registrar.gauge("altsd_handshakes_in_progress", "Handshakes that are under way.")?;
        let connections = registrar.gauges(
            "altsd_connections",
            "Open connections, by listener.",
            &["listener"],
        )?;
        let expiry = registrar.times(
            "altsd_certificate_expiry_timestamp_seconds",
            "When the certificate of an identity expires: seconds since the UNIX epoch.",
            &["identity"],
        )?;
        let stale = registrar.gauges(
            "altsd_certificate_reload_failed",
            "1 while the files of an identity are bad and older ones stay in use.",
            &["identity"],
        )?;
        let lists = registrar.times(
            "altsd_revocation_list_next_update_timestamp_seconds",
            "When the revocation lists of a trust root, by its subject, have to be replaced: seconds \
             since the UNIX epoch, of the first of them.",
            &["identity", "root"],
        )?;
        let spiffe_processes = registrar.gauges(
            "altsd_spiffe_processes",
            "Processes that are connected and whose identity the SPIFFE agent is asked for, by state \
             (waiting, identified, stale, refused).",
            &["state"],
        )?;
        registrar.info("altsd_info", env!("CARGO_PKG_VERSION"))?;
        Ok(Self {
            registry: registrar.finish(),
            handshakes,
            duration,
            in_progress,
            refusals,
            connections,
            connections_refused,
            reloads,
            expiry,
            stale,
            spiffe_processes,
            lists,
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

    pub(crate) fn spiffe_processes(&self, state: &str, count: i64) {
        self.spiffe_processes.with_label_values(&[state]).set(count);
    }

    pub(crate) fn reloaded(&self, good: bool) {
        self.reloads.count(good);
    }

    pub(crate) fn forget_identities(&self) {
        self.expiry.reset();
        self.stale.reset();
        self.lists.reset();
    }

    pub(crate) fn identity(&self, identity: &str, expires: Duration, stale: bool) {
        self.expiry.with_label_values(&[identity]).set(expires.as_secs_f64());
        self.stale.with_label_values(&[identity]).set(i64::from(stale));
    }
    pub(crate) fn revocation_list(&self, identity: &str, root: &str, next_update: Duration) {
        self.lists.with_label_values(&[identity, root]).set(next_update.as_secs_f64());
    }
}
