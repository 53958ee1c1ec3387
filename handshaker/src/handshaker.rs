//! What the handshakes of a service share: an identity, the authorities it trusts, and limits.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use crate::exchange::{ExchangeConfig, KeyExchange, judge_own};
use crate::failure::{Code, Failure, Fault, Reason};
use crate::identity::{Identity, RevocationDue, Role, Subject, SubjectError, TrustRoots};
use crate::limits::Limits;
use crate::naming::SecureNaming;
use crate::outcome::End;
use crate::service::{Call, Choice, Shared};

/// Builds a [`Handshaker`].
#[derive(Debug)]
pub struct Builder {
    identity: Identity,
    roots: TrustRoots,
    limits: Limits,
    time: Arc<dyn TimeProvider>,
    accept_machines: bool,
    naming: Option<SecureNaming>,
    pub(crate) key_exchange: KeyExchange,
}

impl Builder {
    /// Sets the limits of each handshake.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the clock by which certificates are judged; by default the system's.
    #[must_use]
    pub fn time(mut self, time: Arc<dyn TimeProvider>) -> Self {
        self.time = time;
        self
    }

    /// Whether authorities that do not say for which machines they may vouch
    /// ([`Vouching::machines`](crate::identity::Vouching::machines)) may do so for every machine.
    /// Off by default.
    ///
    /// Then every domain is a machine's: `web@prod.example` is a user of the machine `prod.example`,
    /// and no certificate for a service account of such a form is accepted. Service accounts that
    /// are URIs stay what they are. To accept both, say which machines there are.
    #[must_use]
    pub const fn accept_machines(mut self, accept: bool) -> Self {
        self.accept_machines = accept;
        self
    }

    /// Says which service accounts may serve which target names: a client whose server is none of them
    /// is refused, and so is one whose target name this says nothing of, unless it says otherwise. By
    /// default, target names are not looked at.
    #[must_use]
    pub fn naming(mut self, naming: SecureNaming) -> Self {
        self.naming = Some(naming);
        self
    }

    /// Whether a peer has to agree to the hybrid key exchange X25519MLKEM768. Every handshaker of this
    /// kind does; by default X25519 is good enough for one that does not.
    #[must_use]
    pub const fn require_post_quantum(mut self, require: bool) -> Self {
        self.key_exchange = if require { KeyExchange::PostQuantum } else { KeyExchange::Any };
        self
    }

    /// The handshaker.
    ///
    /// # Errors
    /// When TLS cannot be configured with this identity and these roots.
    pub fn build(self) -> Result<Handshaker, Failure> {
        let exchange =
            ExchangeConfig::new(&self.identity, &self.roots, &self.time, self.key_exchange)?;
        let Self { identity, roots, limits, time, accept_machines, naming, .. } = self;
        let now = time.current_time().unwrap_or(UnixTime::since_unix_epoch(Duration::ZERO));
        let local_end = End::new(roots.end(identity.chain(), now));
        let shared =
            Shared { exchange, identity, local_end, roots, time, limits, accept_machines, naming };
        Ok(Handshaker { current: Arc::new(RwLock::new(Arc::new(shared))) })
    }
}

/// One identity, the authorities it trusts, and limits: what the handshakes of a service share.
///
/// It is cheap to clone, and all clones are one: what [`replace`](Self::replace) does to one of them
/// is done to all.
#[derive(Clone, Debug)]
pub struct Handshaker {
    /// Handshakes take what is in here when they begin, and keep it.
    current: Arc<RwLock<Arc<Shared>>>,
}

impl Handshaker {
    /// Starts from an identity and trust roots.
    #[must_use]
    pub fn builder(identity: Identity, roots: TrustRoots) -> Builder {
        Builder {
            identity,
            roots,
            limits: Limits::default(),
            time: Arc::new(DefaultTimeProvider),
            accept_machines: false,
            naming: None,
            key_exchange: KeyExchange::Any,
        }
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        // Whoever panicked with the lock held had no half of anything in here.
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Becomes what another one is now: its identity, the authorities it trusts, its limits and its
    /// clock. It stays a handshaker of its own: what becomes of the other one later does not concern
    /// it.
    ///
    /// Handshakes that have begun keep what they began with; those that begin from now on, through
    /// any clone of this handshaker, use what is new. Connections are not touched.
    ///
    /// ```
    /// # #[cfg(feature = "dev")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use alts_handshaker::dev::Authority;
    ///
    /// let authority = Authority::new()?;
    /// let handshaker = authority.handshaker("web@dev.test")?;
    /// let in_use = handshaker.clone();
    /// handshaker.replace(&authority.handshaker("web2@dev.test")?)?;
    /// assert_eq!(in_use.subject().to_string(), "service account web2@dev.test");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "dev"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// When the other one's certificate is not valid at this time, by its own clock. Then nothing
    /// has changed.
    pub fn replace(&self, new: &Self) -> Result<(), Failure> {
        let new = new.shared();
        let now = new.time.current_time().ok_or_else(|| Failure::internal("there is no clock"))?;
        if !new.identity.is_valid_at(Duration::from_secs(now.as_secs())) {
            return Err(own_refused("it is not valid at this time"));
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The subject of this handshaker's certificate.
    #[must_use]
    pub fn subject(&self) -> Subject {
        self.shared().identity.subject().clone()
    }

    /// When this handshaker's certificate expires: time since the UNIX epoch.
    #[must_use]
    pub fn expires(&self) -> Duration {
        self.shared().identity.expires()
    }

    /// Whether a peer with these trust roots, or with this handshaker's own, would accept this
    /// handshaker's certificate now, as a client's and as a server's.
    ///
    /// # Errors
    /// What the peer would find wrong with it.
    pub fn check_certificate(&self, roots: Option<&TrustRoots>) -> Result<(), Failure> {
        let shared = self.shared();
        let Shared { identity, roots: own, time, .. } = &*shared;
        let roots = roots.unwrap_or(own);
        let now = time.current_time().ok_or_else(|| Failure::internal("there is no clock"))?;
        for role in [Role::Server, Role::Client] {
            roots.verify(identity.chain(), role, now).map_err(|error| judge_own(&error))?;
            // Which machines this side believes says nothing about what peers make of its own
            // certificate: a machine vouches for its users, and a service account for itself.
            match roots.subject(identity.chain(), role, now, false) {
                Ok(_) | Err(SubjectError::Machine(_)) => {}
                Err(SubjectError::Certificate(why)) => return Err(own_refused(&why.to_string())),
                Err(SubjectError::NotVouched { why } | SubjectError::Revoked { why }) => {
                    return Err(own_refused(&why));
                }
            }
        }
        Ok(())
    }

    /// When the revocation lists by which it judges peers have to be replaced, for each trust root that
    /// has some.
    #[must_use]
    pub fn revocation_due(&self) -> Vec<RevocationDue> {
        self.shared().roots.revocation_due()
    }

    /// The limits of each handshake.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared().limits
    }

    /// Begins a call whose caller may use the certificate's own account, and no other.
    ///
    /// With a machine's certificate, which has no account, the start message will be
    /// refused: see [`begin_for`](Self::begin_for).
    #[must_use]
    pub fn begin(&self, now: Duration) -> Call {
        let shared = self.shared();
        let own = shared.identity.subject().default_account();
        let choices =
            own.map(|account| Choice { account: account.to_owned(), shared: Arc::clone(&shared) });
        Call::new(shared.limits, choices.into_iter().collect(), now)
    }

    /// Begins a call whose caller may use these accounts: the first unless it asks for another
    /// with `local_identity`. An empty list means a caller that may use none.
    ///
    /// # Errors
    /// When the certificate does not vouch for one of them: the peer would refuse it.
    pub fn begin_for<S: Into<String>>(
        &self,
        accounts: impl IntoIterator<Item = S>,
        now: Duration,
    ) -> Result<Call, Failure> {
        let choices = accounts.into_iter().map(|account| (account, self.clone()));
        Call::choosing(self.limits(), choices, now)
    }

    /// One of the accounts that a caller may use.
    pub(crate) fn choice(&self, account: String) -> Result<Choice, Failure> {
        let shared = self.shared();
        let subject = shared.identity.subject();
        if subject.vouches_for(&account) {
            return Ok(Choice { account, shared });
        }
        Err(Failure::new(
            Code::Internal,
            Fault::Service,
            Reason::Local,
            format!(
                "the policy gives the caller the account {account}, for which this service's \
                 certificate, which is for {subject}, does not vouch"
            ),
        ))
    }
}

fn own_refused(why: &str) -> Failure {
    Failure::new(
        Code::Internal,
        Fault::Service,
        Reason::Local,
        format!("peers would refuse this certificate: {why}"),
    )
}

impl Call {
    /// A call whose caller may use accounts of several certificates: the first unless it asks for
    /// another with `local_identity`. An empty list means a caller that may use none.
    ///
    /// `limits` applies to the call; the handshakers' own limits do not.
    ///
    /// # Errors
    /// When a handshaker's certificate does not vouch for the account beside it: the peer would
    /// refuse it.
    pub fn choosing<S: Into<String>>(
        limits: Limits,
        choices: impl IntoIterator<Item = (S, Handshaker)>,
        now: Duration,
    ) -> Result<Self, Failure> {
        let choices = choices
            .into_iter()
            .map(|(account, handshaker)| handshaker.choice(account.into()))
            .collect::<Result<_, _>>()?;
        Ok(Self::new(limits, choices, now))
    }
}
