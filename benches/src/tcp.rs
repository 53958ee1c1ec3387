//! Connections over the loopback interface.

use std::net::{TcpListener, TcpStream};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpCongestion;

use crate::Outcome;

/// Both ends of a connection, which send at once and without pacing: the default congestion
/// control of some machines would measure itself.
///
/// # Errors
/// Those of the sockets.
pub fn pair() -> Outcome<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    for socket in [&client, &server] {
        prepare(socket)?;
    }
    Ok((client, server))
}

/// As [`pair`] does it, for one socket.
///
/// # Errors
/// Those of the socket.
pub fn prepare(socket: &TcpStream) -> Outcome<()> {
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    setsockopt(socket, TcpCongestion, &"cubic".into())?;
    Ok(())
}

/// Both ends, for the runtime of this thread.
///
/// # Errors
/// Those of the sockets.
pub fn tokio_pair() -> Outcome<(tokio::net::TcpStream, tokio::net::TcpStream)> {
    let (client, server) = pair()?;
    Ok((tokio::net::TcpStream::from_std(client)?, tokio::net::TcpStream::from_std(server)?))
}
