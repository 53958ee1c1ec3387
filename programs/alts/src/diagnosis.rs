//! What is wrong when something does not work: what was tried, what came back, whose fault it is,
//! and what to do.

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;
use tokio_alts::error::Printable;

/// What the exit statuses of the commands mean, for their help.
pub const EXIT_STATUSES: &str = "Exit status:
  0  it works
  1  the report could not be written
  2  the command line is wrong
  3  this machine, its configuration, or a file
  4  the handshaker service: not there, silent, of another kind, or it refuses
  5  the peer: it refuses, is somebody else, or does not speak ALTS
  6  the network: the peer cannot be found or reached
  7  the peer answers, and refuses: it does not admit this account, or nothing is behind it";

/// The report could not be written.
pub const UNWRITTEN: u8 = 1;

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// This machine, its configuration, or a file.
    Local,
    /// The handshaker service.
    Handshaker,
    /// The peer.
    Peer,
    /// What is between this machine and the peer.
    Network,
    /// The peer's rules, or what is behind it: ALTS works, and the call is refused.
    Refusal,
}

impl Fault {
    /// The exit status of a command that it makes fail.
    #[must_use]
    pub const fn exit_status(self) -> u8 {
        match self {
            Self::Local => 3,
            Self::Handshaker => 4,
            Self::Peer => 5,
            Self::Network => 6,
            Self::Refusal => 7,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "this machine or its configuration",
            Self::Handshaker => "the handshaker service",
            Self::Peer => "the peer",
            Self::Network => "the network, or the address",
            Self::Refusal => "the peer's rules, or what is behind it",
        })
    }
}

/// Why something does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Whose fault it is.
    #[serde(rename = "fault")]
    pub fault: Fault,
    /// What was tried.
    pub tried: String,
    /// What came back.
    pub got: String,
    /// What to do.
    pub remedy: String,
}

impl Problem {
    /// A problem that is `fault`'s fault.
    pub fn new(
        fault: Fault,
        tried: impl Into<String>,
        got: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { fault, tried: tried.into(), got: got.into(), remedy: remedy.into() }
    }

    /// The exit status of a command that it makes fail.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.fault.exit_status().into()
    }
}

/// Four lines, without a line end after the last. They quote what peers and services have said, which
/// a terminal must not obey.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "      tried     {}", Printable(&self.tried))?;
        writeln!(f, "      got       {}", Printable(&self.got))?;
        writeln!(f, "      at fault  {}", self.fault)?;
        write!(f, "      to do     {}", Printable(&self.remedy))
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_service_has_said() {
        let said = "no\u{1b}]0;x\u{7}\0\u{202e}\nok";
        let problem = Problem::new(Fault::Handshaker, said, said, said).to_string();
        assert_eq!(problem.lines().count(), 4, "{problem}");
        let escaped = "no\\u{1b}]0;x\\u{7}\\u{0}\\u{202e}\\u{a}ok";
        assert_eq!(problem.matches(escaped).count(), 3, "{problem}");
    }
}
