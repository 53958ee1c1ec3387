//! What `alts inspect` says: a line for each event, for people or as JSON.

use std::io::{self, Write};

use alts_core::Side;
use serde::Serialize;

use crate::diagnosis::Fault;
use crate::json;

/// How many faults of one direction are shown.
const FAULTS: u64 = 20;

/// The direction of what this side writes.
pub(super) const fn direction(writer: Side) -> &'static str {
    match writer {
        Side::Client => "to_server",
        Side::Server => "to_client",
    }
}

/// Something in a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    Note {
        text: String,
    },
    Message {
        direction: &'static str,
        offset: u64,
        bytes: usize,
        #[serde(rename = "type")]
        number: u32,
        name: Option<&'static str>,
        text: String,
    },
    Unknown {
        direction: &'static str,
        offset: u64,
        bytes: u64,
        text: String,
    },
    Frame {
        direction: &'static str,
        offset: u64,
        frame: u64,
        bytes: usize,
        payload: usize,
    },
    Rekey {
        direction: &'static str,
        offset: u64,
        frame: u64,
    },
    Fault {
        direction: &'static str,
        offset: u64,
        frame: u64,
        kind: Kind,
        text: String,
    },
    /// The capture lacks a part of the stream, which may be as it should be.
    Incomplete {
        direction: &'static str,
        offset: u64,
        text: String,
    },
    Summary(Summary),
    End {
        ok: bool,
        exit_status: u8,
    },
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Header,
    Truncated,
    Replayed,
    Missing,
    Late,
    Reflected,
    Damaged,
    WrongKey,
    WrongProtocol,
    NoAlts,
}

/// The totals of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) direction: &'static str,
    pub(super) bytes: u64,
    pub(super) handshake_bytes: u64,
    pub(super) frames: u64,
    pub(super) empty: u64,
    pub(super) payload_bytes: u64,
    pub(super) payload_min: usize,
    pub(super) payload_max: usize,
    pub(super) rekeys: u64,
    pub(super) opened: Option<u64>,
    pub(super) faults: u64,
    pub(super) incomplete: bool,
}

/// Writes the lines.
#[derive(Debug)]
pub(super) struct Report<W: Write> {
    out: W,
    json: bool,
    frames: bool,
    faults: u64,
    fault: Option<Fault>,
}

impl<W: Write> Report<W> {
    pub(super) const fn new(out: W, json: bool, frames: bool) -> Self {
        Self { out, json, frames, faults: 0, fault: None }
    }

    /// Tells of one event.
    pub(super) fn tell(&mut self, event: &Event) -> io::Result<()> {
        match event {
            Event::Frame { .. } if !self.frames => return Ok(()),
            Event::Fault { .. } => {
                self.fault = Some(Fault::Peer);
                self.faults = self.faults.saturating_add(1);
                if self.faults > FAULTS {
                    return Ok(());
                }
            }
            Event::Incomplete { .. } => _ = self.fault.get_or_insert(Fault::Local),
            Event::Summary(_) => self.faults = 0,
            _ => {}
        }
        if self.json {
            return writeln!(self.out, "{}", json::text(event, false)?);
        }
        text(&mut self.out, event)
    }

    /// Who is at fault for what was reported.
    pub(super) const fn status(&self) -> Option<Fault> {
        self.fault
    }

    /// Tells how it has ended.
    pub(super) fn end(mut self, exit_status: u8) -> io::Result<()> {
        if self.json {
            self.tell(&Event::End { ok: exit_status == 0, exit_status })?;
        }
        self.out.flush()
    }
}

fn text(out: &mut impl Write, event: &Event) -> io::Result<()> {
    let mut line = |direction: &str, offset: u64, what: &str| {
        writeln!(out, "{direction:9} {offset:>12}  {what}")
    };
    match event {
        Event::Note { text } => writeln!(out, "note: {text}"),
        Event::Message { direction, offset, bytes, text, .. } => {
            line(direction, *offset, &format!("handshake: {text}, {bytes} bytes"))
        }
        Event::Unknown { direction, offset, bytes, text } => {
            line(direction, *offset, &format!("{bytes} {text}"))
        }
        Event::Frame { direction, offset, frame, bytes, payload } => {
            let what = format!("frame {frame}: {bytes} bytes, payload {payload}");
            line(direction, *offset, &what)
        }
        Event::Rekey { direction, offset, frame } => {
            line(direction, *offset, &format!("the key changes with frame {frame}"))
        }
        Event::Fault { direction, offset, text, .. } => {
            line(direction, *offset, &format!("FAULT: {text}"))
        }
        Event::Incomplete { direction, offset, text } => {
            line(direction, *offset, &format!("INCOMPLETE: {text}"))
        }
        Event::Summary(summary) => writeln!(out, "{summary}"),
        Event::End { .. } => Ok(()),
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { direction, bytes, handshake_bytes, frames, empty, payload_bytes, .. } = self;
        let Self { payload_min, payload_max, rekeys, opened, faults, incomplete, .. } = self;
        write!(
            f,
            "{direction:9} {bytes:>12}  bytes in all: {handshake_bytes} of the handshake, {frames} \
             frames ({empty} empty, {rekeys} changes of key) with payloads of {payload_min} to \
             {payload_max} bytes, {payload_bytes} together; "
        )?;
        if let Some(opened) = opened {
            write!(f, "{opened} opened; ")?;
        }
        match faults {
            0 if *incomplete => f.write_str("nothing is wrong as far as it was captured"),
            0 => f.write_str("nothing is wrong"),
            1 => f.write_str("1 fault"),
            more => write!(f, "{more} faults ({} shown)", more.min(&FAULTS)),
        }
    }
}
