//! When a stream has to end although its peer would go on, or is silent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io};

/// Ready when the stream has to end.
pub(crate) type End = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

/// The end of one direction.
#[derive(Default)]
#[cfg_attr(not(feature = "net"), expect(dead_code, reason = "only `AltsIncoming` ends streams"))]
pub(super) enum Ending {
    /// The two peers decide.
    #[default]
    Open,
    /// When this is ready.
    When(End),
    /// It has come.
    Over,
}

impl Ending {
    /// Fails once the end has come. Before that, it wakes the task of `cx` then.
    #[inline]
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self {
            Self::Open => Ok(()),
            Self::When(end) => match end.as_mut().poll(cx) {
                Poll::Pending => Ok(()),
                Poll::Ready(()) => {
                    *self = Self::Over;
                    Err(over())
                }
            },
            Self::Over => Err(over()),
        }
    }
}

#[cold]
fn over() -> io::Error {
    let why = "the server has stopped, and the time that its connections had to end is over";
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::When(_) => "when its server stops",
            Self::Over => "over",
        })
    }
}
