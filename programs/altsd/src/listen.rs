//! Listeners: UNIX sockets with an owner and a mode, abstract ones, and TCP.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::linux::net::SocketAddrExt;
use std::os::unix;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use alts_serving::directory::{Directory, System};
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::{Mode, SocketFile};
use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener};
use tokio_alts::Address;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// A UNIX socket with a file.
    Unix {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: Mode,
        /// Its owner, a name or a number.
        owner: Option<String>,
        /// Its group, a name or a number.
        group: Option<String>,
    },
    /// A UNIX socket in Linux' abstract name space.
    Abstract {
        /// The name, without the leading NUL.
        name: String,
    },
    /// TCP.
    Tcp {
        /// The address.
        address: TcpAddress,
        /// Whether to look up who is calling.
        identify: bool,
        /// Whether other machines may reach it.
        remote: bool,
    },
}

/// `host:port`, as it is written. What a name means is asked when the socket is opened: whether a
/// configuration is good does not depend on who answers for names.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TcpAddress(String);

impl TryFrom<String> for TcpAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(Address::Tcp(address)) => Ok(Self(address)),
            _ => Err(format!(
                "{text:?} is no TCP address: write 127.0.0.1:8080, [::1]:8080 or localhost:8080"
            )),
        }
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TcpAddress {
    /// Whether other machines cannot reach it, by what is written: of all names, that is only said
    /// of `localhost`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Address::Tcp(self.0.clone()).is_local()
    }

    /// What it means on this machine now.
    fn resolve(&self, remote: bool) -> Result<Vec<SocketAddr>, String> {
        let found: Vec<_> = self
            .0
            .to_socket_addrs()
            .map_err(|why| format!("the name cannot be looked up: {why}"))?
            .collect();
        match found.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
            Some(address) if !remote => Err(format!(
                "the name means {address} here, which is not a loopback address: other machines \
                 could reach it"
            )),
            _ => Ok(found),
        }
    }
}

/// In gRPC's notation.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Abstract { name } => write!(f, "unix-abstract:{name}"),
            Self::Tcp { address, .. } => address.fmt(f),
        }
    }
}

impl ListenAddress {
    /// Reads gRPC's notation: `unix:/path`, `unix-abstract:name`, `127.0.0.1:8080`,
    /// as [`Address`] reads it for all programs.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let address = match text.parse::<Address>().map_err(|why| format!("{text:?}: {why}"))? {
            Address::UnixAbstract(name) => return Ok(Self::Abstract { name }),
            Address::Unix(path) => {
                return Ok(Self::Unix {
                    path: path.into(),
                    mode: Mode::default(),
                    owner: None,
                    group: None,
                });
            }
            Address::Tcp(address) => TcpAddress(address),
            _ => return Err(format!("{text:?} is an address that altsd has no sockets for")),
        };
        Ok(Self::Tcp { address, identify: true, remote: false })
    }
}

/// One listener of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What rules and logs call it; its address unless it was given a name.
    pub name: String,
    /// Where.
    pub endpoint: ListenAddress,
    /// Where it was written.
    pub place: String,
}

impl Listen {
    /// A listener called by its address.
    #[must_use]
    pub fn at(endpoint: ListenAddress, place: impl Into<String>) -> Self {
        Self { name: endpoint.to_string(), endpoint, place: place.into() }
    }
}

/// A listener that is open.
#[derive(Debug)]
pub struct Bound {
    pub(crate) name: Arc<str>,
    address: String,
    pub(crate) socket: Socket,
}

#[derive(Debug)]
pub(crate) enum Socket {
    Unix { listener: UnixListener, _file: Option<SocketFile> },
    Tcp { listener: TcpListener, identify: bool },
}

impl Bound {
    /// Opens a listener.
    ///
    /// # Errors
    /// Names the listener and what to do.
    pub fn open(listen: &Listen) -> Result<Self, SettingsError> {
        let refuse = |what: String| {
            SettingsError::new(format!("{}, {}", listen.place, listen.endpoint), what)
        };
        let failed = |what: &str, why: io::Error| refuse(format!("{what}: {why}"));
        let (socket, address) = match &listen.endpoint {
            ListenAddress::Unix { path, mode, owner, group } => {
                let owner = number(owner.as_deref(), |name| System.uid(name), "user");
                let group = number(group.as_deref(), |name| System.gid(name), "group");
                let (listener, file) =
                    SocketFile::open(path, *mode, owner.map_err(refuse)?, group.map_err(refuse)?)
                        .map_err(refuse)?;
                let listener =
                    unix_listener(listener).map_err(|why| failed("cannot listen", why))?;
                (Socket::Unix { listener, _file: Some(file) }, listen.endpoint.to_string())
            }
            ListenAddress::Abstract { name } => {
                let listener = unix::net::SocketAddr::from_abstract_name(name)
                    .and_then(|address| unix::net::UnixListener::bind_addr(&address))
                    .and_then(unix_listener)
                    .map_err(|why| failed("cannot listen", why))?;
                (Socket::Unix { listener, _file: None }, listen.endpoint.to_string())
            }
            ListenAddress::Tcp { address, identify, remote } => {
                let addresses = address.resolve(*remote).map_err(refuse)?;
                let listener = std::net::TcpListener::bind(&*addresses)
                    .and_then(|listener| {
                        listener.set_nonblocking(true)?;
                        TcpListener::from_std(listener)
                    })
                    .map_err(|why| failed("cannot listen", why))?;
                let address = listener.local_addr().map_err(|why| failed("cannot listen", why))?;
                (Socket::Tcp { listener, identify: *identify }, address.to_string())
            }
        };
        Ok(Self { name: listen.name.as_str().into(), address, socket })
    }

    /// Where it listens, in gRPC's notation.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What rules and logs call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

fn unix_listener(listener: unix::net::UnixListener) -> io::Result<UnixListener> {
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

fn number(
    name: Option<&str>,
    look_up: impl Fn(&str) -> Option<u32>,
    what: &str,
) -> Result<Option<u32>, String> {
    let Some(name) = name else { return Ok(None) };
    let found = name.parse().ok().or_else(|| look_up(name));
    found.map(Some).ok_or_else(|| format!("there is no {what} {name:?} on this machine"))
}
