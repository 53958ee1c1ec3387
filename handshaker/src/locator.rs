//! Where the handshaker service is: Google's, one at an address, or throw-away identities in this
//! process.

mod user;

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use tokio_alts::{Address, GOOGLE_CLOUD, GrpcHandshaker, HandshakerService};

pub use self::user::RequiredUser;
use crate::dev::{Authority, DevError};

/// Where a handshaker service is, as it is written on the command line and in files.
///
/// - `google` is that of Google Cloud, and refused elsewhere;
/// - `dev:ACCOUNT` is in this process, with a throw-away identity that only the same process
///   believes;
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
            Self::Development(_) => None,
        }
    }

    /// The service itself. Nothing connects yet.
    ///
    /// # Errors
    /// When this is not Google Cloud and `google` was asked for, or when a development account is
    /// not in a domain that is reserved for tests.
    pub fn service(
        &self,
        development: &Development,
    ) -> Result<Arc<dyn HandshakerService>, Box<dyn Error + Send + Sync>> {
        Ok(match self {
            Self::Google => Arc::new(GrpcHandshaker::google_cloud()?),
            Self::At(address) => Arc::new(GrpcHandshaker::at(address)?),
            Self::AtUser(address, user) => {
                let user = user.clone();
                let service = GrpcHandshaker::at(address)?;
                Arc::new(service.require_listener(move |uid| user.check(uid))?)
            }
            Self::Development(account) => Arc::new(development.authority()?.handshaker(account)?),
        })
    }
}
