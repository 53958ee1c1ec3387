//! Which end an address is of, and what its name was resolved to.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What is at an address: errors say different things about the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The handshaker service.
    Handshaker,
    /// The peer.
    Target,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshaker => "the handshaker service",
            Self::Target => "the target",
        })
    }
}

/// Where to connect to, after the name was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// The addresses of a name, tried in this order.
    Tcp(Vec<SocketAddr>),
    /// A UNIX socket, which needs no look-up.
    Unix(PathBuf),
}

impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addresses) => {
                let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join(", "))
            }
            Self::Unix(path) => write!(f, "{}", path.to_string_lossy().replace('\0', "@")),
        }
    }
}
