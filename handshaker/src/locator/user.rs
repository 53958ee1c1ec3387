//! The user who has to be the one that listens at a handshaker's address.

use std::fmt;
use std::fs;
use std::str::FromStr;

use nix::unistd::{Uid, User};
use serde::Deserialize;

/// The kernel's default for the number of all users that a user namespace does not map.
const OVERFLOW: u32 = 65534;

/// The user that a handshaker service has to run as: a name or a number.
///
/// Names are looked up for each connection: a number that has passed to another user does not match.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum RequiredUser {
    /// The user of this name, and no other name of the same number.
    Name(String),
    /// The user of this number.
    Uid(u32),
}

impl RequiredUser {
    /// Whether this is the user with that number. It may block.
    ///
    /// # Errors
    /// Who it is instead.
    pub fn check(&self, uid: u32) -> Result<(), String> {
        let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
        let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW);
        if uid == overflow {
            return Err(format!(
                "the program that listens there has uid {uid}, which stands for every user that is \
                 not mapped, and {self} is required"
            ));
        }
        let name = User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        let is_the_one = match self {
            Self::Uid(wanted) => *wanted == uid,
            Self::Name(wanted) => {
                let number = User::from_name(wanted).ok().flatten().map(|user| user.uid.as_raw());
                name.as_ref() == Some(wanted) && number == Some(uid)
            }
        };
        if is_the_one {
            return Ok(());
        }
        let found = name.map_or_else(String::new, |name| format!(" ({name})"));
        Err(format!("the program that listens there has uid {uid}{found}, and {self} is required"))
    }
}

impl FromStr for RequiredUser {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(format!("{text:?} is not a user: write a name or a number"));
        }
        Ok(text.parse().map_or_else(|_| Self::Name(text.to_owned()), Self::Uid))
    }
}

impl TryFrom<String> for RequiredUser {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for RequiredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "user {name}"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_have_to_agree() {
        let user = |text: &str| text.parse::<RequiredUser>().unwrap();
        assert_eq!(user("root").check(0), Ok(()));
        assert_eq!(user("0").check(0), Ok(()));
        let found = "the program that listens there has uid 1 (daemon), and user root is required";
        assert_eq!(user("root").check(1), Err(found.to_owned()));
        assert!(user("1").check(0).unwrap_err().contains("uid 0 (root), and uid 1 is required"));
        assert!(user("there-is-no-such-user").check(0).is_err());
        for hidden in ["65534", "nobody"] {
            let why = user(hidden).check(65534).unwrap_err();
            assert!(why.contains("every user that is not mapped"), "{why}");
        }
        for wrong in ["", "a b", "a\n"] {
            assert!(wrong.parse::<RequiredUser>().is_err(), "{wrong:?}");
        }
    }
}
