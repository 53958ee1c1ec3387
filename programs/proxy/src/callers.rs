//! Which user of this machine is at the other end of a plain connection, by the kernel's word, and
//! whether that user may connect.

use alts_serving::caller::{Caller, identify, over_tcp, over_unix};
use alts_serving::caller_pattern::CallerPattern;
use tokio::sync::Semaphore;

use crate::client::Client;
use crate::socket::Socket;

/// Finds out who is connected, takes note of it, and lets in those who are allowed.
///
/// # Errors
/// Why the client may not connect.
pub async fn admit(
    client: &Client,
    allowed: &[CallerPattern],
    lookups: &Semaphore,
    socket: &Socket,
) -> Result<(), String> {
    // It is never closed; without a permit, nobody is known.
    let Ok(permit) = lookups.acquire().await else { return Err("nobody is let in".to_owned()) };
    let caller = behind(socket).await;
    drop(permit);
    client.set_caller(&caller);
    client
        .count_for(&caller.key())
        .map_err(|full| format!("{}: the caller has too many connections", full.name()))?;
    if allowed.iter().any(|pattern| pattern.is(&caller)) {
        return Ok(());
    }
    let why = match &caller {
        Caller::Unknown { why, .. } => format!(" ({why})"),
        _ => String::new(),
    };
    let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
    Err(format!("the listener allows {}: the caller is {caller}{why}", allowed.join(", ")))
}

/// The caller at the other end.
async fn behind(socket: &Socket) -> Caller {
    let (caller, gid) = match socket {
        Socket::Unix(stream) => over_unix(stream),
        Socket::Tcp(stream) => {
            let why = || "the connection was over before that was known".to_owned();
            let over = || Caller::Unknown { address: socket.remote_addr(), why: why() };
            (over_tcp(stream).await.unwrap_or_else(over), None)
        }
    };
    match caller {
        Caller::Local { uid, pid, .. } => identify(uid, gid, pid).await,
        other => other,
    }
}
