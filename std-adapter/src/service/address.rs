//! Where a handshaker service listens, in the notation of gRPC.

use std::fmt;
use std::str::FromStr;

/// Where a handshaker service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Address {
    /// `host:port`; the host is a name or an IP address, IPv6 in brackets.
    Tcp(String),
    /// The path of a UNIX socket.
    Unix(String),
    /// The name of a UNIX socket in Linux' abstract name space, without the leading NUL.
    UnixAbstract(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return Ok(Self::UnixAbstract(non_empty(name)?));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:path`, `unix:/path` and `unix:///path`: an authority is not for UNIX sockets.
            let path = path.strip_prefix("//").map_or(Ok(path), |path| {
                path.starts_with('/').then_some(path).ok_or(AddressError::Authority)
            })?;
            return Ok(Self::Unix(non_empty(path)?));
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
    if port.parse::<u16>().is_err() {
        return Err(AddressError::Port);
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.is_empty() || (host.contains(':') && !bracketed) {
        return Err(AddressError::Host);
    }
    Ok(Address::Tcp(text.to_owned()))
}

fn non_empty(text: &str) -> Result<String, AddressError> {
    if text.is_empty() { Err(AddressError::Host) } else { Ok(text.to_owned()) }
}

/// Why a text is no address of a handshaker service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressError {
    /// Another scheme than `dns`, `unix` or `unix-abstract`.
    Scheme,
    /// An authority between `//` and the next `/`, where there must be none.
    Authority,
    /// No host, path or name, or one that cannot be right.
    Host,
    /// No port, or not a number below 65536.
    Port,
    /// This platform has no sockets of that kind.
    Unsupported,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "the handshaker service's address has an unknown scheme",
            Self::Authority => "the handshaker service's address has an authority",
            Self::Host => "the handshaker service's address has no valid host, path or name",
            Self::Port => "the handshaker service's address has no valid port",
            Self::Unsupported => "this platform has no sockets of that kind",
        })?;
        f.write_str(
            " (host:port, dns:///host:port, unix:/path, unix:///path and unix-abstract:name \
             are known)",
        )
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
        for text in ["unix:/run/x", "unix:///run/x"] {
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
            ("localhost:65536", AddressError::Port),
            (":80", AddressError::Host),
            ("::1:80", AddressError::Host),
            ("http://localhost:80", AddressError::Scheme),
            ("dns://8.8.8.8/localhost:80", AddressError::Authority),
            ("unix://host/path", AddressError::Authority),
            ("unix:", AddressError::Host),
            ("unix-abstract:", AddressError::Host),
        ] {
            assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
        }
    }
}
