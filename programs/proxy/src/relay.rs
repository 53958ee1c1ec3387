//! Bytes in both directions between two connections, each direction with an end of its own.
//!
//! The end of one direction is passed on as such (a half-closed connection stays one) and the other
//! direction goes on. Callers of [`relay`] pass an error on by breaking the connections off, so
//! that a stream which somebody has cut does not look like one that has ended. ALTS has no closing
//! message: a connection that was cut between two of its records looks like one that has ended.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};

use super::socket::{FOREVER, Stream};

/// Bytes that one direction moves before the other one has its turn.
const TURN: usize = 1024 * 1024;

/// Bytes of a client's connection so far, without what ALTS adds.
#[derive(Debug, Default)]
pub struct Traffic {
    /// From the client.
    pub received: AtomicU64,
    /// To the client.
    pub sent: AtomicU64,
    /// The client has ended the connection, or it is broken.
    pub has_ended: AtomicBool,
    /// Whether the client is still there is to be found out.
    is_in_doubt: AtomicBool,
}

impl Traffic {
    /// The bytes of both directions.
    #[must_use]
    pub fn moved(&self) -> u64 {
        let received = self.received.load(Ordering::Relaxed);
        received.saturating_add(self.sent.load(Ordering::Relaxed))
    }

    /// Asks whether the client is still there.
    pub fn doubt(&self) {
        self.is_in_doubt.store(true, Ordering::Relaxed);
    }

    /// Whether that was asked, which is answered once.
    #[must_use]
    pub fn takes_doubt(&self) -> bool {
        self.is_in_doubt.load(Ordering::Relaxed) && self.is_in_doubt.swap(false, Ordering::Relaxed)
    }
}

/// Why a connection ended.
#[derive(Debug)]
pub enum End {
    /// Both sides had said all that they had to say.
    Finished,
    /// Reading from or writing to the client failed.
    Client(io::Error),
    /// Reading from or writing to the upstream failed.
    Upstream(io::Error),
    /// Nothing happened for too long.
    Idle,
}

/// Carries bytes until both directions have ended, one has failed, or nothing has happened for
/// `idle`.
pub async fn relay(
    client: &mut Stream,
    upstream: &mut Stream,
    traffic: &Traffic,
    idle: Duration,
) -> End {
    let mut inwards = Direction { moved: &traffic.received, state: State::Moving };
    let mut outwards = Direction { moved: &traffic.sent, state: State::Moving };
    let idle = idle.min(FOREVER);
    let mut last = Instant::now();
    let mut alarm = Box::pin(sleep_until(last + idle));
    poll_fn(|cx| {
        let before = traffic.moved();
        let from_client = inwards.poll(client, upstream, cx);
        let from_upstream = outwards.poll(upstream, client, cx);
        let end = match (from_client, from_upstream) {
            (Poll::Ready(Err(Failed::Reading(error))), _)
            | (_, Poll::Ready(Err(Failed::Writing(error)))) => End::Client(error),
            (Poll::Ready(Err(Failed::Writing(error))), _)
            | (_, Poll::Ready(Err(Failed::Reading(error)))) => End::Upstream(error),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => End::Finished,
            (Poll::Pending, _) | (_, Poll::Pending) => {
                if traffic.moved() != before {
                    last = Instant::now();
                }
                // Set anew only when it goes off: that spares work with each byte.
                loop {
                    ready!(alarm.as_mut().poll(cx));
                    if last.elapsed() >= idle {
                        break End::Idle;
                    }
                    alarm.as_mut().reset(last + idle);
                }
            }
        };
        Poll::Ready(end)
    })
    .await
}

/// Which end of a direction has failed.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

/// One direction.
struct Direction<'a> {
    moved: &'a AtomicU64,
    state: State,
}

enum State {
    Moving,
    /// Something was written that may not have been sent.
    Unflushed,
    Ending,
    Ended,
}

impl Direction<'_> {
    fn poll(
        &mut self,
        from: &mut Stream,
        to: &mut Stream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failed>> {
        let (mut from, mut to) = (Pin::new(from), Pin::new(to));
        let mut turn = 0;
        while let State::Moving | State::Unflushed = self.state {
            if turn >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match from.as_mut().poll_fill_buf(cx).map_err(Failed::Reading)? {
                Poll::Ready([]) => self.state = State::Ending,
                Poll::Ready(bytes) => {
                    let count =
                        ready!(to.as_mut().poll_write(cx, bytes)).map_err(Failed::Writing)?;
                    if count == 0 {
                        return Poll::Ready(Err(Failed::Writing(io::ErrorKind::WriteZero.into())));
                    }
                    from.as_mut().consume(count);
                    self.moved.fetch_add(count as u64, Ordering::Relaxed);
                    turn = turn.saturating_add(count);
                    self.state = State::Unflushed;
                }
                Poll::Pending => {
                    if let State::Unflushed = self.state {
                        ready!(to.as_mut().poll_flush(cx)).map_err(Failed::Writing)?;
                        self.state = State::Moving;
                    }
                    return Poll::Pending;
                }
            }
        }
        if let State::Ending = self.state {
            // Sends what waits, and then the end.
            ready!(to.as_mut().poll_shutdown(cx)).map_err(Failed::Writing)?;
            self.state = State::Ended;
        }
        Poll::Ready(Ok(()))
    }
}
