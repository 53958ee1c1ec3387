//! The log: text for people or JSON for machines, with the audit lines in it.
//!
//! What the libraries below say is cut off at INFO. Keys and tokens pass through them. None of those
//! that are in use shows a byte of what passes, at any level (`tokio-alts`'s and this crate's tests
//! search for them), but nothing keeps their next versions from it.

use serde::Deserialize;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer, filter::Targets, fmt::MakeWriter, layer::SubscriberExt, registry::Registry,
};

/// The target of the audit lines.
pub const AUDIT: &str = "altsd::audit";

/// The form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

/// From which level on lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What needs somebody's attention now.
    Error,
    /// And what will.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And what happens inside.
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

/// A subscriber that writes the log.
pub fn subscriber<W>(format: Format, level: Level, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = LevelFilter::from(level);
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("altsd", level)
        // The audit line says the same and more.
        .with_target(
            "altsd::grpc",
            if level >= LevelFilter::DEBUG { level } else { LevelFilter::WARN },
        )
        .with_target(AUDIT, LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    match format {
        Format::Text => Box::new(Registry::default().with(lines.with_filter(filter))),
        Format::Json => Box::new(Registry::default().with(lines.json().with_filter(filter))),
    }
}
