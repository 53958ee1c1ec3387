//! Addresses to listen on and to connect to: TCP and UNIX sockets.

use core::{fmt, str::FromStr};
use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// Where to listen, or to connect to: `host:port` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum Address {
    /// `host:port`; the host is a name or an IP address, IPv6 in brackets.
    Tcp(String),
    /// The path of a UNIX socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether other machines cannot reach who listens there. A name other than `localhost` counts
    /// as one that they can.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(text) => text.parse::<SocketAddr>().map_or_else(
                |_| text.starts_with("localhost:"),
                |address| address.ip().to_canonical().is_loopback(),
            ),
        }
    }

    /// Whether the system is to choose the port.
    #[must_use]
    pub fn has_any_port(&self) -> bool {
        matches!(self, Self::Tcp(text) if text.rsplit(':').next() == Some("0"))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(format!("{text:?} has no path: write unix:/path"));
            }
            return Ok(Self::Unix(path.into()));
        }
        let valid = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let host_is_good = !host.is_empty()
                && !host.contains(|c: char| c == '/' || c.is_whitespace())
                && (bracketed || !host.contains(':'));
            host_is_good && port.parse::<u16>().is_ok()
        });
        if valid {
            Ok(Self::Tcp(text.to_owned()))
        } else {
            Err(format!("{text:?} is no address: write host:port, [::1]:port or unix:/path"))
        }
    }
}

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_meant_is_understood_and_nothing_else() {
        for text in ["localhost:80", "127.0.0.1:0", "[::1]:65535", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in
            ["", "localhost", ":80", "::1:80", "host:65536", "http://a:80", "unix:", "a b:1"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.contains("write ") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn who_can_be_reached_from_elsewhere() {
        let is_local = |text: &str| text.parse::<Address>().unwrap().is_local();
        for text in ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/a", "[::ffff:127.0.0.1]:1"] {
            assert!(is_local(text), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1"] {
            assert!(!is_local(text), "{text}");
        }
    }
}
