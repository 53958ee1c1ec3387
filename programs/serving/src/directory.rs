//! Names and numbers of the machine's users and groups.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use crate::id_map::IdMap;

/// Names and numbers of users and groups.
pub trait Directory {
    /// The number of a user.
    fn uid(&self, user: &str) -> Option<u32>;
    /// The number of a group.
    fn gid(&self, group: &str) -> Option<u32>;
    /// The name of a user, and the groups that it is a member of, including its own.
    fn user(&self, uid: u32) -> Option<(String, Vec<u32>)>;
    /// The name of a group.
    fn group(&self, gid: u32) -> Option<String>;
    /// Which numbers stand for users that cannot be told apart.
    fn id_map(&self) -> IdMap {
        IdMap::default()
    }
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

    fn group(&self, gid: u32) -> Option<String> {
        Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
    }

    fn id_map(&self) -> IdMap {
        IdMap::of_this_process()
    }
}
