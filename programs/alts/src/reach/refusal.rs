//! Peers that answer, and refuse: why may we not call?

use std::io::{self, Cursor};
use std::time::Duration;

use alts_core::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, join, split};
use tokio::time::timeout;

use super::Destination;
use super::http2::Answer;
use crate::diagnosis::{Fault, Problem};

/// How long a peer may take to close a connection that it does not want. A gRPC server says
/// something before that.
const AT_ONCE: Duration = Duration::from_millis(300);

const PERMISSION_DENIED: u32 = 7;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// Waits for a moment for a peer that closes the connection right after the handshake; gives the
/// connection back if it does not.
///
/// # Errors
/// When it has closed it.
pub async fn admitted<IO>(
    target: &Destination,
    own: &str,
    mut io: IO,
) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<IO>, Problem>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin,
{
    let mut first = [0];
    let heard = match timeout(AT_ONCE, io.read(&mut first)).await {
        Err(_) => 0,
        Ok(Ok(1)) => 1,
        Ok(Ok(_)) => return Err(closed(target, own, "it closed the connection")),
        Ok(Err(error)) => return Err(closed(target, own, &broken(&error))),
    };
    let (read, write) = split(io);
    let heard = Cursor::new(first).take(heard);
    Ok(join(heard.chain(read), write))
}

fn broken(error: &io::Error) -> String {
    format!("the connection broke: {error}")
}

fn closed(target: &Destination, own: &str, got: &str) -> Problem {
    Problem::new(
        Fault::Refusal,
        format!("to use the connection to {target} as {own}"),
        format!("{got} right after the handshake, without a word"),
        format!(
            "it may not admit {own}: its log says why (alts proxy: `allow` of the listener); or what \
             is behind it is not there"
        ),
    )
}

/// Why an answer is a refusal, if it is one.
#[must_use]
pub fn refusal(target: &Destination, own: &str, answer: &Answer) -> Option<Problem> {
    let got = match answer.grpc_status {
        Some(code) => format!("status {}", StatusCode(code)),
        None => format!("HTTP status {}, and no gRPC status", answer.http_status),
    };
    let got = if answer.message.is_empty() { got } else { format!("{got}: {}", answer.message) };
    let remedy = match (answer.grpc_status, answer.http_status) {
        (Some(PERMISSION_DENIED), _) | (None, 403) => format!(
            "the peer knows us as {own}, and does not admit that account: add it there \
             (RequireServiceAccounts; alts proxy: `allow`), or use an identity that it admits"
        ),
        (Some(UNAUTHENTICATED), _) | (None, 401) => format!(
            "the peer wants more than the account that ALTS has proved ({own}): look at its \
             interceptors, or at what is behind it"
        ),
        (Some(UNAVAILABLE), _) | (None, 502..=504) => {
            "ALTS works, and what is behind the peer does not answer: look there, and at the peer's \
             log"
                .to_owned()
        }
        _ => return None,
    };
    Some(Problem::new(Fault::Refusal, format!("a call to {target} as {own}"), got, remedy))
}
