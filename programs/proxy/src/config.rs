//! The proxy's configuration: what a TOML file or flags say, checked before anything is opened.
//!
//! `programs/proxy/alts-proxy.example.toml` shows every key. Unknown keys are refused, so that a misspelt limit
//! is not a missing one. Paths are relative to the file's directory.

mod file;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use alts_handshaker::locator::Locator;
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::descriptors;
use alts_serving::directory::System;
use alts_serving::metrics::CONNECTIONS;
use alts_serving::settings::{LogSettings, MetricsSettings};
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::Mode;
use serde::Deserialize;
use tokio_alts::alts_core::account::{AccountPattern, PatternError};
use tokio_alts::{AltsContext, ConnectionAge, ConnectionEnd, FrameSize};

use super::address::Address;
use super::headers::Forwarding;
use super::path::Prefix;

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where connections come from.
    pub listeners: Vec<Listen>,
    /// Where they go to.
    pub upstreams: Vec<Upstream>,
    /// How much at once.
    pub limits: Limits,
    /// What is logged and how.
    pub log: LogSettings,
    /// Where metrics and health are served, over plain HTTP.
    pub metrics: Option<MetricsSettings>,
    /// How long connections may go on once the proxy is to stop.
    pub grace: Duration,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What logs and metrics call it; by default its address.
    pub name: String,
    /// Where.
    pub address: Address,
    /// The permissions of its socket file.
    pub mode: Mode,
    /// Which users of this machine may connect, if the listener is plain; none: all who can.
    pub callers: Option<Vec<CallerPattern>>,
    /// Whether its clients speak ALTS.
    pub security: Security,
    /// How much of the connections the proxy understands.
    pub level: Level,
    /// Who may call which paths; empty: every admitted client may call all of them.
    pub routes: Vec<Route>,
    /// The name of the upstream.
    pub upstream: String,
    /// Connections on which nothing has happened for this long are closed.
    pub idle: Duration,
    /// How long the headers of a request may take, and the pause before them in HTTP/1.1.
    pub header_deadline: Duration,
    /// For how long a client may read no more of a response.
    pub stall_deadline: Duration,
    /// How long connections may go on.
    pub age: Age,
    /// What becomes of headers that say for whom a client forwards.
    pub forwarding: Forwarding,
    /// Where it was written.
    pub place: String,
}

/// One upstream: the addresses of servers that are as good as each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// What listeners, logs and metrics call it.
    pub name: String,
    /// The servers, the preferred one first.
    pub addresses: Vec<Address>,
    /// Whether the servers speak ALTS.
    pub security: Security,
    /// How long it may take to get a connection: all addresses that are tried, and the handshake.
    pub connect_deadline: Duration,
    /// How long a response's headers may take. gRPC calls bring their own deadline.
    pub response_deadline: Duration,
    /// The HTTP version.
    pub protocol: Protocol,
    /// How often each address is tried without need.
    pub health_interval: Option<Duration>,
    /// Whether connections begin with a PROXY protocol header.
    pub send_proxy_protocol: bool,
    /// How long connections are kept for the next request.
    pub idle: Duration,
    /// How long connections may go on.
    pub age: Age,
    /// Where it was written.
    pub place: String,
}

/// How long connections may go on, and what is under way on them when they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// From this age on, or up to 10 % before or after it, a connection is due.
    pub most: Option<Duration>,
    /// For how long what is under way may go on then.
    pub grace: Duration,
    /// Whether a connection is due as well when a certificate of one of its two ends ends.
    pub at_certificate_end: bool,
}

impl Default for Age {
    fn default() -> Self {
        Self { most: None, grace: Config::AGE_GRACE, at_certificate_end: false }
    }
}

impl Age {
    /// When a connection is due that begins now, and of which the handshake, if there was one, has
    /// proved this.
    #[must_use]
    pub fn end(&self, context: Option<&AltsContext>) -> ConnectionEnd {
        let age =
            ConnectionAge::new().grace(self.grace).at_certificate_end(self.at_certificate_end);
        let age = self.most.map_or(age, |most| age.max_age(most));
        context.map_or_else(|| age.of_plain(), |context| age.of(context))
    }
}

/// Whether one side of the proxy speaks ALTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// No.
    Plain,
    /// Yes.
    Alts(Alts),
}

impl Security {
    /// Whether an account may be at the other end. Without ALTS, nobody knows.
    #[must_use]
    pub fn admits(&self, account: &str) -> bool {
        match self {
            Self::Plain => true,
            Self::Alts(alts) => alts.peers.contains(account),
        }
    }
}

/// How one side of the proxy speaks ALTS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alts {
    /// Its handshaker service.
    pub handshaker: Locator,
    /// The accounts that may be at the other end.
    pub peers: Peers,
    /// The largest frame to read or write.
    pub max_frame_size: FrameSize,
    /// How long a handshake may take.
    pub handshake_deadline: Duration,
}

/// Service accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peers {
    /// Any that the handshaker service vouches for.
    Any,
    /// Those that one of these patterns matches.
    Only(Vec<AccountPattern<String>>),
}

impl Peers {
    /// Those that one of these patterns matches.
    ///
    /// # Errors
    /// A sentence about the first text that is no pattern.
    pub fn matching(patterns: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let parse = |text: String| {
            text.parse().map_err(|error: PatternError| format!("{text:?} is {error}"))
        };
        patterns.into_iter().map(parse).collect::<Result<_, _>>().map(Self::Only)
    }

    /// Whether an account is among them.
    #[must_use]
    pub fn contains(&self, account: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(patterns) => patterns.iter().any(|one| one.matches(account)),
        }
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any peer"),
            Self::Only(patterns) => {
                let texts: Vec<_> = patterns.iter().map(AccountPattern::as_str).collect();
                f.write_str(&texts.join(", "))
            }
        }
    }
}

/// Who may call the paths below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The prefix; the longest one that a path has decides.
    pub prefix: Prefix,
    /// The accounts that may call them.
    pub allow: Peers,
}

/// What the proxy understands of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Bytes: any protocol.
    #[default]
    Bytes,
    /// HTTP/1.1 and HTTP/2.
    Http,
}

/// The HTTP version towards an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// That of the request.
    #[default]
    Same,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How much at once. A change counts for what begins after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Client connections, on all listeners together.
    pub connections: usize,
    /// Client connections, on each listener.
    pub connections_per_listener: usize,
    /// Connections of one peer, at most: of an address or a user of this machine before the
    /// handshake, of a service account after it. A peer also leaves at least as many free as it
    /// has.
    pub connections_per_peer: usize,
    /// Handshakes under way, of each listener and of each upstream.
    pub handshakes: usize,
    /// The largest buffer of one direction of a connection, in bytes.
    pub buffer_bytes: usize,
    /// HTTP connections to each upstream.
    pub upstream_connections: usize,
    /// The headers of a request.
    pub headers: usize,
    /// The headers of a request, in bytes.
    pub header_bytes: u32,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// What one HTTP/2 request or response may have received that was not passed on yet, in
    /// bytes.
    pub window_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_listener: 4096,
            connections_per_peer: 2048,
            handshakes: 1024,
            buffer_bytes: 256 * 1024,
            upstream_connections: 1024,
            headers: 256,
            header_bytes: 64 * 1024,
            streams: 128,
            window_bytes: 256 * 1024,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("connections", self.connections),
            ("connections_per_listener", self.connections_per_listener),
            ("connections_per_peer", self.connections_per_peer),
            ("handshakes", self.handshakes),
            ("upstream_connections", self.upstream_connections),
            ("headers", self.headers),
            ("streams", self.streams as usize),
        ] {
            if value == 0 {
                return Err(format!("{name} = 0 would let nobody in: give at least 1"));
            }
        }
        for (name, value, least) in [
            ("buffer_bytes", self.buffer_bytes, 8 * 1024),
            ("header_bytes", self.header_bytes as usize, 8 * 1024),
            ("window_bytes", self.window_bytes as usize, 64 * 1024),
        ] {
            if value < least {
                return Err(format!("{name} = {value}: it has to be at least {least}"));
            }
        }
        if self.window_bytes > i32::MAX.unsigned_abs() {
            return Err("window_bytes has to be less than 2 GiB".to_owned());
        }
        Ok(())
    }
}

/// The defaults.
impl Config {
    /// How long connections may go on after the signal to stop.
    /// Shorter than the 30 s after which Kubernetes kills.
    pub const GRACE: Duration = Duration::from_secs(25);
    /// How long what is under way on a connection may go on once it is due.
    pub const AGE_GRACE: Duration = Duration::from_secs(30);
    /// How long a connection may be without a byte before it is closed.
    pub const IDLE: Duration = Duration::from_secs(60 * 60);
    /// How long a request's headers may take.
    pub const HEADER_DEADLINE: Duration = Duration::from_secs(60);
    /// For how long a client may read no more of a response.
    pub const STALL_DEADLINE: Duration = Duration::from_secs(60);
    /// How long a handshake may take: less than it may take to get a connection, so that an error
    /// says who was waited for.
    pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
    /// How long it may take to get a connection to an upstream.
    pub const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
    /// How long a response's headers may take.
    pub const RESPONSE_DEADLINE: Duration = Duration::from_secs(5 * 60);
    /// How long connections to an upstream are kept for the next request: less than most servers
    /// keep theirs.
    pub const UPSTREAM_IDLE: Duration = Duration::from_secs(30);

    /// Defaults for all but listeners and upstreams.
    #[must_use]
    pub fn new(listeners: Vec<Listen>, upstreams: Vec<Upstream>) -> Self {
        Self {
            listeners,
            upstreams,
            limits: Limits::default(),
            log: LogSettings::default(),
            metrics: None,
            grace: Self::GRACE,
        }
    }

    /// What does not fit together.
    ///
    /// # Errors
    /// Names the place and what to do; `place` is for what has no place of its own.
    pub fn check(&self, place: &str) -> Result<(), SettingsError> {
        if self.listeners.is_empty() {
            return Err(SettingsError::new(place, "there is no [[listen]]: nobody could connect"));
        }
        let mut names = HashSet::new();
        for upstream in &self.upstreams {
            if !names.insert(&upstream.name) {
                let what = format!("there are two upstreams called {:?}", upstream.name);
                return Err(SettingsError::new(&upstream.place, what));
            }
            upstream.check().map_err(|what| SettingsError::new(&upstream.place, what))?;
        }
        let (mut names, mut addresses) = (HashSet::new(), HashSet::new());
        for listen in &self.listeners {
            let refuse = |what: String| Err(SettingsError::new(&listen.place, what));
            if !names.insert(&listen.name) {
                let what = format!("there are two listeners called {:?}: set `name`", listen.name);
                return refuse(what);
            }
            if !listen.address.has_any_port() && !addresses.insert(&listen.address) {
                return refuse(format!("there are two listeners on {}", listen.address));
            }
            let Some(upstream) = self.upstream(&listen.upstream) else {
                let known: Vec<_> = self.upstreams.iter().map(|one| one.name.as_str()).collect();
                return refuse(format!(
                    "there is no [[upstream]] called {:?}: there is {}",
                    listen.upstream,
                    if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
                ));
            };
            listen.check(upstream).or_else(refuse)?;
        }
        if let Some(metrics) = self.metrics {
            metrics
                .address()
                .map_err(|what| SettingsError::new(format!("{place}, [metrics]"), what))?;
        }
        self.limits.check().map_err(|what| SettingsError::new(format!("{place}, [limits]"), what))
    }

    /// The upstream of that name.
    #[must_use]
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// Makes room for the file descriptors that the limits ask for, by raising the process' own
    /// limit if need be.
    ///
    /// # Errors
    /// When the system does not allow as many.
    pub fn require_descriptors(&self) -> Result<(), SettingsError> {
        descriptors::require(self.descriptors())
            .map_err(|what| SettingsError::new("[limits]", what))
    }

    /// How many connections there may be at once, on both sides.
    fn descriptors(&self) -> usize {
        let each = self.limits.connections_per_listener;
        let has_level = |level| self.listeners.iter().filter(move |one| one.level == level);
        let all = self.listeners.len().saturating_mul(each).min(self.limits.connections);
        // Each connection of bytes has one of its own to an upstream.
        let bytes = has_level(Level::Bytes).count().saturating_mul(each);
        let bytes = bytes.min(self.limits.connections);
        let shared: HashSet<_> = has_level(Level::Http).map(|one| &one.upstream).collect();
        let shared = shared.len().saturating_mul(self.limits.upstream_connections);
        [all, bytes, shared, CONNECTIONS].into_iter().fold(0, usize::saturating_add)
    }

    /// What is allowed, but deserves a warning.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for listen in &self.listeners {
            let Some(upstream) = self.upstream(&listen.upstream) else { continue };
            let from_elsewhere = !listen.address.is_local() && listen.lends_identity();
            let over_tcp = matches!(listen.address, Address::Tcp(_)) && listen.lends_identity();
            match &upstream.security {
                Security::Alts(alts) if from_elsewhere => warnings.push(format!(
                    "listener {} ({}) is plain and can be reached from other machines: anyone who \
                     reaches it calls {} with the identity of this proxy (handshaker {}), and what \
                     they say crosses the network in the clear. Listen on 127.0.0.1 or a UNIX \
                     socket, or let clients speak ALTS",
                    listen.name, listen.address, upstream.name, alts.handshaker
                )),
                Security::Alts(alts) if over_tcp => warnings.push(format!(
                    "listener {} ({}) is plain TCP: every user of this machine calls {} with the \
                     identity of this proxy (handshaker {}). Say who may with callers = \
                     [\"user:NAME\"] (--allow-caller), or listen on a UNIX socket",
                    listen.name, listen.address, upstream.name, alts.handshaker
                )),
                Security::Plain if listen.security == Security::Plain => warnings.push(format!(
                    "listener {} and upstream {} are both plain: nothing is secured by ALTS, and \
                     nobody knows who calls",
                    listen.name, upstream.name
                )),
                Security::Plain if upstream.addresses.iter().any(|to| !to.is_local()) => {
                    warnings.push(format!(
                        "upstream {} is plain and on other machines: what ALTS has protected up to \
                         here crosses the network in the clear, and who is at the other end is not \
                         known",
                        upstream.name
                    ));
                }
                _ => {}
            }
        }
        for listen in &self.listeners {
            let odd = listen.callers.iter().flatten().filter_map(|one| one.warning(&System));
            warnings.extend(odd.map(|what| format!("listener {}: {what}", listen.name)));
        }
        for upstream in &self.upstreams {
            if !self.listeners.iter().any(|listen| listen.upstream == upstream.name) {
                warnings.push(format!("no listener uses upstream {}", upstream.name));
            }
        }
        warnings
    }
}

/// A frame size that is not silently changed.
pub(super) fn frame_size(bytes: u32) -> Result<FrameSize, String> {
    let size = FrameSize::new(bytes);
    if size.bytes() == bytes {
        return Ok(size);
    }
    Err(format!(
        "max_frame_size = {bytes}: it is between {} and {} bytes",
        FrameSize::MIN.bytes(),
        FrameSize::MAX.bytes()
    ))
}

impl Listen {
    /// Whether everyone who can connect acts with the identity of this proxy.
    fn lends_identity(&self) -> bool {
        let is_open = |callers: &Vec<_>| callers.contains(&CallerPattern::Unidentified);
        self.security == Security::Plain && self.callers.as_ref().is_none_or(is_open)
    }

    fn check(&self, upstream: &Upstream) -> Result<(), String> {
        if self.level == Level::Bytes && !self.routes.is_empty() {
            return Err("routes are for level = \"http\": bytes have no paths".to_owned());
        }
        if self.level == Level::Http && upstream.send_proxy_protocol {
            return Err(format!(
                "upstream {} wants a PROXY protocol header, which says whose connection it is; \
                 with level = \"http\" the requests of many clients share connections. Remove one \
                 of the two",
                upstream.name
            ));
        }
        match &self.callers {
            Some(_) if self.security != Security::Plain => {
                return Err("callers is for plain listeners: `allow` says who may connect by ALTS"
                    .to_owned());
            }
            Some(callers) if callers.is_empty() => {
                return Err(
                    "callers = [] lets nobody in: name at least one, as user:NAME".to_owned()
                );
            }
            _ => {}
        }
        let mut prefixes = HashSet::new();
        for route in &self.routes {
            if !prefixes.insert(&route.prefix) {
                return Err(format!("there are two routes for {}", route.prefix));
            }
            if self.security == Security::Plain && route.allow != Peers::Any {
                return Err(format!(
                    "the route for {} allows accounts, and clients of a plain listener have none: \
                     set security = \"alts\"",
                    route.prefix
                ));
            }
        }
        Ok(())
    }
}

impl Upstream {
    fn check(&self) -> Result<(), String> {
        if self.addresses.is_empty() {
            return Err("there is no address: give at least one in `addresses`".to_owned());
        }
        let mut seen = HashSet::new();
        if let Some(twice) = self.addresses.iter().find(|address| !seen.insert(*address)) {
            return Err(format!("{twice} is there twice: remove one"));
        }
        Ok(())
    }
}
