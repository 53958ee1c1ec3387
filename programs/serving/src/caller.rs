//! Who is calling: the user behind a connection, with the groups that the machine knows of.
//!
//! That is found out once for each connection: who leaves a group keeps what it gave until the
//! connection ends.

use core::fmt;
use std::{ffi::CString, net::SocketAddr};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::limits::Key;

/// What the kernel shows of users that do not exist in this user namespace. Different users look
/// alike then, so nobody of this number has a name here.
const OVERFLOW: u32 = 65534;

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A process of a user of this machine; the kernel says so.
    Local {
        /// The user.
        uid: u32,
        /// The user's name, if there is one.
        user: Option<String>,
        /// The process's group and the groups of which the user is a member.
        groups: Vec<u32>,
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
    /// Who counts as one for the limits.
    #[must_use]
    pub fn key(&self) -> Key {
        match self {
            Self::Local { uid, .. } => Key::User(*uid),
            Self::Unidentified { address } => Key::Address(Some(address.ip())),
            Self::Unknown { address, .. } => Key::Address(address.map(|address| address.ip())),
        }
    }

    /// The user name that this caller may put in front of a machine's name.
    #[must_use]
    pub fn own_user(&self) -> Option<&str> {
        match self {
            Self::Local { uid, user, .. } if *uid != OVERFLOW => user.as_deref(),
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

/// Names and numbers of users and groups.
pub trait Directory {
    /// The number of a user.
    fn uid(&self, user: &str) -> Option<u32>;
    /// The number of a group.
    fn gid(&self, group: &str) -> Option<u32>;
    /// The name of a user, and the groups of which it is a member, its own among them.
    fn user(&self, uid: u32) -> Option<(String, Vec<u32>)>;
}

/// The machine's own, whatever its sources are. It may block.
#[derive(Clone, Copy, Debug)]
pub struct System;

impl Directory for System {
    fn uid(&self, user: &str) -> Option<u32> {
        User::from_name(user).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid(&self, group: &str) -> Option<u32> {
        Group::from_name(group).ok().flatten().map(|group| group.gid.as_raw())
    }

    fn user(&self, uid: u32) -> Option<(String, Vec<u32>)> {
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
        let name = CString::new(user.name.clone()).ok()?;
        let mut groups: Vec<u32> = getgrouplist(&name, user.gid)
            .unwrap_or_default()
            .into_iter()
            .map(Gid::as_raw)
            .collect();
        if !groups.contains(&user.gid.as_raw()) {
            groups.push(user.gid.as_raw());
        }
        Some((user.name, groups))
    }
}

/// The caller of this number, with what the directory knows of it.
pub fn local(uid: u32, gid: Option<u32>, pid: Option<i32>, directory: &impl Directory) -> Caller {
    let (user, mut groups) = match directory.user(uid) {
        Some((user, groups)) => (Some(user), groups),
        None => (None, Vec::new()),
    };
    if let Some(gid) = gid
        && !groups.contains(&gid)
    {
        groups.push(gid);
    }
    Caller::Local { uid, user, groups, pid }
}
