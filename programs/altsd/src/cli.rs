//! The command line, and the answers to it.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use alts_handshaker::files::{IdentityFiles, RootFile};
use alts_handshaker::identity::Vouching;
use alts_handshaker::identity::vouching::MachinePattern;
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::log::{Format, Level};
use alts_serving::settings::MetricsSettings;
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::Mode;
use clap::{Args, Parser, Subcommand};
use nix::unistd::geteuid;

use crate::config::Config;
use crate::identities::Placed;
use crate::listen::ListenAddress;
use crate::policy::AccountPattern;
use crate::spiffe::SpiffeSettings;
use crate::{quick, state};

/// Where the configuration is by default.
pub const DEFAULT_CONFIG: &str = "/etc/altsd/altsd.toml";

/// A handshaker service for ALTS: proves who the programs on this machine are to those on others.
///
/// Programs that speak ALTS ask it for their handshakes. It knows them by what the kernel says
/// about them, and vouches for them with certificates that they never see.
#[derive(Debug, Parser)]
#[command(
    name = "altsd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "To try it out: altsd dev\n\
                  One identity, without a file:\n  \
                  altsd --listen unix:/run/altsd.sock --certificate web.pem --key web.key \
                  --trust-roots roots.pem --allow user:web\n\
                  SIGHUP reads configuration and certificates again; SIGTERM stops."
)]
pub struct Cli {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reads the configuration and all files that it names, and says what is wrong with them.
    CheckConfig {
        /// The configuration.
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
        config: PathBuf,
    },
    /// Serves throw-away identities that nobody else believes, so that two programs can talk.
    Dev(Dev),
}

/// How to serve: with a file, or with one identity.
#[derive(Debug, Args)]
pub struct Serve {
    /// The configuration. Default: `/etc/altsd/altsd.toml`.
    #[arg(long, value_name = "FILE", conflicts_with = "certificate")]
    pub config: Option<PathBuf>,
    /// Without a file: where to listen, as in `unix:/path`, `unix-abstract:name` or
    /// `127.0.0.1:8080`. Can be given more than once.
    #[arg(long, value_name = "ADDRESS", value_parser = ListenAddress::parse, requires = "certificate")]
    pub listen: Vec<ListenAddress>,
    /// The permissions of the socket files. Default: 0660.
    #[arg(long, value_name = "OCTAL", value_parser = mode, requires = "certificate")]
    pub mode: Option<Mode>,
    /// The identity's chain of certificates, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["key", "trust_roots", "listen"])]
    pub certificate: Option<PathBuf>,
    /// The identity's private key, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// The authorities that peers' certificates must come from, PEM. Can be given more than once.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub trust_roots: Vec<PathBuf>,
    /// Machines for which the authorities may vouch, as in `host.prod.example` or
    /// `*.hosts.prod.example`. Can be given more than once. Default: none.
    #[arg(long, value_name = "MACHINE", requires = "certificate")]
    pub machines: Vec<MachinePattern>,
    /// Who may call: user:NAME, uid:NUMBER, group:NAME, gid:NUMBER, anyone or unidentified. Can be
    /// given more than once. Default: the user who starts this.
    #[arg(long, value_name = "CALLER", requires = "certificate")]
    pub allow: Vec<CallerPattern>,
    /// What callers may use, the default first; `{user}@MACHINE` is the caller's own name. Default:
    /// the certificate's account, or `{user}@MACHINE` for a machine's certificate.
    #[arg(long, value_name = "ACCOUNT", requires = "certificate")]
    pub account: Vec<AccountPattern>,
    /// A loopback address on which Prometheus may read metrics.
    #[arg(long, value_name = "IP:PORT", requires = "certificate")]
    pub metrics: Option<std::net::SocketAddr>,
    /// Log format.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<Format>,
    /// Log level. Audit lines are written at every level.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<Level>,
}

/// Throw-away identities.
#[derive(Debug, Args)]
pub struct Dev {
    /// An address and the identity that it serves, as in `127.0.0.1:8080=client@dev.test` or
    /// `unix:/tmp/a.sock={user}@host.test`. Can be given more than once. Default:
    /// `client@dev.test` and `server@dev.test` on two UNIX sockets.
    #[arg(long, value_name = "ADDRESS=ACCOUNT", value_parser = listener)]
    pub listen: Vec<(ListenAddress, AccountPattern)>,
    /// Who may call besides the user who starts this.
    #[arg(long, value_name = "CALLER")]
    pub allow: Vec<CallerPattern>,
}

fn mode(text: &str) -> Result<Mode, String> {
    Mode::try_from(text.to_owned())
}

fn listener(text: &str) -> Result<(ListenAddress, AccountPattern), String> {
    let (address, account) =
        text.rsplit_once('=').ok_or_else(|| format!("{text:?} has no '=' and account"))?;
    Ok((ListenAddress::parse(address)?, account.parse()?))
}

impl Serve {
    /// The configuration, and its file if it has one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn configuration(self) -> Result<(Config, Option<PathBuf>), SettingsError> {
        let (mut config, path) = if let (Some(certificate), Some(key)) =
            (self.certificate, self.key)
        {
            let vouching = Vouching::new().machines(self.machines);
            let root = |path: PathBuf| {
                let mut root = RootFile::new(path);
                root.vouching = vouching.clone();
                root
            };
            let placed = |path: &PathBuf| (path.clone(), "--trust-roots".to_owned());
            let roots = self.trust_roots.iter().map(placed).collect();
            let trust_roots = self.trust_roots.into_iter().map(root).collect();
            let files = IdentityFiles::new(certificate, key, trust_roots);
            let files = Placed { files, place: "--certificate".to_owned(), roots };
            let mut listeners = self.listen;
            for endpoint in &mut listeners {
                if let (ListenAddress::Unix { mode, .. }, Some(wanted)) = (endpoint, self.mode) {
                    *mode = wanted;
                }
            }
            let allow = if self.allow.is_empty() { vec![own_user()] } else { self.allow };
            let mut config = quick::one_identity(listeners, files, allow, self.account)?;
            let address = self.metrics.map(|address| MetricsSettings::local(address).address());
            config.metrics =
                address.transpose().map_err(|what| SettingsError::new("--metrics", what))?;
            (config, None)
        } else {
            let path = self.config.unwrap_or_else(|| DEFAULT_CONFIG.into());
            (Config::read(&path)?, Some(path))
        };
        config.log.format = self.log_format.unwrap_or(config.log.format);
        config.log.level = self.log_level.unwrap_or(config.log.level);
        Ok((config, path))
    }
}

impl Dev {
    /// The configuration. `directory` is where the sockets go that were not asked for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn configuration(self, directory: &Path) -> Result<Config, SettingsError> {
        let mut listeners = self.listen;
        if listeners.is_empty() {
            let directory = directory.join(format!("altsd-dev-{}", geteuid()));
            private_directory(&directory)
                .map_err(|why| SettingsError::new(directory.display().to_string(), why))?;
            for user in ["client", "server"] {
                let path = directory.join(user).with_extension("sock");
                listeners.push((
                    ListenAddress::Unix { path, mode: Mode(0o600), owner: None, group: None },
                    AccountPattern::Exact(format!("{user}@dev.test")),
                ));
            }
        }
        let mut callers = vec![own_user(), CallerPattern::Uid(0)];
        callers.extend(self.allow);
        quick::development(listeners, &callers)
    }
}

/// The user who has started this.
fn own_user() -> CallerPattern {
    CallerPattern::Uid(geteuid().as_raw())
}

/// A directory of our own in one where everybody may make some.
fn private_directory(path: &Path) -> Result<(), String> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(|why| why.to_string()),
    }
    let metadata = fs::symlink_metadata(path).map_err(|why| why.to_string())?;
    if metadata.is_dir()
        && metadata.uid() == geteuid().as_raw()
        && metadata.mode().trailing_zeros() >= 6
    {
        // None of the six bits of group and others.
        return Ok(());
    }
    Err("this directory belongs to somebody else or is open to others: remove it".to_owned())
}

/// Checks a configuration with everything that it names.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(path: &Path) -> Result<String, SettingsError> {
    let config = Config::read(path)?;
    let (snapshot, warnings) = state::load(&config)?;
    let mut report = String::new();
    // Writing to a string does not fail.
    for own in snapshot.identities() {
        let left = own.expires().saturating_sub(state::since_epoch()).as_secs() / 86_400;
        let _ = writeln!(report, "identity  {} ({left} days left)", own.subject());
    }
    if let Some(SpiffeSettings { agent, .. }) = &config.spiffe {
        let _ = writeln!(report, "identity  of the caller's process (SPIFFE agent at {agent})");
    }
    for listen in &config.listeners {
        let _ = writeln!(report, "listener  {} ({})", listen.name, listen.endpoint);
    }
    for rule in &config.rules {
        let list = |items: Vec<String>| items.join(", ");
        let callers = list(rule.callers.iter().map(ToString::to_string).collect());
        let accounts = list(rule.accounts.iter().map(ToString::to_string).collect());
        let accounts = if accounts.is_empty() { "nothing".to_owned() } else { accounts };
        let on = match &*rule.listeners {
            [] => String::new(),
            names => format!(" on {}", names.join(", ")),
        };
        let _ = writeln!(report, "policy    {callers}{on}: {accounts}");
    }
    let expiry = state::expiry_warnings(&snapshot, config.expiry_warning);
    for warning in config.warnings().into_iter().chain(warnings).chain(expiry) {
        let _ = writeln!(report, "warning   {warning}");
    }
    let _ = writeln!(report, "{}: good", path.display());
    Ok(report)
}

/// What `altsd dev` says when it can be used: where, and lines to copy.
#[must_use]
pub fn greeting(listeners: &[(String, String)], rules: &[crate::policy::Rule]) -> String {
    let mut text = String::from(
        "altsd dev: throw-away identities. Nobody else believes them, and they end with this \
         process.\n\n",
    );
    let mut addresses = Vec::new();
    for (name, address) in listeners {
        let rule = rules.iter().find(|rule| rule.listeners.contains(name));
        let account = rule.and_then(|rule| rule.accounts.first()).map(ToString::to_string);
        let account = account.unwrap_or_default();
        let _ = writeln!(text, "  {address}  is the handshaker service of  {account}");
        addresses.push((address.as_str(), account));
    }
    let (first, account) = addresses.first().cloned().unwrap_or_default();
    let (last, _) = addresses.last().cloned().unwrap_or_default();
    let _ = write!(
        text,
        "\nIn Rust, with tokio-alts:\n\n  \
         // the client\n  \
         let service = GrpcHandshaker::at({first:?})?;\n  \
         // the server\n  \
         let service = GrpcHandshaker::at({last:?})?;\n\n\
         In Go, with google.golang.org/grpc/credentials/alts:\n\n  \
         options := alts.DefaultClientOptions() // or DefaultServerOptions()\n  \
         options.HandshakerServiceAddress = {first:?}\n\n\
         Each end sees the other's account as the peer's; a server lets {account} in by that name.\n\
         Stop with Ctrl-C.\n"
    );
    text
}
