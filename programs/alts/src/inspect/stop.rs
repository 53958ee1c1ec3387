//! Why an inspection ends before its streams do.

use std::io;
use std::path::Path;

use crate::diagnosis::{Fault, Problem};

/// What ends an inspection before the end of the streams.
#[derive(Debug)]
pub(super) enum Stop {
    /// A file or the key cannot be used.
    Unusable(Problem),
    /// The report cannot be written.
    Unwritten(io::Error),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Unusable(problem)
    }
}

impl Stop {
    /// A file cannot be read.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                "the capture is damaged: capinfos says where, pcapfix can repair it"
            }
            _ => "check the name, and that this user may read it",
        };
        let tried = format!("to read {}", path.display());
        Self::Unusable(Problem::new(Fault::Local, tried, error.to_string(), remedy))
    }
}
