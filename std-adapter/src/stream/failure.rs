//! What ends a stream or one of its directions, and says so again on every later call.

use std::io;

use alts_core::record::RecordError;

/// Why a poll failed.
pub(super) enum Failure {
    /// The record layer refused.
    Record(RecordError),
    /// The I/O object failed.
    Io(io::Error),
}

impl From<RecordError> for Failure {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One of a stream's directions.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Read,
    Write,
}

/// Whether the directions work. A record error ends both; an error of the I/O object ends the one
/// that it happened in, because it is not known what was lost with it.
#[derive(Debug, Default)]
pub(super) struct Directions {
    record: Option<RecordError>,
    read: Option<io::ErrorKind>,
    write: Option<io::ErrorKind>,
}

impl Directions {
    /// Fails if `direction` has ended.
    #[inline]
    pub(super) fn check(&self, direction: Direction) -> io::Result<()> {
        if let Some(error) = self.record {
            return Err(record_error(error));
        }
        let ended = match direction {
            Direction::Read => self.read,
            Direction::Write => self.write,
        };
        ended.map_or(Ok(()), |kind| Err(kind.into()))
    }

    /// Takes note of a failure in `direction`, and makes an I/O error of it.
    pub(super) fn end(&mut self, direction: Direction, failure: Failure) -> io::Error {
        match failure {
            Failure::Record(error) => record_error(*self.record.get_or_insert(error)),
            Failure::Io(error) => {
                // The first one stays: a shutdown may fail after a write has.
                let ended = match direction {
                    Direction::Read => &mut self.read,
                    Direction::Write => &mut self.write,
                };
                ended.get_or_insert(error.kind());
                error
            }
        }
    }

    /// Whether a record error has ended both directions.
    pub(super) const fn is_broken(&self) -> bool {
        self.record.is_some()
    }
}

#[cold]
fn record_error(error: RecordError) -> io::Error {
    let kind = match error {
        RecordError::Truncated => io::ErrorKind::UnexpectedEof,
        RecordError::Frame(_) | RecordError::Authentication => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
