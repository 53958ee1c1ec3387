//! Which accounts and machines an authority may vouch for: patterns, and which kind of name counts.
//!
//! Patterns for service accounts are those of [`alts_core::account`]; an authority can only vouch for
//! accounts that have the form of an e-mail name or of a URI. Those for machines are a name,
//! `host.prod.example`, or all names below one, `*.hosts.prod.example`.

use std::fmt;
use std::str::FromStr;

use alts_core::account::{AccountPattern, PatternError, is_below, is_email, is_uri};

use super::name::{AccountFrom, check_machine};

/// Which service accounts an authority may vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VouchedAccounts(AccountPattern<String>);

impl VouchedAccounts {
    /// Whether an account is one of these.
    #[must_use]
    pub fn matches(&self, account: &str) -> bool {
        self.0.matches(account)
    }
}

impl FromStr for VouchedAccounts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern: AccountPattern<String> =
            text.parse().map_err(|error| format!("{text:?} is {error}"))?;
        if pattern.is_exact() && !is_email(text) && !is_uri(text) {
            return Err(format!("{text:?} is {PatternError}"));
        }
        Ok(Self(pattern))
    }
}

impl fmt::Display for VouchedAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which machines: a name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePattern(String);

impl MachinePattern {
    /// Whether a machine is one of these.
    #[must_use]
    pub fn matches(&self, machine: &str) -> bool {
        is_below(&self.0, machine)
    }
}

impl FromStr for MachinePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        check_machine(name).map_err(|why| {
            format!(
                "{text:?} is no pattern for machines: write host.prod.example or \
                 *.hosts.prod.example ({why})"
            )
        })?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for MachinePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What one authority, or several of one table, may vouch for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouching {
    accounts: Option<Vec<VouchedAccounts>>,
    account_from: Option<AccountFrom>,
    machines: Vec<MachinePattern>,
}

impl Vouching {
    /// For every service account, and for no machine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only for these service accounts.
    #[must_use]
    pub fn accounts(mut self, accounts: Vec<VouchedAccounts>) -> Self {
        self.accounts = Some(accounts);
        self
    }

    /// Says which kind of name is the account. By default a certificate with names of both kinds is
    /// refused.
    #[must_use]
    pub const fn account_from(mut self, kind: AccountFrom) -> Self {
        self.account_from = Some(kind);
        self
    }

    /// For these machines, and so for each `user@machine` on them. Such names belong to machines
    /// from then on: no certificate makes one of them a service account.
    #[must_use]
    pub fn machines(mut self, machines: Vec<MachinePattern>) -> Self {
        self.machines = machines;
        self
    }

    /// Which kind of name is the account.
    #[must_use]
    pub const fn kind(&self) -> Option<AccountFrom> {
        self.account_from
    }

    /// Whether it is restricted to some accounts.
    #[must_use]
    pub const fn is_restricted(&self) -> bool {
        self.accounts.is_some()
    }

    /// Whether some machines may be vouched for.
    #[must_use]
    pub const fn has_machines(&self) -> bool {
        !self.machines.is_empty()
    }

    pub(super) fn allows_account(&self, account: &str) -> bool {
        let fits =
            |patterns: &Vec<VouchedAccounts>| patterns.iter().any(|one| one.matches(account));
        self.accounts.as_ref().is_none_or(fits)
    }

    pub(super) fn allows_machine(&self, machine: &str) -> bool {
        self.machines.iter().any(|pattern| pattern.matches(machine))
    }
}

/// For sentences: what an authority is restricted to.
impl fmt::Display for Vouching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| {
            if items.is_empty() { "none".to_owned() } else { items.join(", ") }
        };
        match &self.accounts {
            None => f.write_str("all accounts")?,
            Some(some) => {
                let some = some.iter().map(ToString::to_string).collect();
                write!(f, "the accounts {}", list(some))?;
            }
        }
        let machines = self.machines.iter().map(ToString::to_string).collect();
        write!(f, " and the machines {}", list(machines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "",
            "web",
            "@prod.example",
            "web@",
            "web@*",
            "*@*",
            "w*@prod.example",
            "web@pr*d.example",
            "web@*.*.example",
            "web@a@b",
            "spiffe://*/web",
            "spiffe://*.prod.example/web",
            "spiffe://prod.example/*/web",
            "spiffe://prod.example/w*",
            "**",
            "a b@c",
            "x:y@z*",
        ] {
            assert!(bad.parse::<VouchedAccounts>().is_err(), "{bad}");
        }
        for bad in ["", "*", "*.", "*.*.a", "a.*", "A.example", "web@host"] {
            assert!(bad.parse::<MachinePattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn machines_by_name_and_below_one() {
        let all: MachinePattern = "*.hosts.prod.example".parse().unwrap();
        assert!(all.matches("a.hosts.prod.example") && all.matches("b.a.hosts.prod.example"));
        for other in ["hosts.prod.example", "prod.example", "ahosts.prod.example", ""] {
            assert!(!all.matches(other), "{other}");
        }
        let one: MachinePattern = "host.prod.example".parse().unwrap();
        assert!(one.matches("host.prod.example") && !one.matches("a.host.prod.example"));
    }
}
