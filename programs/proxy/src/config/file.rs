//! The configuration as it is written in TOML, and what is meant by it.

use std::fs;
use std::path::{Path, PathBuf};

use alts_handshaker::locator::{Locator, RequiredUser};
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::settings::{LogSettings, MetricsSettings, Places, Span};
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::Mode;
use serde::Deserialize;
use tokio_alts::FrameSize;
use toml::Spanned;

use super::{
    Address, Age, Alts, Config, Level, Limits, Listen, Peers, Protocol, Route, Security, Upstream,
    frame_size,
};
use crate::headers::Forwarding;
use crate::path::Prefix;

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path)
            .map_err(|why| SettingsError::new(path.display().to_string(), why.to_string()))?;
        Self::parse(&text, path)
    }

    /// Reads the text of a file; `path` is for errors and relative paths.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(text: &str, path: &Path) -> Result<Self, SettingsError> {
        let config = parse(text, path)?;
        config.check(&path.display().to_string())?;
        Ok(config)
    }
}

/// Reads the text of a file, and checks each table for itself.
fn parse(text: &str, path: &Path) -> Result<Config, SettingsError> {
    let raw: Raw = toml::from_str(text).map_err(|error| {
        SettingsError::new(path.display().to_string(), error.to_string().trim_end())
    })?;
    let places = Places::new(text, path);
    let listeners =
        raw.listen.into_iter().map(|one| listen(one, &places)).collect::<Result<_, _>>()?;
    let upstreams =
        raw.upstream.into_iter().map(|one| upstream(one, &places)).collect::<Result<_, _>>()?;
    let mut config = Config::new(listeners, upstreams);
    config.limits = raw.limits;
    config.log = raw.log;
    config.metrics = raw.metrics;
    config.grace = raw.shutdown.grace.map_or(Config::GRACE, |span| span.0);
    Ok(config)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    listen: Vec<Spanned<RawListen>>,
    #[serde(default)]
    upstream: Vec<Spanned<RawUpstream>>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    log: LogSettings,
    metrics: Option<MetricsSettings>,
    #[serde(default)]
    shutdown: RawShutdown,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShutdown {
    grace: Option<Span>,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawSecurity {
    #[default]
    Plain,
    Alts,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    name: Option<String>,
    tcp: Option<String>,
    unix: Option<PathBuf>,
    mode: Option<Mode>,
    callers: Option<Vec<CallerPattern>>,
    #[serde(default)]
    security: RawSecurity,
    handshaker: Option<Locator>,
    require_user: Option<RequiredUser>,
    allow: Option<Vec<String>>,
    #[serde(default)]
    any_peer: bool,
    max_frame_size: Option<u32>,
    handshake_deadline: Option<Span>,
    #[serde(default)]
    level: Level,
    upstream: String,
    #[serde(default)]
    route: Vec<Spanned<RawRoute>>,
    idle: Option<Span>,
    header_deadline: Option<Span>,
    stall_deadline: Option<Span>,
    max_connection_age: Option<Span>,
    max_connection_age_grace: Option<Span>,
    #[serde(default)]
    close_at_certificate_end: bool,
    forwarded_headers: Option<Forwarding>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoute {
    prefix: Prefix,
    allow: Option<Vec<String>>,
    #[serde(default)]
    any_peer: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUpstream {
    name: String,
    addresses: Vec<Address>,
    #[serde(default)]
    security: RawSecurity,
    handshaker: Option<Locator>,
    require_user: Option<RequiredUser>,
    expect: Option<Vec<String>>,
    #[serde(default)]
    any_peer: bool,
    max_frame_size: Option<u32>,
    handshake_deadline: Option<Span>,
    connect_deadline: Option<Span>,
    response_deadline: Option<Span>,
    #[serde(default)]
    protocol: Protocol,
    health_interval: Option<Span>,
    #[serde(default)]
    send_proxy_protocol: bool,
    idle: Option<Span>,
    max_connection_age: Option<Span>,
    max_connection_age_grace: Option<Span>,
    #[serde(default)]
    close_at_certificate_end: bool,
}

fn listen(listen: Spanned<RawListen>, places: &Places<'_>) -> Result<Listen, SettingsError> {
    let place = places.of(&listen, "[[listen]]");
    let raw = listen.into_inner();
    let refuse = |what: String| SettingsError::new(&place, what);
    let address = match (raw.tcp, raw.unix) {
        (Some(_), None) if raw.mode.is_some() => {
            return Err(refuse("mode is only for socket files: remove it".to_owned()));
        }
        (Some(tcp), None) => match tcp.parse().map_err(refuse)? {
            tcp @ Address::Tcp(_) => tcp,
            Address::Unix(_) => {
                return Err(refuse(
                    "write unix = \"/path\" instead of tcp = \"unix:…\"".to_owned(),
                ));
            }
        },
        (None, Some(path)) => Address::Unix(places.path(path)),
        _ => return Err(refuse("give exactly one of tcp and unix".to_owned())),
    };
    let security = security(
        raw.security,
        RawAlts {
            handshaker: raw.handshaker.map(|named| named.with_paths(|path| places.path(path))),
            require_user: raw.require_user,
            accounts: ("allow", raw.allow),
            any_peer: raw.any_peer,
            max_frame_size: raw.max_frame_size,
            handshake_deadline: raw.handshake_deadline,
        },
    );
    let age = age(
        raw.max_connection_age,
        raw.max_connection_age_grace,
        raw.close_at_certificate_end.then_some(raw.security),
    );
    let routes = raw.route.into_iter().map(|route| self::route(route, places));
    Ok(Listen {
        name: raw.name.unwrap_or_else(|| address.to_string()),
        address,
        mode: raw.mode.unwrap_or_default(),
        callers: raw.callers,
        security: security.map_err(refuse)?,
        level: raw.level,
        routes: routes.collect::<Result<_, _>>()?,
        upstream: raw.upstream,
        idle: raw.idle.map_or(Config::IDLE, |span| span.0),
        header_deadline: raw.header_deadline.map_or(Config::HEADER_DEADLINE, |span| span.0),
        stall_deadline: raw.stall_deadline.map_or(Config::STALL_DEADLINE, |span| span.0),
        age: age.map_err(refuse)?,
        forwarding: raw.forwarded_headers.unwrap_or_default(),
        place,
    })
}

fn route(route: Spanned<RawRoute>, places: &Places<'_>) -> Result<Route, SettingsError> {
    let place = places.of(&route, "[[listen.route]]");
    let RawRoute { prefix, allow, any_peer } = route.into_inner();
    let allow = peers("allow", allow, any_peer).map_err(|what| SettingsError::new(place, what))?;
    Ok(Route { prefix, allow })
}

fn upstream(
    upstream: Spanned<RawUpstream>,
    places: &Places<'_>,
) -> Result<Upstream, SettingsError> {
    let place = places.of(&upstream, "[[upstream]]");
    let raw = upstream.into_inner();
    let security = security(
        raw.security,
        RawAlts {
            handshaker: raw.handshaker.map(|named| named.with_paths(|path| places.path(path))),
            require_user: raw.require_user,
            accounts: ("expect", raw.expect),
            any_peer: raw.any_peer,
            max_frame_size: raw.max_frame_size,
            handshake_deadline: raw.handshake_deadline,
        },
    );
    let age = age(
        raw.max_connection_age,
        raw.max_connection_age_grace,
        raw.close_at_certificate_end.then_some(raw.security),
    );
    let in_directory = |address| match address {
        Address::Unix(path) if !Address::Unix(path.clone()).is_abstract() => {
            Address::Unix(places.path(path))
        }
        other => other,
    };
    Ok(Upstream {
        name: raw.name,
        addresses: raw.addresses.into_iter().map(in_directory).collect(),
        security: security.map_err(|what| SettingsError::new(&place, what))?,
        connect_deadline: raw.connect_deadline.map_or(Config::CONNECT_DEADLINE, |span| span.0),
        response_deadline: raw.response_deadline.map_or(Config::RESPONSE_DEADLINE, |span| span.0),
        protocol: raw.protocol,
        health_interval: raw.health_interval.map(|span| span.0),
        send_proxy_protocol: raw.send_proxy_protocol,
        idle: raw.idle.map_or(Config::UPSTREAM_IDLE, |span| span.0),
        age: age.map_err(|what| SettingsError::new(&place, what))?,
        place,
    })
}

/// How long connections may go on; `at_certificate_end` is the security of what they end with.
fn age(
    most: Option<Span>,
    grace: Option<Span>,
    at_certificate_end: Option<RawSecurity>,
) -> Result<Age, String> {
    if at_certificate_end == Some(RawSecurity::Plain) {
        return Err(
            "close_at_certificate_end is only for security = \"alts\": set that, or remove \
                    close_at_certificate_end"
                .to_owned(),
        );
    }
    let grace = grace.map_or(Config::AGE_GRACE, |span| span.0);
    Ok(Age {
        most: most.map(|span| span.0),
        grace,
        at_certificate_end: at_certificate_end.is_some(),
    })
}

/// The keys that are only for ALTS.
struct RawAlts {
    handshaker: Option<Locator>,
    require_user: Option<RequiredUser>,
    /// The key's name, and its value.
    accounts: (&'static str, Option<Vec<String>>),
    any_peer: bool,
    max_frame_size: Option<u32>,
    handshake_deadline: Option<Span>,
}

fn security(security: RawSecurity, raw: RawAlts) -> Result<Security, String> {
    let (key, accounts) = raw.accounts;
    if security == RawSecurity::Plain {
        let used = [
            ("handshaker", raw.handshaker.is_some()),
            ("require_user", raw.require_user.is_some()),
            (key, accounts.is_some()),
            ("any_peer", raw.any_peer),
            ("max_frame_size", raw.max_frame_size.is_some()),
            ("handshake_deadline", raw.handshake_deadline.is_some()),
        ];
        return match used.iter().find(|(_, used)| *used) {
            None => Ok(Security::Plain),
            Some((key, _)) => {
                Err(format!("{key} is only for security = \"alts\": set that, or remove {key}"))
            }
        };
    }
    Ok(Security::Alts(Alts {
        handshaker: raw.handshaker.unwrap_or(Locator::Google).of_user(raw.require_user)?,
        peers: peers(key, accounts, raw.any_peer)?,
        max_frame_size: raw.max_frame_size.map_or(Ok(FrameSize::DEFAULT), frame_size)?,
        handshake_deadline: raw
            .handshake_deadline
            .map_or(Config::HANDSHAKE_DEADLINE, |span| span.0),
    }))
}

fn peers(key: &str, accounts: Option<Vec<String>>, any_peer: bool) -> Result<Peers, String> {
    match (accounts, any_peer) {
        (None, true) => Ok(Peers::Any),
        (Some(accounts), false) if accounts.iter().any(String::is_empty) => {
            Err(format!("{key} has an empty account: remove it"))
        }
        (Some(accounts), false) => Peers::matching(accounts).map_err(|why| format!("{key}: {why}")),
        (None, false) => {
            Err(format!("who may it be? Give {key} = [\"service account\"], or any_peer = true"))
        }
        (Some(_), true) => Err(format!("{key} and any_peer = true: which one is it?")),
    }
}
