//! Who may begin a handshake, and a line about each one when it has ended.

use core::time::Duration;
use std::sync::Arc;

use alts_core::Side;
use http::Extensions;
use tokio::sync::watch;
use tonic::Status;

use crate::{accept::Connection, log::AUDIT, metrics::Metrics, state::Snapshot};
use alts_handshaker::{Call, Fault, grpc::Admission};
use alts_serving::limits::{Slot, Slots};

/// The policy and the limits, at the gRPC service's door.
#[derive(Debug)]
pub struct Gate {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    slots: Slots,
    metrics: Metrics,
}

impl Gate {
    /// Each handshake begins with the snapshot of its time.
    #[must_use]
    pub const fn new(
        snapshot: watch::Receiver<Arc<Snapshot>>,
        slots: Slots,
        metrics: Metrics,
    ) -> Self {
        Self { snapshot, slots, metrics }
    }
}

/// Kept while a handshake lasts.
#[derive(Debug)]
pub struct Entry {
    connection: Arc<Connection>,
    /// Whether the policy had nothing for this caller.
    refused: bool,
    _slot: Slot,
}

impl Admission for Gate {
    type Caller = Entry;

    fn admit(&self, extensions: &Extensions, now: Duration) -> Result<(Call, Entry), Status> {
        let Some(connection) = extensions.get::<Arc<Connection>>().cloned() else {
            return Err(Status::internal("the connection does not say who is calling"));
        };
        let slot = self.slots.take(connection.caller.key()).map_err(|full| {
            self.metrics.refused(full.name());
            if self.metrics.may_speak() {
                tracing::warn!(
                    target: AUDIT,
                    outcome = "refused",
                    reason = full.name(),
                    caller = %connection.caller,
                    listener = &*connection.listener,
                    "handshake"
                );
            }
            Status::resource_exhausted(
                "the caller has as many handshakes under way with this handshaker service as it may",
            )
        })?;
        let snapshot = self.snapshot.borrow().clone();
        let limits = snapshot.limits();
        let choices = snapshot.choices(&connection.caller, &connection.listener);
        let refused = choices.is_err();
        let call = match choices {
            Ok(choices) => Call::choosing(limits, choices, now)
                .map_err(|failure| Status::internal(failure.details()))?,
            Err(why) => {
                self.metrics.refused("policy");
                Call::refused(limits, why, now)
            }
        };
        self.metrics.began();
        Ok((call, Entry { connection, refused, _slot: slot }))
    }

    fn ended(&self, entry: Entry, call: &Call, duration: Duration) {
        let side = match call.side() {
            Some(Side::Client) => "client",
            Some(Side::Server) => "server",
            None => "none",
        };
        let caller = entry.connection.caller.to_string();
        let listener = &*entry.connection.listener;
        let milliseconds = duration.as_secs_f64() * 1000.0;
        let local = call.local_account().unwrap_or_default();
        match call.result() {
            Some(Ok(outcome)) => {
                self.metrics.ended(side, "success", "0", "none", Some(duration));
                tracing::info!(
                    target: AUDIT,
                    outcome = "success",
                    side,
                    caller,
                    listener,
                    local,
                    peer = outcome.peer_account(),
                    application_protocol = outcome.application_protocol(),
                    record_protocol = outcome.record_protocol().name(),
                    key_exchange = outcome.key_exchange(),
                    milliseconds,
                    "handshake"
                );
            }
            Some(Err(failure)) => {
                let code = failure.code().number();
                let fault = match failure.fault() {
                    Fault::Caller => "caller",
                    Fault::Peer => "peer",
                    Fault::Service => "service",
                };
                let outcome = if entry.refused { "refused" } else { "failure" };
                self.metrics.ended(side, outcome, &code.to_string(), fault, None);
                tracing::warn!(
                    target: AUDIT,
                    outcome,
                    side,
                    caller,
                    listener,
                    local,
                    code,
                    fault,
                    details = failure.details(),
                    milliseconds,
                    "handshake"
                );
            }
            None => {
                self.metrics.ended(side, "abandoned", "1", "caller", None);
                tracing::info!(
                    target: AUDIT,
                    outcome = "abandoned",
                    side,
                    caller,
                    listener,
                    local,
                    milliseconds,
                    "handshake"
                );
            }
        }
    }
}
