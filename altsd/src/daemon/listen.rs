//! Listeners: UNIX sockets with an owner and a mode, abstract ones, and TCP.

use core::fmt;
use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    net::SocketAddr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            self,
            fs::{FileTypeExt, MetadataExt, PermissionsExt},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use tokio::net::{TcpListener, UnixListener};

use super::{
    caller::{Directory, System},
    error::ConfigError,
};

/// The permissions of a socket file: who may connect has the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl Default for Mode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("{text:?} is no mode of a file: write it in octal, like \"0660\"")),
        }
    }
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
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
        address: SocketAddr,
        /// Whether to look up who is calling.
        identify: bool,
        /// Whether other machines may reach it.
        remote: bool,
    },
}

/// In the notation of gRPC.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
            Self::Abstract { name } => write!(f, "unix-abstract:{name}"),
            Self::Tcp { address, .. } => address.fmt(f),
        }
    }
}

impl Endpoint {
    /// Reads the notation of gRPC: `unix:/path`, `unix-abstract:name`, `127.0.0.1:8080`.
    ///
    /// # Errors
    ///
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return Ok(Self::Abstract { name: name.to_owned() });
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return Ok(Self::Unix {
                path: path.into(),
                mode: Mode::default(),
                owner: None,
                group: None,
            });
        }
        let address = text.parse().map_err(|_| {
            format!(
                "{text:?} is no address: write unix:/path, unix-abstract:name or 127.0.0.1:8080"
            )
        })?;
        Ok(Self::Tcp { address, identify: true, remote: false })
    }
}

/// One listener of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// What rules and logs call it; its address unless it was given a name.
    pub name: String,
    /// Where.
    pub endpoint: Endpoint,
    /// Where it was written.
    pub place: String,
}

impl Listen {
    /// A listener called by its address.
    #[must_use]
    pub fn at(endpoint: Endpoint, place: impl Into<String>) -> Self {
        Self { name: endpoint.to_string(), endpoint, place: place.into() }
    }
}

/// A listener that is open.
#[derive(Debug)]
pub struct Bound {
    pub(super) name: Arc<str>,
    address: String,
    pub(super) socket: Socket,
}

#[derive(Debug)]
pub(super) enum Socket {
    Unix { listener: UnixListener, _file: Option<SocketFile> },
    Tcp { listener: TcpListener, identify: bool },
}

impl Bound {
    /// Opens a listener.
    ///
    /// # Errors
    ///
    /// Names the listener and what to do.
    pub fn open(listen: &Listen) -> Result<Self, ConfigError> {
        let refuse =
            |what: String| ConfigError::new(format!("{}, {}", listen.place, listen.endpoint), what);
        let failed = |what: &str, why: io::Error| refuse(format!("{what}: {why}"));
        let (socket, address) = match &listen.endpoint {
            Endpoint::Unix { path, mode, owner, group } => {
                let owner = number(owner.as_deref(), |name| System.uid(name), "user");
                let group = number(group.as_deref(), |name| System.gid(name), "group");
                let (listener, file) =
                    SocketFile::open(path, *mode, owner.map_err(refuse)?, group.map_err(refuse)?)
                        .map_err(refuse)?;
                let listener =
                    unix_listener(listener).map_err(|why| failed("cannot listen", why))?;
                (Socket::Unix { listener, _file: Some(file) }, listen.endpoint.to_string())
            }
            Endpoint::Abstract { name } => {
                let listener = unix::net::SocketAddr::from_abstract_name(name)
                    .and_then(|address| unix::net::UnixListener::bind_addr(&address))
                    .and_then(unix_listener)
                    .map_err(|why| failed("cannot listen", why))?;
                (Socket::Unix { listener, _file: None }, listen.endpoint.to_string())
            }
            Endpoint::Tcp { address, identify, .. } => {
                let listener = std::net::TcpListener::bind(address)
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

    /// Where it listens, in the notation of gRPC.
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

/// The file of a UNIX socket: removed at the end, if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// Held as long as the socket is in use, so that two daemons do not take it from each other.
    _lock: File,
}

impl SocketFile {
    /// Listens at `path`, where there may be a socket that nobody listens on. The file has its
    /// permissions, owner and group from the beginning.
    ///
    /// # Errors
    ///
    /// What is in the way, and what to do.
    pub fn open(
        path: &Path,
        mode: Mode,
        owner: Option<u32>,
        group: Option<u32>,
    ) -> Result<(unix::net::UnixListener, Self), String> {
        let lock = beside(path, ".lock").ok_or("the path has no file name")?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(|why| format!("cannot open {}: {why}", lock.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err("another daemon listens there: stop it first".to_owned());
            }
            Err(TryLockError::Error(why)) => return Err(format!("cannot lock it: {why}")),
        }
        require_free(path)?;
        // Made under another name and put in place when it is ready: nobody can connect to it with
        // the wrong permissions, and one that was left behind is replaced in one step.
        let new = beside(path, &format!(".{}.new", std::process::id()))
            .ok_or("the path has no file name")?;
        let _ = fs::remove_file(&new);
        let listener = unix::net::UnixListener::bind(&new)
            .map_err(|why| format!("cannot listen (is the directory there?): {why}"))?;
        let given = if owner.is_none() && group.is_none() {
            Ok(())
        } else {
            unix::fs::lchown(&new, owner, group)
        };
        let prepared = given
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(mode.0)))
            .and_then(|()| fs::rename(&new, path))
            .and_then(|()| fs::symlink_metadata(path));
        match prepared {
            Ok(metadata) => {
                let inode = (metadata.dev(), metadata.ino());
                Ok((listener, Self { path: path.to_owned(), inode, _lock: lock }))
            }
            Err(why) => {
                let _ = fs::remove_file(&new);
                Err(format!("cannot set owner and mode: {why}"))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `.name.suffix` in the same directory.
fn beside(path: &Path, suffix: &str) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    name.push(suffix);
    Some(path.with_file_name(name))
}

/// Whether nothing is there but, at most, a socket that nobody listens on.
fn require_free(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why.to_string()),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err("there is something else of that name, which is no socket: move it away".to_owned())
        }
        Ok(_) => match unix::net::UnixStream::connect(path) {
            Ok(_) => Err("another process listens there: stop it first".to_owned()),
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(why) => {
                Err(format!("there is a socket, and whether it is in use cannot be told: {why}"))
            }
        },
    }
}
