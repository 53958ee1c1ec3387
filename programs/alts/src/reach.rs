//! Connections, one step at a time: a name, a socket, an ALTS handshake; and why a step failed.

mod explain;
pub mod http2;
mod probe;
pub mod refusal;
mod resolved;
mod watched;

use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_alts::error::Foreign;
use tokio_alts::{
    Address, AltsConnector, AltsContext, AltsStream, ClientConfig, HandshakerService,
};

use self::explain::Heard;
pub use self::resolved::{End, Resolved};
pub use self::watched::{Socket, Watched};
use crate::diagnosis::{Fault, Problem};

/// Reads a length of time, as in `500ms` or `10s`.
///
/// # Errors
/// What would be right.
pub fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() => Ok(time),
        Ok(_) => Err("no time at all: write 500ms, 30s or 5m".to_owned()),
        Err(why) => Err(format!("{why}: write 500ms, 30s or 5m")),
    }
}

/// How long finding out why something has failed may take, beyond the deadline.
pub const EXPLAINING: Duration = Duration::from_secs(3);

/// When several steps have to be done together.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// It is over after so long, from now on.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// How long it is until then: a moment at least, so that a step fails by its own words.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }
}

/// What to connect to, and what is there.
#[derive(Clone, Debug)]
pub struct Destination {
    end: End,
    text: String,
    address: Address,
}

/// The target of a command: `host:port`, `unix:/path` or `unix-abstract:name`.
impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let address = text.parse().map_err(|_| {
            format!(
                "{text:?} is not an address: write host:port, [IPv6]:port, unix:/path or \
                 unix-abstract:name"
            )
        })?;
        Ok(Self { end: End::Target, text: text.to_owned(), address })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Destination {
    /// Where a handshaker service is.
    #[must_use]
    pub fn of_handshaker(address: Address, text: String) -> Self {
        Self { end: End::Handshaker, text, address }
    }

    /// The authority of requests that are sent there.
    #[must_use]
    pub fn authority(&self) -> &str {
        match &self.address {
            Address::Tcp(authority) => authority,
            _ => "localhost",
        }
    }

    /// Looks the name up.
    ///
    /// # Errors
    /// When there is no such name, or no name server answers in time.
    pub async fn resolve(&self, deadline: Duration) -> Result<Resolved, Problem> {
        let name = match &self.address {
            Address::Tcp(name) => name,
            Address::Unix(path) => return Ok(Resolved::Unix(path.into())),
            Address::UnixAbstract(name) => return Ok(Resolved::Unix(format!("\0{name}").into())),
            _ => return Err(self.unsupported()),
        };
        let failed = |got: String| {
            let fault = match self.end {
                End::Handshaker => Fault::Local,
                End::Target => Fault::Network,
            };
            Problem::new(
                fault,
                format!("to look up {name}, the address of {}", self.end),
                got,
                "check the spelling, and that this machine's name service knows the name (getent \
                 hosts NAME)",
            )
        };
        match timeout(deadline, lookup_host(name.as_str())).await {
            Err(_) => Err(failed(format!("no answer from the name service within {deadline:?}"))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok(addresses)) => {
                let addresses: Vec<_> = addresses.collect();
                if addresses.is_empty() {
                    return Err(failed("a name without an address".to_owned()));
                }
                Ok(Resolved::Tcp(addresses))
            }
        }
    }

    fn unsupported(&self) -> Problem {
        Problem::new(
            Fault::Local,
            format!("to connect to {}", self.text),
            "an address of a kind that this program does not know",
            "write host:port, unix:/path or unix-abstract:name",
        )
    }

    /// Connects. Says to which of the addresses.
    ///
    /// # Errors
    /// Why the last of the addresses did not work.
    pub async fn connect(
        &self,
        resolved: &Resolved,
        deadline: Duration,
    ) -> Result<(Watched, String), Problem> {
        let attempt = async {
            match resolved {
                Resolved::Unix(path) => {
                    let socket: Box<dyn Socket> = Box::new(UnixStream::connect(path).await?);
                    Ok((Watched::new(socket), resolved.to_string()))
                }
                Resolved::Tcp(addresses) => connect_tcp(addresses).await,
            }
        };
        let outcome = match timeout(deadline, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        outcome.map_err(|error| explain::connecting(self.end, &self.text, resolved, &error))
    }

    /// Makes an ALTS handshake with any peer: the caller checks who it is.
    ///
    /// # Errors
    /// Why it failed, as far as is known.
    pub async fn handshake(
        &self,
        resolved: &Resolved,
        io: Watched,
        service: Arc<dyn HandshakerService>,
        deadline: Duration,
    ) -> Result<AltsStream<Watched>, Problem> {
        let config =
            ClientConfig::builder().any_peer().deadline(deadline).build().map_err(|error| {
                Problem::new(
                    Fault::Local,
                    "to configure a handshake",
                    error.to_string(),
                    "report this as a defect of this program",
                )
            })?;
        let connector = AltsConnector::new(config, service);
        let (error, io) = match connector.connect_to(&self.text, io).await {
            Ok(stream) => return Ok(stream),
            Err(failure) => failure.into_parts(),
        };
        let heard = Heard { last: io.last(), bytes: io.received() };
        let foreign = Foreign::recognise(io.first());
        // Some servers serve one connection at a time.
        drop(io);
        let foreign = match foreign {
            None if heard.bytes == 0 && error.fault() == tokio_alts::Fault::Peer => {
                self.probe(resolved, deadline).await
            }
            foreign => foreign,
        };
        Err(match foreign {
            Some(foreign) => explain::foreign(&self.text, &foreign),
            None => explain::handshake(&self.text, &error, &heard),
        })
    }
}

async fn connect_tcp(addresses: &[SocketAddr]) -> io::Result<(Watched, String)> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                let socket: Box<dyn Socket> = Box::new(stream);
                return Ok((Watched::new(socket), address.to_string()));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Checks that the peer is one of the accounts that were expected; an empty list expects anybody.
///
/// # Errors
/// When it is none of them.
pub fn expect(
    target: &Destination,
    context: &AltsContext,
    accounts: &[String],
) -> Result<(), Problem> {
    if accounts.is_empty() || context.authorize(accounts).is_ok() {
        return Ok(());
    }
    let peer = context.peer_service_account();
    Err(Problem::new(
        Fault::Peer,
        format!("to find {} at {target}", accounts.join(" or ")),
        format!("another peer, which has proved to be {peer}"),
        format!(
            "if that is who you mean, expect it (--expect-peer {peer}); if not, the address leads to \
             somebody else, or the peer's handshaker service gives it another identity than you think"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_addresses() {
        for text in ["localhost:80", "[::1]:80", "unix:/run/x.sock", "unix-abstract:x"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        for text in ["localhost", "https://localhost:1", "", ":1", "unix:"] {
            let error = text.parse::<Destination>().unwrap_err();
            assert!(error.contains("host:port"), "{error}");
        }
    }
}
