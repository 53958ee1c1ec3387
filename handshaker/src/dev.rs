//! A throw-away authority and identities in memory, for tests and first steps.
//!
//! None of this can be mistaken for production:
//!
//! - the authority and all keys exist only in memory: there is no way to write or load them, and
//!   they are gone with the process;
//! - each authority is trusted only by its own identities, and they trust no other;
//! - accounts and machines have to be in a domain that is reserved for such purposes and can never
//!   exist ([`RESERVED`]), so no allow-list meant for real accounts matches one;
//! - certificates live [`LIFETIME`] or less, and their issuer's name says what they are.

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::handshaker::{Builder, Handshaker};
use crate::identity::vouching::MachinePattern;
use crate::identity::{Identity, IdentityError, TrustRoots, Vouching};

/// The domains (RFC 2606, RFC 6761) that accounts have to be in.
pub const RESERVED: [&str; 4] = ["test", "example", "invalid", "localhost"];

/// How long certificates are valid.
pub const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);

/// How far a clock may be behind that of the authority.
const BACKDATED: Duration = Duration::from_secs(5 * 60);

const NAME: &str = "NOT FOR PRODUCTION: altsd throw-away development authority";

/// Why an identity could not be made.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DevError {
    /// The account or machine is not in a reserved domain.
    NotReserved {
        /// What was asked for.
        name: String,
    },
    /// The name does not have the form of an account.
    Identity(IdentityError),
    /// A certificate or key could not be made.
    Certificate(String),
    /// The handshaker could not be made.
    Handshaker(Failure),
}

impl fmt::Display for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReserved { name } => write!(
                f,
                "{name:?} could be real: a development identity is in one of the domains .{}",
                RESERVED.join(", .")
            ),
            Self::Identity(error) => error.fmt(f),
            Self::Certificate(why) => write!(f, "no certificate: {why}"),
            Self::Handshaker(failure) => failure.fmt(f),
        }
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for DevError {}

impl From<IdentityError> for DevError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}

impl From<rcgen::Error> for DevError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

/// An authority that lives as long as the process, and is trusted only by its own identities.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Vec<u8>,
    roots: TrustRoots,
    lifetime: Duration,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes a new authority, different from all others.
    ///
    /// # Errors
    /// When there is no randomness, or no time of day after 1970.
    pub fn new() -> Result<Self, DevError> {
        let key = KeyPair::generate()?;
        let mut params = params(NAME, LIFETIME)?;
        // Two authorities have two names: the error for a peer of the other one is then that its
        // issuer is unknown, and not that a signature is bad.
        let number = params.key_identifier(&key).first_chunk().copied().unwrap_or_default();
        let number = format!("{:016x}", u64::from_be_bytes(number));
        params.distinguished_name.push(DnType::OrganizationalUnitName, number);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params.self_signed(&key)?.der().to_vec();
        let roots = TrustRoots::from_der(vec![certificate.clone()])?;
        Ok(Self { issuer: Issuer::new(params, key), certificate, roots, lifetime: LIFETIME })
    }

    /// Limits how long the certificates that it makes from now on are valid: [`LIFETIME`] at most.
    /// A certificate's end is a whole second, so it may be up to a second earlier.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime.min(LIFETIME);
        self
    }

    /// Says which machines there are: their users are told apart from service accounts, of which
    /// there are none on a machine.
    #[must_use]
    pub fn machines(mut self, machines: Vec<MachinePattern>) -> Self {
        self.roots = self.roots.vouching(Vouching::new().machines(machines));
        self
    }

    /// A handshaker for a service account like `client@dev.test`.
    ///
    /// # Errors
    /// When the account is not in a reserved domain or not an account at all.
    pub fn handshaker(&self, account: &str) -> Result<Handshaker, DevError> {
        self.builder(account)?.build().map_err(DevError::Handshaker)
    }

    /// As [`handshaker`](Self::handshaker), but returns the builder, for limits or a clock.
    ///
    /// # Errors
    /// As [`handshaker`](Self::handshaker).
    pub fn builder(&self, account: &str) -> Result<Builder, DevError> {
        let san = account
            .try_into()
            .map(SanType::Rfc822Name)
            .map_err(|error: rcgen::Error| DevError::Certificate(error.to_string()))?;
        self.issue(account, san)
    }

    /// For a machine like `host.test`, which vouches for the accounts on it.
    ///
    /// # Errors
    /// When the name is not in a reserved domain.
    pub fn machine_builder(&self, machine: &str) -> Result<Builder, DevError> {
        let san = machine
            .try_into()
            .map(SanType::DnsName)
            .map_err(|error: rcgen::Error| DevError::Certificate(error.to_string()))?;
        self.issue(machine, san)
    }

    fn issue(&self, name: &str, san: SanType) -> Result<Builder, DevError> {
        require_reserved(name)?;
        let mut params = params("altsd development identity", self.lifetime)?;
        params.subject_alt_names = vec![san];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.der().to_vec();
        let key = Zeroizing::new(key.serialize_der());
        let identity = Identity::from_der(vec![certificate, self.certificate.clone()], &key)?;
        Ok(Handshaker::builder(identity, self.roots.clone()))
    }
}

fn require_reserved(name: &str) -> Result<(), DevError> {
    let host = name.rsplit_once('@').map_or(name, |(_, host)| host);
    let last = host.rsplit('.').next().unwrap_or(host);
    if RESERVED.contains(&last) {
        return Ok(());
    }
    Err(DevError::NotReserved { name: name.to_owned() })
}

fn params(common_name: &str, lifetime: Duration) -> Result<CertificateParams, DevError> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_err(|error| DevError::Certificate(error.to_string()))?;
    let start = OffsetDateTime::UNIX_EPOCH
        .checked_add(time::Duration::try_from(now.saturating_sub(BACKDATED)).unwrap_or_default());
    let end = start.and_then(|start| {
        start.checked_add(time::Duration::try_from(lifetime + BACKDATED).unwrap_or_default())
    });
    let (Some(start), Some(end)) = (start, end) else {
        return Err(DevError::Certificate("the clock is out of range".to_owned()));
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = start;
    params.not_after = end;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Subject;

    #[test]
    fn only_reserved_domains() {
        let authority = Authority::new().unwrap();
        for account in ["a@dev.test", "a@localhost", "svc@project.example", "x@y.z.invalid"] {
            let handshaker = authority.handshaker(account).unwrap();
            assert_eq!(handshaker.subject(), Subject::ServiceAccount(account.to_owned()));
        }
        for account in ["a@project.iam.gserviceaccount.com", "a@test.com", "a", "test@a", "a@xtest"]
        {
            let error = authority.handshaker(account).unwrap_err();
            assert!(matches!(error, DevError::NotReserved { .. }), "{account}: {error}");
        }
    }

    #[test]
    fn certificates_can_live_for_seconds() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let short = Authority::new().unwrap().lifetime(Duration::from_secs(60));
        let left = short.handshaker("a@dev.test").unwrap().expires().checked_sub(now).unwrap();
        assert!((59..=61).contains(&left.as_secs()), "{left:?}");
        let long = short.lifetime(2 * LIFETIME).handshaker("a@dev.test").unwrap();
        assert!(long.expires().checked_sub(now).unwrap() <= LIFETIME + Duration::from_secs(1));
    }

    #[test]
    fn certificates_live_for_hours() {
        let handshaker = Authority::new().unwrap().handshaker("a@dev.test").unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let left = handshaker.expires().checked_sub(now).unwrap();
        assert!(left <= LIFETIME && left + Duration::from_secs(60) > LIFETIME, "{left:?}");
    }
}
