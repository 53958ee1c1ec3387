//! What an agent has said so far, in one form for all protocols, and the handshakers that follow from it.

use std::collections::BTreeMap;
use std::fmt;

use rustls::pki_types::CertificateDer;
use x509_cert::der::{Reader, SliceReader};
use zeroize::Zeroizing;

use super::messages::{Answer, Bundles, DelegatedSvids, WithKey};
use super::settings::Settings;
use super::trust_domain::TrustDomain;
use crate::handshaker::Handshaker;
use crate::identity::revocation::WithoutStatus;
use crate::identity::{Identity, Revocation, TrustRoots};

/// The most identities that one workload may have here: more are an agent's mistake.
const MAX_IDENTITIES: usize = 64;

/// What an agent has said about one workload.
#[derive(Clone, Default)]
pub(super) struct Material {
    /// `None` until it has said something.
    identities: Option<Vec<Owned>>,
    /// The authorities of trust domains, DER. `None` until it has said something.
    bundles: Option<BTreeMap<String, Vec<u8>>>,
    /// The other trust domains that this workload should accept.
    federates_with: Vec<String>,
    /// Revocation lists, DER.
    lists: Vec<Vec<u8>>,
}

/// An identity with its key.
#[derive(Clone)]
struct Owned {
    id: String,
    chain: Vec<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

/// Why what an agent says is of no use.
#[derive(Debug)]
pub(super) struct Unusable(String);

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Material {
    /// Takes what the Workload API or the Broker API says: all of it, each time.
    ///
    /// # Errors
    /// When certificates are not DER.
    pub(super) fn take(&mut self, mut said: Answer) -> Result<(), Unusable> {
        let mut bundles = BTreeMap::new();
        let mut identities = Vec::new();
        for one in &mut said.svids {
            let domain = TrustDomain::of_identity(&one.spiffe_id)
                .map_err(|why| Unusable(why.to_string()))?;
            bundles.insert(domain.name().to_owned(), std::mem::take(&mut one.bundle));
            identities.push(Owned {
                id: std::mem::take(&mut one.spiffe_id),
                chain: certificates(&one.x509_svid, "an identity")?,
                key: Zeroizing::new(std::mem::take(&mut one.x509_svid_key)),
            });
        }
        self.federates_with.clear();
        for (domain, bundle) in std::mem::take(&mut said.federated_bundles) {
            let domain: TrustDomain =
                domain.parse().map_err(|why| Unusable(format!("a federated bundle: {why}")))?;
            self.federates_with.push(domain.name().to_owned());
            // What a domain's own member is given counts for that domain.
            bundles.entry(domain.name().to_owned()).or_insert(bundle);
        }
        self.identities = Some(identities);
        self.bundles = Some(bundles);
        self.lists = std::mem::take(&mut said.crl);
        Ok(())
    }

    /// Takes the identities that the Delegated Identity API gives.
    pub(super) fn take_identities(&mut self, answer: DelegatedSvids) {
        let document = |mut one: WithKey| {
            let key = Zeroizing::new(std::mem::take(&mut one.x509_svid_key));
            let public = one.x509_svid.take().unwrap_or_default();
            let id = public.id.unwrap_or_default();
            Owned {
                id: format!("spiffe://{}{}", id.trust_domain, id.path),
                chain: public.cert_chain,
                key,
            }
        };
        self.identities = Some(answer.x509_svids.into_iter().map(document).collect());
        self.federates_with = answer.federates_with.into_iter().map(name_of).collect();
    }

    /// Takes the bundles that the Delegated Identity API gives.
    pub(super) fn take_bundles(&mut self, said: Bundles) {
        let bundles = said.ca_certificates.into_iter();
        self.bundles = Some(bundles.map(|(domain, bundle)| (name_of(domain), bundle)).collect());
    }

    /// One handshaker for each identity, the agent's first choice first; `None` while the agent has
    /// not said all that is needed.
    ///
    /// # Errors
    /// What the agent has said that cannot be used. One bad identity spoils the rest: an agent that
    /// makes one does not know what it says.
    pub(super) fn handshakers(
        &self,
        settings: &Settings,
    ) -> Result<Option<Vec<Handshaker>>, Unusable> {
        let (Some(documents), Some(bundles)) = (&self.identities, &self.bundles) else {
            return Ok(None);
        };
        if documents.len() > MAX_IDENTITIES {
            return Err(Unusable(format!(
                "the agent gives {} identities, and at most {MAX_IDENTITIES} are taken",
                documents.len()
            )));
        }
        let one = |document: &Owned| self.handshaker(document, bundles, settings);
        documents.iter().map(one).collect::<Result<_, _>>().map(Some)
    }

    fn handshaker(
        &self,
        document: &Owned,
        bundles: &BTreeMap<String, Vec<u8>>,
        settings: &Settings,
    ) -> Result<Handshaker, Unusable> {
        let Owned { id, chain, key } = document;
        let unusable = |why: &dyn fmt::Display| Unusable(format!("the identity {id}: {why}"));
        let domain = TrustDomain::of_identity(id).map_err(|why| unusable(&why))?;
        let identity = Identity::from_der(chain.clone(), key).map_err(|why| unusable(&why))?;
        if identity.subject().default_account() != Some(id) {
            return Err(unusable(&format!("its certificate is for {}", identity.subject())));
        }
        let own = bundles
            .get(domain.name())
            .ok_or_else(|| unusable(&"the agent gives no bundle of its trust domain"))?;
        let mut roots = self.roots(&domain, own)?;
        for other in self.federates_with.iter().filter(|other| *other != domain.name()) {
            let Ok(other) = other.parse::<TrustDomain>() else { continue };
            if !settings.federated.contains(&other) {
                continue;
            }
            // A bundle that is gone vouches for nobody; the workload's own identity does not suffer.
            let Some(bundle) = bundles.get(other.name()) else { continue };
            roots = roots.and(&self.roots(&other, bundle)?);
        }
        let builder = Handshaker::builder(identity, roots.denying(settings.denied.clone()));
        (settings.finish)(builder).build().map_err(|why| unusable(&why))
    }

    /// The authorities of a trust domain, which vouch for its members.
    fn roots(&self, domain: &TrustDomain, bundle: &[u8]) -> Result<TrustRoots, Unusable> {
        let unusable = |why: &dyn fmt::Display| Unusable(format!("the bundle of {domain}: {why}"));
        let vouching = domain.vouching().ok_or_else(|| unusable(&"its name is no account's"))?;
        let roots = TrustRoots::from_der(certificates(bundle, "a bundle")?)
            .map_err(|why| unusable(&why))?
            .vouching(vouching);
        if self.lists.is_empty() {
            return Ok(roots);
        }
        // The agent says what is revoked; that most authorities have no list is the usual case.
        let lists = Revocation::from_der(&self.lists)
            .map_err(|why| unusable(&why))?
            .unlisted(WithoutStatus::Accept);
        Ok(roots.revocation(&lists))
    }
}

/// Without the scheme that some versions put in front of it.
fn name_of(domain: String) -> String {
    match domain.strip_prefix("spiffe://") {
        Some(name) => name.to_owned(),
        None => domain,
    }
}

/// Certificates in DER that stand one behind the other.
fn certificates(der: &[u8], what: &str) -> Result<Vec<Vec<u8>>, Unusable> {
    let unreadable = |why: x509_cert::der::Error| Unusable(format!("{what} is not DER: {why}"));
    let mut reader = SliceReader::new(der).map_err(unreadable)?;
    let mut all = Vec::new();
    while !reader.is_finished() {
        let one = CertificateDer::from(reader.tlv_bytes().map_err(unreadable)?);
        all.push(one.to_vec());
    }
    Ok(all)
}
