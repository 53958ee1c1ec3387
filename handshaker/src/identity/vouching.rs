//! Which accounts and machines an authority may vouch for: patterns, and which kind of name counts.
//!
//! ```text
//! pattern  what it is for
//! *                                every account
//! web@prod.example                 that account
//! *@prod.example                   every user of that domain
//! *@*.prod.example                 every user of every domain below it, at any depth
//! spiffe://prod.example/web        that URI
//! spiffe://prod.example/ns/*       every URI below that path, at any depth
//! host.prod.example                as a machine: that one
//! *.hosts.prod.example             as machines: all below that name
//! ```
//!
//! A star may stand nowhere else, and nothing is folded: the comparison is of bytes. An account of an
//! e-mail name has exactly one `@` and no colon, and one of a URI begins with a scheme and a colon:
//! no account can be both, so no pattern of one kind is ever for an account of the other.

use std::fmt;
use std::str::FromStr;

use super::name::{AccountFrom, check_account, check_machine, is_uri};

/// Which service accounts: the grammar is that of the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPattern(String);

impl AccountPattern {
    /// Whether an account is one of these.
    #[must_use]
    pub fn matches(&self, account: &str) -> bool {
        let pattern = self.0.as_str();
        if pattern == "*" || pattern == account {
            return true;
        }
        if let Some(prefix) = pattern.strip_suffix("/*") {
            return account.strip_prefix(prefix).is_some_and(|rest| {
                // Dots would lead out of the path again, in any program that resolves it.
                rest.len() > 1
                    && rest.starts_with('/')
                    && rest.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."))
            });
        }
        let (Some((wanted, domain)), Some((user, host))) =
            (pattern.split_once('@'), account.split_once('@'))
        else {
            return false;
        };
        let user_fits = if wanted == "*" { !user.is_empty() } else { wanted == user };
        user_fits && !account.contains(':') && below(domain, host)
    }
}

impl FromStr for AccountPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "{text:?} is no pattern for accounts: write web@prod.example, *@prod.example, \
                 *@*.prod.example, spiffe://prod.example/web, spiffe://prod.example/ns/* or *"
            )
        };
        check_account(text).map_err(|_| refuse())?;
        let plain = if text == "*" {
            ""
        } else if is_uri(text) {
            text.strip_suffix("/*").unwrap_or(text)
        } else {
            let (user, host) = text.split_once('@').ok_or_else(refuse)?;
            let host = host.strip_prefix("*.").unwrap_or(host);
            let user = if user == "*" { "" } else { user };
            if host.is_empty() || host.contains(['@', '*']) || text.contains(':') {
                return Err(refuse());
            }
            user
        };
        if plain.contains('*') || text.starts_with('@') {
            return Err(refuse());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for AccountPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which machines: a name, or all names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachinePattern(String);

impl MachinePattern {
    /// Whether a machine is one of these.
    #[must_use]
    pub fn matches(&self, machine: &str) -> bool {
        below(&self.0, machine)
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

/// Whether a host has this name, or one below it when the pattern begins with a star.
fn below(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix('*') {
        // The dot stays: `*.a` matches `b.a`, but neither `a` nor `ba`.
        Some(suffix) => {
            host.strip_suffix(suffix).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('.'))
        }
        None => pattern == host,
    }
}

/// What one authority, or several of one table, may vouch for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vouching {
    accounts: Option<Vec<AccountPattern>>,
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
    pub fn accounts(mut self, accounts: Vec<AccountPattern>) -> Self {
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
        let fits = |patterns: &Vec<AccountPattern>| patterns.iter().any(|one| one.matches(account));
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
    fn patterns_are_for_what_they_say_and_nothing_else() {
        for (pattern, good, bad) in [
            ("*", &["web@prod.example", "spiffe://a/b"][..], &[][..]),
            (
                "web@prod.example",
                &["web@prod.example"],
                &["Web@prod.example", "web@prod.example.", "xweb@prod.example", "web@b"],
            ),
            (
                "*@prod.example",
                &["web@prod.example", "*@prod.example"],
                &[
                    "@prod.example",
                    "web@x.prod.example",
                    "web@xprod.example",
                    "web@x@prod.example",
                    "spiffe://other/web@prod.example",
                    "prod.example",
                ],
            ),
            (
                "*@*.prod.example",
                &["a@b.prod.example", "a@c.b.prod.example"],
                &["a@prod.example", "a@.prod.example", "a@bprod.example", "x:a@b.prod.example"],
            ),
            (
                "spiffe://prod.example/ns/*",
                &["spiffe://prod.example/ns/a", "spiffe://prod.example/ns/a/b"],
                &[
                    "spiffe://prod.example/ns",
                    "spiffe://prod.example/ns/",
                    "spiffe://prod.example/nsx/a",
                    "spiffe://prod.example/ns//a",
                    "spiffe://prod.example/ns/../b",
                    "spiffe://prod.example/ns/a/.",
                    "spiffe://prod.example.evil/ns/a",
                ],
            ),
            (
                "spiffe://prod.example/*",
                &["spiffe://prod.example/a"],
                &["spiffe://prod.example@evil/a", "spiffe://prod.example.evil/a"],
            ),
        ] {
            let parsed: AccountPattern = pattern.parse().unwrap();
            for account in good {
                assert!(parsed.matches(account), "{pattern} {account}");
            }
            for account in bad {
                assert!(!parsed.matches(account), "{pattern} {account}");
            }
        }
    }

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
            assert!(bad.parse::<AccountPattern>().is_err(), "{bad}");
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
