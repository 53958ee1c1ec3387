//! Identities: certificates, keys, trust roots, and the service account that a certificate names.
//!
//! # The rule
//!
//! An identity is given by the subject alternative names of the end-entity certificate, and by
//! nothing else (the subject's common name is not looked at):
//!
//! 1. exactly one rfc822Name and no URI: that is the service account;
//! 2. no rfc822Name and exactly one URI: the whole URI is the service account;
//! 3. neither, and exactly one dNSName: the certificate belongs to a *machine*, whose service
//!    vouches for each `user@machine` on it. Peers accept this only for machines that the authority
//!    may vouch for ([`Vouching::machines`]), and such names are never service accounts;
//! 4. anything else is ambiguous and refused. Two names are never resolved by order.
//!
//! Where certificates have both an rfc822Name and a URI, the authority's [`Vouching::account_from`]
//! says which of them counts. What each authority may vouch for is written in [`vouching`].
//!
//! Service accounts are compared byte by byte: no case folding, no normalisation. What two parties
//! might read differently is therefore refused at the door: an account has 1 to 256 bytes, all of
//! them printable ASCII without the space, so that none can forge a line in a log either.

mod name;
pub mod revocation;
mod roots;
pub mod vouching;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use alts_core::account::MAX_ACCOUNT;
use alts_core::account::{AccountPattern, is_email, is_uri};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use zeroize::Zeroize;

use self::name::check_machine;
pub use self::name::{AccountFrom, IdentityError, MAX_CHAIN, check_account};
pub use self::revocation::{DenyList, Revocation, RevocationDue};
pub use self::roots::TrustRoots;
pub(crate) use self::roots::{Role, SubjectError};
pub use self::vouching::Vouching;

/// What an encrypted key is called in PKCS#8, and what is in the head of one of the older form.
const ENCRYPTED: &[u8] = b"BEGIN ENCRYPTED PRIVATE KEY";
const OLD_ENCRYPTED: &[u8] = b"Proc-Type: 4,ENCRYPTED";

/// The subject of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// One service account.
    ServiceAccount(String),
    /// A machine, which vouches for the accounts `user@machine`.
    Machine(String),
}

impl Subject {
    /// Reads the subject of an end-entity certificate by the rule above.
    ///
    /// Says nothing about whether the certificate is genuine.
    ///
    /// # Errors
    /// When the certificate cannot be read, or names no subject or more than one.
    pub fn of_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        Self::by(der, None)
    }

    /// As [`of_certificate`](Self::of_certificate), with the kind of name that counts.
    pub(crate) fn by(der: &[u8], kind: Option<AccountFrom>) -> Result<Self, IdentityError> {
        let certificate = parse(der)?;
        let names = certificate
            .tbs_certificate()
            .get_extension::<SubjectAltName>()
            .map_err(|error| IdentityError::Certificate { why: error.to_string() })?
            .map(|(_critical, SubjectAltName(names))| names)
            .unwrap_or_default();
        let (mut mailboxes, mut uris, mut hosts) = (Vec::new(), Vec::new(), Vec::new());
        for name in &names {
            match name {
                GeneralName::Rfc822Name(name) => mailboxes.push(name.as_str()),
                GeneralName::UniformResourceIdentifier(name) => uris.push(name.as_str()),
                GeneralName::DnsName(name) => hosts.push(name.as_str()),
                _ => {}
            }
        }
        let mailbox = |account: &str| {
            if !is_email(account) {
                let why = "an e-mail name has one '@' and no ':'";
                return Err(IdentityError::Name { why });
            }
            check_account(account)?;
            Ok(Self::ServiceAccount(account.to_owned()))
        };
        let whole_uri = |account: &str| {
            if !is_uri(account) {
                return Err(IdentityError::Name { why: "a URI begins with a scheme and ':'" });
            }
            check_account(account)?;
            Ok(Self::ServiceAccount(account.to_owned()))
        };
        match (kind, &*mailboxes, &*uris, &*hosts) {
            (Some(AccountFrom::Email), [account], _, _) | (None, [account], [], _) => {
                mailbox(account)
            }
            (Some(AccountFrom::Uri), _, [account], _) | (None, [], [account], _) => {
                whole_uri(account)
            }
            (_, [], [], [machine]) => {
                check_machine(machine)?;
                Ok(Self::Machine((*machine).to_owned()))
            }
            (Some(kind), _, _, _) => Err(IdentityError::NoName { kind }),
            (None, [mailbox], [uri], _) => Err(IdentityError::TwoNames {
                mailbox: (*mailbox).to_owned(),
                uri: (*uri).to_owned(),
            }),
            (None, _, _, _) => Err(IdentityError::Ambiguous {
                mailboxes: mailboxes.len(),
                uris: uris.len(),
                hosts: hosts.len(),
            }),
        }
    }

    /// Whether the holder of the certificate may call itself by this account.
    ///
    /// For a service account that means: exactly this one. For a machine: `user@machine` with the
    /// machine's own name, exactly, and a user without `@`.
    #[must_use]
    pub fn vouches_for(&self, account: &str) -> bool {
        check_account(account).is_ok()
            && match self {
                Self::ServiceAccount(own) => own == account,
                Self::Machine(machine) => account.split_once('@').is_some_and(|(user, host)| {
                    // The first `@` splits, so a second one lands in the host and matches nothing.
                    !user.is_empty() && host == machine
                }),
            }
    }

    /// Whether the holder of the certificate may call itself by some account of these: a machine has
    /// not said yet which of its users it speaks for.
    pub(crate) fn may_be_one_of(&self, accounts: &AccountPattern<String>) -> bool {
        match self {
            Self::ServiceAccount(account) => accounts.matches(account),
            Self::Machine(machine) => {
                let user = accounts.as_str().split_once('@').map_or("*", |(user, _)| user);
                let user = if user == "*" { "anybody" } else { user };
                accounts.matches(&format!("{user}@{machine}"))
            }
        }
    }

    /// The account that is used when none is asked for; a machine has none.
    #[must_use]
    pub fn default_account(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => Some(account),
            Self::Machine(_) => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceAccount(account) => write!(f, "service account {account}"),
            Self::Machine(machine) => write!(f, "machine {machine}"),
        }
    }
}

/// The identity of this side: a certificate chain and the private key to it.
///
/// The key stays inside; `Debug` shows only the subject.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    subject: Subject,
    begins: Duration,
    expires: Duration,
}

impl Identity {
    /// From PEM text: the chain with the end-entity certificate first, and its key (PKCS#8, SEC1
    /// or PKCS#1). Both may be in one file: other kinds of entries are skipped.
    ///
    /// # Errors
    /// When one of them is missing, cannot be read, or does not belong to the other.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::from_pem_by(chain, key, None)
    }

    /// As [`from_pem`](Self::from_pem), with the kind of name that is the service account if the
    /// certificate has both.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_pem_by(
        chain: &[u8],
        key: &[u8],
        account_from: Option<AccountFrom>,
    ) -> Result<Self, IdentityError> {
        let chain = read_certificates(chain, "certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
            rustls::pki_types::pem::Error::NoItemsFound => {
                if key.windows(ENCRYPTED.len()).any(|part| part == ENCRYPTED) {
                    return IdentityError::EncryptedKey;
                }
                IdentityError::Missing { what: "private key" }
            }
            _ if key.windows(OLD_ENCRYPTED.len()).any(|part| part == OLD_ENCRYPTED) => {
                IdentityError::EncryptedKey
            }
            other => IdentityError::Pem { what: "private key", why: other.to_string() },
        })?;
        Self::from_parts(chain, key, account_from)
    }

    /// From DER: the chain with the end-entity certificate first, and its key (PKCS#8, SEC1 or
    /// PKCS#1). The caller wipes its own copy of the key.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(chain: Vec<Vec<u8>>, key: &[u8]) -> Result<Self, IdentityError> {
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::try_from(key.to_vec())
            .map_err(|why| IdentityError::Key { why: why.to_owned() })?;
        Self::from_parts(chain, key, None)
    }

    fn from_parts(
        chain: Vec<CertificateDer<'static>>,
        mut key: PrivateKeyDer<'static>,
        account_from: Option<AccountFrom>,
    ) -> Result<Self, IdentityError> {
        let signer =
            any_supported_type(&key).map_err(|error| IdentityError::Key { why: error.to_string() });
        key.zeroize();
        let signer = signer?;
        let bytes = chain.iter().fold(0_usize, |sum, der| sum.saturating_add(der.len()));
        if bytes > MAX_CHAIN {
            return Err(IdentityError::ChainTooLong { bytes });
        }
        let end_entity = chain.first().ok_or(IdentityError::Missing { what: "certificate" })?;
        let subject = Subject::by(end_entity, account_from)?;
        let parsed = parse(end_entity)?;
        let validity = parsed.tbs_certificate().validity();
        let begins = validity.not_before.to_unix_duration();
        let expires = validity.not_after.to_unix_duration();
        let key = CertifiedKey::new(chain, signer);
        key.keys_match().map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::KeyMismatch,
            other => IdentityError::Certificate { why: other.to_string() },
        })?;
        Ok(Self { key: Arc::new(key), subject, begins, expires })
    }

    /// The subject of the certificate.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// When the certificate expires: time since the UNIX epoch.
    #[must_use]
    pub const fn expires(&self) -> Duration {
        self.expires
    }

    /// Whether the certificate is valid at this time, which is counted from the UNIX epoch.
    pub(crate) fn is_valid_at(&self, now: Duration) -> bool {
        (self.begins..=self.expires).contains(&now)
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }

    /// The chain, the end-entity certificate first.
    pub(crate) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.key.cert
    }

    /// The end-entity certificate, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        self.key.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("subject", &self.subject).finish_non_exhaustive()
    }
}

fn read_certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| IdentityError::Pem { what, why: error.to_string() })?;
    if certificates.is_empty() {
        return Err(IdentityError::Missing { what });
    }
    Ok(certificates)
}

fn parse(der: &[u8]) -> Result<Certificate, IdentityError> {
    Certificate::from_der(der)
        .map_err(|error| IdentityError::Certificate { why: error.to_string() })
}
