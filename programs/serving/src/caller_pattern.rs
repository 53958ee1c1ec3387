//! Which callers a rule is for: users and groups by name or number, as they are at connect.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::caller::Caller;
use crate::directory::Directory;

/// Which callers a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum CallerPattern {
    /// `user:NAME`.
    User(String),
    /// `uid:NUMBER`.
    Uid(u32),
    /// `group:NAME`: the user's own group or one that the user is a member of.
    Group(String),
    /// `gid:NUMBER`.
    Gid(u32),
    /// `anyone`: every caller whose user is known.
    Anyone,
    /// `unidentified`: callers over TCP whose user is not asked for or cannot be known.
    Unidentified,
}

impl CallerPattern {
    /// Whether a caller is one of these.
    #[must_use]
    pub fn is(&self, caller: &Caller) -> bool {
        match (self, caller) {
            (Self::Uid(wanted), Caller::Local { uid, .. }) => uid == wanted,
            (Self::User(wanted), Caller::Local { user, .. }) => user.as_ref() == Some(wanted),
            (Self::Gid(wanted), Caller::Local { groups, .. }) => {
                groups.iter().any(|group| group.gid == *wanted)
            }
            (Self::Group(wanted), Caller::Local { groups, .. }) => {
                groups.iter().any(|group| group.name.as_ref() == Some(wanted))
            }
            (Self::Anyone, Caller::Local { .. })
            | (Self::Unidentified, Caller::Unidentified { .. }) => true,
            _ => false,
        }
    }

    /// What is odd about it on this machine: it is for nobody, or cannot be distinguished from others.
    pub fn warning(&self, directory: &impl Directory) -> Option<String> {
        let map = directory.id_map();
        let other_name = |number: u32, name: &str, own: Option<String>, kind: &str| match own {
            Some(own) if own != name => Some(format!(
                "{self} is another name of {kind}:{own}, by which callers are known: write \
                 {kind}:{own}, or {self} matches nobody",
            )),
            Some(_) => None,
            None => Some(format!(
                "{self} has the number {number}, and that has no name: {self} matches nobody"
            )),
        };
        let hidden = |is: bool, number: u32| {
            is.then(|| {
                format!(
                    "{self} matches nobody: in this user namespace the number {number} stands for \
                     everybody who is not mapped"
                )
            })
        };
        match self {
            Self::User(name) => match directory.uid(name) {
                None => Some(format!("there is no {self} on this machine")),
                Some(uid) => hidden(map.hides_user(uid), uid).or_else(|| {
                    other_name(uid, name, directory.user(uid).map(|(own, _)| own), "user")
                }),
            },
            Self::Group(name) => match directory.gid(name) {
                None => Some(format!("there is no {self} on this machine")),
                Some(gid) => hidden(map.hides_group(gid), gid)
                    .or_else(|| other_name(gid, name, directory.group(gid), "group")),
            },
            Self::Uid(uid) => hidden(map.hides_user(*uid), *uid),
            Self::Gid(gid) => hidden(map.hides_group(*gid), *gid),
            Self::Anyone | Self::Unidentified => None,
        }
    }
}

impl FromStr for CallerPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "{text:?} is not a caller: write user:NAME, uid:NUMBER, group:NAME, gid:NUMBER, \
                 anyone or unidentified"
            )
        };
        match text.split_once(':') {
            None if text == "anyone" => Ok(Self::Anyone),
            None if text == "unidentified" => Ok(Self::Unidentified),
            Some(("user", name)) if !name.is_empty() => Ok(Self::User(name.to_owned())),
            Some(("group", name)) if !name.is_empty() => Ok(Self::Group(name.to_owned())),
            Some(("uid", number)) => number.parse().map(Self::Uid).map_err(|_| refuse()),
            Some(("gid", number)) => number.parse().map(Self::Gid).map_err(|_| refuse()),
            _ => Err(refuse()),
        }
    }
}

impl TryFrom<String> for CallerPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for CallerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Uid(number) => write!(f, "uid:{number}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Gid(number) => write!(f, "gid:{number}"),
            Self::Anyone => f.write_str("anyone"),
            Self::Unidentified => f.write_str("unidentified"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::local;
    use crate::id_map::IdMap;

    /// Users and groups of two times: what has one name now had another before.
    struct Users {
        names: &'static [(&'static str, u32)],
        groups: &'static [(&'static str, u32)],
        map: IdMap,
    }

    impl Directory for Users {
        fn uid(&self, user: &str) -> Option<u32> {
            self.names.iter().find(|(name, _)| *name == user).map(|(_, uid)| *uid)
        }

        fn gid(&self, group: &str) -> Option<u32> {
            self.groups.iter().find(|(name, _)| *name == group).map(|(_, gid)| *gid)
        }

        fn user(&self, uid: u32) -> Option<(String, Vec<u32>)> {
            let (name, _) = self.names.iter().find(|(_, number)| *number == uid)?;
            Some(((*name).to_owned(), vec![uid]))
        }

        fn group(&self, gid: u32) -> Option<String> {
            self.groups
                .iter()
                .find(|(_, number)| *number == gid)
                .map(|(name, _)| (*name).to_owned())
        }

        fn id_map(&self) -> IdMap {
            self.map
        }
    }

    fn users(
        names: &'static [(&'static str, u32)],
        groups: &'static [(&'static str, u32)],
    ) -> Users {
        Users { names, groups, map: IdMap::default() }
    }

    #[test]
    fn a_number_that_passed_to_another_user_brings_nothing_along() {
        let user: CallerPattern = "user:svc-a".parse().unwrap();
        let group: CallerPattern = "group:svc-a".parse().unwrap();
        for (after, expected) in [
            (users(&[("svc-a", 61500)], &[("svc-a", 61500)]), true),
            (users(&[("svc-b", 61500)], &[("svc-b", 61500)]), false),
            (users(&[], &[]), false),
            (users(&[("svc-b", 61500), ("svc-a", 61501)], &[("svc-b", 61500)]), false),
            // Two names of one number: the kernel does not say which of them calls.
            (users(&[("svc-b", 61500), ("svc-a", 61500)], &[("svc-b", 61500)]), false),
        ] {
            let caller = local(61500, Some(61500), None, &after);
            assert_eq!(user.is(&caller), expected, "{caller:?}");
            assert_eq!(group.is(&caller), expected, "{caller:?}");
        }
    }

    #[test]
    fn what_matches_nobody_is_warned_of() {
        let mut machine = users(
            &[("root", 0), ("toor", 0), ("nobody", 65534)],
            &[("nogroup", 65534), ("other", 65534)],
        );
        let warning = |machine: &Users, text: &str| {
            text.parse::<CallerPattern>().unwrap().warning(machine).unwrap_or_default()
        };
        assert_eq!(warning(&machine, "user:bob"), "there is no user:bob on this machine");
        assert!(warning(&machine, "user:toor").contains("another name of user:root"));
        assert!(warning(&machine, "group:other").contains("another name of group:nogroup"));
        for good in ["user:root", "user:nobody", "group:nogroup", "uid:65534", "anyone"] {
            assert_eq!(warning(&machine, good), "", "{good}");
        }
        machine.map = IdMap::parse(["0 1000 1", "65534"], ["0 1000 1", "65534"]);
        for bad in ["user:nobody", "uid:65534", "group:nogroup", "gid:65534"] {
            assert!(warning(&machine, bad).contains("not mapped"), "{bad}");
        }
        assert_eq!(warning(&machine, "uid:65533"), "");
    }
}
