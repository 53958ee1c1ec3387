//! The program `alts`: reads arguments and runs the subcommand that they name.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use alts_cli::{check, inspect, ping};
use clap::{Parser, Subcommand};

/// ALTS (Application Layer Transport Security) without writing a program.
#[derive(Debug, Parser)]
#[command(name = "alts", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Carries connections: plain to ALTS, ALTS to plain, ALTS to ALTS.
    #[cfg(feature = "proxy")]
    Proxy(Box<alts_proxy::Arguments>),
    /// Says whether ALTS works here, and if not, whose fault it is and what to do.
    Check(check::Arguments),
    /// Measures latency and throughput of an ALTS connection.
    Ping(ping::Arguments),
    /// Says what is in a captured stream, and where it fails.
    Inspect(inspect::Arguments),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        #[cfg(feature = "proxy")]
        Command::Proxy(arguments) => alts_proxy::main(*arguments),
        Command::Check(arguments) => check::main(arguments),
        Command::Ping(arguments) => ping::main(arguments),
        Command::Inspect(arguments) => inspect::main(arguments),
    }
}
