//! The beginning of a direction: handshake messages, up to the first frame.

use std::io::{self, Read};

use alts_core::frame::{FrameHeader, HEADER_SIZE, MESSAGE_TYPE};
use alts_handshaker::Reason;
use alts_handshaker::framing::{HEADER, MAX_MESSAGE, Message, MessageType};
use tokio_alts::error::Foreign;

use super::report::{Event, Kind};
use super::window::{Ending, Lacks, Window};

/// The largest type of a message that is taken for one of another handshaker service.
const MAX_TYPE: u32 = 0xFFFF;

/// What stands at the front of a direction whose frames have not begun.
pub(super) enum Found {
    /// A handshake message, or unknown bytes, which are consumed.
    Told(Event),
    /// The first frame.
    Frames,
    /// The end of the direction.
    End,
}

/// Looks at what is at the front, and consumes it unless it is a frame.
pub(super) fn next<R: Read>(window: &mut Window<R>, direction: &'static str) -> io::Result<Found> {
    let offset = window.offset();
    let front = window.fill(HEADER)?;
    if front.is_empty() {
        return Ok(Found::End);
    }
    let Some((length, number)) = header(front) else { return unknown(window, direction) };
    if number == MESSAGE_TYPE {
        return Ok(Found::Frames);
    }
    let framed = length.saturating_add(HEADER.saturating_sub(4));
    let kind = MessageType::from_number(number);
    if !(HEADER + 1..=MAX_MESSAGE).contains(&framed) || (kind.is_none() && number > MAX_TYPE) {
        return unknown(window, direction);
    }
    // An unknown message has to be followed by another or by a frame.
    let more = window.fill(framed.saturating_add(HEADER))?;
    let after = more.get(framed..);
    if let Some(kind) = kind {
        let name = kind.name();
        if after.is_none() {
            let have = more.len();
            window.consume(have);
            let inside =
                format!("inside the handshake message {name}, after {have} of its {framed} bytes");
            return Ok(Found::Told(cut_off(window.lacks(), direction, offset, 0, &inside)));
        }
        let text = described(kind, more.get(HEADER..framed).unwrap_or_default());
        window.consume(framed);
        let (bytes, name) = (framed, Some(name));
        return Ok(Found::Told(Event::Message { direction, offset, bytes, number, name, text }));
    }
    let follows = after.is_some_and(|after| {
        after.is_empty()
            || header(after).is_some_and(|(length, number)| {
                number <= MAX_TYPE && length < MAX_MESSAGE || number == MESSAGE_TYPE
            })
    });
    if !follows {
        return unknown(window, direction);
    }
    window.consume(framed);
    let text = format!("a message of the unknown type {number:#x}");
    let event = Event::Message { direction, offset, bytes: framed, number, name: None, text };
    Ok(Found::Told(event))
}

/// A direction ends in the middle of something: whether that is the stream's fault depends on
/// whether the capture has all of it.
pub(super) fn cut_off(
    lacks: Lacks,
    direction: &'static str,
    offset: u64,
    frame: u64,
    inside: &str,
) -> Event {
    let kind = Kind::Truncated;
    match lacks.end {
        Ending::Whole => {
            let text = format!("the stream ends {inside}");
            Event::Fault { direction, offset, frame, kind, text }
        }
        Ending::Open => {
            let text = format!("the capture ends before the connection does, {inside}");
            Event::Incomplete { direction, offset, text }
        }
        Ending::Gap => {
            let text = format!("bytes are missing in the capture, {inside}");
            Event::Incomplete { direction, offset, text }
        }
    }
}

/// Length and type, if there are 8 bytes.
fn header(bytes: &[u8]) -> Option<(usize, u32)> {
    let [l0, l1, l2, l3, t0, t1, t2, t3] = *bytes.first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    Some((length, u32::from_le_bytes([t0, t1, t2, t3])))
}

fn described(kind: MessageType, body: &[u8]) -> String {
    if kind != MessageType::Alert {
        return format!("{} (altsd)", kind.name());
    }
    let number = Message { kind, body: body.to_vec() }.alert_reason();
    match Reason::from_number(number) {
        Some(reason) => format!("Alert {number}, {reason:?} (altsd)"),
        None => format!("Alert {number}, for an unknown reason (altsd)"),
    }
}

/// Unknown bytes, up to the next frame.
fn unknown<R: Read>(window: &mut Window<R>, direction: &'static str) -> io::Result<Found> {
    let offset = window.offset();
    let foreign = Foreign::recognise(window.fill(128)?);
    let skipped = to_frame(window)?;
    if window.fill(1)?.is_empty() {
        let lacks = window.lacks();
        if foreign.is_none() && (lacks.beginning || lacks.end != Ending::Whole) {
            let text =
                "no ALTS frame of this direction is in the capture, which lacks a part of the \
                        connection"
                    .to_owned();
            return Ok(Found::Told(Event::Incomplete { direction, offset, text }));
        }
        let what = match foreign {
            Some(foreign) => format!("it begins with {foreign}"),
            None => "it begins with bytes of an unknown kind".to_owned(),
        };
        let text = format!("there is no ALTS frame in this direction: {what}");
        let kind = Kind::NoAlts;
        return Ok(Found::Told(Event::Fault { direction, offset, frame: 0, kind, text }));
    }
    let text = "unknown handshake bytes".to_owned();
    Ok(Found::Told(Event::Unknown { direction, offset, bytes: skipped, text }))
}

/// Consumes all up to what can be a frame's header; says how many bytes. 43 of a header's 64 bits
/// are known, so chance makes none.
pub(super) fn to_frame<R: Read>(window: &mut Window<R>) -> io::Result<u64> {
    let from = window.offset();
    loop {
        let front = window.fill(HEADER_SIZE)?;
        let found = front
            .windows(HEADER_SIZE)
            .position(|bytes| bytes.first_chunk().is_some_and(|b| FrameHeader::parse(*b).is_ok()));
        let have = front.len();
        match found {
            Some(before) => window.consume(before),
            None if have < HEADER_SIZE => window.consume(have),
            None => {
                window.consume(have.saturating_sub(HEADER_SIZE.saturating_sub(1)));
                continue;
            }
        }
        return Ok(window.offset().saturating_sub(from));
    }
}
