//! What configuration files have in common: lengths of time, the log's settings, places for errors.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::log::{Format, Level};

/// A length of time as it is written in the configuration: `500ms`, `30s`, `5m`, `2h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refuse = || format!("{text:?} is not a length of time: write 500ms, 30s, 5m, 2h or 7d");
        match humantime::parse_duration(&text) {
            Ok(time) if !time.is_zero() => Ok(Self(time)),
            _ => Err(refuse()),
        }
    }
}

/// What is logged and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// Text or JSON.
    pub format: Format,
    /// The lowest level. Audit lines are written at every level.
    pub level: Level,
}

/// Where metrics and health are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSettings {
    address: SocketAddr,
    /// Whether other machines may read them.
    #[serde(default)]
    remote: bool,
}

impl MetricsSettings {
    /// Those of the flags: for this machine only.
    #[must_use]
    pub const fn local(address: SocketAddr) -> Self {
        Self { address, remote: false }
    }

    /// The address.
    ///
    /// # Errors
    /// When other machines could reach it, and nothing says that they may.
    pub fn address(self) -> Result<SocketAddr, String> {
        let Self { address, remote } = self;
        if remote || address.ip().to_canonical().is_loopback() {
            return Ok(address);
        }
        Err(format!(
            "{address} can be reached from other machines, and metrics name what is configured: \
             listen on 127.0.0.1, or set remote = true in [metrics] of a file if other machines \
             are to read them"
        ))
    }
}

/// A file of settings that is being read: says where in it something stands.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    text: &'a str,
    path: &'a Path,
}

impl<'a> Places<'a> {
    /// Those of the file at `path`, which has that text.
    #[must_use]
    pub const fn new(text: &'a str, path: &'a Path) -> Self {
        Self { text, path }
    }

    /// The file, line and table of something, for errors.
    #[must_use]
    pub fn of<T>(&self, of: &Spanned<T>, table: &str) -> String {
        let before = self.text.get(..of.span().start).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        format!("{}, line {line}, {table}", self.path.display())
    }

    /// A path in the file, which is relative to the file's directory.
    #[must_use]
    pub fn path(&self, path: PathBuf) -> PathBuf {
        match self.path.parent() {
            Some(directory) if path.is_relative() => directory.join(path),
            _ => path,
        }
    }
}
