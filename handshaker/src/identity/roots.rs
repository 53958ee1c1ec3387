//! Authorities: which of them stands behind a chain of certificates, and what it may vouch for.

use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use alts_core::account::is_uri;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error as TlsError, OtherError, RootCertStore};
use webpki::KeyUsage;
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use super::name::host_of;
use super::revocation::{DenyList, Revocation, RevocationDue, RevocationError};
use super::{IdentityError, Subject, Vouching, parse, read_certificates};

/// The role that a certificate has to be valid for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// The authorities that are trusted to certify peers.
///
/// Anyone who holds the key of one of them can pose as any service account that it may vouch for: by
/// default, as any at all. The web's public authorities have no place here.
#[derive(Clone)]
pub struct TrustRoots {
    /// All of them.
    store: Arc<RootCertStore>,
    anchors: Arc<[Anchor]>,
    denied: Arc<DenyList>,
}

/// One authority.
#[derive(Clone)]
struct Anchor {
    store: Arc<RootCertStore>,
    clients: Arc<dyn ClientCertVerifier>,
    certificate: Vec<u8>,
    /// Its subject, for sentences.
    name: String,
    vouching: Arc<Vouching>,
    revocation: Option<Revocation>,
}

impl TrustRoots {
    /// From PEM text with one or more certificates.
    ///
    /// # Errors
    /// When there is none, or one of them cannot be used: none is skipped silently.
    pub fn from_pem(roots: &[u8]) -> Result<Self, IdentityError> {
        Self::from_certificates(read_certificates(roots, "trust root")?)
    }

    /// From certificates in DER.
    ///
    /// # Errors
    /// As [`from_pem`](Self::from_pem).
    pub fn from_der(roots: Vec<Vec<u8>>) -> Result<Self, IdentityError> {
        Self::from_certificates(roots.into_iter().map(CertificateDer::from).collect())
    }

    /// Restricts all of these authorities.
    #[must_use]
    pub fn vouching(self, vouching: Vouching) -> Self {
        let vouching = Arc::new(vouching);
        self.each(|anchor| Anchor { vouching: Arc::clone(&vouching), ..anchor.clone() })
    }

    /// Refuses what one of these authorities, or one below it, has revoked.
    #[must_use]
    pub fn revocation(self, revocation: &Revocation) -> Self {
        self.each(|anchor| Anchor { revocation: Some(revocation.clone()), ..anchor.clone() })
    }

    /// When the revocation lists of these authorities have to be replaced: for each authority that has
    /// some, the first of them.
    #[must_use]
    pub fn revocation_due(&self) -> Vec<RevocationDue> {
        let first = |anchor: &Anchor| anchor.revocation.as_ref()?.first_due(&anchor.name);
        self.anchors.iter().filter_map(first).collect()
    }

    /// Refuses what is on this list, whichever authority stands behind it. It replaces the one before.
    #[must_use]
    pub fn denying(self, denied: DenyList) -> Self {
        Self { denied: Arc::new(denied), ..self }
    }

    fn each(self, change: impl Fn(&Anchor) -> Anchor) -> Self {
        Self { anchors: self.anchors.iter().map(change).collect(), ..self }
    }

    /// These authorities and those, each restricted as it is, with the deny list of these.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        let mut store = (*self.store).clone();
        store.roots.extend(others.store.roots.iter().cloned());
        let anchors = self.anchors.iter().chain(others.anchors.iter()).cloned().collect();
        Self { store: Arc::new(store), anchors, denied: Arc::clone(&self.denied) }
    }

    fn from_certificates(roots: Vec<CertificateDer<'static>>) -> Result<Self, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut all = RootCertStore::empty();
        let mut anchors = Vec::new();
        for (index, root) in roots.into_iter().enumerate() {
            let failed = |why: String| IdentityError::Root { index, why };
            let anchor = Anchor::new(root, &provider).map_err(failed)?;
            all.roots.extend(anchor.store.roots.iter().cloned());
            anchors.push(anchor);
        }
        if anchors.is_empty() {
            return Err(IdentityError::Missing { what: "trust root" });
        }
        Ok(Self { store: Arc::new(all), anchors: anchors.into(), denied: Arc::default() })
    }

    pub(crate) fn store(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.store)
    }

    /// Whether a chain would be trusted in a role.
    pub(crate) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let mut last = None;
        for anchor in self.anchors.iter() {
            match anchor.verify(chain, role, now) {
                Ok(()) => return Ok(()),
                // The one that knows the chain has more to say than those that do not.
                Err(error) if last.is_none() || !is_unknown(&error) => last = Some(error),
                Err(_) => {}
            }
        }
        let error = last.unwrap_or_else(|| TlsError::General("there is no trust root".to_owned()));
        Err(self.explain(error, chain))
    }

    /// Tells a name constraint that a chain violates from one that the verifier cannot check, and takes
    /// for violated.
    pub(crate) fn explain(&self, error: TlsError, chain: &[CertificateDer<'_>]) -> TlsError {
        let constrained = matches!(
            &error,
            TlsError::InvalidCertificate(CertificateError::Other(other))
                if format!("{other:?}").contains("NameConstraint")
        );
        match self.unchecked(chain).filter(|_| constrained) {
            None => error,
            // An error without a type of its own: TLS hands it back as it is.
            Some(why) => TlsError::InvalidCertificate(CertificateError::Other(OtherError(
                Arc::new(io::Error::other(why)),
            ))),
        }
    }

    /// What the verifier cannot check in a chain.
    fn unchecked(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let (end_entity, above) = chain.split_first()?;
        let certificates: Vec<_> = chain.iter().filter_map(|der| parse(der).ok()).collect();
        let is_above = |anchor: &Certificate| {
            let subject = anchor.tbs_certificate().subject();
            certificates.iter().any(|one| one.tbs_certificate().issuer() == subject)
        };
        let roots = self.anchors.iter().filter_map(|anchor| parse(&anchor.certificate).ok());
        let above = above.iter().filter_map(|der| parse(der).ok());
        let names = parse(end_entity).ok()?.tbs_certificate().get_extension::<SubjectAltName>();
        let SubjectAltName(names) = names.ok()??.1;
        let is_there = |kind: &str| names.iter().any(|name| unchecked_kind(name) == Some(kind));
        above.chain(roots.filter(is_above)).find_map(|issuer| {
            let tbs = issuer.tbs_certificate();
            let (_, constraints) = tbs.get_extension::<NameConstraints>().ok()??;
            let NameConstraints { permitted_subtrees, excluded_subtrees } = constraints;
            let subtrees = permitted_subtrees.into_iter().chain(excluded_subtrees).flatten();
            let mut kinds = subtrees.filter_map(|subtree| unchecked_kind(&subtree.base));
            // Every certificate has a subject, if need be an empty one.
            let kind = kinds.find(|kind| *kind == DIRECTORY_NAMES || is_there(kind))?;
            Some(format!("its authority {} has name constraints on {kind}", tbs.subject()))
        })
    }

    /// The subject of a chain, by an authority that verifies it and may vouch for that subject. TLS has
    /// verified it already, so a single authority is not asked again.
    pub(crate) fn subject(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
        any_machine: bool,
    ) -> Result<Subject, SubjectError> {
        if let Some(why) = self.denied.objection(chain) {
            return Err(SubjectError::Revoked { why });
        }
        let revoked = |error: &RevocationError| SubjectError::Revoked { why: error.to_string() };
        let standing = |anchor: &Anchor| anchor.check_revocation(chain, role, now);
        let standings: Vec<_> = self.anchors.iter().map(standing).collect();
        // Another authority may know the chain as well, and not that it is revoked.
        if standings.contains(&Err(RevocationError::Revoked)) {
            return Err(revoked(&RevocationError::Revoked));
        }
        let alone = self.anchors.len() == 1;
        let mut refusal = None;
        for (anchor, standing) in self.anchors.iter().zip(standings) {
            if !alone && anchor.verify(chain, role, now).is_err() {
                continue;
            }
            if let Err(error) = standing {
                refusal = refusal.or(Some(revoked(&error)));
                continue;
            }
            match self.judge(anchor, chain, any_machine) {
                Ok(subject) => return self.not_denied(subject),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        Err(refusal.unwrap_or_else(|| SubjectError::NotVouched {
            why: "no authority that this side trusts stands behind it".to_owned(),
        }))
    }

    /// When a chain ends, in UNIX time: the earliest end of its certificates.
    ///
    /// A trust root in it does not count, since nobody looks at its end in a handshake either. Nor does,
    /// behind the first, one that has ended: what was verified goes another way. Others that the
    /// verification could have done without do count, for an end that is too early is harmless.
    pub(crate) fn end(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Duration {
        let is_root = |der: &[u8]| self.anchors.iter().any(|anchor| anchor.certificate == der);
        let end = |der: &CertificateDer<'_>| {
            // What cannot be read has not been verified.
            Some(parse(der).ok()?.tbs_certificate().validity().not_after.to_unix_duration())
        };
        let first = chain.first().and_then(end).unwrap_or_default();
        let now = Duration::from_secs(now.as_secs());
        let others = chain.iter().skip(1).filter(|der| !is_root(der)).filter_map(end);
        others.filter(|end| *end >= now).fold(first, Duration::min)
    }

    fn not_denied(&self, subject: Subject) -> Result<Subject, SubjectError> {
        match &subject {
            Subject::ServiceAccount(account) if self.denied.has_account(account) => {
                Err(SubjectError::Revoked {
                    why: format!("it is for {account}, which is denied here"),
                })
            }
            // What a machine's users call themselves comes later.
            _ => Ok(subject),
        }
    }

    /// Whether this side denies an account, whatever its certificate.
    pub(crate) fn denies(&self, account: &str) -> bool {
        self.denied.has_account(account)
    }

    fn judge(
        &self,
        anchor: &Anchor,
        chain: &[CertificateDer<'_>],
        any_machine: bool,
    ) -> Result<Subject, SubjectError> {
        let end_entity = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let vouching = &anchor.vouching;
        let subject =
            Subject::by(end_entity, vouching.kind()).map_err(SubjectError::Certificate)?;
        let refuse = |why: String| Err(SubjectError::NotVouched { why });
        let allowed = match &subject {
            Subject::ServiceAccount(account) => {
                let of_machine = host_of(account).filter(|host| {
                    let reserves = |Anchor { vouching, .. }: &Anchor| {
                        vouching.allows_machine(host) || (any_machine && !vouching.has_machines())
                    };
                    !is_uri(account) && self.anchors.iter().any(reserves)
                });
                if let Some(host) = of_machine {
                    return refuse(format!(
                        "it is for {subject}, and {host} is a machine's name here: only a \
                         certificate of that machine vouches for users on it"
                    ));
                }
                vouching.allows_account(account)
            }
            Subject::Machine(machine) if vouching.allows_machine(machine) => true,
            Subject::Machine(machine) if !vouching.has_machines() => {
                if !any_machine {
                    return Err(SubjectError::Machine(machine.clone()));
                }
                true
            }
            Subject::Machine(_) => false,
        };
        if !allowed {
            return refuse(format!(
                "it is for {subject}, and the authority {} may vouch for {vouching}",
                anchor.name
            ));
        }
        let issuers = chain.iter().skip(1).map(AsRef::as_ref);
        for issuer in issuers.chain([anchor.certificate.as_slice()]) {
            if let Some(issuer) = other_names_only(issuer, &subject) {
                return refuse(format!(
                    "it is for {subject}, and its authority {issuer} is limited to other kinds of \
                     names (its name constraints permit none of this kind)"
                ));
            }
        }
        Ok(subject)
    }
}

impl fmt::Debug for TrustRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoots").field("count", &self.anchors.len()).finish_non_exhaustive()
    }
}

/// Why a chain that TLS accepts has no acceptable subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SubjectError {
    /// Its names say nothing, or two things.
    Certificate(IdentityError),
    /// It is for a machine, and no authority may vouch for machines.
    Machine(String),
    /// Its authority may not vouch for it.
    NotVouched { why: String },
    /// It is revoked, or on this side's deny list, or nobody knows whether it is revoked.
    Revoked { why: String },
}

impl Anchor {
    fn new(root: CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let certificate = root.to_vec();
        let mut store = RootCertStore::empty();
        store.add(root).map_err(|error| error.to_string())?;
        let name = parse(&certificate)
            .map(|parsed| parsed.tbs_certificate().subject().to_string())
            .unwrap_or_default();
        let store = Arc::new(store);
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?;
        let vouching = Arc::default();
        Ok(Self { store, clients, certificate, name, vouching, revocation: None })
    }

    fn check_revocation(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), RevocationError> {
        let usage = match role {
            Role::Client => KeyUsage::client_auth(),
            Role::Server => KeyUsage::server_auth(),
        };
        let Some(revocation) = &self.revocation else { return Ok(()) };
        revocation.check(chain, &self.store.roots, usage, now)
    }

    fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        role: Role,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let (end_entity, intermediates) =
            chain.split_first().ok_or(TlsError::NoCertificatesPresented)?;
        match role {
            Role::Client => {
                self.clients.verify_client_cert(end_entity, intermediates, now).map(|_verified| ())
            }
            Role::Server => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &self.store,
                intermediates,
                now,
                aws_lc_rs::default_provider().signature_verification_algorithms.all,
            ),
        }
    }
}

const DIRECTORY_NAMES: &str = "directory names";

/// A kind of name of which the verifier checks no constraints.
const fn unchecked_kind(name: &GeneralName) -> Option<&'static str> {
    match name {
        GeneralName::Rfc822Name(_) => Some("e-mail names"),
        GeneralName::UniformResourceIdentifier(_) => Some("URIs"),
        GeneralName::DirectoryName(_) => Some(DIRECTORY_NAMES),
        _ => None,
    }
}

fn is_unknown(error: &TlsError) -> bool {
    matches!(error, TlsError::InvalidCertificate(CertificateError::UnknownIssuer))
}

/// The name of an authority that is limited to names, none of them of the subject's kind.
///
/// RFC 5280 does not restrict kinds of names that have no constraint. But an authority that was limited
/// to `DNS:team.example` was not meant to make up e-mail names of others. Constraints of the
/// subject's own kind are the verifier's: it checks those of DNS names, and refuses the others.
fn other_names_only(issuer: &[u8], subject: &Subject) -> Option<String> {
    let issuer = parse(issuer).ok()?;
    let tbs = issuer.tbs_certificate();
    let constraints = match tbs.get_extension::<NameConstraints>() {
        Ok(None) => return None,
        Ok(Some((_critical, constraints))) => constraints,
        // What cannot be read permits nothing.
        Err(_) => return Some(tbs.subject().to_string()),
    };
    let permitted = constraints.permitted_subtrees.filter(|permitted| !permitted.is_empty())?;
    let of_kind = permitted.iter().any(|subtree| match (&subtree.base, subject) {
        (GeneralName::DnsName(_), Subject::Machine(_)) => true,
        (GeneralName::Rfc822Name(_), Subject::ServiceAccount(account)) => !is_uri(account),
        (GeneralName::UniformResourceIdentifier(_), Subject::ServiceAccount(account)) => {
            is_uri(account)
        }
        _ => false,
    });
    (!of_kind).then(|| tbs.subject().to_string())
}
