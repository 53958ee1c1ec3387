//! Who is calling: the user behind a connection, with the groups that the machine knows of.
//!
//! Names and numbers are looked up once for each connection, as they are then: a number that has
//! passed from one user to another brings nothing along. A caller who leaves a group keeps what it
//! gave until the connection ends.

use std::fmt;
use std::net::SocketAddr;

use tokio::net::{TcpStream, UnixStream};

use crate::directory::{Directory, System};
use crate::id_map::IdMap;
use crate::limits::Key;
use crate::owner::owner;

/// The usual number of `nobody`, which has no account on a machine even where it is a real user.
const NOBODY: u32 = 65534;

/// A group of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub gid: u32,
    /// Its name, if there is one.
    pub name: Option<String>,
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process of a user of this machine; the kernel says so.
    Local {
        /// The user.
        uid: u32,
        /// The user's name, if there is one.
        user: Option<String>,
        /// The process's group and the groups that the user is a member of.
        groups: Vec<Group>,
        /// The process that connected; not known over TCP.
        pid: Option<i32>,
    },
    /// Somebody whose user is not asked for, or who is on another machine.
    Unidentified {
        /// From where.
        address: SocketAddr,
    },
    /// Somebody whose user was asked for and could not be found out. The policy has nothing for
    /// such callers.
    Unknown {
        /// From where, if that is known.
        address: Option<SocketAddr>,
        /// What went wrong.
        why: String,
    },
}

impl Caller {
    /// What the caller counts as for the limits.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Local { uid, .. } => Key::User(*uid),
            Self::Unidentified { address } | Self::Unknown { address: Some(address), .. } => {
                Key::of_address(address.ip())
            }
            Self::Unknown { address: None, .. } => Key::Address(None),
        }
    }

    /// The user name that this caller may put in front of a machine's name.
    #[must_use]
    pub fn own_user(&self) -> Option<&str> {
        match self {
            Self::Local { uid, user, .. } if *uid != NOBODY => user.as_deref(),
            _ => None,
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { uid, user, pid, .. } => {
                write!(f, "uid {uid}")?;
                if let Some(user) = user {
                    write!(f, ", user {user}")?;
                }
                pid.map_or(Ok(()), |pid| write!(f, ", pid {pid}"))
            }
            Self::Unidentified { address } => write!(f, "unidentified, from {address}"),
            Self::Unknown { address: Some(address), .. } => write!(f, "unknown, from {address}"),
            Self::Unknown { address: None, .. } => f.write_str("unknown"),
        }
    }
}

/// A caller of whom nothing is known but the number; [`identify`] looks up the rest.
const fn number(uid: u32, pid: Option<i32>) -> Caller {
    Caller::Local { uid, user: None, groups: Vec::new(), pid }
}

/// The user at the other end of a UNIX socket, and the group of its process; only the numbers.
#[must_use]
pub fn over_unix(stream: &UnixStream) -> (Caller, Option<u32>) {
    match stream.peer_cred() {
        Ok(peer) => (number(peer.uid(), peer.pid()), Some(peer.gid())),
        Err(error) => {
            let why = format!("the kernel does not say who it is: {error}");
            (Caller::Unknown { address: None, why }, None)
        }
    }
}

/// The user at the other end of a TCP connection, only the number: on this machine, the owner of
/// that socket. `None` when the connection is over, because another socket may have its addresses by
/// now.
pub async fn over_tcp(stream: &TcpStream) -> Option<Caller> {
    let (local, remote) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
    if !remote.ip().to_canonical().is_loopback() {
        return Some(Caller::Unidentified { address: remote });
    }
    let caller = over_loopback(local, remote).await;
    let is_over = stream.take_error().map_or(true, |error| error.is_some());
    (!is_over).then_some(caller)
}

async fn over_loopback(local: SocketAddr, remote: SocketAddr) -> Caller {
    let unknown = |why: String| Caller::Unknown { address: Some(remote), why };
    match tokio::task::spawn_blocking(move || owner(remote, local)).await {
        Ok(Ok(Some(uid))) => number(uid, None),
        Ok(Ok(None)) => unknown(
            "the kernel knows no socket of this machine at the other end of the connection"
                .to_owned(),
        ),
        Ok(Err(error)) => unknown(format!("the kernel does not say whose socket it is: {error}")),
        Err(_) => unknown("looking up the owner of the calling socket failed".to_owned()),
    }
}

/// The caller of this number, with what the directory knows of it now. A name counts only if the
/// directory gives the same number for it: several names of one number do not count as names.
pub fn local(uid: u32, gid: Option<u32>, pid: Option<i32>, directory: &impl Directory) -> Caller {
    let (user, mut gids) = match directory.user(uid) {
        Some((user, gids)) => (Some(user), gids),
        None => (None, Vec::new()),
    };
    let user = user.filter(|user| directory.uid(user) == Some(uid));
    if let Some(gid) = gid
        && !gids.contains(&gid)
    {
        gids.push(gid);
    }
    let group = |gid| Group {
        gid,
        name: directory.group(gid).filter(|name| directory.gid(name) == Some(gid)),
    };
    let groups = gids.into_iter().map(group).collect();
    Caller::Local { uid, user, groups, pid }
}

/// Looks a caller up among the machine's users, off the threads that serve.
pub async fn identify(uid: u32, gid: Option<u32>, pid: Option<i32>) -> Caller {
    let looked_up = tokio::task::spawn_blocking(move || {
        let map = IdMap::of_this_process();
        if map.hides_user(uid) {
            let why = format!(
                "its user does not exist in this user namespace: uid {uid} stands for all such \
                 users"
            );
            return Caller::Unknown { address: None, why };
        }
        local(uid, gid.filter(|&gid| !map.hides_group(gid)), pid, &System)
    });
    looked_up.await.unwrap_or_else(|_| Caller::Unknown {
        address: None,
        why: "looking up its user failed".to_owned(),
    })
}
