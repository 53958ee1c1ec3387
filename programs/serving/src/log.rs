//! The log: text for people or JSON for machines, with the audit lines in it.
//!
//! What the libraries below say is cut off at INFO. Keys and tokens pass through them. None of those
//! that are in use shows a byte of what passes, at any level (the tests of `tokio-alts`, `alts-handshaker` and
//! `altsd` search for them), but nothing keeps their next versions from it.

use std::io;

use prometheus::IntCounter;
use serde::Deserialize;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::Registry;

use crate::lines::{LastLines, Lines};
use crate::settings_error::SettingsError;

/// The form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Log errors.
    Error,
    /// Log warnings and errors.
    Warn,
    /// Log what happens, warnings and errors.
    #[default]
    Info,
    /// Log everything.
    Debug,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}

/// Whose log it is: the targets that its level is for.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The crate of the program.
    pub name: &'static str,
    /// The target of its audit lines, which are written at every level.
    pub audit: &'static str,
    /// Targets whose lines say less than an audit line does, and the level from which they are
    /// written by default (at `debug`, everything is).
    pub repeated: &'static [(&'static str, Level)],
    /// The name of the counter of lines that were lost.
    pub dropped: &'static str,
}

/// Writes the log of this process to standard error from now on. A reader that is slow, or gone,
/// does not stop the service: the counter, which is yet to be registered, counts the lines that it
/// costs. The last lines are written when the second value is dropped.
///
/// # Errors
/// When this process has a log already, or the counter's name is not one.
pub fn to_standard_error(
    program: Program,
    format: Format,
    level: Level,
) -> Result<(IntCounter, LastLines), SettingsError> {
    let dropped =
        IntCounter::new(program.dropped, "Log lines that were lost because nobody took them.")
            .map_err(|why| SettingsError::new("metrics", why.to_string()))?;
    let (lines, last_lines) = Lines::to(io::stderr(), dropped.clone());
    tracing::subscriber::set_global_default(subscriber(program, format, level, lines))
        .map_err(|why| SettingsError::new("log", why.to_string()))?;
    Ok((dropped, last_lines))
}

/// A subscriber that writes the log of a program.
pub fn subscriber<W>(
    program: Program,
    format: Format,
    level: Level,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = LevelFilter::from(level);
    let repeated = program.repeated.iter().map(|&(target, quiet)| {
        (target, if level >= LevelFilter::DEBUG { level } else { level.min(quiet.into()) })
    });
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target(program.name, level)
        .with_targets(repeated)
        .with_target(program.audit, LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        Format::Text => Box::new(Registry::default().with(lines.with_filter(filter))),
        Format::Json => Box::new(Registry::default().with(lines.json().with_filter(filter))),
    }
}
