//! What may be sent again: requests that were not looked at, and those for which twice is as good as
//! once (RFC 9110, section 9.2.2; RFC 9113, sections 6.8 and 8.7).

use std::error::Error;
use std::io;

use h2::Reason;
use http::Method;

/// What an error says about a request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    /// The server says that it has not looked at it.
    Untouched,
    /// The connection broke: nobody knows.
    Unknown,
    /// The server has answered with an error, or with what is not HTTP.
    Answered,
}

/// Whether a request may be sent again after this error. `is_used`: others have used the connection
/// before, so that its end may have come before the request.
#[must_use]
pub fn may_be(method: &Method, error: &hyper::Error, is_used: bool) -> bool {
    match sent(error) {
        Sent::Untouched => true,
        Sent::Unknown => is_used && method.is_idempotent(),
        Sent::Answered => false,
    }
}

/// Whether the server takes no more requests on the connection.
#[must_use]
pub fn is_leaving(error: &hyper::Error) -> bool {
    of_http2(error).is_some_and(|error| error.is_go_away() || error.is_io())
}

fn sent(error: &hyper::Error) -> Sent {
    if let Some(error) = of_http2(error) {
        let (remote, reason) = (error.is_remote(), error.reason());
        return if remote && error.is_go_away() && reason == Some(Reason::NO_ERROR)
            || remote && error.is_reset() && reason == Some(Reason::REFUSED_STREAM)
        {
            Sent::Untouched
        } else if error.is_io() || error.is_go_away() {
            Sent::Unknown
        } else {
            Sent::Answered
        };
    }
    let broke = error.is_incomplete_message() || error.is_closed() || error.is_canceled();
    if broke || chain(error).any(<dyn Error>::is::<io::Error>) {
        Sent::Unknown
    } else {
        Sent::Answered
    }
}

fn of_http2(error: &hyper::Error) -> Option<&h2::Error> {
    chain(error).find_map(|one| one.downcast_ref())
}

fn chain(error: &hyper::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&one| one.source())
}
