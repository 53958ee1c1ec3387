//! `alts proxy`: carries connections over ALTS.
//!
//! [`config`] is what it is to do, [`arguments`] the same as flags; [`state`] is what follows from
//! that at one time, and changes on a reload. A connection comes in through a [`listener`], is
//! served by [`serve`] as bytes ([`relay`]) or as [`http`], and goes out through an [`upstream`].
//! [`alts_serving::limits`] bounds it, [`metrics`] counts.
//!
//! [`Proxy`] is all of it, for a test or a program; [`main`] adds flags, the log and the signals.
#![forbid(unsafe_code)]

pub mod accept;
pub mod access;
pub mod address;
pub mod arguments;
pub mod broken;
pub mod callers;
pub mod client;
pub mod config;
pub mod counted;
pub mod headers;
pub mod http;
pub mod http2;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod outcome;
pub mod path;
pub mod proxy_protocol;
pub mod readiness;
pub mod reason;
pub mod relay;
pub mod route;
pub mod serve;
pub mod socket;
pub mod state;
pub mod term;
pub mod upstream;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alts_handshaker::locator::Development;
use alts_serving::life::Life;
use alts_serving::log::to_standard_error;
use alts_serving::metrics::Admin;
use alts_serving::settings::MetricsSettings;
use alts_serving::settings_error::SettingsError;
use alts_serving::signals::{Request, Signals};
use prometheus::IntCounter;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

pub use self::arguments::Arguments;
use self::config::Config;
use self::log::PROGRAM;
use self::metrics::Metrics;
use self::readiness::Handshakers;
use self::state::{Prepared, State};
use self::upstream::Upstream;

/// A proxy at work.
pub struct Proxy {
    state: Mutex<State>,
    life: Arc<Life>,
    metrics: Metrics,
    metrics_address: Option<SocketAddr>,
    /// Metrics and health, which are served until the very end.
    _admin: JoinSet<()>,
}

impl Proxy {
    /// Starts one: opens the listeners, and serves. `path` is the configuration's file, for
    /// reloads; `development` is where identities of `dev:` handshakers come from, which only
    /// believe each other.
    ///
    /// # Errors
    /// What cannot be used, where it was written, and what to do.
    pub async fn start(
        config: Config,
        path: Option<PathBuf>,
        development: Arc<Development>,
    ) -> Result<Self, SettingsError> {
        let metrics = new_metrics()?;
        let life = Arc::<Life>::default();
        let address = config.metrics.map(MetricsSettings::address).transpose();
        let address = address.map_err(|what| SettingsError::new("[metrics]", what))?;
        let state = State::start(config, path, development, metrics.clone(), &life).await?;
        let mut admin = JoinSet::new();
        let mut metrics_address = None;
        if let Some(address) = address {
            let open = Admin::open(address).await?;
            metrics_address = Some(open.address());
            let (upstreams, life) = (state.upstreams(), Arc::clone(&life));
            let (asking, handshakers) = Handshakers::watched(state.handshakers());
            admin.spawn(asking);
            let ready = move || {
                readiness(&upstreams.borrow(), life.is_serving())
                    .and_then(|()| handshakers.are_there())
            };
            admin.spawn(open.run(metrics.registry().clone(), ready));
        }
        let state = Mutex::new(state);
        Ok(Self { state, life, metrics, metrics_address, _admin: admin })
    }

    /// The names of the listeners, and where they listen.
    pub async fn listeners(&self) -> Vec<(String, String)> {
        self.state.lock().await.listeners()
    }

    /// Where metrics and health are served.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Reads the configuration again, as on SIGHUP; returns whether it was good. What was bad is
    /// in the log, and not in use.
    pub async fn reload(&self) -> bool {
        self.state.lock().await.reload(&self.life).await
    }

    /// Stops: no new connections, then an end to those that there are, at once after the time that
    /// the configuration gives. Returns whether all of them had ended by themselves.
    pub async fn shutdown(self) -> bool {
        let grace = self.state.lock().await.config().grace;
        let ended = self.life.end(grace).await;
        if !ended {
            tracing::warn!("connections were open when the time to stop ran out");
        }
        ended
    }
}

/// Whether connections are accepted and can go somewhere.
fn readiness(upstreams: &[Arc<Upstream>], is_serving: bool) -> Result<(), String> {
    if !is_serving {
        return Err("stopping".to_owned());
    }
    let lost: Vec<_> =
        upstreams.iter().filter(|one| !one.is_usable()).map(|one| one.name()).collect();
    if lost.is_empty() {
        Ok(())
    } else {
        Err(format!("no address of these upstreams is in order: {}", lost.join(", ")))
    }
}

fn new_metrics() -> Result<Metrics, SettingsError> {
    Metrics::new().map_err(|why| SettingsError::new("metrics", why.to_string()))
}

/// Runs it, and returns the program's status.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alts proxy: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let (check_alone, threads) = (arguments.check, arguments.threads);
    let (config, path) = arguments.configuration()?;
    if check_alone {
        let report = check(&config)?;
        let mut out = io::stdout().lock();
        out.write_all(report.as_bytes())?;
        return Ok(out.flush()?);
    }
    let (dropped, _last_lines) = to_standard_error(PROGRAM, config.log.format, config.log.level)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(count) = threads {
        runtime.worker_threads(count.get());
    }
    let runtime = runtime.enable_all().build()?;
    runtime.block_on(run(config, path, dropped))?;
    // A look-up of a name that does not answer must not keep the process alive.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Starts a proxy and runs it until SIGTERM or SIGINT; SIGHUP reloads.
async fn run(
    config: Config,
    path: Option<PathBuf>,
    dropped: IntCounter,
) -> Result<(), SettingsError> {
    let mut signals =
        Signals::new().map_err(|why| SettingsError::new("signals", why.to_string()))?;
    let proxy = Proxy::start(config, path, Arc::default()).await?;
    proxy
        .metrics()
        .registry()
        .register(Box::new(dropped))
        .map_err(|why| SettingsError::new("metrics", why.to_string()))?;
    while signals.next().await == Request::Reload {
        proxy.reload().await;
    }
    tracing::info!("stopping");
    tokio::select! {
        _ = proxy.shutdown() => {}
        () = signals.stop() => tracing::warn!("asked twice to stop: not waiting for connections"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// Checks a configuration with all that can be checked without opening a socket, and says what a
/// proxy would do.
///
/// # Errors
/// The first thing that is wrong, and where.
pub fn check(config: &Config) -> Result<String, SettingsError> {
    Prepared::new(config, &Prepared::default(), &Development::default(), &new_metrics()?)?;
    let mut report = String::new();
    // Writing to a string does not fail.
    for listen in &config.listeners {
        let config::Listen { name, address, upstream, .. } = listen;
        let level = match listen.level {
            config::Level::Bytes => "bytes",
            config::Level::Http => "http",
        };
        let mut security = describe(&listen.security, "lets in");
        if let Some(callers) = &listen.callers {
            let callers: Vec<_> = callers.iter().map(ToString::to_string).collect();
            let _ = write!(security, ", lets in {}", callers.join(", "));
        }
        let _ = writeln!(report, "listener  {name} ({address}), {security}; {level} to {upstream}");
        for route in &listen.routes {
            let _ = writeln!(report, "  route   {}: {}", route.prefix, route.allow);
        }
    }
    for upstream in &config.upstreams {
        let addresses: Vec<_> = upstream.addresses.iter().map(ToString::to_string).collect();
        let security = describe(&upstream.security, "expects");
        let _ =
            writeln!(report, "upstream  {} ({}), {security}", upstream.name, addresses.join(", "));
    }
    for warning in config.warnings() {
        let _ = writeln!(report, "warning   {warning}");
    }
    report.push_str("good\n");
    Ok(report)
}

fn describe(security: &config::Security, verb: &str) -> String {
    match security {
        config::Security::Plain => "plain".to_owned(),
        config::Security::Alts(alts) => {
            format!("ALTS by {}, {verb} {}", alts.handshaker, alts.peers)
        }
    }
}
