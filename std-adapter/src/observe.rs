//! What is reported of each handshake and of calls that are refused: a span and events of tracing, and
//! metrics behind a feature.
//!
//! Accounts, addresses and protocol names are reported; keys and tokens never come this way.

use alts_core::{AltsContext, Side};
use tokio::time::Instant;
#[cfg(feature = "http")]
use tracing::info;
use tracing::{Span, debug, info_span, warn};

use crate::error::Error;

/// A call was refused; `peer` is the account that it came from, if it came over ALTS.
#[cfg(feature = "http")]
pub(crate) fn call_refused(peer: Option<&str>, reason: &'static str) {
    info!(peer, reason, "call refused");
    metrics::call_refused(reason);
}

/// The span of one handshake.
pub(crate) fn span(side: Side, service: &str, target_name: &str) -> Span {
    info_span!("alts_handshake", side = side.name(), service, target_name)
}

/// One handshake under way: reports how it ended, also when its future is dropped.
pub(crate) struct Observed {
    side: Side,
    began: Instant,
    told: bool,
}

impl Observed {
    pub(crate) fn begin(side: Side) -> Self {
        metrics::begun(side);
        Self { side, began: Instant::now(), told: false }
    }

    pub(crate) fn established(mut self, context: &AltsContext) {
        debug!(
            peer = context.peer_service_account(),
            local = context.local_service_account(),
            record_protocol = context.record_protocol().name(),
            security_level = context.security_level().name(),
            application_protocol = context.application_protocol(),
            elapsed = ?self.began.elapsed(),
            "handshake established"
        );
        self.end("established");
    }

    pub(crate) fn failed(mut self, error: &Error) {
        let elapsed = self.began.elapsed();
        if error.is_probe() {
            debug!(?elapsed, "connection closed before a handshake");
            self.end("probe");
        } else {
            warn!(%error, ?elapsed, "handshake failed");
            self.end(match error.fault() {
                alts_core::Fault::Peer => "peer",
                alts_core::Fault::HandshakerService => "handshaker_service",
                alts_core::Fault::Local => "local",
                _ => "other",
            });
        }
    }

    fn end(&mut self, outcome: &'static str) {
        self.told = true;
        metrics::ended(self.side, outcome, self.began.elapsed());
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        if !self.told {
            debug!(elapsed = ?self.began.elapsed(), "handshake abandoned");
            self.end("abandoned");
        }
    }
}

#[cfg(feature = "metrics")]
mod metrics {
    use std::time::Duration;

    use alts_core::Side;
    use metrics::{counter, gauge, histogram};

    pub(super) fn begun(side: Side) {
        gauge!("alts_handshakes_in_progress", "side" => side.name()).increment(1);
    }

    pub(super) fn ended(side: Side, outcome: &'static str, elapsed: Duration) {
        let side = side.name();
        gauge!("alts_handshakes_in_progress", "side" => side).decrement(1);
        counter!("alts_handshakes_total", "side" => side, "outcome" => outcome).increment(1);
        histogram!("alts_handshake_duration_seconds", "side" => side, "outcome" => outcome)
            .record(elapsed);
    }

    #[cfg(feature = "http")]
    pub(super) fn call_refused(reason: &'static str) {
        counter!("alts_calls_refused_total", "reason" => reason).increment(1);
    }
}

#[cfg(not(feature = "metrics"))]
mod metrics {
    use std::time::Duration;

    use alts_core::Side;

    pub(super) const fn begun(_: Side) {}

    pub(super) const fn ended(_: Side, _: &'static str, _: Duration) {}

    #[cfg(feature = "http")]
    pub(super) const fn call_refused(_: &'static str) {}
}
