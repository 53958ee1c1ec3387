//! Trust roots as they are written in the configuration: a path, or a table with what it may vouch for.

use std::fmt;
use std::path::PathBuf;

use alts_handshaker::identity::revocation::WithoutStatus;
use alts_handshaker::identity::vouching::{MachinePattern, VouchedAccounts};
use alts_handshaker::identity::{AccountFrom, Vouching};
use alts_handshaker::spiffe::TrustDomain;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// One entry of `trust_roots`.
#[derive(Debug)]
pub(crate) struct RawRoot {
    /// The file.
    pub(crate) path: PathBuf,
    /// What its authorities may vouch for.
    pub(crate) vouching: Vouching,
    /// What they have revoked.
    pub(crate) revoked: RawRevoked,
}

/// The revocation lists of one entry.
#[derive(Debug, Default)]
pub(crate) struct RawRevoked {
    pub(crate) lists: Vec<PathBuf>,
    pub(crate) unlisted: WithoutStatus,
    pub(crate) expired: WithoutStatus,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    path: PathBuf,
    accounts: Option<Vec<String>>,
    account_from: Option<Kind>,
    trust_domain: Option<String>,
    #[serde(default)]
    machines: Vec<String>,
    #[serde(default)]
    crl: Vec<PathBuf>,
    without_crl: Option<Verdict>,
    expired_crl: Option<Verdict>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Refuse,
    Accept,
}

impl From<Verdict> for WithoutStatus {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Refuse => Self::Refuse,
            Verdict::Accept => Self::Accept,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Email,
    Uri,
}

impl<'de> Deserialize<'de> for RawRoot {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathOrTable)
    }
}

struct PathOrTable;

impl<'de> Visitor<'de> for PathOrTable {
    type Value = RawRoot;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or a table with path, trust_domain, accounts, account_from, machines, crl, without_crl and expired_crl")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<RawRoot, E> {
        let (vouching, revoked) = Default::default();
        Ok(RawRoot { path: path.into(), vouching, revoked })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawRoot, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let machines: Result<Vec<MachinePattern>, _> =
            table.machines.iter().map(|text| text.parse()).collect();
        let mut vouching = Vouching::new().machines(machines.map_err(Error::custom)?);
        if let Some(accounts) = table.accounts {
            let accounts: Result<Vec<VouchedAccounts>, _> =
                accounts.iter().map(|text| text.parse()).collect();
            vouching = vouching.accounts(accounts.map_err(Error::custom)?);
        }
        if let Some(kind) = table.account_from {
            vouching = vouching.account_from(match kind {
                Kind::Email => AccountFrom::Email,
                Kind::Uri => AccountFrom::Uri,
            });
        }
        if let Some(domain) = table.trust_domain {
            if vouching != Vouching::new() {
                return Err(Error::custom(
                    "trust_domain says which accounts these are: remove accounts, account_from and machines",
                ));
            }
            let domain: TrustDomain = domain.parse().map_err(Error::custom)?;
            let too_long = || Error::custom("trust_domain is so long that no account fits");
            vouching = domain.vouching().ok_or_else(too_long)?;
        }
        if table.crl.is_empty() && (table.without_crl.is_some() || table.expired_crl.is_some()) {
            return Err(Error::custom("without_crl and expired_crl are only for roots with a crl"));
        }
        let revoked = RawRevoked {
            lists: table.crl,
            unlisted: table.without_crl.map_or_else(Default::default, Into::into),
            expired: table.expired_crl.map_or_else(Default::default, Into::into),
        };
        Ok(RawRoot { path: table.path, vouching, revoked })
    }
}
