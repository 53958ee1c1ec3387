//! Opening the frames of a direction, and what became of one that does not open.

use std::ops::Range;

use alts_core::Side;
use alts_core::frame::MAX_PAYLOAD;
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::Opener;
use tokio_alts::DefaultAead;

use super::key::Key;
use crate::diagnosis::{Fault, Problem};

/// At how many places before and after its own a frame is tried.
const NEAR: u64 = 1024;
/// How many bytes are tried to open for one frame: fewer places for large frames.
const WORK: usize = 64 << 20;
/// How many places are tried in all: a stream in which nothing opens must come to an end.
const ATTEMPTS: u64 = 20_000;
/// How many missing pieces are remembered.
const GAPS: usize = 64;

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It opens at its place: this many bytes of payload.
    Opened(usize),
    /// It is one that was there before.
    Replayed(u64),
    /// It is a later one: those in between are missing.
    Missing(Range<u64>),
    /// It is one that was missing.
    Late(u64),
    /// It is one of the other direction.
    Reflected(u64),
    /// It opens with another record protocol.
    Protocol(RecordProtocol),
    /// It opens nowhere.
    Closed,
}

/// Opens the frames of one direction.
pub(super) struct Opening<'k> {
    key: &'k Key,
    writer: Side,
    opener: Opener<DefaultAead>,
    position: u64,
    missing: Vec<Range<u64>>,
    attempts: u64,
    opened: u64,
    payload: Vec<u8>,
}

impl<'k> Opening<'k> {
    /// Opens what `writer` wrote.
    pub(super) fn new(key: &'k Key, writer: Side) -> Result<Self, Problem> {
        let opener = Opener::new(writer.peer(), key.record()).map_err(|error| {
            Problem::new(
                Fault::Local,
                "to set up the key",
                error.to_string(),
                "report this as a defect of this program",
            )
        })?;
        Ok(Self {
            key,
            writer,
            opener,
            position: 0,
            missing: Vec::new(),
            attempts: ATTEMPTS,
            opened: 0,
            payload: Vec::new(),
        })
    }

    /// How many frames have opened at their places.
    pub(super) const fn opened(&self) -> u64 {
        self.opened
    }

    /// The record protocol of the key.
    pub(super) const fn protocol(&self) -> RecordProtocol {
        self.key.record().protocol()
    }

    /// The payload of the frame that was opened last, if it was.
    pub(super) fn payload(&self, size: usize) -> &[u8] {
        self.payload.get(..size).unwrap_or_default()
    }

    /// Opens a whole frame, or finds out why it does not open.
    pub(super) fn open(&mut self, frame: &[u8]) -> Fate {
        self.payload.resize(frame.len().min(MAX_PAYLOAD), 0);
        if let Ok(opened) = self.opener.open(frame, &mut self.payload)
            && opened.consumed == frame.len()
        {
            self.position = self.position.saturating_add(1);
            self.opened = self.opened.saturating_add(1);
            return Fate::Opened(opened.written);
        }
        let fate = self.search(frame);
        self.position = match &fate {
            // It came in between: the one that belongs here may still come.
            Fate::Replayed(_) | Fate::Late(_) | Fate::Reflected(_) => self.position,
            Fate::Missing(range) => range.end.saturating_add(1),
            Fate::Opened(_) | Fate::Protocol(_) | Fate::Closed => self.position.saturating_add(1),
        };
        // An opener that has failed says so for good.
        if let Ok(mut opener) = Opener::new(self.writer.peer(), self.key.record()) {
            opener.set_position(Some(self.position));
            self.opener = opener;
        }
        fate
    }

    fn search(&mut self, frame: &[u8]) -> Fate {
        let here = self.position;
        let near = NEAR.min((WORK / frame.len().max(1)) as u64);
        let (before, behind) = (here.saturating_sub(near)..here, here..here.saturating_add(near));
        if let Some(place) = before.rev().find(|place| self.opens(frame, self.writer, *place)) {
            let gap = self.missing.iter().position(|range| range.contains(&place));
            return match gap {
                Some(gap) => {
                    self.fill(gap, place);
                    Fate::Late(place)
                }
                None => Fate::Replayed(place),
            };
        }
        if let Some(place) = behind.skip(1).find(|place| self.opens(frame, self.writer, *place)) {
            if self.missing.len() < GAPS {
                self.missing.push(here..place);
            }
            return Fate::Missing(here..place);
        }
        let around = here.saturating_sub(near)..here.saturating_add(near);
        let other = self.writer.peer();
        if let Some(place) = around.rev().find(|place| self.opens(frame, other, *place)) {
            return Fate::Reflected(place);
        }
        match self.key.others().find(|key| fits(key, self.writer, frame, here)) {
            Some(key) => Fate::Protocol(key.protocol()),
            None => Fate::Closed,
        }
    }

    /// Takes the place of a late frame out of what is missing.
    fn fill(&mut self, gap: usize, place: u64) {
        let range = self.missing.swap_remove(gap);
        let halves = [range.start..place, place.saturating_add(1)..range.end];
        self.missing.extend(halves.into_iter().filter(|half| !half.is_empty()));
    }

    fn opens(&mut self, frame: &[u8], writer: Side, place: u64) -> bool {
        if self.attempts == 0 {
            return false;
        }
        self.attempts = self.attempts.saturating_sub(1);
        fits(self.key.record(), writer, frame, place)
    }
}

/// Whether what `writer` wrote as the frame at this place is this.
fn fits(key: &RecordKey, writer: Side, frame: &[u8], place: u64) -> bool {
    let Ok(mut opener) = Opener::<DefaultAead>::new(writer.peer(), key) else { return false };
    opener.set_position(Some(place));
    let mut out = vec![0; frame.len()];
    opener.open(frame, &mut out).is_ok_and(|opened| opened.consumed == frame.len())
}

#[cfg(test)]
mod tests {
    use super::super::tests;
    use super::*;

    #[test]
    fn a_stream_in_which_nothing_opens_is_not_searched_for_ever() {
        let key = tests::key();
        let mut opening = Opening::new(&key, Side::Client).unwrap();
        // Frames that look right, and are tried at a thousand places and more each.
        let mut wire = tests::sealed(std::iter::repeat_n(0, 40));
        for frame in wire.chunks_exact_mut(24) {
            frame[23] ^= 1;
            assert_eq!(opening.open(frame), Fate::Closed);
        }
        assert_eq!(opening.attempts, 0);
        // What is in its place opens all the same.
        let wire = tests::sealed(std::iter::repeat_n(0, 41));
        let last = wire.chunks_exact(24).next_back().unwrap();
        assert_eq!(opening.open(last), Fate::Opened(0));
    }
}
