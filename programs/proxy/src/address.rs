//! Addresses to listen on and to connect to: TCP and UNIX sockets.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

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
    /// Whether other machines cannot reach this address. A name other than `localhost` counts as one
    /// that they can reach.
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

    /// Whether it is a name in Linux's abstract namespace, not a file.
    #[must_use]
    pub fn is_abstract(&self) -> bool {
        matches!(self, Self::Unix(path) if path.as_os_str().as_encoded_bytes().first() == Some(&0))
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
        // All programs share one grammar; the leading NUL is how the system writes abstract names.
        match text.parse::<tokio_alts::Address>() {
            Ok(tokio_alts::Address::Tcp(address)) => Ok(Self::Tcp(address)),
            Ok(tokio_alts::Address::Unix(path)) => Ok(Self::Unix(path.into())),
            Ok(tokio_alts::Address::UnixAbstract(name)) => {
                Ok(Self::Unix(format!("\0{name}").into()))
            }
            Ok(_) => Err(format!("{text:?} is an address that the proxy has no sockets for")),
            Err(why) => Err(format!("{text:?}: {why}")),
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
            Self::Unix(path) => match path.to_str().and_then(|path| path.strip_prefix('\0')) {
                Some(name) => write!(f, "unix-abstract:{name}"),
                None => write!(f, "unix:{}", path.display()),
            },
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
