//! Where the handshaker service is: Google's, one at an address, or one in this process, with an
//! identity from files or a throw-away one.

mod paths;
mod user;

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use serde::Deserialize;
use tokio_alts::{Address, GOOGLE_CLOUD, GrpcHandshaker, HandshakerService};

pub use self::paths::IdentityPaths;
pub use self::user::RequiredUser;
use crate::dev::{Authority, DevError};
use crate::files::{self, Watched};
use crate::spiffe::{Agent, Settings, SpiffeHandshaker};

/// Where a handshaker service is, as it is written on the command line and in files.
///
/// - `google` is that of Google Cloud, and refused elsewhere;
/// - `dev:ACCOUNT` is in this process, with a throw-away identity that only the same process
///   believes;
/// - `files:DIRECTORY` and `files:CERTIFICATE,KEY,ROOTS` are in this process, with an identity from
///   files, which are watched ([`IdentityPaths`]);
/// - `spiffe:unix:/path` is in this process, with the identity that the SPIFFE agent at that socket gives
///   it and renews;
/// - anything else is an address: `host:port`, `dns:///host:port`, `unix:/path`,
///   `unix-abstract:name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
#[non_exhaustive]
pub enum Locator {
    /// Google Cloud's.
    Google,
    /// In this process, with this account.
    Development(String),
    /// In this process, with the identity in these files.
    Files(IdentityPaths),
    /// In this process, with the identity that the SPIFFE agent at this address gives it.
    Spiffe(String),
    /// At an address.
    At(String),
    /// At the address of a UNIX socket, where this user has to listen.
    AtUser(String, RequiredUser),
}

impl FromStr for Locator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "google" {
            Ok(Self::Google)
        } else if let Some(account) = text.strip_prefix("dev:") {
            Ok(Self::Development(account.to_owned()))
        } else if let Some(paths) = text.strip_prefix("files:") {
            let paths = paths.parse().map_err(|why| format!("handshaker {text:?}: {why}"))?;
            Ok(Self::Files(paths))
        } else if let Some(agent) = text.strip_prefix("spiffe:") {
            Agent::at(agent).map_err(|why| format!("handshaker {text:?}: {why}"))?;
            Ok(Self::Spiffe(agent.to_owned()))
        } else {
            GrpcHandshaker::at(text).map_err(|why| format!("handshaker {text:?}: {why}"))?;
            Ok(Self::At(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Locator {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Google => f.write_str("google"),
            Self::Development(account) => write!(f, "dev:{account}"),
            Self::Files(paths) => write!(f, "files:{paths}"),
            Self::Spiffe(agent) => write!(f, "spiffe:{agent}"),
            Self::At(address) | Self::AtUser(address, _) => f.write_str(address),
        }
    }
}

/// The authority of all throw-away identities of one run, made when the first is asked for.
#[derive(Debug, Default)]
pub struct Development {
    authority: OnceLock<Authority>,
}

impl Development {
    /// With this authority: its certificates may end sooner than others.
    #[must_use]
    pub fn of(authority: Authority) -> Self {
        Self { authority: OnceLock::from(authority) }
    }

    fn authority(&self) -> Result<&Authority, DevError> {
        if let Some(authority) = self.authority.get() {
            return Ok(authority);
        }
        let authority = Authority::new()?;
        Ok(self.authority.get_or_init(|| authority))
    }
}

impl Locator {
    /// The same; if a user is given, that one has to listen there. Anyone can listen on a free port, or
    /// take a free abstract name.
    ///
    /// # Errors
    /// When it is not at a UNIX socket: only there the kernel says who listens.
    pub fn of_user(self, user: Option<RequiredUser>) -> Result<Self, String> {
        let Some(user) = user else { return Ok(self) };
        match self {
            Self::At(address) | Self::AtUser(address, _)
                if matches!(address.parse(), Ok(Address::Unix(_) | Address::UnixAbstract(_))) =>
            {
                Ok(Self::AtUser(address, user))
            }
            other => Err(format!(
                "{user} is required to listen at {other}, and only at UNIX sockets the kernel says \
                 who listens: write unix:/path or unix-abstract:name"
            )),
        }
    }

    /// The same with other paths of files: in a configuration, they may be relative to its own.
    #[must_use]
    pub fn with_paths(self, change: impl Fn(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::Files(paths) => Self::Files(paths.with_paths(change)),
            other => other,
        }
    }

    /// The user that has to listen there, if one is required.
    #[must_use]
    pub const fn required_user(&self) -> Option<&RequiredUser> {
        match self {
            Self::AtUser(_, user) => Some(user),
            _ => None,
        }
    }

    /// Where to connect to; `None` for one in this process.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Google => GOOGLE_CLOUD.parse().ok(),
            // It was an address when this was read; if not, the service says so.
            Self::At(address) | Self::AtUser(address, _) => address.parse().ok(),
            Self::Development(_) | Self::Files(_) | Self::Spiffe(_) => None,
        }
    }

    /// The service, and what becomes of its identity. Nothing connects yet.
    ///
    /// # Errors
    /// When this is not Google Cloud and `google` was asked for, when a development account is not in a
    /// domain that is reserved for tests, or when files cannot be used.
    pub fn locate(&self, development: &Development) -> Result<Located, LocatorError> {
        let source = match self {
            Self::Google => Source::Other(Arc::new(GrpcHandshaker::google_cloud()?)),
            Self::At(address) => Source::Other(Arc::new(GrpcHandshaker::at(address)?)),
            Self::AtUser(address, user) => {
                let user = user.clone();
                let service = GrpcHandshaker::at(address)?;
                Source::Other(Arc::new(service.require_listener(move |uid| user.check(uid))?))
            }
            Self::Development(account) => {
                Source::Other(Arc::new(development.authority()?.handshaker(account)?))
            }
            Self::Spiffe(agent) => {
                let service = SpiffeHandshaker::new(&Agent::at(agent)?, Settings::new());
                Source::Spiffe(Arc::new(service))
            }
            Self::Files(paths) => {
                let watched = files::watch(paths.files(), files::POLL)?;
                let subject = watched.handshaker().subject();
                if subject.default_account().is_none() {
                    return Err(format!(
                        "the certificate is for the {subject}, and says nothing of who on it this \
                         program is: use one for a service account, or altsd"
                    )
                    .into());
                }
                Source::Files(Arc::new(watched))
            }
        };
        Ok(Located { locator: self.clone(), source })
    }

    /// The service alone. Nothing connects yet.
    ///
    /// # Errors
    /// As [`locate`](Self::locate).
    pub fn service(
        &self,
        development: &Development,
    ) -> Result<Arc<dyn HandshakerService>, LocatorError> {
        Ok(self.locate(development)?.service())
    }
}

/// Why there is no service.
pub type LocatorError = Box<dyn Error + Send + Sync>;

/// A service, where it is, and what becomes of its identity.
#[derive(Clone)]
pub struct Located {
    locator: Locator,
    source: Source,
}

/// Where an identity comes from.
#[derive(Clone)]
enum Source {
    /// It stays what it is, or is renewed elsewhere.
    Other(Arc<dyn HandshakerService>),
    /// From files.
    Files(Arc<Watched>),
    /// From an agent.
    Spiffe(Arc<SpiffeHandshaker>),
}

impl Located {
    /// Where it is.
    #[must_use]
    pub const fn locator(&self) -> &Locator {
        &self.locator
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> Arc<dyn HandshakerService> {
        match &self.source {
            Source::Other(service) => Arc::clone(service),
            Source::Files(watched) => Arc::clone(watched) as _,
            Source::Spiffe(agent) => Arc::clone(agent) as _,
        }
    }

    /// Looks now, and not only in a while, whether there is a new identity in this process.
    ///
    /// # Errors
    /// Why what is there now is not used.
    pub async fn refresh(&self) -> Result<(), String> {
        match &self.source {
            // An agent says by itself what is new.
            Source::Other(_) | Source::Spiffe(_) => Ok(()),
            Source::Files(watched) => {
                watched.refresh().await.failing.map_or(Ok(()), |failing| Err(failing.why))
            }
        }
    }

    /// Whether peers can believe an identity in this process. Nothing is known of those elsewhere.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check(&self) -> Result<(), String> {
        let watched = match &self.source {
            Source::Other(_) => return Ok(()),
            Source::Files(watched) => watched,
            Source::Spiffe(agent) => return agent.check(),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if watched.handshaker().expires() > now {
            return Ok(());
        }
        Err(match watched.status().failing {
            Some(failing) => format!("the certificate has expired; {}", failing.why),
            None => "the certificate has expired".to_owned(),
        })
    }
}

impl fmt::Debug for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Located").field("locator", &self.locator).finish_non_exhaustive()
    }
}
