//! `alts inspect`: what is in a captured stream.

use std::process::ExitCode;

/// What can be said on the command line.
#[derive(Debug, clap::Args)]
pub struct Arguments {}

/// Runs it, and returns the program's status.
#[must_use]
pub fn main(_arguments: Arguments) -> ExitCode {
    ExitCode::FAILURE
}
