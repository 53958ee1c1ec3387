//! Secure naming as it is written in the configuration: `[[target]]` and `[naming]`.

use std::fmt;

use alts_core::account::PatternError;
use alts_handshaker::naming::{NamePattern, SecureNaming, WithoutRule};
use serde::Deserialize;

/// One `[[target]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTarget {
    names: Vec<String>,
    accounts: Vec<String>,
}

/// `[naming]`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawNaming {
    unknown: Option<Verdict>,
    empty: Option<Verdict>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Refuse,
    Allow,
}

impl From<Verdict> for WithoutRule {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Refuse => Self::Refuse,
            Verdict::Allow => Self::Allow,
        }
    }
}

impl RawNaming {
    /// The table, so far without a rule.
    pub(crate) fn table(self) -> SecureNaming {
        let verdict = |verdict: Option<Verdict>| verdict.map_or_else(Default::default, Into::into);
        SecureNaming::new().unknown(verdict(self.unknown)).empty(verdict(self.empty))
    }
}

impl RawTarget {
    /// A table with this rule behind the others, whose patterns are `earlier`.
    pub(crate) fn add_to(
        self,
        table: SecureNaming,
        earlier: &mut Vec<NamePattern>,
    ) -> Result<SecureNaming, String> {
        if self.names.is_empty() || self.accounts.is_empty() {
            return Err("names and accounts have to have one entry at least".to_owned());
        }
        let sentence = |text: &str, why: &dyn fmt::Display| format!("{text:?}: {why}");
        let account =
            |text: &String| text.parse().map_err(|why: PatternError| sentence(text, &why));
        let names: Vec<NamePattern> =
            self.names.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        for name in &names {
            if let Some(wide) = earlier.iter().find(|wide| wide.covers(name)) {
                return Err(format!(
                    "{name} never gets here, because {wide} comes first: put this one before it"
                ));
            }
        }
        let accounts = self.accounts.iter().map(account).collect::<Result<_, _>>()?;
        earlier.extend(names.iter().cloned());
        Ok(table.rule(names, accounts))
    }
}
