//! Open sockets: connections are accepted, each for a task of its own.

use std::io;
use std::sync::Arc;

use alts_serving::accepting::AcceptErrors;
use alts_serving::life::Alive;
use alts_serving::limits::{Key, Slots};
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::SocketFile;
use alts_serving::throttle::Throttle;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use crate::address::Address;
use crate::config;
use crate::listener::Listener;
use crate::outcome::Outcome;
use crate::serve::serve;
use crate::socket::Socket;

/// An open socket.
#[derive(Debug)]
pub struct Bound {
    address: String,
    socket: Accepting,
}

#[derive(Debug)]
enum Accepting {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Option<SocketFile> },
}

impl Bound {
    /// Opens it.
    ///
    /// # Errors
    /// Names the listener and what to do.
    pub async fn open(listen: &config::Listen) -> Result<Self, SettingsError> {
        let refuse = |what: String| {
            SettingsError::new(format!("{}, {}", listen.place, listen.address), what)
        };
        let failed = |why: io::Error| refuse(format!("cannot listen: {why}"));
        match &listen.address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address.as_str()).await.map_err(failed)?;
                let address = listener.local_addr().map_err(failed)?.to_string();
                Ok(Self { address, socket: Accepting::Tcp(listener) })
            }
            Address::Unix(path) if listen.address.is_abstract() => {
                let listener = UnixListener::bind(path).map_err(failed)?;
                let socket = Accepting::Unix { listener, _file: None };
                Ok(Self { address: listen.address.to_string(), socket })
            }
            Address::Unix(path) => {
                let (listener, file) =
                    SocketFile::open(path, listen.mode, None, None).map_err(refuse)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let listener = UnixListener::from_std(listener).map_err(failed)?;
                let socket = Accepting::Unix { listener, _file: Some(file) };
                Ok(Self { address: listen.address.to_string(), socket })
            }
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn accept(&self) -> io::Result<Socket> {
        Ok(match &self.socket {
            Accepting::Tcp(listener) => Socket::tcp(listener.accept().await?.0),
            Accepting::Unix { listener, .. } => Socket::Unix(listener.accept().await?.0),
        })
    }

    /// Accepts connections, each for a task of its own, until the proxy is to end or nobody has
    /// settings for it any more.
    pub async fn run(
        self,
        mut settings: watch::Receiver<Arc<Listener>>,
        total: Slots,
        mut alive: Alive,
    ) {
        let own = Slots::new(0, 0);
        let throttle = Throttle::default();
        let mut errors = AcceptErrors::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                changed = settings.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = alive.draining() => return,
            };
            let listener = Arc::clone(&settings.borrow());
            let name = &listener.settings.name;
            let socket = match accepted {
                Ok(socket) => {
                    errors.accepted(name);
                    socket
                }
                Err(error) => {
                    errors.failed(name, &error).await;
                    continue;
                }
            };
            let limits = &listener.limits;
            total.resize(limits.connections, limits.connections_per_peer);
            own.resize(limits.connections_per_listener, limits.connections_per_peer);
            let key = key(&socket);
            let slots = total.take(key.clone()).and_then(|all| Ok([all, own.take(key)?]));
            match slots {
                Ok(slots) => {
                    let rules = settings.clone();
                    tokio::spawn(serve(listener, rules, socket, slots, alive.clone()));
                }
                Err(full) => {
                    listener.metrics.ended(Outcome::Limit.name());
                    if throttle.may_speak() {
                        tracing::warn!(
                            listener = %name,
                            remote = socket.remote_addr().map(tracing::field::display),
                            connections = total.taken(),
                            of_this_listener = own.taken(),
                            reason = full.name(),
                            "connection closed: there are as many as [limits] allows, or as many of \
                             this peer as leave room for others"
                        );
                    }
                }
            }
        }
    }
}

/// What a client counts as before anything else is known about it.
fn key(socket: &Socket) -> Key {
    match socket {
        Socket::Tcp(_) => {
            socket.remote_addr().map_or(Key::Address(None), |address| Key::of_address(address.ip()))
        }
        Socket::Unix(stream) => {
            stream.peer_cred().map_or(Key::Address(None), |peer| Key::User(peer.uid()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn one_network_is_one_peer() {
        for (host, network) in [("[::1]:0", "::"), ("127.0.0.1:0", "127.0.0.1")] {
            let listener = TcpListener::bind(host).await.unwrap();
            let address = listener.local_addr().unwrap();
            let (_client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let network: IpAddr = network.parse().unwrap();
            assert_eq!(key(&Socket::tcp(accepted.unwrap().0)), Key::Address(Some(network)));
        }
    }
}
