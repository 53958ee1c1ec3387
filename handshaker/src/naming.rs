//! Secure naming: which service accounts may serve which target names.
//!
//! A client says under which name it looked for the server (`target_name`, which gRPC's C core, grpc-go,
//! grpc-java and tokio-alts send). A table of names and accounts then decides whether the server is one
//! that may be found there, with nothing to change in the client. There is no table by default.
//!
//! # Target names
//!
//! One server has many spellings. [`TargetName`] makes them one:
//!
//! - `dns:`, `dns:///`, `dns://authority/`, `passthrough:///`, `xds:///`, `ipv4:` and `ipv6:` are taken
//!   off, as gRPC takes them;
//! - letters are lower case, and one dot at the end of a host name does not count;
//! - without a port, the port is 443, which is what gRPC connects to; `https` is 443 and `http` 80;
//! - IPv6 addresses are compared as numbers, with or without brackets, and an IPv4 address in an IPv6 one
//!   (`::ffff:192.0.2.1`) is that IPv4 address;
//! - `unix:` and `unix-abstract:` are names of sockets, and have no port.
//!
//! What could be read in two ways is not read at all, and a client that sends it is refused whatever
//! the table says: percent signs, user names, other schemes, hosts called like a scheme, ports that are
//! not plain numbers, numbers as host names (`127.1`, `0x7f000001`), and anything that is not ASCII.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use alts_core::account::{AccountPattern, is_below};

use crate::failure::echo;

/// The port of a name that has none.
const DEFAULT_PORT: u16 = 443;

const SCHEMES: [&str; 7] = ["dns", "passthrough", "xds", "ipv4", "ipv6", "unix", "unix-abstract"];

/// The longest target name that is read, in bytes.
const MAX_NAME: usize = 1024;

/// The name under which a client looks for a server, in the one spelling that is compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetName {
    place: Place,
    /// Of a socket's name: 0.
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Host(String),
    Address(IpAddr),
    /// The name of a socket on this machine, with its scheme.
    Socket(String),
}

impl FromStr for TargetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (place, port) = read(text)?;
        let default = if matches!(place, Place::Socket(_)) { 0 } else { DEFAULT_PORT };
        Ok(Self { place, port: port.unwrap_or(default) })
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_place(f, &self.place)?;
        if self.port == 0 { Ok(()) } else { write!(f, ":{}", self.port) }
    }
}

fn write_place(f: &mut fmt::Formatter<'_>, place: &Place) -> fmt::Result {
    match place {
        Place::Host(name) | Place::Socket(name) => f.write_str(name),
        Place::Address(IpAddr::V4(address)) => write!(f, "{address}"),
        Place::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
    }
}

/// Why a target name cannot be read.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It is too long.
    TooLong,
    /// It begins with a scheme that is not known.
    Scheme,
    /// Its host is none.
    Host,
    /// Its host is called like a scheme.
    LikeScheme,
    /// Its host is a number that is no IPv4 address in its usual form.
    Number,
    /// It has brackets or colons like an IPv6 address, and is none.
    Address,
    /// Its port is none.
    Port,
    /// It names no socket.
    Socket,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it has more than 1024 bytes",
            Self::Scheme => {
                "its scheme is none of dns, passthrough, xds, ipv4, ipv6, unix and unix-abstract"
            }
            Self::Host => {
                "its host is not 1 to 253 letters, digits, '-', '_' and dots, with 1 to 63 between \
                 two dots"
            }
            Self::LikeScheme => {
                "its host is called like a scheme: with a port it would be another name"
            }
            Self::Number => "its host is a number, and not an IPv4 address like 192.0.2.1",
            Self::Address => "its host is no IPv6 address like [2001:db8::1]",
            Self::Port => "its port is no number from 1 to 65535",
            Self::Socket => {
                "it names no socket, in printable characters and without '//', '.' and '..'"
            }
        })
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NameError {}

fn read(text: &str) -> Result<(Place, Option<u16>), NameError> {
    if text.len() > MAX_NAME {
        return Err(NameError::TooLong);
    }
    let Some((scheme, rest)) = text.split_once(':') else { return endpoint(text) };
    match &*scheme.to_ascii_lowercase() {
        "dns" | "passthrough" | "xds" => endpoint(path(rest)?),
        "ipv4" => match endpoint(path(rest)?)? {
            found @ (Place::Address(IpAddr::V4(_)), _) => Ok(found),
            _ => Err(NameError::Number),
        },
        "ipv6" => match path(rest)? {
            // It may have become an IPv4 address, and must not have been written as one.
            path if path.matches(':').count() > 1 => endpoint(path),
            _ => Err(NameError::Address),
        },
        "unix" => {
            let path = match rest.strip_prefix("//") {
                Some(path) if !path.starts_with('/') => return Err(NameError::Socket),
                path => path.unwrap_or(rest),
            };
            // One path has many spellings: only the plain one is compared.
            let odd = |part: &str| matches!(part, "" | "." | "..");
            if path.strip_prefix('/').unwrap_or(path).split('/').any(odd) {
                return Err(NameError::Socket);
            }
            socket("unix", path)
        }
        "unix-abstract" => socket("unix-abstract", rest),
        // What is before a first colon may as well be a host.
        _ if rest.starts_with("//") => Err(NameError::Scheme),
        _ => endpoint(text),
    }
}

/// What is behind a scheme: without the authority, which says whom to ask and not what for.
fn path(rest: &str) -> Result<&str, NameError> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.split_once('/').ok_or(NameError::Host)?.1,
        None => rest.strip_prefix('/').unwrap_or(rest),
    };
    Ok(path)
}

fn socket(scheme: &str, name: &str) -> Result<(Place, Option<u16>), NameError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'%') {
        return Err(NameError::Socket);
    }
    Ok((Place::Socket(format!("{scheme}:{name}")), None))
}

fn endpoint(text: &str) -> Result<(Place, Option<u16>), NameError> {
    let of_v6 = |text: &str| {
        let address: Ipv6Addr = text.parse().map_err(|_| NameError::Address)?;
        Ok(Place::Address(IpAddr::V6(address).to_canonical()))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, behind) = rest.split_once(']').ok_or(NameError::Address)?;
        let port = match behind.strip_prefix(':') {
            Some(port) => Some(read_port(port)?),
            None if behind.is_empty() => None,
            None => return Err(NameError::Port),
        };
        return Ok((of_v6(address)?, port));
    }
    let (host, port) = match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => return Ok((of_v6(text)?, None)),
        Some((host, port)) => (host, Some(read_port(port)?)),
        None => (text, None),
    };
    Ok((read_host(host)?, port))
}

fn read_host(host: &str) -> Result<Place, NameError> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    if host.len() > 253 || !host.split('.').all(label) {
        return Err(NameError::Host);
    }
    let last = host.rsplit('.').next().unwrap_or(host);
    // Resolvers take more than one spelling of such a number for an address: `127.1`, `0x7f.1`.
    if last.bytes().all(|byte| byte.is_ascii_digit())
        || last.starts_with("0x")
        || last.starts_with("0X")
    {
        let address: Ipv4Addr = host.parse().map_err(|_| NameError::Number)?;
        return Ok(Place::Address(address.into()));
    }
    let host = host.to_ascii_lowercase();
    // `dns:443` is no host with a port, so `dns` cannot be written with one.
    if SCHEMES.contains(&&*host) { Err(NameError::LikeScheme) } else { Ok(Place::Host(host)) }
}

fn read_port(port: &str) -> Result<u16, NameError> {
    match port {
        "https" => Ok(443),
        "http" => Ok(80),
        _ if port.starts_with('0') || !port.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(NameError::Port)
        }
        _ => port.parse().map_err(|_| NameError::Port),
    }
}

/// Which target names: one, those below a domain, or all.
///
/// ```text
/// pattern                     matches
/// *                           every name
/// web.prod.example            that host, on every port
/// web.prod.example:8443       that host, on that port
/// *.prod.example              every host below that domain, at any depth, on every port
/// *.prod.example:8443         those, on that port
/// 192.0.2.1, [2001:db8::1]:50 that address
/// unix:/run/web.sock          that socket
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    names: Names,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Names {
    All,
    /// With the star and the dot.
    Below(String),
    One(Place),
}

impl NamePattern {
    /// Whether a name is one of these.
    #[must_use]
    pub fn matches(&self, name: &TargetName) -> bool {
        let fits = match (&self.names, &name.place) {
            (Names::All, _) => true,
            (Names::Below(pattern), Place::Host(host)) => is_below(pattern, host),
            (Names::Below(_), _) => false,
            (Names::One(one), place) => one == place,
        };
        fits && self.port.is_none_or(|port| port == name.port)
    }

    /// Whether it matches everything that the other one matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let names = match (&self.names, &other.names) {
            (Names::All, _) => true,
            (Names::Below(pattern), Names::One(Place::Host(host))) => is_below(pattern, host),
            (Names::Below(pattern), Names::Below(other)) => {
                pattern == other
                    || other.strip_prefix("*.").is_some_and(|host| is_below(pattern, host))
            }
            (one, other) => one == other,
        };
        names && self.port.is_none_or(|port| other.port == Some(port))
    }
}

impl FromStr for NamePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pattern = |why: NameError| {
            format!(
                "{text:?} is no pattern for target names: write web.prod.example, \
                 web.prod.example:8443, *.prod.example, [2001:db8::1]:443, unix:/run/web.sock or * \
                 ({why})"
            )
        };
        if text == "*" {
            return Ok(Self { names: Names::All, port: None });
        }
        let (place, port) = read(text.strip_prefix("*.").unwrap_or(text)).map_err(pattern)?;
        let names = match place {
            Place::Host(host) if text.starts_with("*.") => Names::Below(format!("*.{host}")),
            _ if text.starts_with("*.") => return Err(pattern(NameError::Host)),
            place => Names::One(place),
        };
        Ok(Self { names, port })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.names {
            Names::All => f.write_str("*")?,
            Names::Below(pattern) => f.write_str(pattern)?,
            Names::One(place) => write_place(f, place)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// What becomes of a client whose target name no rule is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithoutRule {
    /// It is refused.
    #[default]
    Refuse,
    /// It may reach whichever server the trust roots vouch for, as without secure naming.
    Allow,
}

/// Which service accounts may serve which target names.
///
/// The first rule with a pattern for a name decides. By default, clients that name no target, or one that
/// no rule is for, are refused.
///
/// ```
/// use alts_handshaker::naming::{SecureNaming, WithoutRule};
///
/// let naming = SecureNaming::new()
///     .rule(vec!["web.prod.example".parse()?], vec!["web@prod.example".parse()?])
///     .rule(vec!["*.prod.example".parse()?], vec!["*@prod.example".parse()?])
///     .unknown(WithoutRule::Allow);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecureNaming {
    rules: Vec<Rule>,
    unknown: WithoutRule,
    empty: WithoutRule,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    names: Vec<NamePattern>,
    accounts: Arc<[AccountPattern<String>]>,
}

impl SecureNaming {
    /// Without a rule: every client is refused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule: who serves one of these names has one of these accounts.
    #[must_use]
    pub fn rule(mut self, names: Vec<NamePattern>, accounts: Vec<AccountPattern<String>>) -> Self {
        self.rules.push(Rule { names, accounts: accounts.into() });
        self
    }

    /// Says what becomes of clients with a target name that no rule is for.
    #[must_use]
    pub const fn unknown(mut self, what: WithoutRule) -> Self {
        self.unknown = what;
        self
    }

    /// Says what becomes of clients that name no target.
    #[must_use]
    pub const fn empty(mut self, what: WithoutRule) -> Self {
        self.empty = what;
        self
    }

    /// Who may serve a name; `None` when that is not said, and need not be.
    pub(crate) fn servers(&self, target_name: &str) -> Result<Option<Servers>, Unnamed> {
        if target_name.is_empty() {
            return match self.empty {
                WithoutRule::Allow => Ok(None),
                WithoutRule::Refuse => Err(Unnamed::Empty),
            };
        }
        let target: TargetName = target_name
            .parse()
            .map_err(|why| Unnamed::Unreadable { name: echo(target_name), why })?;
        let mut rules = self.rules.iter();
        let found = rules.find(|rule| rule.names.iter().any(|pattern| pattern.matches(&target)));
        match (found, self.unknown) {
            (Some(Rule { accounts, .. }), _) => {
                Ok(Some(Servers { target, accounts: Arc::clone(accounts) }))
            }
            (None, WithoutRule::Allow) => Ok(None),
            (None, WithoutRule::Refuse) => Err(Unnamed::Unknown(target)),
        }
    }
}

/// The accounts that may serve one name.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    pub(crate) target: TargetName,
    pub(crate) accounts: Arc<[AccountPattern<String>]>,
}

/// Why a client is refused before it has said hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unnamed {
    Empty,
    Unreadable { name: String, why: NameError },
    Unknown(TargetName),
}

impl fmt::Display for Unnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str(
                "the start message has no target name, and this service refuses clients that do not \
                 say whom they look for (naming: empty)",
            ),
            Self::Unreadable { name, why } => write!(
                f,
                "the target name {name:?} cannot be compared with this service's rules: {why}"
            ),
            Self::Unknown(target) => write!(
                f,
                "no rule of this service says who may serve {target}, and it refuses such names \
                 (naming: unknown)"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_for_a_name_decides_and_the_rest_is_refused_unless_it_is_allowed() {
        let accounts = |text: &str| vec![text.parse().unwrap()];
        let names = |text: &str| vec![text.parse().unwrap()];
        let naming = SecureNaming::new()
            .rule(names("web.prod.example:8443"), accounts("admin@prod.example"))
            .rule(names("web.prod.example"), accounts("web@prod.example"))
            .rule(names("*.prod.example"), accounts("*@prod.example"));
        let who = |naming: &SecureNaming, target: &str| -> Result<Option<String>, Unnamed> {
            let servers = naming.servers(target)?;
            Ok(servers.map(|servers| servers.accounts[0].to_string()))
        };
        for (target, account) in [
            ("web.prod.example:8443", "admin@prod.example"),
            ("dns:///WEB.prod.example.:8443", "admin@prod.example"),
            ("web.prod.example", "web@prod.example"),
            ("api.eu.prod.example:1", "*@prod.example"),
        ] {
            assert_eq!(who(&naming, target), Ok(Some(account.to_owned())), "{target}");
        }
        let other: TargetName = "prod.example".parse().unwrap();
        assert_eq!(who(&naming, "prod.example"), Err(Unnamed::Unknown(other)));
        assert_eq!(who(&naming, ""), Err(Unnamed::Empty));
        let open = naming.unknown(WithoutRule::Allow);
        assert_eq!(who(&open, "prod.example"), Ok(None));
        assert_eq!(who(&open, ""), Err(Unnamed::Empty));
        assert_eq!(who(&open.clone().empty(WithoutRule::Allow), ""), Ok(None));
        // What is not read might be one of those names, in a spelling that a resolver understands.
        let encoded = who(&open, "web%2Eprod.example");
        assert!(matches!(encoded, Err(Unnamed::Unreadable { why: NameError::Host, .. })));
    }

    #[test]
    fn patterns_that_cover_others() {
        let covers = |one: &str, other: &str| {
            one.parse::<NamePattern>().unwrap().covers(&other.parse().unwrap())
        };
        for (wide, narrow) in [
            ("*", "a.example:1"),
            ("*", "*.example"),
            ("*", "unix:/a"),
            ("*.example", "a.example:1"),
            ("*.example", "*.b.example"),
            ("a.example", "dns:///A.example.:1"),
            ("*.example:1", "*.a.example:1"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
            assert!(wide == narrow || !covers(narrow, wide), "{narrow} {wide}");
        }
        assert!(!covers("*.example:1", "*.example"));
        assert!(!covers("*.example", "unix:/a.example"));
    }
}
