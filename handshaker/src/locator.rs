//! Where the handshaker service is: Google's, one at an address, or throw-away identities in this
//! process.

use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use tokio_alts::{Address, GOOGLE_CLOUD, GrpcHandshaker, HandshakerService};

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
            Self::At(address) => f.write_str(address),
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
    /// Where to connect to; `None` for one in this process.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Google => GOOGLE_CLOUD.parse().ok(),
            // It was an address when this was read; if not, the service says so.
            Self::At(address) => address.parse().ok(),
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
            Self::Development(account) => Arc::new(development.authority()?.handshaker(account)?),
        })
    }
}
