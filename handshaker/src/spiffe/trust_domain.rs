//! Trust domains: their names, and whose accounts they are.

use std::fmt;
use std::str::FromStr;

use crate::identity::vouching::VouchedAccounts;
use crate::identity::{AccountFrom, Vouching};

/// What SPIFFE IDs begin with.
const SCHEME: &str = "spiffe://";

/// The longest name (SPIFFE-ID, section 2.3).
const MAX_NAME: usize = 255;

/// The name of a trust domain: `prod.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(String);

/// A text that is not the name of a trust domain.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustDomainError(String);

impl TrustDomain {
    /// The name, without a scheme.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The one whose member an identity is: `spiffe://NAME/PATH`.
    ///
    /// # Errors
    /// When it is not the SPIFFE ID of a workload.
    pub(super) fn of_identity(id: &str) -> Result<Self, TrustDomainError> {
        let no_workload = || TrustDomainError(format!("{id:?} is not the SPIFFE ID of a workload"));
        let (name, path) = id
            .strip_prefix(SCHEME)
            .and_then(|rest| rest.split_once('/'))
            .ok_or_else(no_workload)?;
        // Percent signs, questions and fragments have no place in one either.
        let good = |segment: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !matches!(segment, "" | "." | "..") && segment.bytes().all(allowed)
        };
        if !path.split('/').all(good) {
            return Err(no_workload());
        }
        name.parse()
    }

    /// What its authorities may vouch for: its own members, and nobody else. Nothing if its name is so
    /// long that no account fits.
    #[must_use]
    pub fn vouching(&self) -> Option<Vouching> {
        let members: VouchedAccounts = format!("{SCHEME}{}/*", self.0).parse().ok()?;
        Some(Vouching::new().accounts(vec![members]).account_from(AccountFrom::Uri))
    }
}

/// `prod.example` or `spiffe://prod.example`.
impl FromStr for TrustDomain {
    type Err = TrustDomainError;

    fn from_str(text: &str) -> Result<Self, TrustDomainError> {
        let name = text.strip_prefix(SCHEME).unwrap_or(text);
        // SPIFFE-ID, section 2.1: small letters, digits, and three more.
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(allowed) {
            return Err(TrustDomainError(format!(
                "{text:?} is not the name of a trust domain: write prod.example"
            )));
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TrustDomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for TrustDomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for TrustDomainError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_whose_members_identities_are() {
        for good in ["prod.example", "spiffe://prod.example", "a_b-c.1"] {
            assert!(good.parse::<TrustDomain>().is_ok(), "{good}");
        }
        for bad in ["", "spiffe://", "Prod.example", "a/b", "spiffe://a/b", "a:1", "u@a", "*"] {
            assert!(bad.parse::<TrustDomain>().is_err(), "{bad}");
        }
        let of = |id: &str| TrustDomain::of_identity(id).map(|domain| domain.0);
        assert_eq!(of("spiffe://prod.example/ns/web").as_deref(), Ok("prod.example"));
        for bad in [
            "spiffe://prod.example",
            "spiffe://prod.example/",
            "spiffe://prod.example/a//b",
            "spiffe://prod.example/a/",
            "spiffe://prod.example/../x",
            "spiffe://prod.example/a%2fb",
            "spiffe://prod.example:1/a",
            "spiffe://u@prod.example/a",
            "https://prod.example/a",
            "web@prod.example",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_trust_domain_vouches_for_its_own_members() {
        let vouching = TrustDomain("prod.example".to_owned()).vouching().unwrap();
        assert_eq!(
            vouching.to_string(),
            "the accounts spiffe://prod.example/* and the machines none"
        );
    }
}
