//! How long a connection may go on: its age, the ends of certificates, and what happens then.

use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, SystemTime};

use alts_core::AltsContext;
use tokio::time::{Instant, sleep_until};

/// The longest time that is waited for: some 30 years.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);
/// The most that a connection ends before a certificate does.
const MOST_EARLY: Duration = Duration::from_secs(5 * 60);

/// How long connections may go on: for ever, by default.
///
/// gRPC's servers know the same settings (`max_connection_age`, `max_connection_age_grace`). A connection
/// is *due* when it has reached its age or when a certificate ends, whichever comes first. Then it is
/// asked to end, which HTTP/2 does with GOAWAY: calls under way go on, and the next ones
/// take another connection. It is *over* after a grace: then it is closed, whatever still goes on.
///
/// So that connections that began together do not end together, an age is up to 10 % longer or shorter
/// than it is set; and a certificate's end is due up to 10 % of the time that is left earlier, at most 5
/// minutes, and never later.
///
/// When certificates end, the handshaker service has to say: `altsd` and `alts_handshaker` do
/// (`docs/PROTOCOL.md`, "The ends of certificates"). Without that, only the age counts.
///
/// ```
/// use std::time::Duration;
/// use tokio_alts::ConnectionAge;
///
/// let age = ConnectionAge::new()
///     .max_age(Duration::from_secs(60 * 60))
///     .at_certificate_end(true)
///     .grace(Duration::from_secs(60));
/// # let _ = age;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionAge {
    max_age: Option<Duration>,
    grace: Option<Duration>,
    at_certificate_end: bool,
}

impl ConnectionAge {
    /// No limit.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_age: None, grace: None, at_certificate_end: false }
    }

    /// A connection is due at this age, or up to 10 % before or after it.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
        self
    }

    /// How long what is under way may go on once the connection is due: as long as it likes, by
    /// default.
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Whether a connection is due when the peer's certificate or the own one ends.
    #[must_use]
    pub const fn at_certificate_end(mut self, is_due: bool) -> Self {
        self.at_certificate_end = is_due;
        self
    }

    /// When a connection is due that begins now, and of which the handshake has proved this.
    ///
    /// The time of day is read once. If the clock is set later, the connection does not notice.
    #[must_use]
    pub fn of(&self, context: &AltsContext) -> ConnectionEnd {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ends = [context.peer_certificate_end(), context.local_certificate_end()];
        let due = self.due(ends, now, RandomState::new().build_hasher().finish());
        ConnectionEnd::after(due, self.grace)
    }

    /// The same for a connection that had no handshake: only the age counts.
    #[must_use]
    pub fn of_plain(&self) -> ConnectionEnd {
        let due =
            self.due([None, None], Duration::ZERO, RandomState::new().build_hasher().finish());
        ConnectionEnd::after(due, self.grace)
    }

    /// When and why a connection is due, from now on. `random` is any number.
    fn due(
        &self,
        [peer, local]: [Option<Duration>; 2],
        now: Duration,
        random: u64,
    ) -> Option<(Duration, EndReason)> {
        // One of 1024 parts of the way.
        let random = u32::try_from(random % 1025).unwrap_or_default();
        let age = self.max_age.map(|age| {
            let age = age.min(FOREVER);
            let least = age.saturating_sub(age / 10);
            (least.saturating_add(part(age / 5, random)), EndReason::Age)
        });
        let certificate = |end: Option<Duration>, reason| {
            let left = end?.saturating_sub(now).min(FOREVER);
            Some((left.saturating_sub(part((left / 10).min(MOST_EARLY), random)), reason))
        };
        let ends = [(peer, EndReason::PeerCertificate), (local, EndReason::LocalCertificate)];
        let ends = ends.into_iter().filter(|_| self.at_certificate_end);
        let ends = ends.filter_map(|(end, reason)| certificate(end, reason));
        age.into_iter().chain(ends).min_by_key(|(after, _)| *after)
    }
}

/// `random` of 1024 parts of a time.
fn part(time: Duration, random: u32) -> Duration {
    (time / 1024).saturating_mul(random)
}

/// Why a connection is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// It has reached its age.
    Age,
    /// The peer's certificate has ended.
    PeerCertificate,
    /// The own certificate has ended.
    LocalCertificate,
}

impl EndReason {
    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Age => "the connection has reached its age, and its grace is over",
            Self::PeerCertificate => {
                "the peer's certificate has ended, and the connection's grace is over"
            }
            Self::LocalCertificate => {
                "this side's certificate has ended, and the connection's grace is over"
            }
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Age => "age",
            Self::PeerCertificate => "the end of the peer's certificate",
            Self::LocalCertificate => "the end of this side's certificate",
        })
    }
}

/// When one connection is due, when it is over, and why. [`ConnectionAge::of`] says so; by default, it
/// never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionEnd {
    due: Option<(Instant, EndReason)>,
    over: Option<Instant>,
}

impl ConnectionEnd {
    fn after(due: Option<(Duration, EndReason)>, grace: Option<Duration>) -> Self {
        let due = due.map(|(after, reason)| (Instant::now() + after.min(FOREVER), reason));
        let grace = grace.map(|grace| grace.min(FOREVER));
        let over = due.zip(grace).map(|((due, _), grace)| due + grace);
        Self { due, over }
    }

    /// When the connection is due; `None` if never.
    #[must_use]
    pub fn due_at(&self) -> Option<Instant> {
        self.due.map(|(due, _)| due)
    }

    /// When it is over; `None` if what is under way may go on as long as it likes.
    #[must_use]
    pub const fn over_at(&self) -> Option<Instant> {
        self.over
    }

    /// Why it will be due.
    #[must_use]
    pub fn reason(&self) -> Option<EndReason> {
        self.due.map(|(_, reason)| reason)
    }

    /// Waits until the connection is due.
    pub async fn due(&self) -> EndReason {
        match self.due {
            Some((due, reason)) => {
                sleep_until(due).await;
                reason
            }
            None => pending().await,
        }
    }

    /// Waits until it is over.
    pub async fn over(&self) -> EndReason {
        match self.over.zip(self.reason()) {
            Some((over, reason)) => {
                sleep_until(over).await;
                reason
            }
            None => pending().await,
        }
    }

    /// Drives a connection of hyper or of another server to its end. When it is due, `close` asks it to
    /// end: hyper's `graceful_shutdown` does, with GOAWAY in HTTP/2 and `connection: close` in HTTP/1.1.
    /// When it is over, it is dropped.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use http::{Request, Response};
    /// # use hyper::body::Incoming;
    /// # use hyper_util::rt::{TokioExecutor, TokioIo};
    /// # use tokio::net::TcpStream;
    /// # use tokio_alts::{AltsStream, ConnectionAge};
    /// # async fn serve(stream: AltsStream<TcpStream>, age: ConnectionAge) {
    /// # let service = hyper::service::service_fn(async |_: Request<Incoming>| {
    /// #     Ok::<_, Infallible>(Response::new(String::new()))
    /// # });
    /// let end = age.of(stream.context());
    /// let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    /// let connection = builder.serve_connection(TokioIo::new(stream), service);
    /// match end.drive(connection, |connection| connection.graceful_shutdown()).await {
    ///     Ok(_ended) => {}
    ///     Err(reason) => println!("closed: {reason}"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Why it was over before it had ended.
    pub async fn drive<C: Future>(
        &self,
        connection: C,
        close: impl FnOnce(Pin<&mut C>),
    ) -> Result<C::Output, EndReason> {
        let (mut connection, mut close) = (pin!(connection), Some(close));
        let (mut due, mut over) = (pin!(self.due()), pin!(self.over()));
        poll_fn(|cx| {
            if close.is_some() && due.as_mut().poll(cx).is_ready() {
                close.take().into_iter().for_each(|close| close(connection.as_mut()));
            }
            match connection.as_mut().poll(cx) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending => over.as_mut().poll(cx).map(Err),
            }
        })
        .await
    }
}

/// A time of UNIX as a time of day.
#[must_use]
pub(crate) fn system_time(end: Option<Duration>) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(end?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn at(ends: [Option<u64>; 2]) -> [Option<Duration>; 2] {
        ends.map(|end| end.map(|end| NOW + Duration::from_secs(end)))
    }

    /// The earliest and the latest that there can be, and how many there are.
    fn range(age: ConnectionAge, ends: [Option<u64>; 2]) -> (Duration, Duration, usize) {
        let mut all: Vec<_> =
            (0..5000).map(|random| age.due(at(ends), NOW, random * 7).unwrap().0).collect();
        all.sort();
        let bounds = (all[0], all[all.len() - 1]);
        all.dedup();
        (bounds.0, bounds.1, all.len())
    }

    #[test]
    fn an_age_is_spread_by_a_tenth_in_both_directions() {
        let age = ConnectionAge::new().max_age(Duration::from_secs(1000));
        let (first, last, different) = range(age, [None, None]);
        assert!(first >= Duration::from_secs(900) && first < Duration::from_secs(901), "{first:?}");
        assert!(last <= Duration::from_secs(1100) && last > Duration::from_secs(1099), "{last:?}");
        assert!(different > 1000, "{different}");
    }

    #[test]
    fn the_end_of_a_certificate_is_never_later_and_at_most_five_minutes_earlier() {
        let age = ConnectionAge::new().at_certificate_end(true);
        let (first, last, different) = range(age, [Some(1000), None]);
        assert!(first >= Duration::from_secs(900) && first < Duration::from_secs(901), "{first:?}");
        assert_eq!(last, Duration::from_secs(1000));
        assert!(different > 1000, "{different}");
        let year = 365 * 24 * 60 * 60;
        let (first, last, _) = range(age, [None, Some(year)]);
        assert_eq!(last, Duration::from_secs(year));
        let early = last.saturating_sub(first);
        assert!(early > MOST_EARLY / 2 && early <= MOST_EARLY, "{early:?}");
        // What has ended already is due at once.
        assert_eq!(range(age, [Some(0), None]), (Duration::ZERO, Duration::ZERO, 1));
    }

    #[test]
    fn what_comes_first_counts() {
        let age = ConnectionAge::new().max_age(Duration::from_secs(500));
        let both = age.at_certificate_end(true);
        let reason = |age: ConnectionAge, ends| age.due(at(ends), NOW, 9).map(|due| due.1);
        assert_eq!(reason(age, [Some(1), Some(1)]), Some(EndReason::Age));
        assert_eq!(reason(both, [Some(1000), Some(1000)]), Some(EndReason::Age));
        assert_eq!(reason(both, [Some(100), Some(200)]), Some(EndReason::PeerCertificate));
        assert_eq!(reason(both, [None, Some(200)]), Some(EndReason::LocalCertificate));
        assert_eq!(reason(both, [None, None]), Some(EndReason::Age));
        assert_eq!(reason(ConnectionAge::new(), [Some(1), Some(1)]), None);
        let certificates = ConnectionAge::new().at_certificate_end(true);
        assert_eq!(reason(certificates, [None, None]), None);
    }

    #[test]
    fn no_time_is_too_long() {
        let age = ConnectionAge::new().max_age(Duration::MAX).grace(Duration::MAX);
        let (after, reason) = age.due([None, None], NOW, 1024).unwrap();
        assert!(after > FOREVER && after < FOREVER * 2 && reason == EndReason::Age);
    }
}
