//! The one grammar of addresses: where a service listens or is found, in the notation of gRPC.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Where a service listens or is found: `host:port`, `dns:///host:port`, `unix:/path` or
/// `unix-abstract:name`.
///
/// The adapter, `altsd`, the proxy and the tools all read their addresses with this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// `host:port`; the host is a name or an IP address, IPv6 in brackets.
    Tcp(String),
    /// The path of a UNIX socket.
    Unix(String),
    /// The name of a UNIX socket in Linux's abstract name space, without the leading NUL.
    UnixAbstract(String),
}

impl Address {
    /// Whether other machines cannot reach this address. A name other than `localhost` counts as
    /// one that they can reach.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) | Self::UnixAbstract(_) => true,
            Self::Tcp(text) => text.parse::<SocketAddr>().map_or_else(
                |_| text.starts_with("localhost:"),
                |address| address.ip().to_canonical().is_loopback(),
            ),
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            let valid = !name.is_empty() && !name.contains(char::is_control);
            return if valid {
                Ok(Self::UnixAbstract(name.to_owned()))
            } else {
                Err(AddressError::Host)
            };
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:/path` and `unix:///path`: an authority is not for UNIX sockets.
            let path = match path.strip_prefix("//") {
                Some(path) if !path.starts_with('/') => return Err(AddressError::Authority),
                // One slash, so that what is written is not read as an authority again.
                Some(path) => &format!("/{}", path.trim_start_matches('/')),
                None => path,
            };
            return match path {
                "" => Err(AddressError::Host),
                _ if path.contains(char::is_control) => Err(AddressError::Host),
                _ => Ok(Self::Unix(path.to_owned())),
            };
        }
        if let Some(rest) = text.strip_prefix("dns:") {
            let host = match rest.strip_prefix("//") {
                None => rest,
                Some(rest) => rest.strip_prefix('/').ok_or(AddressError::Authority)?,
            };
            return tcp(host);
        }
        if text.contains("//") {
            return Err(AddressError::Scheme);
        }
        tcp(text)
    }
}

fn tcp(text: &str) -> Result<Address, AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::Port)?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) || port.parse::<u16>().is_err() {
        return Err(AddressError::Port);
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let valid = if bracketed {
        text.parse::<SocketAddr>().is_ok()
    } else {
        // What a name may have in a URI as well, because channels take nothing else.
        // A host called like a scheme would be read as that one the next time (`dns.:80` is none).
        !matches!(host, "" | "dns" | "unix" | "unix-abstract")
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    if valid { Ok(Address::Tcp(text.to_owned())) } else { Err(AddressError::Host) }
}

/// In the notation of gRPC.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(text) => f.write_str(text),
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::UnixAbstract(name) => write!(f, "unix-abstract:{name}"),
        }
    }
}

/// Why a text is not an address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressError {
    /// A scheme other than `dns`, `unix` or `unix-abstract`.
    Scheme,
    /// An authority between `//` and the next `/`, where there must be none.
    Authority,
    /// No host, path or name, or one that cannot be right.
    Host,
    /// No port, or not a number below 65536.
    Port,
    /// This platform has no sockets of that kind.
    Unsupported,
    /// A user is required who listens there, and over TCP the kernel does not say who listens.
    NoUser,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoUser => {
                return f.write_str(
                    "over TCP the kernel does not say which user listens: write unix:/path or \
                     unix-abstract:name to require one",
                );
            }
            Self::Scheme => "the address has an unknown scheme",
            Self::Authority => "the address has an authority",
            Self::Host => "the address has no valid host, path or name",
            Self::Port => "the address has no valid port",
            Self::Unsupported => "this platform has no sockets of that kind",
        })?;
        f.write_str(
            ": write host:port, [::1]:port, dns:///host:port, unix:/path or unix-abstract:name",
        )
    }
}

impl fmt::Debug for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_of_the_same_place_is_understood() {
        for text in ["localhost:80", "dns:///localhost:80", "dns:localhost:80"] {
            assert_eq!(text.parse(), Ok(Address::Tcp("localhost:80".into())), "{text}");
        }
        for text in ["unix:/run/x", "unix:///run/x", "unix:////run/x"] {
            assert_eq!(text.parse(), Ok(Address::Unix("/run/x".into())), "{text}");
        }
        assert_eq!("unix:x".parse(), Ok(Address::Unix("x".into())));
        assert_eq!("unix-abstract:a b".parse(), Ok(Address::UnixAbstract("a b".into())));
        assert_eq!("[::1]:1".parse(), Ok(Address::Tcp("[::1]:1".into())));
        let google = "metadata.google.internal.:8080";
        assert_eq!(google.parse(), Ok(Address::Tcp(google.into())));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, error) in [
            ("", AddressError::Port),
            ("localhost", AddressError::Port),
            ("localhost:", AddressError::Port),
            ("localhost:+80", AddressError::Port),
            ("localhost:65536", AddressError::Port),
            (":80", AddressError::Host),
            ("::1:80", AddressError::Host),
            ("[x]:80", AddressError::Host),
            ("a b:80", AddressError::Host),
            ("a|b:80", AddressError::Host),
            ("dns:dns:80", AddressError::Host),
            ("dns:unix:80", AddressError::Host),
            ("b\u{fc}cher.test:80", AddressError::Host),
            ("user@host:80", AddressError::Host),
            ("http://localhost:80", AddressError::Scheme),
            ("dns://8.8.8.8/localhost:80", AddressError::Authority),
            ("unix://host/path", AddressError::Authority),
            ("unix:", AddressError::Host),
            ("unix-abstract:", AddressError::Host),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn whoever_can_be_reached_from_elsewhere_is_not_local() {
        let is_local = |text: &str| text.parse::<Address>().unwrap().is_local();
        for text in ["127.0.0.1:1", "[::1]:1", "localhost:1", "unix:/a", "[::ffff:127.0.0.1]:1"] {
            assert!(is_local(text), "{text}");
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "localhost.example:1"] {
            assert!(!is_local(text), "{text}");
        }
    }
}
