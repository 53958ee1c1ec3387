//! The log: text for people or JSON for machines, with the audit lines in it.
//!
//! What the libraries below say is cut off at INFO. Keys and tokens pass through them. None of those
//! that are in use shows a byte of what passes, at any level (`tokio-alts`'s and this crate's tests
//! search for them), but nothing keeps their next versions from it.

use core::time::Duration;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

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

/// Whose log it is: the targets that its level is for.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// The crate of the program.
    pub name: &'static str,
    /// The target of its audit lines, which are written at every level.
    pub audit: &'static str,
    /// Targets whose lines say less than an audit line does, and from which level on they are
    /// written unless all is asked for.
    pub repeated: &'static [(&'static str, Level)],
}

/// The daemon.
pub const ALTSD: Program =
    Program { name: "altsd", audit: AUDIT, repeated: &[("altsd::grpc", Level::Warn)] };

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

/// How often the same is said, at most.
const QUIET: Duration = Duration::from_secs(1);

/// Lets a line through every now and then: a flood must not flood the log too. Clones count
/// together.
#[derive(Clone, Debug)]
pub struct Throttle {
    began: Instant,
    /// When a line was let through last, in milliseconds since `began`.
    said: Arc<AtomicU64>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { began: Instant::now(), said: Arc::default() }
    }
}

impl Throttle {
    /// Whether a line may be written now.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        // One more than the time that has passed, so that zero is "never".
        let now =
            u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let quiet = u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX);
        let said = self.said.load(Ordering::Relaxed);
        (said == 0 || now.saturating_sub(said) >= quiet)
            && self.said.compare_exchange(said, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
