//! What `alts check` says: a line for each step, for people or as JSON.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use tokio_alts::error::Printable;

use crate::diagnosis::{Fault, Problem};
use crate::json;

/// What a step has found out, by name.
pub(super) type Facts = BTreeMap<&'static str, Value>;

/// What a step that has succeeded hands on, with what is said about it.
pub(super) type Said<T> = (T, (String, Facts));

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    Platform,
    HandshakerAddress,
    HandshakerConnect,
    HandshakerAnswer,
    HandshakeWithItself,
    Records,
    TargetName,
    TargetConnect,
    TargetHandshake,
    TargetAccount,
    TargetHttp2,
}

impl Step {
    const fn title(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::HandshakerAddress => "handshaker's address",
            Self::HandshakerConnect => "handshaker's socket",
            Self::HandshakerAnswer => "handshaker's answer",
            Self::HandshakeWithItself => "handshake with itself",
            Self::Records => "records both ways",
            Self::TargetName => "target's name",
            Self::TargetConnect => "target's socket",
            Self::TargetHandshake => "target's handshake",
            Self::TargetAccount => "target's account",
            Self::TargetHttp2 => "target's HTTP/2",
        }
    }
}

/// What ends a check before its last step.
#[derive(Debug)]
pub(super) enum Stop {
    /// A step has failed, and was reported.
    Failed(Fault),
    /// The report cannot be written.
    Unwritten(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Unwritten(error)
    }
}

/// Writes the lines.
#[derive(Debug)]
pub(super) struct Report<W> {
    out: W,
    json: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Good { step: Step, ok: bool, milliseconds: f64, detail: &'a str, facts: &'a Facts },
    Bad { step: Step, ok: bool, milliseconds: f64, problem: &'a Problem },
    End { step: &'static str, ok: bool, exit_status: u8 },
}

impl<W: io::Write> Report<W> {
    pub(super) const fn new(out: W, json: bool) -> Self {
        Self { out, json }
    }

    /// Tells how a step has ended, and hands on what it was for.
    pub(super) fn tell<T>(
        &mut self,
        step: Step,
        began: Instant,
        outcome: Result<Said<T>, Problem>,
    ) -> Result<T, Stop> {
        let milliseconds = began.elapsed().as_secs_f64() * 1000.0;
        match outcome {
            Ok((value, (detail, facts))) => {
                if self.json {
                    let (detail, facts) = (detail.as_str(), &facts);
                    self.line(&Line::Good { step, ok: true, milliseconds, detail, facts })?;
                } else {
                    let title = step.title();
                    let detail = Printable(&detail);
                    writeln!(self.out, "ok    {title:22} {milliseconds:8.1} ms  {detail}")?;
                }
                self.out.flush()?;
                Ok(value)
            }
            Err(problem) => {
                if self.json {
                    self.line(&Line::Bad { step, ok: false, milliseconds, problem: &problem })?;
                } else {
                    writeln!(self.out, "FAIL  {:22} {milliseconds:8.1} ms", step.title())?;
                    writeln!(self.out, "{problem}")?;
                }
                Err(Stop::Failed(problem.fault))
            }
        }
    }

    /// Tells how it all has ended; returns the program's status.
    pub(super) fn end(mut self, failed: Option<Fault>) -> io::Result<ExitCode> {
        let exit_status = failed.map_or(0, Fault::exit_status);
        if self.json {
            self.line(&Line::End { step: "end", ok: failed.is_none(), exit_status })?;
        }
        self.out.flush()?;
        Ok(exit_status.into())
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        writeln!(self.out, "{}", json::text(line, false)?)
    }
}
