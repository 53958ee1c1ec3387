//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use alts_handshaker::locator::{Locator, RequiredUser};
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::log::{Format, Level as LogLevel};
use alts_serving::settings::{MetricsSettings, Span};
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::Mode;
use clap::{ArgGroup, Args};
use tokio_alts::{AccountPattern, FrameSize};

use super::address::Address;
use super::config::{
    Age, Alts, Config, Level, Listen, Peers, Protocol, Security, Upstream, frame_size,
};
use super::headers::Forwarding;

/// The command line: one listener and one upstream, or a file.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that can be given or not")]
#[command(after_help = "Examples:\n  \
    alts proxy --listen unix:/run/api.sock --to-alts host:9000 --expect-peer server@prod.example\n  \
    alts proxy --listen-alts 0.0.0.0:9000 --allow-peer client@prod.example --to 127.0.0.1:8080 --http\n\
    With --config, SIGHUP reads the file again. SIGTERM stops, with time for open connections.")]
#[command(group(
    ArgGroup::new("listener").args(["listen", "listen_alts", "config"]).required(true)
))]
pub struct Arguments {
    /// Where to listen for plain connections: `host:port` or `unix:/path`.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Address>,
    /// Where to listen for ALTS connections: `host:port` or `unix:/path`.
    #[arg(long, value_name = "ADDRESS")]
    pub listen_alts: Option<Address>,
    /// A user or group of this machine that may make plain connections: `user:NAME`, `uid:NUMBER`,
    /// `group:NAME`, `gid:NUMBER` or `anyone`. Can be given more than once. Default: anyone who can
    /// connect.
    #[arg(long, value_name = "CALLER", requires = "listen")]
    pub allow_caller: Vec<CallerPattern>,
    /// Where plain connections go to; several addresses are tried in that order.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', conflicts_with_all = ["to_alts", "config"])]
    pub to: Vec<Address>,
    /// Where ALTS connections go to; several addresses are tried in that order.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', conflicts_with = "config")]
    pub to_alts: Vec<Address>,
    /// The handshaker service: google, an address (`host:port`, `unix:/path`), or in this process:
    /// files:DIRECTORY or files:CERTIFICATE,KEY,ROOTS, or dev:ACCOUNT (throw-away). Default: google.
    #[arg(long, value_name = "HANDSHAKER", conflicts_with = "config")]
    pub handshaker: Option<Locator>,
    /// A separate handshaker service for the listener.
    #[arg(long, value_name = "HANDSHAKER", requires = "listen_alts")]
    pub listen_handshaker: Option<Locator>,
    /// The user (a name or a number) that has to listen at the handshaker's UNIX socket: anyone can take
    /// a socket that is free.
    #[arg(long, value_name = "USER", conflicts_with = "config")]
    pub require_user: Option<RequiredUser>,
    /// A service account that the upstream may have. Can be given more than once.
    #[arg(long, value_name = "ACCOUNT", requires = "to_alts")]
    pub expect_peer: Vec<AccountPattern<String>>,
    /// Accept any service account of the upstream.
    #[arg(long, requires = "to_alts", conflicts_with = "expect_peer")]
    pub any_peer: bool,
    /// A service account that clients may have. Can be given more than once.
    #[arg(long, value_name = "ACCOUNT", requires = "listen_alts")]
    pub allow_peer: Vec<AccountPattern<String>>,
    /// Accept any service account of clients.
    #[arg(long, requires = "listen_alts", conflicts_with = "allow_peer")]
    pub allow_any_peer: bool,
    /// Understand HTTP/1.1 and HTTP/2: pass the caller's identity to the upstream, and log requests.
    #[arg(long, conflicts_with = "config")]
    pub http: bool,
    /// Begin connections to the upstream with a PROXY protocol header (version 2).
    #[arg(long, conflicts_with_all = ["http", "config"])]
    pub proxy_protocol: bool,
    /// The largest ALTS frame, in bytes. Default: 131072.
    #[arg(long, value_name = "BYTES", value_parser = parse_frame_size, conflicts_with = "config")]
    pub max_frame_size: Option<FrameSize>,
    /// Time limit for an ALTS handshake, such as 500ms or 10s. Default: 5s.
    #[arg(long, value_name = "SPAN", value_parser = parse_span, conflicts_with = "config")]
    pub handshake_deadline: Option<Span>,
    /// Where metrics (/metrics) and health (/healthz, /readyz) are served, over plain HTTP.
    #[arg(long, value_name = "IP:PORT", conflicts_with = "config")]
    pub metrics: Option<SocketAddr>,
    /// A TOML file instead of these options, for several listeners and upstreams.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Number of threads that carry connections; a single one moves the most data per CPU time.
    /// Default: the number of CPUs.
    #[arg(long, value_name = "COUNT")]
    pub threads: Option<NonZeroUsize>,
    /// Only check the configuration: say what is wrong with it, or what would be done.
    #[arg(long)]
    pub check: bool,
    /// Log format.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<Format>,
    /// Log level. Audit lines are written at every level.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

fn parse_span(text: &str) -> Result<Span, String> {
    text.to_owned().try_into()
}

fn parse_frame_size(text: &str) -> Result<FrameSize, String> {
    frame_size(text.parse().map_err(|why| format!("{text:?}: {why}"))?)
}

impl Arguments {
    /// The configuration, and its file if it has one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn configuration(self) -> Result<(Config, Option<PathBuf>), SettingsError> {
        let (log_format, log_level) = (self.log_format, self.log_level);
        let (mut config, path) = match self.config {
            Some(path) => (Config::read(&path)?, Some(path)),
            None => (self.one()?, None),
        };
        config.log.format = log_format.unwrap_or(config.log.format);
        config.log.level = log_level.unwrap_or(config.log.level);
        Ok((config, path))
    }

    /// One listener and one upstream.
    fn one(self) -> Result<Config, SettingsError> {
        let required = |locator: Locator| {
            let required = locator.of_user(self.require_user.clone());
            required.map_err(|what| SettingsError::new("--require-user", what))
        };
        let handshaker = required(self.handshaker.unwrap_or(Locator::Google))?;
        let max_frame_size = self.max_frame_size.unwrap_or(FrameSize::DEFAULT);
        let handshake_deadline =
            self.handshake_deadline.map_or(Config::HANDSHAKE_DEADLINE, |span| span.0);
        let alts = |handshaker, peers| {
            Security::Alts(Alts { handshaker, peers, max_frame_size, handshake_deadline })
        };
        let (place, address, security) = match (self.listen, self.listen_alts) {
            (Some(address), _) => ("--listen", address, Security::Plain),
            (None, Some(address)) => {
                let peers = peers(self.allow_peer, self.allow_any_peer).ok_or_else(|| {
                    SettingsError::new(
                        "--listen-alts",
                        "who may connect? Give --allow-peer ACCOUNT, or --allow-any-peer",
                    )
                })?;
                let own = self.listen_handshaker.map(required).transpose()?;
                let handshaker = own.unwrap_or_else(|| handshaker.clone());
                ("--listen-alts", address, alts(handshaker, peers))
            }
            (None, None) => {
                let what = "where to listen? Give --listen, --listen-alts or --config";
                return Err(SettingsError::new("command line", what));
            }
        };
        let listen = Listen {
            name: address.to_string(),
            address,
            mode: Mode::default(),
            callers: (!self.allow_caller.is_empty()).then_some(self.allow_caller),
            security,
            level: if self.http { Level::Http } else { Level::Bytes },
            routes: Vec::new(),
            upstream: "upstream".to_owned(),
            idle: Config::IDLE,
            header_deadline: Config::HEADER_DEADLINE,
            stall_deadline: Config::STALL_DEADLINE,
            age: Age::default(),
            forwarding: Forwarding::default(),
            place: place.to_owned(),
        };
        let (place, addresses, security) = if self.to_alts.is_empty() {
            ("--to", self.to, Security::Plain)
        } else {
            let peers = peers(self.expect_peer, self.any_peer).ok_or_else(|| {
                SettingsError::new(
                    "--to-alts",
                    "who is the server? Give --expect-peer ACCOUNT, or --any-peer",
                )
            })?;
            ("--to-alts", self.to_alts, alts(handshaker, peers))
        };
        if addresses.is_empty() {
            let what = "where to? Give --to or --to-alts";
            return Err(SettingsError::new("command line", what));
        }
        let upstream = Upstream {
            name: "upstream".to_owned(),
            addresses,
            security,
            connect_deadline: Config::CONNECT_DEADLINE.max(handshake_deadline),
            response_deadline: Config::RESPONSE_DEADLINE,
            protocol: Protocol::Same,
            health_interval: None,
            send_proxy_protocol: self.proxy_protocol,
            idle: Config::UPSTREAM_IDLE,
            age: Age::default(),
            place: place.to_owned(),
        };
        let mut config = Config::new(vec![listen], vec![upstream]);
        config.metrics = self.metrics.map(MetricsSettings::local);
        config.check("command line")?;
        Ok(config)
    }
}

fn peers(accounts: Vec<AccountPattern<String>>, any: bool) -> Option<Peers> {
    match (accounts.is_empty(), any) {
        (true, true) => Some(Peers::Any),
        (false, false) => Some(Peers::Only(accounts)),
        _ => None,
    }
}
