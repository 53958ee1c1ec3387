//! The policy: which caller may use which of this daemon's identities.
//!
//! Rules are tried in order, and the first one for a caller decides. A caller for whom there is none
//! is refused: by default, callers get nothing.

use std::fmt;
use std::str::FromStr;

use alts_handshaker::identity::{Subject, check_account};
use alts_serving::caller::Caller;
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::directory::Directory;
use serde::Deserialize;

/// What a rule gives.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum AccountPattern {
    /// A service account.
    Exact(String),
    /// `{user}@machine`: the caller's own user name at a machine.
    OwnUser {
        /// The machine.
        machine: String,
    },
    /// `{spiffe}`: the SPIFFE ID that the agent attests for the caller's process.
    Attested,
}

/// How that is written.
const ATTESTED: &str = "{spiffe}";

/// What a rule amounts to for one caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A service account.
    Account(String),
    /// Whatever the SPIFFE agent gives the caller's process.
    Attested,
}

impl FromStr for AccountPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(machine) = text.strip_prefix("{user}@") {
            check_account(&format!("x@{machine}")).map_err(|why| format!("{text:?}: {why}"))?;
            return Ok(Self::OwnUser { machine: machine.to_owned() });
        }
        if text == ATTESTED {
            return Ok(Self::Attested);
        }
        if text.contains(['{', '}']) {
            return Err(format!("{text:?}: only {{user}}@MACHINE and {{spiffe}} have braces"));
        }
        check_account(text).map_err(|why| format!("{text:?}: {why}"))?;
        Ok(Self::Exact(text.to_owned()))
    }
}

impl TryFrom<String> for AccountPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for AccountPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(account) => f.write_str(account),
            Self::OwnUser { machine } => write!(f, "{{user}}@{machine}"),
            Self::Attested => f.write_str(ATTESTED),
        }
    }
}

impl AccountPattern {
    /// What this amounts to for a caller.
    fn given(&self, caller: &Caller) -> Option<Given> {
        match self {
            Self::Exact(account) => Some(Given::Account(account.clone())),
            Self::Attested => Some(Given::Attested),
            Self::OwnUser { machine } => {
                let account = format!("{}@{machine}", caller.own_user()?);
                check_account(&account).is_ok().then_some(Given::Account(account))
            }
        }
    }

    /// Whether the holder of a certificate may use such a name, for whichever user. What an agent gives
    /// comes with a certificate of its own.
    #[must_use]
    pub fn is_vouched_by(&self, subject: &Subject) -> bool {
        match self {
            Self::Attested => false,
            Self::Exact(account) => subject.vouches_for(account),
            Self::OwnUser { machine } => {
                matches!(subject, Subject::Machine(_))
                    && subject.vouches_for(&format!("x@{machine}"))
            }
        }
    }
}

/// One rule of the policy.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The callers that it is for.
    pub callers: Vec<CallerPattern>,
    /// On which listeners; an empty list means all.
    pub listeners: Vec<String>,
    /// What these callers may use, the default first; an empty list refuses them.
    pub accounts: Vec<AccountPattern>,
    /// Where it was written.
    pub place: String,
}

impl Rule {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.callers.is_empty() {
            return Err("callers is empty: this rule is for nobody".to_owned());
        }
        let own = |account: &AccountPattern| matches!(account, AccountPattern::OwnUser { .. });
        if self.callers.contains(&CallerPattern::Unidentified) && self.accounts.iter().any(own) {
            return Err("unidentified callers have no user name, so {user} is nobody".to_owned());
        }
        if self.callers.contains(&CallerPattern::Unidentified)
            && self.accounts.contains(&AccountPattern::Attested)
        {
            return Err("unidentified callers are no process, so {spiffe} is nobody".to_owned());
        }
        Ok(())
    }

    /// Whether every caller of the other rule is one of this.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let listeners = self.listeners.is_empty()
            || (!other.listeners.is_empty()
                && other.listeners.iter().all(|name| self.listeners.contains(name)));
        listeners
            && other.callers.iter().all(|caller| {
                self.callers.contains(caller)
                    || (self.callers.contains(&CallerPattern::Anyone)
                        && *caller != CallerPattern::Unidentified)
            })
    }
}

/// What the policy says about a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may use these, the first by default.
    Accounts(Vec<Given>),
    /// It may use none, and this is why.
    Refused(String),
}

/// The rules.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
}

impl Policy {
    /// Takes the rules, and says what in them is for nobody on this machine. Names are compared
    /// when somebody calls, so what a name means may change later.
    pub fn resolve(rules: &[Rule], directory: &impl Directory) -> (Self, Vec<String>) {
        let warnings = rules
            .iter()
            .flat_map(|rule| {
                let odd = rule.callers.iter().filter_map(|caller| caller.warning(directory));
                odd.map(|what| format!("{}: {what}", rule.place))
            })
            .collect();
        (Self { rules: rules.to_vec() }, warnings)
    }

    /// All accounts that some rule gives, with the rule's place.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountPattern, &str)> {
        self.rules
            .iter()
            .flat_map(|rule| rule.accounts.iter().map(|account| (account, rule.place.as_str())))
    }

    /// Whether a caller on a listener may use what the SPIFFE agent gives its process.
    #[must_use]
    pub fn attests(&self, caller: &Caller, listener: &str) -> bool {
        matches!(self.decide(caller, listener), Decision::Accounts(given) if given.contains(&Given::Attested))
    }

    /// What a caller on a listener may use.
    #[must_use]
    pub fn decide(&self, caller: &Caller, listener: &str) -> Decision {
        let found = self.rules.iter().find(|rule| {
            (rule.listeners.is_empty() || rule.listeners.iter().any(|name| name == listener))
                && rule.callers.iter().any(|pattern| pattern.is(caller))
        });
        let refuse = |why: &str| {
            Decision::Refused(format!(
                "the caller ({caller}) may not use any identity of this handshaker service: {why}"
            ))
        };
        if let Caller::Unknown { why, .. } = caller {
            return refuse(why);
        }
        let Some(rule) = found else {
            return refuse(&format!(
                "its policy has no rule for this caller on the listener {listener}"
            ));
        };
        let accounts: Vec<_> =
            rule.accounts.iter().filter_map(|account| account.given(caller)).collect();
        if accounts.is_empty() && !rule.accounts.is_empty() {
            return refuse("its rule gives {user}@machine, and there is no such user name");
        }
        if accounts.is_empty() {
            return refuse("its policy has a rule that gives this caller none");
        }
        Decision::Accounts(accounts)
    }
}
