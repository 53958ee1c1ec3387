//! Who may begin a handshake, and a line about each one when it has ended.

use std::sync::Arc;
use std::time::Duration;

use alts_core::Side;
use alts_handshaker::Call;
use alts_handshaker::grpc::Admission;
use alts_serving::limits::{Full, Key, Slot, Slots};
use alts_serving::throttle::Throttles;
use http::Extensions;
use tokio::sync::watch;
use tonic::Status;

use crate::accept::CallerConnection;
use crate::broker::Broker;
use crate::config::LimitSettings;
use crate::log::AUDIT;
use crate::metrics::Metrics;
use crate::state::Snapshot;

/// How many callers may be sent the policy's refusal at once.
const REFUSALS: usize = 256;

/// How many of them may be one caller.
const REFUSALS_PER_CALLER: usize = 16;

/// The largest request of a caller whom the policy refuses: a start message is smaller.
const REFUSED_BYTES: usize = 16 * 1024;

/// How long a caller whom the policy refuses may take to say what it wants.
const REFUSED_DEADLINE: Duration = Duration::from_secs(5);

/// The policy and the limits, at the gRPC service's door.
#[derive(Debug)]
pub struct Gate {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    slots: Slots,
    /// Those of callers whom the policy refuses: they take none of the others'.
    refusals: Slots,
    /// Bytes of requests that have not been answered.
    bytes: Slots,
    broker: Option<Arc<Broker>>,
    metrics: Metrics,
    throttles: Throttles<Key>,
}

impl Gate {
    /// Each handshake begins with the snapshot of its time.
    #[must_use]
    pub fn new(
        snapshot: watch::Receiver<Arc<Snapshot>>,
        broker: Option<Arc<Broker>>,
        limits: &LimitSettings,
        metrics: Metrics,
    ) -> Self {
        Self {
            snapshot,
            slots: Slots::new(limits.handshakes, limits.handshakes_per_caller),
            refusals: Slots::new(REFUSALS, REFUSALS_PER_CALLER),
            bytes: Slots::new(limits.bytes, limits.bytes_per_caller),
            broker,
            metrics,
            throttles: Throttles::default(),
        }
    }

    /// What keeps refused callers from flooding the log: it is asked for what it has held back.
    #[must_use]
    pub fn throttles(&self) -> Throttles<Key> {
        self.throttles.clone()
    }

    fn slot(&self, slots: &Slots, connection: &CallerConnection) -> Result<Slot, Status> {
        slots.take(connection.key.clone()).map_err(|full| {
            self.too_many(full, connection);
            Status::resource_exhausted(
                "the caller has as many handshakes under way with this handshaker service as it may",
            )
        })
    }

    fn too_many(&self, full: Full, connection: &CallerConnection) {
        self.metrics.refused(full.name());
        if let Some(more) = self.throttles.may_speak(&connection.key) {
            tracing::warn!(
                target: AUDIT,
                outcome = "refused",
                reason = full.name(),
                caller = %connection.caller,
                listener = &*connection.listener,
                more = (more > 0).then_some(more),
                "handshake"
            );
        }
    }
}

/// Writes what was held back about callers who are quiet by now.
pub fn say_rest(throttles: &Throttles<Key>) {
    for (key, more) in throttles.rest() {
        let caller = key.map_or_else(|| "many".to_owned(), |key| key.to_string());
        tracing::warn!(target: AUDIT, outcome = "refused", caller, more, "handshake");
    }
}

/// Kept while a handshake lasts.
#[derive(Debug)]
pub struct Entry {
    connection: Arc<CallerConnection>,
    /// Whether the policy had nothing for this caller.
    refused: bool,
    /// Whether its call was ended because of the size of a request.
    too_large: bool,
    /// For the bytes of a request.
    room: Option<Slot>,
    _slot: Slot,
}

impl Admission for Gate {
    type Caller = Entry;

    fn admit(&self, extensions: &Extensions, now: Duration) -> Result<(Call, Entry), Status> {
        let Some(connection) = extensions.get::<Arc<CallerConnection>>().cloned() else {
            return Err(Status::internal("the connection does not say who is calling"));
        };
        let snapshot = self.snapshot.borrow().clone();
        let limits = snapshot.limits();
        let choices = match connection.new_user() {
            None => snapshot.choices(&connection.caller, &connection.listener, || {
                connection.attested(self.broker.as_deref())
            }),
            Some(uid) => Err(format!(
                "the caller ({}) may not use any identity of this handshaker service: its process \
                 has become uid {uid} since it connected, and has to connect again",
                connection.caller
            )),
        };
        let refused = choices.is_err();
        let slots = if refused { &self.refusals } else { &self.slots };
        let slot = self.slot(slots, &connection)?;
        let call = match choices {
            Ok(choices) => Call::choosing(limits, choices, now)
                .map_err(|failure| Status::internal(failure.details()))?,
            Err(why) => {
                self.metrics.refused("policy");
                let deadline = limits.deadline.min(REFUSED_DEADLINE);
                Call::refused(limits.with_deadline(deadline), why, now)
            }
        };
        self.metrics.began();
        Ok((call, Entry { connection, refused, too_large: false, room: None, _slot: slot }))
    }

    fn reading(&self, entry: &mut Entry, bytes: usize) -> Result<(), Status> {
        entry.room = None;
        if bytes == 0 {
            return Ok(());
        }
        if entry.refused && bytes > REFUSED_BYTES {
            entry.too_large = true;
            return Err(Status::permission_denied(format!(
                "the caller ({}) may not use any identity of this handshaker service",
                entry.connection.caller
            )));
        }
        let room = self.bytes.take_some(entry.connection.key.clone(), bytes).map_err(|full| {
            self.too_many(full, &entry.connection);
            Status::resource_exhausted(
                "the caller has as many bytes under way with this handshaker service as it may",
            )
        })?;
        entry.room = Some(room);
        Ok(())
    }

    fn ended(&self, entry: Entry, call: &Call, duration: Duration) {
        let side = match call.side() {
            Some(Side::Client) => "client",
            Some(Side::Server) => "server",
            None => "none",
        };
        let caller = entry.connection.caller.to_string();
        let listener = &*entry.connection.listener;
        // A whole number of microseconds has a short text.
        let milliseconds = (duration.as_secs_f64() * 1e6).round() / 1000.0;
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
                let fault = failure.fault().name();
                let outcome = if entry.refused { "refused" } else { "failure" };
                self.metrics.ended(side, outcome, &code.to_string(), fault, None);
                let more = if entry.refused {
                    let Some(more) = self.throttles.may_speak(&entry.connection.key) else {
                        return;
                    };
                    (more > 0).then_some(more)
                } else {
                    None
                };
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
                    more,
                    "handshake"
                );
            }
            None if entry.refused => {
                // It went away before it got the refusal, or was not worth reading.
                let (code, reason) =
                    if entry.too_large { ("7", "request_bytes") } else { ("1", "policy") };
                self.metrics.ended(side, "refused", code, "caller", None);
                if let Some(more) = self.throttles.may_speak(&entry.connection.key) {
                    tracing::warn!(
                        target: AUDIT,
                        outcome = "refused",
                        reason,
                        caller,
                        listener,
                        more = (more > 0).then_some(more),
                        "handshake"
                    );
                }
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
