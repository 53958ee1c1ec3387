//! One direction, from its first byte to its last: messages, frames, and what is wrong with them.

use std::io::{self, Read, Write};

use alts_core::Side;
use alts_core::frame::{Find, FrameError, FrameHeader, HEADER_SIZE};
use alts_core::key::RecordProtocol;

use super::handshake::{self, Found};
use super::opening::{Fate, Opening};
use super::report::{Event, Kind, Report, Summary, direction as name};
use super::window::{Ending, Window};

/// Frames that one key seals.
const EPOCH: u64 = 1 << 16;

/// Why a direction was not read to its end.
#[derive(Debug)]
pub(super) enum Failed {
    /// Its file cannot be read.
    Read(io::Error),
    /// The report, or what was opened, cannot be written.
    Write(io::Error),
}

/// Reports what is in the direction that `writer` wrote.
pub(super) fn direction<R: Read, W: Write>(
    window: Window<R>,
    writer: Side,
    opening: Option<Opening<'_>>,
    dump: Box<dyn Write>,
    report: &mut Report<W>,
) -> Result<(), Failed> {
    let direction = name(writer);
    let summary = Summary { direction, ..Summary::default() };
    let dump = Some(dump);
    let mut walk = Walk { window, direction, opening, dump, closed: None, summary, report };
    walk.handshake()?;
    while walk.frame()? {}
    walk.end()
}

/// A frame that opens nowhere, about which the next ones will say more.
struct Closed {
    frame: u64,
    offset: u64,
    /// How many frames after it do not open either.
    more: u64,
}

struct Walk<'w, 'k, R, W: Write> {
    window: Window<R>,
    direction: &'static str,
    opening: Option<Opening<'k>>,
    /// Where opened payloads go, until the first fault.
    dump: Option<Box<dyn Write>>,
    closed: Option<Closed>,
    summary: Summary,
    report: &'w mut Report<W>,
}

impl<R: Read, W: Write> Walk<'_, '_, R, W> {
    /// Everything before the first frame.
    fn handshake(&mut self) -> Result<(), Failed> {
        let direction = self.direction;
        let next = |window: &mut _| handshake::next(window, direction).map_err(Failed::Read);
        while let Found::Told(event) = next(&mut self.window)? {
            self.tell(&event)?;
        }
        self.summary.handshake_bytes = self.window.offset();
        Ok(())
    }

    /// The next frame; `false` at the end.
    fn frame(&mut self) -> Result<bool, Failed> {
        let mut wanted = HEADER_SIZE;
        let (offset, number) = (self.window.offset(), self.summary.frames);
        loop {
            let front = self.window.fill(wanted).map_err(Failed::Read)?;
            let have = front.len();
            match FrameHeader::find(front) {
                _ if have == 0 => return Ok(false),
                Err(error) => {
                    self.bad_header(offset, number, error)?;
                    return Ok(true);
                }
                Ok(Find::Whole(header)) => {
                    let frame = front.get(..header.frame_len()).unwrap_or_default();
                    let fate = self.opening.as_mut().map(|opening| opening.open(frame));
                    self.count(offset, header)?;
                    if let Some(fate) = fate {
                        self.opened(offset, number, &fate)?;
                    }
                    self.window.consume(header.frame_len());
                    return Ok(true);
                }
                Ok(Find::Missing(missing)) if have < wanted => {
                    let inside = format!(
                        "inside frame {number}: {have} bytes of it are there, and at least {missing} \
                         are missing"
                    );
                    let lacks = self.window.lacks();
                    let (name, frame) = (self.direction, number);
                    self.tell(&handshake::cut_off(lacks, name, offset, frame, &inside))?;
                    self.window.consume(have);
                    return Ok(false);
                }
                Ok(Find::Missing(missing)) => wanted = have.saturating_add(missing),
            }
        }
    }

    fn bad_header(&mut self, offset: u64, number: u64, error: FrameError) -> Result<(), Failed> {
        let skipped = handshake::to_frame(&mut self.window).map_err(Failed::Read)?;
        let goes_on = !self.window.fill(1).map_err(Failed::Read)?.is_empty();
        let rest = if goes_on {
            format!("the next header that can be one is {skipped} bytes further on")
        } else {
            "no header follows that can be one".to_owned()
        };
        let text = format!(
            "where frame {number} has to begin, there is no header: {error}; the length of the frame \
             before may have been changed, or bytes are missing or too many; {rest}"
        );
        self.fault(offset, number, Kind::Header, text)
    }

    fn count(&mut self, offset: u64, header: FrameHeader) -> Result<(), Failed> {
        let (payload, frame) = (header.payload_len(), self.summary.frames);
        let summary = &mut self.summary;
        summary.payload_min = if frame == 0 { payload } else { summary.payload_min.min(payload) };
        summary.payload_max = summary.payload_max.max(payload);
        summary.payload_bytes = summary.payload_bytes.saturating_add(payload as u64);
        summary.empty = summary.empty.saturating_add(u64::from(payload == 0));
        summary.frames = frame.saturating_add(1);
        let direction = self.direction;
        let rekeying =
            self.opening.as_ref().is_none_or(|o| o.protocol() == RecordProtocol::AesGcm128Rekey);
        if rekeying && frame > 0 && frame.is_multiple_of(EPOCH) {
            self.summary.rekeys = self.summary.rekeys.saturating_add(1);
            self.tell(&Event::Rekey { direction, offset, frame })?;
        }
        let bytes = header.frame_len();
        self.tell(&Event::Frame { direction, offset, frame, bytes, payload })
    }

    /// Tells what became of a frame that was tried to open.
    fn opened(&mut self, offset: u64, number: u64, fate: &Fate) -> Result<(), Failed> {
        let opened = self.opening.as_ref().map_or(0, Opening::opened);
        match fate {
            Fate::Closed => {}
            Fate::Opened(_) => self.settle(opened.saturating_sub(1), true)?,
            Fate::Replayed(_) | Fate::Missing(_) | Fate::Late(_) => self.settle(opened, true)?,
            Fate::Reflected(_) | Fate::Protocol(_) => self.settle(opened, false)?,
        }
        let (kind, text) = match fate {
            Fate::Opened(size) => return self.dump(*size),
            Fate::Closed => {
                match &mut self.closed {
                    Some(closed) => closed.more = closed.more.saturating_add(1),
                    None => self.closed = Some(Closed { frame: number, offset, more: 0 }),
                }
                // A receiver would have ended here.
                self.dump = None;
                return Ok(());
            }
            Fate::Replayed(of) => (
                Kind::Replayed,
                format!("frame {number} is frame {of} again: it was replayed or sent twice"),
            ),
            Fate::Missing(range) if range.end.saturating_sub(range.start) == 1 => (
                Kind::Missing,
                format!(
                    "frame {number} is frame {}: frame {} is missing here",
                    range.end, range.start
                ),
            ),
            Fate::Missing(range) => (
                Kind::Missing,
                format!(
                    "frame {number} is frame {}: frames {} to {} are missing here",
                    range.end,
                    range.start,
                    range.end.saturating_sub(1)
                ),
            ),
            Fate::Late(of) => (
                Kind::Late,
                format!("frame {number} is frame {of}, which was missing: they were reordered"),
            ),
            Fate::Reflected(of) => (
                Kind::Reflected,
                format!(
                    "frame {number} is frame {of} of the other direction: it was sent back to its \
                     sender, or the two directions were exchanged when this was captured"
                ),
            ),
            Fate::Protocol(protocol) => (
                Kind::WrongProtocol,
                format!("frame {number} opens with {protocol}: say --protocol {protocol}"),
            ),
        };
        self.fault(offset, number, kind, text)
    }

    /// Reports a frame that opened nowhere, now that more is known: how many before it did, and
    /// whether a later one does.
    fn settle(&mut self, before: u64, next_opens: bool) -> Result<(), Failed> {
        let Some(Closed { frame, offset, more }) = self.closed.take() else { return Ok(()) };
        let (kind, text) = if before == 0 && !next_opens {
            let frames = more.saturating_add(1);
            if self.window.lacks().beginning {
                let text = format!(
                    "none of the {frames} frames opens: the capture lacks the beginning of the \
                     connection, so their numbers are unknown; or this is the key of another \
                     connection"
                );
                let direction = self.direction;
                return self.tell(&Event::Incomplete { direction, offset, text });
            }
            let text = format!(
                "none of the {frames} frames opens: this is the key of another connection, or the \
                 capture does not begin with the connection"
            );
            (Kind::WrongKey, text)
        } else {
            let others = match (more, next_opens) {
                (0, true) => "the next one opens".to_owned(),
                (0, false) => "it is the last one".to_owned(),
                (more, true) => format!("{more} more do not open, and then they do again"),
                (more, false) => format!("nor do the {more} behind it"),
            };
            let text = format!(
                "frame {frame} does not open, here or at its neighbours' places, and {before} before \
                 it do: its payload, its tag or its length was changed; {others}"
            );
            (Kind::Damaged, text)
        };
        self.fault(offset, frame, kind, text)
    }

    fn dump(&mut self, size: usize) -> Result<(), Failed> {
        if let (Some(dump), Some(opening)) = (&mut self.dump, &self.opening) {
            dump.write_all(opening.payload(size)).map_err(Failed::Write)?;
        }
        Ok(())
    }

    fn fault(&mut self, offset: u64, frame: u64, kind: Kind, text: String) -> Result<(), Failed> {
        let direction = self.direction;
        self.tell(&Event::Fault { direction, offset, frame, kind, text })
    }

    fn tell(&mut self, event: &Event) -> Result<(), Failed> {
        self.summary.incomplete |= matches!(event, Event::Incomplete { .. });
        if matches!(event, Event::Fault { .. }) {
            self.summary.faults = self.summary.faults.saturating_add(1);
            if let Some(mut dump) = self.dump.take() {
                dump.flush().map_err(Failed::Write)?;
            }
        }
        self.report.tell(event).map_err(Failed::Write)
    }

    fn end(mut self) -> Result<(), Failed> {
        let opened = self.opening.as_ref().map(Opening::opened);
        self.settle(opened.unwrap_or_default(), false)?;
        if let Some(mut dump) = self.dump.take() {
            dump.flush().map_err(Failed::Write)?;
        }
        let (direction, offset) = (self.direction, self.window.offset());
        if self.window.lacks().end == Ending::Gap && !self.summary.incomplete {
            let text = "bytes are missing in the capture here".to_owned();
            self.tell(&Event::Incomplete { direction, offset, text })?;
        }
        self.summary.bytes = offset;
        self.summary.opened = opened;
        let summary = self.summary.clone();
        self.tell(&Event::Summary(summary))
    }
}
