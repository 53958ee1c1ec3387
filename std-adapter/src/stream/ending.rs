//! When a stream has to end although its peer would go on, or is silent.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{fmt, io};

/// Ready when the stream has to end; says why.
pub(crate) type End = Pin<Box<dyn Future<Output = &'static str> + Send + Sync>>;

/// The end of one direction.
#[derive(Default)]
pub(super) enum Ending {
    /// The two peers decide.
    #[default]
    Open,
    /// When one of these is ready.
    When(Vec<End>),
    /// It has come.
    Over(&'static str),
}

impl Ending {
    /// One more reason to end.
    pub(super) fn add(&mut self, end: End) {
        match self {
            Self::Open => *self = Self::When(vec![end]),
            Self::When(ends) => ends.push(end),
            Self::Over(_) => {}
        }
    }

    /// Fails once the end has come. Before that, it wakes the task of `cx` then.
    #[inline]
    pub(super) fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self {
            Self::Open => Ok(()),
            Self::When(ends) => {
                for end in ends {
                    if let Poll::Ready(why) = end.as_mut().poll(cx) {
                        *self = Self::Over(why);
                        return Err(over(why));
                    }
                }
                Ok(())
            }
            Self::Over(why) => Err(over(why)),
        }
    }
}

#[cold]
fn over(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::When(_) => "for some time",
            Self::Over(_) => "over",
        })
    }
}
