//! Trust roots as they are written in the configuration: a path, or a table with what it may vouch for.

use std::fmt;
use std::path::PathBuf;

use alts_handshaker::identity::vouching::{MachinePattern, VouchedAccounts};
use alts_handshaker::identity::{AccountFrom, Vouching};
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    path: PathBuf,
    accounts: Option<Vec<String>>,
    account_from: Option<Kind>,
    #[serde(default)]
    machines: Vec<String>,
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
        f.write_str("a path, or a table with path, accounts, account_from and machines")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<RawRoot, E> {
        Ok(RawRoot { path: path.into(), vouching: Vouching::new() })
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
        Ok(RawRoot { path: table.path, vouching })
    }
}
