//! What handshakes are begun with: identities and policy, replaced as a whole when either changes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use alts_handshaker::files::Follower;
use alts_handshaker::identity::RevocationDue;
use alts_handshaker::identity::revocation::WithoutStatus;
use alts_handshaker::{Handshaker, Limits};
use alts_serving::caller::Caller;
use alts_serving::directory::System;
use alts_serving::settings_error::SettingsError;
use alts_serving::subuids::SubUids;
use nix::unistd::geteuid;
use tokio::sync::watch;

use crate::config::Config;
use crate::identities::{Source, Validity, sentence};
use crate::metrics::Metrics;
use crate::policy::{AccountPattern, Decision, Given, Policy};
use crate::shut_out::shut_out;

/// What handshakes are begun with at one time.
#[derive(Debug)]
pub struct Snapshot {
    identities: Vec<Handshaker>,
    policy: Policy,
    limits: Limits,
    subuids: Arc<SubUids>,
    has_agent: bool,
}

impl Snapshot {
    /// What a caller on a listener may use, each account with the certificate that vouches for it.
    /// `attested` says what the SPIFFE agent gives the caller's process, if its rule gives that.
    ///
    /// # Errors
    /// Why it may use none, in words for the caller.
    pub fn choices(
        &self,
        caller: &Caller,
        listener: &str,
        attested: impl FnOnce() -> Result<Vec<(String, Handshaker)>, String>,
    ) -> Result<Vec<(String, Handshaker)>, String> {
        let given = match self.policy.decide(caller, listener) {
            Decision::Accounts(accounts) => accounts,
            Decision::Refused(why) => return Err(why),
        };
        let mut attested = given.contains(&Given::Attested).then(attested);
        let mut choices = Vec::new();
        for one in given {
            match one {
                Given::Account(account) => {
                    let mut own = self.identities.iter();
                    let vouching = own.find(|own| own.subject().vouches_for(&account));
                    choices.extend(vouching.map(|own| (account, own.clone())));
                }
                Given::Attested => {
                    if let Some(Ok(some)) = &mut attested {
                        choices.append(some);
                    }
                }
            }
        }
        if choices.is_empty() {
            if let Some(Err(why)) = attested {
                return Err(format!(
                    "the caller ({caller}) may not use any identity of this handshaker service: {why}"
                ));
            }
            // A user name with which the machine's certificate cannot make an account.
            return Err(format!(
                "the caller ({caller}) may not use any identity of this handshaker service: no \
                 certificate vouches for what its rule gives"
            ));
        }
        Ok(choices)
    }

    /// Whether a caller on a listener may use what the SPIFFE agent gives its process.
    #[must_use]
    pub fn attests(&self, caller: &Caller, listener: &str) -> bool {
        self.policy.attests(caller, listener)
    }

    /// The limits of one handshake.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// Whose the subordinate user numbers of this machine are.
    #[must_use]
    pub const fn subuids(&self) -> &Arc<SubUids> {
        &self.subuids
    }

    /// Those who can be vouched for.
    #[must_use]
    pub fn identities(&self) -> &[Handshaker] {
        &self.identities
    }

    /// Whether some certificate has not expired, or an agent may give one.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let now = since_epoch();
        self.has_agent || self.identities.iter().any(|own| own.expires() > now)
    }

    fn check_policy(&self) -> Result<(), (String, String)> {
        let of_certificates =
            self.policy.accounts().filter(|(account, _)| **account != AccountPattern::Attested);
        for (account, place) in of_certificates {
            let count =
                self.identities.iter().filter(|own| account.is_vouched_by(&own.subject())).count();
            let what = match count {
                1 => continue,
                0 => {
                    let subjects: Vec<_> =
                        self.identities.iter().map(|own| own.subject().to_string()).collect();
                    format!(
                        "no certificate vouches for {account}: they are for {}",
                        subjects.join(", ")
                    )
                }
                _ => format!("{count} certificates vouch for {account}: remove all but one"),
            };
            return Err((place.to_owned(), what));
        }
        Ok(())
    }
}

/// The time of day as time since the UNIX epoch.
#[must_use]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Loads everything that a configuration names: the snapshot, and what should be known.
///
/// # Errors
/// The first thing that cannot be used.
pub fn load(config: &Config) -> Result<(Snapshot, Vec<String>), SettingsError> {
    follow(config).map(|(snapshot, warnings, _)| (snapshot, warnings))
}

/// For each identity, the files that it comes from, if any.
type Followers = Vec<Option<Follower>>;

fn follow(config: &Config) -> Result<(Snapshot, Vec<String>, Followers), SettingsError> {
    let (mut identities, mut followers) = (Vec::new(), Vec::new());
    for source in &config.identities {
        let (identity, follower) = match source {
            Source::Fixed(handshaker) => (handshaker.clone(), None),
            Source::Files(placed) => {
                let (follower, handshaker) =
                    Follower::new(placed.files.clone()).map_err(|why| placed.error(&why))?;
                (handshaker, Some(follower))
            }
        };
        identities.push(identity);
        followers.push(follower);
    }
    let (snapshot, warnings) = assemble(config, identities)?;
    Ok((snapshot, warnings, followers))
}

fn assemble(
    config: &Config,
    identities: Vec<Handshaker>,
) -> Result<(Snapshot, Vec<String>), SettingsError> {
    let (policy, mut warnings) = Policy::resolve(&config.rules, &System);
    warnings.extend(shut_out(config, geteuid().as_raw(), &System));
    let subuids = Arc::new(SubUids::read(&System));
    let (limits, has_agent) = (config.limits.of_one(), config.spiffe.is_some());
    let snapshot = Snapshot { identities, policy, limits, subuids, has_agent };
    snapshot.check_policy().map_err(|(place, what)| SettingsError::new(place, what))?;
    Ok((snapshot, warnings))
}

/// What should be known about the ends of certificates, and of the lists by which peers are judged.
#[must_use]
pub fn expiry_warnings(snapshot: &Snapshot, warning: Duration) -> Vec<String> {
    let mut warnings = Vec::new();
    for own in &snapshot.identities {
        match Validity::judge(own.expires(), since_epoch(), warning) {
            Validity::Good => {}
            Validity::Ending(left) => warnings.push(format!(
                "the certificate of {} expires in {}",
                own.subject(),
                rough(left)
            )),
            Validity::Expired => warnings.push(format!(
                "the certificate of {} has expired: peers will refuse it",
                own.subject()
            )),
        }
        let due = own.revocation_due();
        warnings.extend(due.iter().filter_map(|due| due_sentence(due, judge_list(due))));
    }
    // Identities with the same roots have the same to say.
    warnings.dedup();
    warnings
}

/// A list is old when the last third of its period has begun.
fn judge_list(due: &RevocationDue) -> Validity {
    let warning = due.next_update.saturating_sub(due.last_third());
    Validity::judge(due.next_update, since_epoch(), warning)
}

fn due_sentence(due: &RevocationDue, validity: Validity) -> Option<String> {
    let RevocationDue { root, afterwards, .. } = due;
    match (validity, afterwards) {
        (Validity::Good, _) => None,
        (Validity::Ending(left), _) => Some(format!(
            "a revocation list of {root} has to be replaced within {}: the last third of its time \
             has begun",
            rough(left)
        )),
        (Validity::Expired, WithoutStatus::Accept) => Some(format!(
            "a revocation list of {root} should have been replaced: what has been revoked since then \
             is accepted (expired_crl)"
        )),
        (Validity::Expired, _) => Some(format!(
            "a revocation list of {root} should have been replaced: peers that it is about are refused \
             until there is a new one"
        )),
    }
}

/// A length of time for people.
fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Keeps the snapshot up to date.
#[derive(Debug)]
pub struct Keeper {
    path: Option<PathBuf>,
    config: Config,
    followers: Followers,
    sender: watch::Sender<Arc<Snapshot>>,
    metrics: Metrics,
    /// What was said last about the end of each identity, and of the lists of each root, and when.
    said: HashMap<Ending, (Validity, Instant)>,
}

/// What may end: an identity, by its number, or the lists of a root that it has, by its name.
type Ending = (usize, Option<String>);

/// How often the ends of certificates are looked at.
const EXPIRY_CHECK: Duration = Duration::from_secs(60);

/// How often a known problem is reported again.
const REMIND: Duration = Duration::from_secs(6 * 60 * 60);

impl Keeper {
    /// Loads a configuration; `path` is the file to read again on a reload.
    ///
    /// # Errors
    /// As [`load`].
    pub fn new(
        config: Config,
        path: Option<PathBuf>,
        metrics: Metrics,
    ) -> Result<Self, SettingsError> {
        let (snapshot, warnings, followers) = follow(&config)?;
        for warning in config.warnings().into_iter().chain(warnings) {
            tracing::warn!("{warning}");
        }
        let (sender, _) = watch::channel(Arc::new(snapshot));
        let mut keeper = Self { path, config, followers, sender, metrics, said: HashMap::new() };
        keeper.show_expiry();
        Ok(keeper)
    }

    /// A receiver of the current snapshot.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.sender.subscribe()
    }

    /// Where it shows what it knows.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The configuration in use.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Reads everything again: the configuration, then all files. What is bad is not used, and
    /// what was in use stays so. Returns whether all was good.
    pub fn reload(&mut self) -> bool {
        let Some(path) = &self.path else { return self.refresh(true) };
        let config = match Config::read(path) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "the new configuration is bad: the old one stays in use");
                self.metrics.reloaded(false);
                // The certificates may have to be replaced all the same.
                self.refresh(true);
                return false;
            }
        };
        match follow(&config) {
            Ok((snapshot, warnings, followers)) => {
                for warning in config.warnings().into_iter().chain(warnings) {
                    tracing::warn!("{warning}");
                }
                let restart = self.needs_restart(&config);
                self.config = config;
                self.followers = followers;
                self.publish(snapshot);
                if restart {
                    tracing::warn!(
                        "listeners, the SPIFFE agent, the metrics' address, the log, limits on numbers and times \
                         other than the deadline only change with a restart"
                    );
                }
                tracing::info!("reloaded");
                self.metrics.reloaded(true);
                true
            }
            Err(error) => {
                tracing::error!(%error, "the new configuration is bad: the old one stays in use");
                self.metrics.reloaded(false);
                self.refresh(true);
                false
            }
        }
    }

    /// Reads those identities again whose files have changed or are bad (`all`: every one). Each
    /// stands for itself: a bad one stays what it was, and the others are renewed. Returns whether all
    /// that were read were good, or as bad as they were known to be.
    pub fn refresh(&mut self, all: bool) -> bool {
        let old = self.sender.borrow().clone();
        let mut identities = old.identities.clone();
        let mut good = true;
        let mut renewed = Vec::new();
        for (follower, own) in self.followers.iter_mut().zip(&mut identities) {
            let Some(follower) = follower else { continue };
            let subject = own.subject();
            let adopt = |new: &Handshaker| {
                if new.subject() == subject {
                    return Ok(());
                }
                Err(format!(
                    "the new certificate is for {}, and was for {subject}: change the policy too if \
                     that is meant, and reload",
                    new.subject()
                ))
            };
            match follower.look(all, adopt) {
                Ok(None) => {}
                Ok(Some(new)) => {
                    renewed.push(new.subject().to_string());
                    *own = new;
                }
                Err(error) => {
                    tracing::error!(
                        identity = %subject,
                        error = sentence(&error),
                        "the new certificate, key or trust roots are bad: the old ones stay in use"
                    );
                    good = false;
                }
            }
        }
        let numbered = *self.sender.borrow().subuids == SubUids::read(&System);
        if renewed.is_empty() && good && numbered {
            return true;
        }
        match assemble(&self.config, identities) {
            Ok((snapshot, _)) => self.publish(snapshot),
            Err(error) => {
                tracing::error!(%error, "the policy cannot be applied: the old one stays in use");
                good = false;
            }
        }
        if !renewed.is_empty() {
            tracing::info!(identities = renewed.join(", "), "certificates renewed");
        }
        self.metrics.reloaded(good);
        good
    }

    /// Warns of certificates that end soon or have ended, when that is news and then every few
    /// hours. Called every now and then.
    pub fn show_expiry(&mut self) {
        let snapshot = self.sender.borrow().clone();
        let now = since_epoch();
        self.metrics.forget_identities();
        for (index, own) in snapshot.identities.iter().enumerate() {
            let identity = own.subject().to_string();
            let follower = self.followers.get(index).and_then(Option::as_ref);
            let stale = follower.is_some_and(|follower| follower.failing().is_some());
            self.metrics.identity(&identity, own.expires(), stale);
            let validity = Validity::judge(own.expires(), now, self.config.expiry_warning);
            let news = self.is_news((index, None), validity);
            match (news, validity) {
                (false, _) | (_, Validity::Good) => {}
                (_, Validity::Ending(left)) => {
                    tracing::warn!(%identity, left = rough(left), "a certificate expires soon");
                }
                (_, Validity::Expired) => {
                    tracing::error!(%identity, "a certificate has expired: peers will refuse it");
                }
            }
            for due in own.revocation_due() {
                self.metrics.revocation_list(&identity, &due.root, due.next_update);
                let validity = judge_list(&due);
                if let Some(what) = due_sentence(&due, validity)
                    && self.is_news((index, Some(due.root)), validity)
                {
                    tracing::warn!(%identity, "{what}");
                }
            }
        }
    }

    /// Whether this has not been said yet, or so long ago that it is said again.
    fn is_news(&mut self, what: Ending, validity: Validity) -> bool {
        let now = Instant::now();
        let old = self.said.get(&what).is_some_and(|(before, when)| {
            std::mem::discriminant(before) == std::mem::discriminant(&validity)
                && now.duration_since(*when) < REMIND
        });
        if !old {
            self.said.insert(what, (validity, now));
        }
        !old
    }

    /// How long until the ends of certificates are worth a look.
    #[must_use]
    pub fn next_look(&self) -> Duration {
        let now = since_epoch();
        let identities = self.sender.borrow().identities.clone();
        let lists = identities.iter().flat_map(Handshaker::revocation_due);
        let ends = lists.flat_map(|due| [due.last_third(), due.next_update]);
        let ends = ends.chain(identities.iter().map(Handshaker::expires));
        let next = ends.filter_map(|end| end.checked_sub(now)).min();
        next.unwrap_or(EXPIRY_CHECK).clamp(Duration::from_secs(1), EXPIRY_CHECK)
    }

    fn publish(&mut self, snapshot: Snapshot) {
        self.sender.send_replace(Arc::new(snapshot));
        self.said.clear();
        self.show_expiry();
    }

    fn needs_restart(&self, new: &Config) -> bool {
        let old = &self.config;
        let agent = |config: &Config| {
            config.spiffe.as_ref().map(|one| (one.agent.clone(), one.api, one.broker.clone()))
        };
        let same = old.listeners.len() == new.listeners.len()
            && old
                .listeners
                .iter()
                .zip(&new.listeners)
                .all(|(old, new)| (&old.name, &old.endpoint) == (&new.name, &new.endpoint))
            && old.metrics == new.metrics
            && agent(old) == agent(new)
            && old.log == new.log
            && (old.poll, old.grace) == (new.poll, new.grace)
            && old.limits.handshakes == new.limits.handshakes
            && old.limits.handshakes_per_caller == new.limits.handshakes_per_caller
            && old.limits.connections == new.limits.connections
            && old.limits.connections_per_caller == new.limits.connections_per_caller;
        !same
    }
}
