//! Names in certificates: their forms, which kind counts, and what can be wrong with them.

use std::fmt;

use alts_core::account;

/// The longest chain of certificates, in bytes of DER: it has to fit into one message
/// ([`framing`](crate::framing)) together with the parameters.
pub const MAX_CHAIN: usize = 40 * 1024;

/// The kind of name in a certificate that is the service account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountFrom {
    /// The rfc822Name; URIs do not count.
    Email,
    /// The URI; rfc822Names do not count.
    Uri,
}

/// What is wrong with a certificate, a key, an account or a trust root.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityError {
    /// The PEM text cannot be read.
    Pem {
        /// What was looked for.
        what: &'static str,
        /// What the reader said.
        why: String,
    },
    /// The input has none.
    Missing {
        /// What was looked for.
        what: &'static str,
    },
    /// The chain of certificates is longer than [`MAX_CHAIN`].
    ChainTooLong {
        /// How long it is, in bytes.
        bytes: usize,
    },
    /// The certificate is not X.509 in DER.
    Certificate {
        /// What the reader said.
        why: String,
    },
    /// The certificate's names do not give one subject.
    Ambiguous {
        /// How many rfc822Names it has.
        mailboxes: usize,
        /// How many URIs.
        uris: usize,
        /// How many dNSNames.
        hosts: usize,
    },
    /// The certificate has names of two kinds, and nothing says which of them counts.
    TwoNames {
        /// Its rfc822Name.
        mailbox: String,
        /// Its URI.
        uri: String,
    },
    /// The certificate does not have exactly one name of the kind that counts.
    NoName {
        /// Which kind that is.
        kind: AccountFrom,
    },
    /// A name that no service account or machine may have.
    Name {
        /// What is wrong with it.
        why: &'static str,
    },
    /// The private key is of an unknown kind.
    Key {
        /// What the reader said.
        why: String,
    },
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key does not belong to the certificate.
    KeyMismatch,
    /// A SPIFFE bundle whose trust domain nobody has named.
    NoTrustDomain,
    /// A revocation list cannot be used.
    Revocation {
        /// Which one, counted from zero.
        index: usize,
        /// What the reader said.
        why: String,
    },
    /// A trust root cannot be used.
    Root {
        /// Which one, counted from zero.
        index: usize,
        /// What the reader said.
        why: String,
    },
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem { what, why } => write!(f, "cannot read the PEM text of the {what}: {why}"),
            Self::NoTrustDomain => f.write_str(
                "it is a SPIFFE bundle, which vouches for one trust domain: say for which (trust_domain)",
            ),
            Self::Missing { what } => write!(f, "no {what} in the input"),
            Self::ChainTooLong { bytes } => write!(
                f,
                "the chain of certificates has {bytes} bytes, and {MAX_CHAIN} are allowed: only \
                 the certificates between this one and the trust root belong in it"
            ),
            Self::Certificate { why } => write!(f, "the certificate cannot be read: {why}"),
            Self::Ambiguous { mailboxes: 0, uris: 0, hosts: 0 } => f.write_str(
                "the certificate names nobody: it needs one rfc822Name or one URI as its subject \
                 alternative name",
            ),
            Self::Ambiguous { mailboxes, uris, hosts } => write!(
                f,
                "the certificate does not say whose it is: it has {mailboxes} rfc822Names, {uris} \
                 URIs and {hosts} dNSNames, and needs exactly one rfc822Name, or else exactly one \
                 URI"
            ),
            Self::TwoNames { mailbox, uri } => write!(
                f,
                "the certificate has the e-mail name {mailbox} and the URI {uri}, and nothing says \
                 which of them is the service account (account_from)"
            ),
            Self::NoName { kind: AccountFrom::Email } => f.write_str(
                "the certificate needs exactly one rfc822Name: its authority's accounts are e-mail \
                 names (account_from)",
            ),
            Self::NoName { kind: AccountFrom::Uri } => f.write_str(
                "the certificate needs exactly one URI: its authority's accounts are URIs \
                 (account_from)",
            ),
            Self::Name { why } => write!(f, "not a usable name: {why}"),
            Self::Key { why } => write!(f, "the private key cannot be used: {why}"),
            Self::EncryptedKey => f.write_str(
                "the private key is encrypted, and there is nobody to ask for its password: write \
                 it without (openssl pkey -in KEY -out PLAIN), readable by this service only",
            ),
            Self::KeyMismatch => f.write_str("the private key does not belong to the certificate"),
            Self::Revocation { index, why } => {
                write!(f, "revocation list {index} (counted from 0) cannot be used: {why}")
            }
            Self::Root { index, why } => {
                write!(f, "trust root {index} (counted from 0) cannot be used: {why}")
            }
        }
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for IdentityError {}

/// Whether a service account has an acceptable form.
///
/// # Errors
/// When it is empty, too long, or has characters other than printable ASCII.
pub fn check_account(account: &str) -> Result<(), IdentityError> {
    account::check_account(account).map_err(|error| IdentityError::Name { why: error.why() })
}

/// A machine's name: a plain host name. No wildcard may vouch for a whole domain.
pub(super) fn check_machine(machine: &str) -> Result<(), IdentityError> {
    let plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
    };
    let why = if machine.is_empty() || machine.len() > 253 {
        "a machine's name has 1 to 253 bytes"
    } else if !machine.bytes().all(plain) {
        "a machine's name has only lower-case letters, digits, '-' and '.'"
    } else if machine.split('.').any(str::is_empty) {
        "a machine's name has no empty label"
    } else {
        return Ok(());
    };
    Err(IdentityError::Name { why })
}

/// The domain of an account that is a mailbox.
pub(super) fn host_of(account: &str) -> Option<&str> {
    account.split_once('@').map(|(_, host)| host)
}
