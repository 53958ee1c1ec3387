//! Notices to the service manager: that the daemon is ready, reloads, stops, or is alive.
//!
//! The protocol of `sd_notify(3)`: datagrams of `NAME=value` lines to the socket that the variable
//! `NOTIFY_SOCKET` names. The program reads the variables; this module does not.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Notifies nobody.
    #[must_use]
    pub const fn none() -> Self {
        Self { socket: None }
    }

    /// The socket that `NOTIFY_SOCKET` names: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// When it cannot be connected to.
    pub fn at(address: &OsStr) -> io::Result<Self> {
        let address = match address.as_bytes().split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold the daemon up.
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket: Some(socket) })
    }

    /// Handshakes can begin.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// Everything is read again; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        // A unit of type `notify-reload` takes the message only with the time when it was sent.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// No new handshakes begin.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The daemon is alive.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    /// How it stands, for people.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={text}"));
    }

    fn send(&self, message: &str) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(message.as_bytes())
        {
            tracing::debug!(%error, "the service manager was not notified: {message:?}");
        }
    }
}
