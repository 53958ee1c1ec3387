//! What the handshakes of a service share: an identity, the authorities it trusts, and limits.

use std::sync::Arc;
use std::time::Duration;

use rustls::time_provider::{DefaultTimeProvider, TimeProvider};

use crate::exchange::{ExchangeConfig, judge_own};
use crate::failure::{Code, Failure, Fault, Reason};
use crate::identity::{Identity, Role, Subject, SubjectError, TrustRoots};
use crate::limits::Limits;
use crate::service::{Call, Choice, Shared};

/// Builds a [`Handshaker`].
#[derive(Debug)]
pub struct Builder {
    identity: Identity,
    roots: TrustRoots,
    limits: Limits,
    time: Arc<dyn TimeProvider>,
    accept_machines: bool,
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

    /// The handshaker.
    ///
    /// # Errors
    /// When TLS cannot be configured with this identity and these roots.
    pub fn build(self) -> Result<Handshaker, Failure> {
        let exchange = ExchangeConfig::new(&self.identity, &self.roots, &self.time)?;
        let Self { identity, roots, limits, time, accept_machines } = self;
        let shared = Shared { exchange, identity, roots, time, limits, accept_machines };
        Ok(Handshaker { shared: Arc::new(shared) })
    }
}

/// One identity, the authorities it trusts, and limits: what the handshakes of a service share.
#[derive(Clone, Debug)]
pub struct Handshaker {
    shared: Arc<Shared>,
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
        }
    }

    /// The subject of this handshaker's certificate.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        self.shared.identity.subject()
    }

    /// When this handshaker's certificate expires: time since the UNIX epoch.
    #[must_use]
    pub fn expires(&self) -> Duration {
        self.shared.identity.expires()
    }

    /// Whether a peer with these trust roots, or with this handshaker's own, would accept this
    /// handshaker's certificate now, as a client's and as a server's.
    ///
    /// # Errors
    /// What the peer would find wrong with it.
    pub fn check_certificate(&self, roots: Option<&TrustRoots>) -> Result<(), Failure> {
        let Shared { identity, roots: own, time, .. } = &*self.shared;
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

    /// The limits of each handshake.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Begins a call whose caller may use the certificate's own account, and no other.
    ///
    /// With a machine's certificate, which has no account, the start message will be
    /// refused: see [`begin_for`](Self::begin_for).
    #[must_use]
    pub fn begin(&self, now: Duration) -> Call {
        let own = self.subject().default_account();
        let choices = own.map(|account| Choice {
            account: account.to_owned(),
            shared: Arc::clone(&self.shared),
        });
        Call::new(self.shared.limits, choices.into_iter().collect(), now)
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
        Call::choosing(self.shared.limits, choices, now)
    }

    /// One of the accounts that a caller may use.
    pub(crate) fn choice(&self, account: String) -> Result<Choice, Failure> {
        if self.subject().vouches_for(&account) {
            return Ok(Choice { account, shared: Arc::clone(&self.shared) });
        }
        Err(Failure::new(
            Code::Internal,
            Fault::Service,
            Reason::Local,
            format!(
                "the policy gives the caller the account {account}, for which this service's \
                 certificate, which is for {}, does not vouch",
                self.subject()
            ),
        ))
    }

    #[cfg(all(test, feature = "dev"))]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
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
