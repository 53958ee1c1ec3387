//! What `alts ping` has measured, for people or as JSON.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio_alts::AltsContext;
use tokio_alts::error::Printable;

use super::latency::{Latencies, Summary, milliseconds};
use crate::diagnosis::{Fault, Problem};
use crate::json;

/// What a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    Http2,
    Echo,
    Handshake,
}

/// How much went through.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Throughput {
    what: &'static str,
    bytes: u64,
    seconds: f64,
    bytes_per_second: f64,
}

impl Throughput {
    #[expect(clippy::cast_precision_loss, reason = "a rate of three digits is what people read")]
    pub(super) fn new(what: &'static str, bytes: u64, took: Duration) -> Self {
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        Self { what, bytes, seconds, bytes_per_second: bytes as f64 / seconds }
    }
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    target: String,
    ok: bool,
    exit_status: u8,
    problem: Option<Problem>,
    peer_account: String,
    local_account: String,
    connect_ms: f64,
    handshake_ms: f64,
    pub(super) mode: Option<Mode>,
    #[serde(skip)]
    measured: Vec<Latencies>,
    latencies: Vec<Summary>,
    pub(super) throughput: Option<Throughput>,
    pub(super) not_measured: Vec<String>,
}

impl Report {
    pub(super) const fn new(target: String) -> Self {
        Self {
            target,
            ok: false,
            exit_status: 0,
            problem: None,
            peer_account: String::new(),
            local_account: String::new(),
            connect_ms: 0.0,
            handshake_ms: 0.0,
            mode: None,
            measured: Vec::new(),
            latencies: Vec::new(),
            throughput: None,
            not_measured: Vec::new(),
        }
    }

    pub(super) fn connected(
        &mut self,
        context: &AltsContext,
        connect: Duration,
        handshake: Duration,
    ) {
        context.peer_service_account().clone_into(&mut self.peer_account);
        context.local_service_account().clone_into(&mut self.local_account);
        (self.connect_ms, self.handshake_ms) = (milliseconds(connect), milliseconds(handshake));
    }

    /// How long `what` took, once.
    pub(super) fn add(&mut self, what: &'static str, took: Duration) {
        match self.measured.iter_mut().find(|latencies| latencies.what() == what) {
            Some(latencies) => latencies.add(took),
            None => self.measured.push(Latencies::new(what, took)),
        }
    }

    /// The user has ended it.
    pub(super) fn interrupted(&mut self) -> Result<(), Problem> {
        if self.measured.is_empty() {
            let tried = format!("to measure the connection to {}", self.target);
            let got = "it was interrupted before there was anything to report";
            return Err(Problem::new(Fault::Local, tried, got, "wait longer"));
        }
        self.not_measured.push("the rest: it was interrupted".to_owned());
        Ok(())
    }

    /// Takes note of the end; returns the exit status.
    pub(super) fn end(&mut self, outcome: Result<(), Problem>) -> u8 {
        self.latencies = self.measured.iter().filter_map(Latencies::summary).collect();
        self.problem = outcome.err();
        self.ok = self.problem.is_none();
        self.exit_status = self.problem.as_ref().map_or(0, |problem| problem.fault.exit_status());
        self.exit_status
    }

    pub(super) fn json(&self, mut out: impl io::Write) -> io::Result<()> {
        writeln!(out, "{}", json::text(self, true)?)?;
        out.flush()
    }

    pub(super) fn text(&self, mut out: impl io::Write) -> io::Result<()> {
        if !self.peer_account.is_empty() {
            writeln!(
                out,
                "{} is {}; it sees us as {}",
                self.target,
                Printable(&self.peer_account),
                Printable(&self.local_account)
            )?;
            writeln!(
                out,
                "connect {:.3} ms, handshake {:.3} ms",
                self.connect_ms, self.handshake_ms
            )?;
        }
        if !self.latencies.is_empty() {
            writeln!(
                out,
                "{:10} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
                "ms", "count", "min", "p50", "p90", "p99", "max"
            )?;
        }
        for summary in &self.latencies {
            let Summary { what, count, min_ms, p50_ms, p90_ms, p99_ms, max_ms } = summary;
            writeln!(
                out,
                "{what:10} {count:8} {min_ms:10.3} {p50_ms:10.3} {p90_ms:10.3} {p99_ms:10.3} \
                 {max_ms:10.3}"
            )?;
        }
        if let Some(Throughput { what, bytes, seconds, bytes_per_second }) = self.throughput {
            let rate = bytes_per_second / f64::from(1 << 20);
            writeln!(out, "throughput ({what}) {rate:.1} MiB/s: {bytes} bytes in {seconds:.2} s")?;
        }
        for what in &self.not_measured {
            writeln!(out, "not measured: {}", Printable(what))?;
        }
        if let Some(problem) = &self.problem {
            writeln!(out, "FAIL  {}", self.target)?;
            writeln!(out, "{problem}")?;
        }
        out.flush()
    }
}
