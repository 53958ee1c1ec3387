//! A subscription: what an agent says about one workload, kept up to date as long as somebody wants it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tonic::{Code, Status};

use super::agent::{Source, StreamEnd, Streams};
use super::material::{Material, Unusable};
use super::settings::{Settings, SharedSettings};
use crate::handshaker::Handshaker;

/// How long after a stream has ended the agent is asked again: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long an agent that was away may say that it knows no identity for a workload that had one: it may
/// not have heard of it from its server yet.
const CATCHING_UP: Duration = Duration::from_secs(10);

/// How long an agent has to answer at all.
const ANSWER: Duration = Duration::from_secs(10);

/// What is known about a workload at one time.
#[derive(Clone, Debug, Default)]
pub struct State {
    handshakers: Arc<[Handshaker]>,
    problem: Option<Arc<str>>,
    settled: bool,
}

impl State {
    /// One handshaker for each identity of the workload, the agent's first choice first. Their
    /// certificates may have ended since, if the agent has not been there to renew them.
    #[must_use]
    pub fn handshakers(&self) -> &[Handshaker] {
        &self.handshakers
    }

    /// What is wrong, in words: why there is no identity, or why the ones that there are may be out of
    /// date.
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whether the agent has been heard, or has failed, since the subscription began.
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.settled
    }
}

/// What an agent says about one workload, kept up to date until this is dropped.
pub struct Subscription {
    state: watch::Receiver<State>,
    address: String,
    task: AbortHandle,
}

impl Subscription {
    /// Begins one, in the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn begin(source: Source, settings: impl Into<SharedSettings>) -> Self {
        let (sender, state) = watch::channel(State::default());
        let address = source.address().to_owned();
        let shared = settings.into();
        let settings = shared.subscribe();
        let material = Material::default();
        let keeper = Keeper { source, settings, _shared: shared, sender, material, doubt: None };
        let task = tokio::spawn(keeper.run()).abort_handle();
        Self { state, address, task }
    }

    /// What is known now.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// What is known once the agent has answered or failed, or after that time.
    pub async fn settled(&self, longest: Duration) -> State {
        timeout(longest, self.wait_for(State::is_settled)).await.unwrap_or_else(|_| self.state())
    }

    /// Waits until something holds of what is known.
    pub async fn wait_for(&self, holds: impl FnMut(&State) -> bool) -> State {
        let mut state = self.state.clone();
        // The other end is there as long as this is, or has said its last word.
        let found = state.wait_for(holds).await.map(|state| state.clone());
        found.unwrap_or_else(|_| self.state())
    }

    /// The agent's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("address", &self.address).finish_non_exhaustive()
    }
}

/// The other end: asks, and asks again.
struct Keeper {
    source: Source,
    settings: watch::Receiver<Settings>,
    /// Settings change as long as somebody can change them.
    _shared: SharedSettings,
    sender: watch::Sender<State>,
    /// What is in use.
    material: Material,
    /// When a refusal is to be believed, once there is one in doubt.
    doubt: Option<(Instant, String)>,
}

/// The process that was meant is not there any more.
struct Gone;

/// What happens next on a stream.
enum Event {
    Said(Result<(), StreamEnd>),
    Settings,
    Late,
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let began = Instant::now();
            if self.ask().await.is_err() {
                self.show(Arc::default(), Some("the process that was meant has ended".to_owned()));
                return;
            }
            if began.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            self.rest(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    /// Waits before the agent is asked again; new settings do not wait.
    async fn rest(&mut self, pause: Duration) {
        let over = Instant::now() + pause;
        while timeout_at(over, self.settings.changed()).await.is_ok() {
            self.judge_anew();
        }
    }

    /// What is in use, by new settings.
    fn judge_anew(&mut self) {
        if self.sender.borrow().handshakers.is_empty() {
            return;
        }
        let problem = self.sender.borrow().problem.clone();
        let judged = self.material.handshakers(&self.settings.borrow_and_update());
        match judged {
            Ok(handshakers) => {
                let handshakers = handshakers.unwrap_or_default().into();
                self.sender.send_replace(State { handshakers, problem, settled: true });
            }
            // The settings are worse than nothing: what they deny must not stay.
            Err(why) => self.show(Arc::default(), Some(why.to_string())),
        }
    }

    /// Asks once, and shows what comes until the stream ends.
    async fn ask(&mut self) -> Result<(), Gone> {
        self.still_there()?;
        let opened = timeout(ANSWER, self.source.open()).await;
        let (end, known) = match opened.unwrap_or_else(|_| Err(silent())) {
            Ok(streams) => self.follow(streams).await?,
            Err(status) => (StreamEnd::Status(status), false),
        };
        self.still_there()?;
        match end {
            StreamEnd::Status(status)
                if matches!(status.code(), Code::PermissionDenied | Code::NotFound) =>
            {
                self.refused(status.message(), known);
            }
            StreamEnd::Status(status) => self.lost(&format!(
                "the SPIFFE agent at {} cannot be asked ({:?}): {}",
                self.source.address(),
                status.code(),
                status.message()
            )),
            StreamEnd::Unusable(why) => self.unusable(&why),
        }
        Ok(())
    }

    /// Returns how the stream ended, and whether the agent had said on it that it knows the workload.
    async fn follow(&mut self, mut streams: Streams) -> Result<(StreamEnd, bool), Gone> {
        let mut material = Material::default();
        let (mut heard, mut known) = (false, false);
        loop {
            let longest = match &self.doubt {
                Some((until, _)) => until.saturating_duration_since(Instant::now()),
                None if heard => Duration::MAX,
                None => ANSWER,
            };
            let event = tokio::select! {
                said = streams.next(&mut material) => Event::Said(said),
                changed = self.settings.changed() => match changed {
                    Ok(()) => Event::Settings,
                    // The sender is kept here.
                    Err(_) => Event::Late,
                },
                () = sleep(longest) => Event::Late,
            };
            match event {
                Event::Said(Ok(())) => {}
                Event::Said(Err(end)) => return Ok((end, known)),
                Event::Settings => {
                    self.judge_anew();
                    continue;
                }
                Event::Late => match self.doubt.take() {
                    Some((_, why)) => {
                        self.refuse(&why);
                        continue;
                    }
                    None => return Ok((StreamEnd::Status(silent()), known)),
                },
            }
            self.still_there()?;
            let usable = material.handshakers(&self.settings.borrow_and_update());
            match usable {
                Ok(None) => continue,
                Ok(Some(none)) if none.is_empty() => {
                    self.refused("it has no identity for this process", known);
                }
                Ok(Some(some)) => {
                    self.material = material.clone();
                    self.accept(some);
                    known = true;
                }
                Err(why) => self.unusable(&why),
            }
            heard = true;
        }
    }

    fn still_there(&self) -> Result<(), Gone> {
        if self.source.is_there() { Ok(()) } else { Err(Gone) }
    }

    fn accept(&mut self, handshakers: Vec<Handshaker>) {
        self.doubt = None;
        let problems = handshakers.iter().filter_map(|own| {
            let why = own.check_certificate(None).err()?;
            Some(format!("{}: {why}", own.subject()))
        });
        // They are used all the same: an authority that is gone must not stay for the sake of a
        // certificate of its own.
        let problem = problems.reduce(|all, one| format!("{all}; {one}"));
        if let Some(problem) = &problem {
            self.say(problem);
        }
        self.show(handshakers.into(), problem);
    }

    /// The agent says that there is no identity. `known` says that it had said so of one on the same
    /// stream, and so knows what it says.
    fn refused(&mut self, why: &str, known: bool) {
        let had = !self.sender.borrow().handshakers.is_empty();
        let now = Instant::now();
        let until = self.doubt.as_ref().map_or_else(|| now + CATCHING_UP, |(until, _)| *until);
        if known || !had || until <= now {
            self.doubt = None;
            self.refuse(why);
            return;
        }
        self.doubt = Some((until, why.to_owned()));
        self.lost(&format!(
            "the SPIFFE agent at {} was away, and knows no identity so far: {why}",
            self.source.address()
        ));
    }

    fn refuse(&self, why: &str) {
        let agent = self.source.address();
        self.show(Arc::default(), Some(format!("the SPIFFE agent at {agent} refuses: {why}")));
    }

    /// What the agent says is of no use: what was known stays.
    fn unusable(&self, why: &Unusable) {
        let agent = self.source.address();
        let why = format!("what the SPIFFE agent at {agent} says cannot be used: {why}");
        self.lost(&why);
    }

    /// Something is wrong: what was known stays.
    fn lost(&self, why: &str) {
        let before = self.sender.borrow().clone();
        if !before.handshakers.is_empty() && before.problem.is_none() {
            self.say(why);
        }
        self.show(before.handshakers, Some(why.to_owned()));
    }

    /// Of other processes there may be many: whoever asks for them says what is worth a line.
    fn say(&self, problem: &str) {
        let agent = self.source.address();
        if self.source.is_own() {
            tracing::warn!(agent, problem, "the identity of this process is not renewed for now");
        } else {
            tracing::debug!(agent, problem, "an identity is not renewed for now");
        }
    }

    fn show(&self, handshakers: Arc<[Handshaker]>, problem: Option<String>) {
        let problem = problem.map(Into::into);
        self.sender.send_replace(State { handshakers, problem, settled: true });
    }
}

fn silent() -> Status {
    Status::deadline_exceeded("it does not answer")
}
