//! Sockets to a handshaker service, and whether the program that listens there may be one.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::address::Address;

/// Says whether a user may be the one who listens, or why not.
pub(super) type Listener = Arc<dyn Fn(u32) -> Result<(), String> + Send + Sync>;

/// A socket of either kind.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects, and asks `listener`, if there is one, whether the user who listens is the right one.
pub(super) async fn dial(
    address: &Address,
    listener: Option<&Listener>,
) -> io::Result<Box<dyn Socket>> {
    match address {
        // `GrpcHandshaker::require_listener` refuses these.
        Address::Tcp(_) if listener.is_some() => Err(io::ErrorKind::Unsupported.into()),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address.as_str()).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => checked(UnixStream::connect(path).await?, listener).await,
        #[cfg(unix)]
        Address::UnixAbstract(name) => {
            checked(UnixStream::connect(format!("\0{name}")).await?, listener).await
        }
        #[cfg(not(unix))]
        Address::Unix(_) | Address::UnixAbstract(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

#[cfg(unix)]
async fn checked(stream: UnixStream, listener: Option<&Listener>) -> io::Result<Box<dyn Socket>> {
    if let Some(admits) = listener {
        let (uid, admits) = (stream.peer_cred()?.uid(), Arc::clone(admits));
        // It may ask a directory of users on another machine.
        let admitted = tokio::task::spawn_blocking(move || admits(uid));
        admitted.await?.map_err(|why| io::Error::new(io::ErrorKind::PermissionDenied, why))?;
    }
    Ok(Box::new(stream))
}
