//! A handshaker that becomes what its files say.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::sync::{oneshot, watch};

use super::{Failing, Follower, IdentityFiles, LoadError};
use crate::handshaker::Handshaker;

/// How things stand with files that are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// When what is in use was loaded.
    pub loaded: SystemTime,
    /// Why what the files say now is not used; `None` when it is.
    pub failing: Option<Failing>,
}

impl Status {
    fn of(follower: &Follower) -> Self {
        Self { loaded: follower.loaded(), failing: follower.failing().cloned() }
    }
}

/// A handshaker that becomes what its files say, until this is dropped.
///
/// With the feature `tokio-alts`, it is a service for connectors and acceptors by itself.
#[derive(Debug)]
pub struct Watched {
    handshaker: Handshaker,
    status: watch::Receiver<Status>,
    /// Whoever watches ends when there is nobody who could ask.
    requests: Sender<oneshot::Sender<()>>,
}

/// Loads files, and looks at them `every` so often, in a thread of its own: it needs no runtime, and
/// file systems that hang stop nobody else.
///
/// A certificate for another service account is used too. One for a machine does not replace one for a
/// service account, nor the other way round: it would leave the program without an account.
///
/// # Errors
/// As [`IdentityFiles::load`]; and when there can be no thread.
pub fn watch(files: IdentityFiles, every: Duration) -> Result<Watched, LoadError> {
    let (follower, handshaker) = Follower::new(files)?;
    let (teller, status) = watch::channel(Status::of(&follower));
    let (requests, received) = channel();
    let ours = handshaker.clone();
    thread::Builder::new()
        .name("alts-files".to_owned())
        .spawn(move || keep(follower, &ours, every, &received, &teller))
        .map_err(LoadError::Watching)?;
    Ok(Watched { handshaker, status, requests })
}

impl Watched {
    /// The handshaker. Its clones change with it for as long as this is not dropped.
    #[must_use]
    pub fn handshaker(&self) -> Handshaker {
        self.handshaker.clone()
    }

    /// How things stood when the files were looked at the last time.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Looks at the files now, and returns how things stand.
    pub async fn refresh(&self) -> Status {
        let (done, answer) = oneshot::channel();
        if self.requests.send(done).is_ok() {
            // Without an answer, nobody watches any more, and the last status is what there is.
            let _ = answer.await;
        }
        self.status()
    }
}

fn keep(
    mut follower: Follower,
    handshaker: &Handshaker,
    every: Duration,
    requests: &Receiver<oneshot::Sender<()>>,
    status: &watch::Sender<Status>,
) {
    loop {
        let asked = match requests.recv_timeout(every) {
            Ok(asked) => Some(asked),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let before = handshaker.subject();
        let looked = follower.look(false, |new| {
            let now = new.subject();
            if now.default_account().is_some() != before.default_account().is_some() {
                return Err(format!("the new certificate is for {now}, and was for {before}"));
            }
            handshaker.replace(new).map_err(|why| why.to_string())
        });
        match looked {
            Ok(None) => {}
            Ok(Some(new)) => tracing::info!(identity = %new.subject(), "certificates renewed"),
            Err(error) => tracing::error!(
                identity = %before,
                %error,
                "the new certificate, key or trust roots are bad: the old ones stay in use"
            ),
        }
        let now = Status::of(&follower);
        status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
        if let Some(done) = asked {
            // Whoever asked may have gone.
            let _ = done.send(());
        }
    }
}
