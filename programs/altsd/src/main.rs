//! The daemon's program: reads arguments and environment, and runs what [`altsd`] is.
#![forbid(unsafe_code)]

use std::env;
use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use alts_serving::log::to_standard_error;
use alts_serving::notify::Notifier;
use altsd::cli::{Cli, Command, check, greeting};
use altsd::log::PROGRAM;
use altsd::{Supervision, run};
use clap::Parser as _;

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("altsd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> Result<(), Box<dyn Error>> {
    let (config, path, dev) = match cli.command {
        Some(Command::CheckConfig { config }) => {
            return Ok(say(&check(&config)?)?);
        }
        Some(Command::Dev(dev)) => {
            let directory =
                env::var_os("XDG_RUNTIME_DIR").map_or_else(env::temp_dir, PathBuf::from);
            (dev.configuration(&directory)?, None, true)
        }
        None => {
            let (config, path) = cli.serve.configuration()?;
            (config, path, false)
        }
    };
    let (dropped, _last_lines) = to_standard_error(PROGRAM, config.log.format, config.log.level)?;
    let supervision = Supervision { lines_dropped: Some(dropped), ..supervision()? };
    let rules = config.rules.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(config, path, supervision, |daemon| {
        if dev && let Err(error) = say(&greeting(daemon.listeners(), &rules)) {
            tracing::warn!(%error, "cannot write to standard output");
        }
    }))?;
    // A look-up in a user database that does not answer must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// What the service manager has put into the environment.
fn supervision() -> Result<Supervision, Box<dyn Error>> {
    let notifier = match env::var_os("NOTIFY_SOCKET") {
        Some(address) => Notifier::at(&address).map_err(|why| format!("NOTIFY_SOCKET: {why}"))?,
        None => Notifier::none(),
    };
    let number = |name| env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    // The variables may be meant for a parent of this process.
    let meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let watchdog = number("WATCHDOG_USEC")
        .filter(|&microseconds| meant && microseconds > 0)
        .map(Duration::from_micros);
    Ok(Supervision { notifier, watchdog, lines_dropped: None })
}
