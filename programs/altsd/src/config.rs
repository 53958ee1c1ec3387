//! The daemon's configuration: what a TOML file or flags say, checked before anything is opened.
//!
//! `programs/altsd/altsd.example.toml` shows every key. Unknown keys are refused, so that a misspelt limit
//! is not a missing one. Paths are relative to the file's directory.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alts_core::account::PatternError;
use alts_handshaker::Limits;
use alts_handshaker::files::{IdentityFiles, RootFile, Terms};
use alts_handshaker::identity::DenyList;
use alts_handshaker::naming::SecureNaming;
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::settings::{LogSettings, MetricsSettings, Places, Span};
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::Mode;
use serde::Deserialize;
use toml::Spanned;

use crate::identities::{Placed, Source};
use crate::listen::{Listen, ListenAddress, TcpAddress};
use crate::naming::{RawNaming, RawTarget};
use crate::policy::{AccountPattern, Rule};
use crate::roots::RawRoot;
use crate::spiffe::{RawSpiffe, SpiffeSettings};

/// How much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Handshakes under way at once, of all callers together.
    pub handshakes: usize,
    /// Handshakes under way at once of one caller.
    pub handshakes_per_caller: usize,
    /// Connections of all callers together.
    pub connections: usize,
    /// Connections of one caller.
    pub connections_per_caller: usize,
    /// Time from the beginning of a handshake to its result.
    pub deadline: Span,
    /// The largest `HandshakerReq`, in bytes.
    pub request_bytes: usize,
    /// Bytes of all handshake messages of a peer.
    pub handshake_bytes: usize,
    /// Bytes of all requests that are being read, of all callers together.
    pub bytes: usize,
    /// Bytes of all requests that are being read of one caller.
    pub bytes_per_caller: usize,
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            handshakes: 2048,
            handshakes_per_caller: 512,
            connections: 4096,
            connections_per_caller: 1024,
            deadline: Span(limits.deadline),
            request_bytes: limits.request_bytes,
            handshake_bytes: limits.handshake_bytes,
            bytes: 64 * 1024 * 1024,
            bytes_per_caller: 16 * 1024 * 1024,
        }
    }
}

impl LimitSettings {
    /// The limits of one handshake.
    #[must_use]
    pub fn of_one(&self) -> Limits {
        Limits::default()
            .with_deadline(self.deadline.0)
            .with_request_bytes(self.request_bytes)
            .with_handshake_bytes(self.handshake_bytes)
    }

    fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("handshakes", self.handshakes),
            ("handshakes_per_caller", self.handshakes_per_caller),
            ("connections", self.connections),
            ("connections_per_caller", self.connections_per_caller),
        ] {
            if value == 0 {
                return Err(format!("{name} = 0 would let nobody in: give at least 1"));
            }
        }
        if self.request_bytes < 64 * 1024 || self.handshake_bytes < 64 * 1024 {
            return Err("request_bytes and handshake_bytes have to be at least 65536: a \
                        handshake message with a chain of certificates has to fit"
                .to_owned());
        }
        if self.bytes_per_caller < self.request_bytes || self.bytes < self.request_bytes {
            return Err(
                "bytes and bytes_per_caller have to be at least request_bytes: one request \
                        has to fit"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// The whole configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen.
    pub listeners: Vec<Listen>,
    /// The identities that this daemon can vouch for.
    pub identities: Vec<Source>,
    /// The agent that gives callers identities.
    pub spiffe: Option<SpiffeSettings>,
    /// Who may use what; the first rule for a caller decides.
    pub rules: Vec<Rule>,
    /// How much at once.
    pub limits: LimitSettings,
    /// What is logged and how.
    pub log: LogSettings,
    /// Where Prometheus reads the metrics, over plain HTTP.
    pub metrics: Option<SocketAddr>,
    /// How often the PEM files are looked at.
    pub poll: Duration,
    /// How long before a certificate's end there are warnings.
    pub expiry_warning: Duration,
    /// How long handshakes may go on once the daemon is to stop.
    pub grace: Duration,
}

impl Config {
    /// How often PEM files are looked at by default.
    pub const POLL: Duration = Duration::from_secs(5);
    /// How long before a certificate's end there are warnings by default.
    pub const EXPIRY_WARNING: Duration = Duration::from_secs(7 * 24 * 60 * 60);
    /// How long handshakes may go on after the signal to stop by default.
    pub const GRACE: Duration = Duration::from_secs(10);

    /// Defaults for all but the three that make a daemon.
    #[must_use]
    pub fn new(listeners: Vec<Listen>, identities: Vec<Source>, rules: Vec<Rule>) -> Self {
        Self {
            listeners,
            identities,
            spiffe: None,
            rules,
            limits: LimitSettings::default(),
            log: LogSettings::default(),
            metrics: None,
            poll: Self::POLL,
            expiry_warning: Self::EXPIRY_WARNING,
            grace: Self::GRACE,
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or something in it is wrong; files that it names are not opened.
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
        let raw: Raw = toml::from_str(text).map_err(|error| {
            SettingsError::new(path.display().to_string(), error.to_string().trim_end())
        })?;
        let reader = Reader { places: Places::new(text, path) };
        let config = reader.config(raw)?;
        config.check(&path.display().to_string())?;
        Ok(config)
    }

    /// What does not fit together.
    ///
    /// # Errors
    /// Names the place and what to do; `place` is for what has no place of its own.
    pub fn check(&self, place: &str) -> Result<(), SettingsError> {
        if self.listeners.is_empty() {
            return Err(SettingsError::new(place, "there is no [[listen]]: nobody could call"));
        }
        if self.identities.is_empty() && self.spiffe.is_none() {
            return Err(SettingsError::new(
                place,
                "there is no [[identity]], and no [spiffe]: give at least one",
            ));
        }
        let mut names = HashSet::new();
        for listen in &self.listeners {
            if !names.insert(&listen.name) {
                return Err(SettingsError::new(
                    &listen.place,
                    format!("there are two listeners called {:?}: set `name`", listen.name),
                ));
            }
            if let ListenAddress::Tcp { address, remote: false, .. } = &listen.endpoint
                && !address.is_loopback()
            {
                return Err(SettingsError::new(
                    &listen.place,
                    format!(
                        "{address} is not a loopback address: other machines could reach it. \
                         Listen on 127.0.0.1, or set remote = true if that is what you want"
                    ),
                ));
            }
        }
        for rule in &self.rules {
            if let Some(name) = rule.listeners.iter().find(|name| !names.contains(name)) {
                return Err(SettingsError::new(
                    &rule.place,
                    format!("there is no listener called {name:?}"),
                ));
            }
            if self.spiffe.is_none() && rule.accounts.contains(&AccountPattern::Attested) {
                return Err(SettingsError::new(
                    &rule.place,
                    "{spiffe} is what a SPIFFE agent gives: say which one ([spiffe])",
                ));
            }
            rule.check().map_err(|what| SettingsError::new(&rule.place, what))?;
        }
        self.limits.check().map_err(|what| SettingsError::new(format!("{place}, [limits]"), what))
    }

    /// What is allowed and still should be known.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        for Listen { name, endpoint, .. } in &self.listeners {
            match endpoint {
                ListenAddress::Tcp { address, .. } if !address.is_loopback() => {
                    warnings.push(format!(
                        "listener {name} ({address}) can be reached from other machines: anyone who \
                         reaches it can act as any identity that the policy gives to \
                         \"unidentified\", and the keys of their connections cross the network in \
                         the clear. Use a UNIX socket or a loopback address instead"
                    ));
                }
                ListenAddress::Tcp { address, identify: false, .. } => warnings.push(format!(
                    "listener {name} ({address}) does not look up who is calling: every process \
                     on this machine can act as any identity that the policy gives to \
                     \"unidentified\""
                )),
                _ => {}
            }
        }
        if let Some(address) = self.metrics
            && !address.ip().to_canonical().is_loopback()
        {
            warnings.push(format!(
                "the metrics on {address} can be read from other machines: they name the \
                 identities and say when their certificates expire"
            ));
        }
        for source in &self.identities {
            let Source::Files(placed) = source else { continue };
            let roots = &placed.files.trust_roots;
            let open = roots.iter().filter(|root| !root.vouching.is_restricted());
            if roots.len() > 1 {
                warnings.extend(open.map(|root| {
                    format!(
                        "{}: {} may vouch for every account beside other authorities: say for \
                         which (accounts)",
                        placed.place_of(&root.path),
                        root.path.display()
                    )
                }));
            }
        }
        warnings.dedup();
        if let Some(spiffe) = &self.spiffe
            && !self.rules.iter().any(|rule| rule.accounts.contains(&AccountPattern::Attested))
        {
            warnings.push(format!(
                "{}: no [[policy]] gives {{spiffe}}: the agent will not be asked for anybody",
                spiffe.place
            ));
        }
        if self.rules.is_empty() {
            warnings.push("there is no [[policy]]: every caller will be refused".to_owned());
        }
        for (index, rule) in self.rules.iter().enumerate() {
            let mut earlier = self.rules.iter().take(index);
            if let Some(wide) = earlier.find(|earlier| earlier.covers(rule)) {
                warnings.push(format!(
                    "{}: this rule is never reached, because the one at {} comes first",
                    rule.place, wide.place
                ));
            }
        }
        warnings
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    trust_roots: Vec<Spanned<RawRoot>>,
    accept_machines: Option<Spanned<bool>>,
    deny: Option<Spanned<RawDeny>>,
    #[serde(default)]
    tls: RawTls,
    naming: Option<Spanned<RawNaming>>,
    #[serde(default)]
    target: Vec<Spanned<RawTarget>>,
    #[serde(default)]
    listen: Vec<Spanned<RawListen>>,
    #[serde(default)]
    identity: Vec<Spanned<RawIdentity>>,
    spiffe: Option<Spanned<RawSpiffe>>,
    #[serde(default)]
    policy: Vec<Spanned<RawRule>>,
    #[serde(default)]
    limits: LimitSettings,
    #[serde(default)]
    log: LogSettings,
    metrics: Option<Spanned<MetricsSettings>>,
    #[serde(default)]
    reload: RawReload,
    #[serde(default)]
    shutdown: RawShutdown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeny {
    #[serde(default)]
    accounts: Vec<String>,
    #[serde(default)]
    serials: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
}

impl RawDeny {
    fn list(self) -> Result<DenyList, String> {
        let sentence = |text: &str, why: &dyn fmt::Display| format!("{text:?}: {why}");
        let pattern =
            |text: String| text.parse().map_err(|why: PatternError| sentence(&text, &why));
        let accounts = self.accounts.into_iter().map(pattern).collect::<Result<_, _>>()?;
        let mut list = DenyList::new().accounts(accounts);
        for text in &self.serials {
            list = list.serial(text).map_err(|why| sentence(text, &why))?;
        }
        for text in &self.keys {
            list = list.key(text).map_err(|why| sentence(text, &why))?;
        }
        Ok(list)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListen {
    name: Option<String>,
    unix: Option<PathBuf>,
    #[serde(rename = "abstract")]
    abstract_name: Option<String>,
    tcp: Option<TcpAddress>,
    mode: Option<Mode>,
    owner: Option<String>,
    group: Option<String>,
    identify: Option<bool>,
    remote: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIdentity {
    certificate: PathBuf,
    key: PathBuf,
    trust_roots: Option<Vec<Spanned<RawRoot>>>,
    verified_by: Option<Vec<Spanned<RawRoot>>>,
    #[serde(default)]
    allow_readable_key: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    callers: Vec<CallerPattern>,
    #[serde(default)]
    listeners: Vec<String>,
    accounts: Vec<AccountPattern>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTls {
    require_post_quantum: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReload {
    poll: Option<Span>,
    expiry_warning: Option<Span>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShutdown {
    grace: Option<Span>,
}

/// Files of trust roots, and where each was written.
#[derive(Clone, Default)]
struct Roots {
    files: Vec<RootFile>,
    places: Vec<(PathBuf, String)>,
}

/// Turns what was written into what is meant, with places for errors.
struct Reader<'a> {
    places: Places<'a>,
}

impl Reader<'_> {
    fn config(&self, raw: Raw) -> Result<Config, SettingsError> {
        let listeners =
            raw.listen.into_iter().map(|listen| self.listen(listen)).collect::<Result<_, _>>()?;
        if let Some(old) = &raw.accept_machines {
            return Err(SettingsError::new(
                self.places.of(old, "accept_machines"),
                "say for which machines an authority may vouch instead: trust_roots = \
                 [{ path = \"roots.pem\", machines = [\"*.hosts.prod.example\"] }]",
            ));
        }
        let trust_roots = self.roots(raw.trust_roots);
        let denied = raw.deny.map_or_else(
            || Ok(DenyList::new()),
            |deny| {
                let place = self.places.of(&deny, "[deny]");
                deny.into_inner().list().map_err(|what| SettingsError::new(place, what))
            },
        )?;
        let naming = self.naming(raw.naming, raw.target)?;
        let mut terms = Terms::default();
        terms.denied = denied;
        terms.naming = naming;
        terms.require_post_quantum = raw.tls.require_post_quantum;
        let identities = raw
            .identity
            .into_iter()
            .map(|identity| self.identity(identity, &trust_roots, &terms))
            .collect::<Result<_, _>>()?;
        let rules = raw
            .policy
            .into_iter()
            .map(|rule| {
                let place = self.places.of(&rule, "[[policy]]");
                let RawRule { callers, listeners, accounts } = rule.into_inner();
                Rule { callers, listeners, accounts, place }
            })
            .collect();
        let spiffe = raw.spiffe.map(|spiffe| {
            let place = self.places.of(&spiffe, "[spiffe]");
            let read = spiffe.into_inner().read(&terms, place.clone());
            read.map_err(|what| SettingsError::new(place, what))
        });
        let mut config = Config::new(listeners, identities, rules);
        config.spiffe = spiffe.transpose()?;
        config.limits = raw.limits;
        config.log = raw.log;
        if let Some(metrics) = raw.metrics {
            let place = self.places.of(&metrics, "[metrics]");
            let address = metrics.into_inner().address();
            config.metrics = Some(address.map_err(|what| SettingsError::new(place, what))?);
        }
        config.poll = raw.reload.poll.map_or(Config::POLL, |span| span.0);
        config.expiry_warning =
            raw.reload.expiry_warning.map_or(Config::EXPIRY_WARNING, |span| span.0);
        config.grace = raw.shutdown.grace.map_or(Config::GRACE, |span| span.0);
        Ok(config)
    }

    fn roots(&self, roots: Vec<Spanned<RawRoot>>) -> Roots {
        let mut all = Roots::default();
        for root in roots {
            let place = self.places.of(&root, "trust_roots");
            let RawRoot { path: of_root, vouching, revoked } = root.into_inner();
            let path = |path| self.places.path(path);
            let mut file = RootFile::new(path(of_root));
            file.vouching = vouching;
            file.revocation_lists = revoked.lists.into_iter().map(path).collect();
            file.unlisted = revoked.unlisted;
            file.expired = revoked.expired;
            all.places.push((file.path.clone(), place));
            all.files.push(file);
        }
        all
    }

    fn naming(
        &self,
        naming: Option<Spanned<RawNaming>>,
        targets: Vec<Spanned<RawTarget>>,
    ) -> Result<Option<SecureNaming>, SettingsError> {
        if targets.is_empty() {
            let refuse = |naming: Spanned<RawNaming>| {
                let place = self.places.of(&naming, "[naming]");
                Err(SettingsError::new(place, "there is no [[target]]: nobody could be called"))
            };
            return naming.map_or(Ok(None), refuse);
        }
        let mut table = naming.map(Spanned::into_inner).unwrap_or_default().table();
        let mut earlier = Vec::new();
        for target in targets {
            let place = self.places.of(&target, "[[target]]");
            let added = target.into_inner().add_to(table, &mut earlier);
            table = added.map_err(|what| SettingsError::new(place, what))?;
        }
        Ok(Some(table))
    }

    fn listen(&self, listen: Spanned<RawListen>) -> Result<Listen, SettingsError> {
        let place = self.places.of(&listen, "[[listen]]");
        let raw = listen.into_inner();
        let refuse = |what: &str| Err(SettingsError::new(&place, what));
        let of_file = raw.mode.is_some() || raw.owner.is_some() || raw.group.is_some();
        let of_tcp = raw.identify.is_some() || raw.remote.is_some();
        // As it is written, so that it does not depend on how the file's own path was.
        let written = raw.unix.as_ref().map(|path| format!("unix:{}", path.display()));
        let endpoint = match (raw.unix, raw.abstract_name, raw.tcp) {
            (Some(_), None, None) | (None, Some(_), None) if of_tcp => {
                return refuse("identify and remote are only for TCP: remove them");
            }
            (None, Some(_), None) | (None, None, Some(_)) if of_file => {
                return refuse("mode, owner and group are only for socket files: remove them");
            }
            (Some(path), None, None) => ListenAddress::Unix {
                path: self.places.path(path),
                mode: raw.mode.unwrap_or_default(),
                owner: raw.owner,
                group: raw.group,
            },
            (None, Some(name), None) => ListenAddress::Abstract { name },
            (None, None, Some(address)) => ListenAddress::Tcp {
                address,
                identify: raw.identify.unwrap_or(true),
                remote: raw.remote.unwrap_or(false),
            },
            _ => return refuse("give exactly one of unix, abstract and tcp"),
        };
        Ok(Listen {
            name: raw.name.or(written).unwrap_or_else(|| endpoint.to_string()),
            endpoint,
            place,
        })
    }

    fn identity(
        &self,
        identity: Spanned<RawIdentity>,
        trust_roots: &Roots,
        terms: &Terms,
    ) -> Result<Source, SettingsError> {
        let place = self.places.of(&identity, "[[identity]]");
        let raw = identity.into_inner();
        let roots = raw.trust_roots.map_or_else(|| trust_roots.clone(), |roots| self.roots(roots));
        if roots.files.is_empty() {
            return Err(SettingsError::new(
                place,
                "no trust roots: set trust_roots here or at the top of the file",
            ));
        }
        let verified_by = self.roots(raw.verified_by.unwrap_or_default());
        let mut files = IdentityFiles::new(
            self.places.path(raw.certificate),
            self.places.path(raw.key),
            roots.files,
        );
        files.verified_by = verified_by.files;
        files.terms = terms.clone();
        files.allow_readable_key = raw.allow_readable_key;
        let roots = roots.places.into_iter().chain(verified_by.places).collect();
        Ok(Source::Files(Box::new(Placed { files, place, roots })))
    }
}
