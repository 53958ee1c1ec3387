//! What no longer counts: certificates that their authority has revoked, and what this side denies.
//!
//! Certificate revocation lists (RFC 5280 section 5) belong to one set of trust roots and are checked
//! for the whole chain below them. A deny list needs no authority: it is this side's own.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use alts_core::account::AccountPattern;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};
use x509_cert::crl::CertificateList;
use x509_cert::der::{Decode, Encode};
use x509_cert::time::Time;

use super::{IdentityError, parse};

/// What becomes of a certificate whose revocation status cannot be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithoutStatus {
    /// It is refused.
    #[default]
    Refuse,
    /// It is accepted, as if there were no lists.
    Accept,
}

/// The revocation lists of some authorities, and what holds where they say nothing.
///
/// By default every certificate below the root needs a list from its issuer that says it is not
/// revoked, and a list counts until its next update is due.
#[derive(Clone)]
pub struct Revocation {
    lists: Arc<[Arc<CertRevocationList<'static>>]>,
    /// When each of them was made and is to be replaced: times since the UNIX epoch.
    periods: Vec<(Duration, Duration)>,
    unlisted: WithoutStatus,
    expired: WithoutStatus,
}

impl Revocation {
    /// From PEM text with one or more lists.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be read: none is skipped silently.
    pub fn from_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let what = "revocation list";
        let lists = CertificateRevocationListDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| IdentityError::Pem { what, why: error.to_string() })?;
        Self::from_der(lists)
    }

    /// From lists in DER.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der<L: AsRef<[u8]>>(
        lists: impl IntoIterator<Item = L>,
    ) -> Result<Self, IdentityError> {
        let (mut parsed, mut periods) = (Vec::new(), Vec::new());
        for (index, der) in lists.into_iter().enumerate() {
            let failed = |error: &dyn fmt::Display| IdentityError::Revocation {
                index,
                why: error.to_string(),
            };
            let list =
                OwnedCertRevocationList::from_der(der.as_ref()).map_err(|error| failed(&error))?;
            periods.push(period(der.as_ref()).map_err(|error| failed(&error))?);
            parsed.push(Arc::new(CertRevocationList::Owned(list)));
        }
        if parsed.is_empty() {
            return Err(IdentityError::Missing { what: "revocation list" });
        }
        let (unlisted, expired) = Default::default();
        Ok(Self { lists: parsed.into(), periods, unlisted, expired })
    }

    /// These lists and those, with the policies of these.
    #[must_use]
    pub fn and(mut self, others: &Self) -> Self {
        self.lists = self.lists.iter().chain(others.lists.iter()).cloned().collect();
        self.periods.extend(&others.periods);
        self
    }

    /// Says what becomes of certificates for which there is no list of their issuer.
    #[must_use]
    pub const fn unlisted(mut self, policy: WithoutStatus) -> Self {
        self.unlisted = policy;
        self
    }

    /// Says what becomes of certificates whose issuer's list should have been replaced by now. What an
    /// old list revokes is revoked in either case.
    #[must_use]
    pub const fn expired(mut self, policy: WithoutStatus) -> Self {
        self.expired = policy;
        self
    }

    /// The list that has to be replaced first, of those of the root with this name.
    pub(super) fn first_due(&self, root: &str) -> Option<RevocationDue> {
        let first = self.periods.iter().min_by_key(|(_, next_update)| *next_update);
        first.map(|&(this_update, next_update)| RevocationDue {
            root: root.to_owned(),
            this_update,
            next_update,
            afterwards: self.expired,
        })
    }

    pub(super) fn check(
        &self,
        chain: &[CertificateDer<'_>],
        anchors: &[TrustAnchor<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<(), RevocationError> {
        let lists: Vec<_> = self.lists.iter().map(AsRef::as_ref).collect();
        let options = RevocationOptionsBuilder::new(&lists)
            .map_err(|_| RevocationError::Unknown)?
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(match self.unlisted {
                WithoutStatus::Refuse => UnknownStatusPolicy::Deny,
                WithoutStatus::Accept => UnknownStatusPolicy::Allow,
            })
            .with_expiration_policy(match self.expired {
                WithoutStatus::Refuse => ExpirationPolicy::Enforce,
                WithoutStatus::Accept => ExpirationPolicy::Ignore,
            })
            .build();
        let (end_entity, intermediates) = chain.split_first().ok_or(RevocationError::Unknown)?;
        let algorithms =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all;
        let verdict = EndEntityCert::try_from(end_entity).and_then(|certificate| {
            let path = certificate.verify_for_usage(
                algorithms,
                anchors,
                intermediates,
                now,
                usage,
                Some(options),
                None,
            );
            path.map(drop)
        });
        verdict.map_err(|error| match error {
            webpki::Error::CertRevoked => RevocationError::Revoked,
            webpki::Error::UnknownRevocationStatus => RevocationError::Unknown,
            webpki::Error::CrlExpired { .. } => RevocationError::ListExpired,
            other => RevocationError::List(other.to_string()),
        })
    }
}

impl fmt::Debug for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revocation")
            .field("lists", &self.lists.len())
            .field("unlisted", &self.unlisted)
            .field("expired", &self.expired)
            .finish_non_exhaustive()
    }
}

/// When the revocation lists of a trust root have to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevocationDue {
    /// The subject of the root.
    pub root: String,
    /// When the list that is due first was made: time since the UNIX epoch.
    pub this_update: Duration,
    /// When it has to be replaced.
    pub next_update: Duration,
    /// What becomes from then on of certificates that it is about.
    pub afterwards: WithoutStatus,
}

impl RevocationDue {
    /// When the last third of the list's period begins: the new one should be there by then.
    #[must_use]
    pub fn last_third(&self) -> Duration {
        self.next_update.saturating_sub(self.next_update.saturating_sub(self.this_update) / 3)
    }
}

fn period(der: &[u8]) -> Result<(Duration, Duration), x509_cert::der::Error> {
    let list = <CertificateList>::from_der(der)?.tbs_cert_list;
    let this_update = list.this_update.to_unix_duration();
    // RFC 5280 has it in every list, and the verifier takes no other.
    let next_update = list.next_update.map_or(this_update, Time::to_unix_duration);
    Ok((this_update, next_update))
}

/// What revocation lists have against a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RevocationError {
    /// A certificate in it is revoked.
    Revoked,
    /// No list says anything about one of them.
    Unknown,
    /// The list that would say it is too old.
    ListExpired,
    /// A list cannot be used.
    List(String),
}

impl fmt::Display for RevocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("its authority has revoked it"),
            Self::Unknown => f.write_str(
                "no revocation list that this side has is from its issuer, so nobody knows whether it \
                 is revoked",
            ),
            Self::ListExpired => f.write_str(
                "its issuer's revocation list is older than its next update: this side needs the \
                 new one",
            ),
            Self::List(why) => write!(f, "its issuer's revocation list cannot be used: {why}"),
        }
    }
}

/// Accounts, certificates and keys that are refused whatever their authority says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    accounts: Vec<AccountPattern<String>>,
    serials: HashSet<Vec<u8>>,
    keys: HashSet<[u8; 32]>,
}

impl DenyList {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Denies these service accounts.
    #[must_use]
    pub fn accounts(mut self, accounts: Vec<AccountPattern<String>>) -> Self {
        self.accounts = accounts;
        self
    }

    /// Denies every certificate of this serial number, whoever issued it: hexadecimal digits, with or
    /// without colons, as `openssl x509 -serial` prints them.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn serial(mut self, text: &str) -> Result<Self, IdentityError> {
        let why = "a serial number is 1 to 20 bytes in hexadecimal digits";
        let mut bytes = hex(text).ok_or(IdentityError::Name { why })?;
        strip(&mut bytes);
        if bytes.is_empty() || bytes.len() > 20 {
            return Err(IdentityError::Name { why });
        }
        self.serials.insert(bytes);
        Ok(self)
    }

    /// Denies every certificate of this public key: the SHA-256 of its `SubjectPublicKeyInfo`, in 64
    /// hexadecimal digits.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn key(mut self, text: &str) -> Result<Self, IdentityError> {
        let why = "a key's hash is the SHA-256 of its SubjectPublicKeyInfo: 64 hexadecimal digits";
        let hash = hex(text).and_then(|bytes| bytes.try_into().ok());
        self.keys.insert(hash.ok_or(IdentityError::Name { why })?);
        Ok(self)
    }

    /// Whether there is nothing on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.serials.is_empty() && self.keys.is_empty()
    }

    /// Whether an account is on it.
    #[must_use]
    pub fn has_account(&self, account: &str) -> bool {
        self.accounts.iter().any(|pattern| pattern.matches(account))
    }

    /// What is denied of a chain, in words. What cannot be read cannot be compared, and is denied too.
    pub(super) fn objection(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        if self.serials.is_empty() && self.keys.is_empty() {
            return None;
        }
        chain.iter().find_map(|der| {
            let Ok(certificate) = parse(der) else {
                return Some("a certificate in its chain cannot be read".to_owned());
            };
            let tbs = certificate.tbs_certificate();
            let mut serial = tbs.serial_number().as_bytes().to_vec();
            strip(&mut serial);
            if self.serials.contains(&serial) {
                return Some(format!("its serial number {} is denied here", tbs.serial_number()));
            }
            let key = tbs.subject_public_key_info().to_der().unwrap_or_default();
            let hash: [u8; 32] = Sha256::digest(&key).into();
            self.keys.contains(&hash).then(|| "its public key is denied here".to_owned())
        })
    }
}

fn strip(bytes: &mut Vec<u8>) {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    // Zero itself is a number too.
    bytes.drain(..zeros.min(bytes.len().saturating_sub(1)));
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|&one| one != ':')
        .map(|one| one.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let mut digits = digits?;
    if digits.len() % 2 == 1 {
        digits.insert(0, 0);
    }
    let pair = |pair: &[u8]| pair.iter().fold(0u8, |byte, digit| byte << 4 | digit);
    Some(digits.chunks(2).map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_and_hashes_are_read_as_openssl_prints_them() {
        let list = DenyList::new().serial("00:0a:FF").unwrap().serial("0").unwrap();
        assert!(list.serials.contains(&vec![0x0a, 0xff]) && list.serials.contains(&vec![0]));
        for bad in ["", ":", "0x1f", "g", &"11".repeat(21)] {
            assert!(DenyList::new().serial(bad).is_err(), "{bad}");
        }
        assert!(DenyList::new().key(&"ab".repeat(32)).is_ok_and(|list| !list.is_empty()));
        for bad in ["", "ab", &"ab".repeat(33)] {
            assert!(DenyList::new().key(bad).is_err(), "{bad}");
        }
    }
}
