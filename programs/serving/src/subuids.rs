//! Subordinate user numbers: thousands of them belong to one person, who counts once.
//!
//! `/etc/subuid` gives a user ranges of numbers for containers of its own; see `subuid(5)`.

use std::fs;

use crate::caller::Caller;
use crate::directory::Directory;
use crate::limits::Key;

const FILE: &str = "/etc/subuid";

/// Whose the subordinate numbers are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubUids {
    /// The first number, the last one, and the owner.
    ranges: Vec<(u32, u32, u32)>,
}

impl SubUids {
    /// Reads the machine's. It may block: owners are looked up. A file that is not there is empty.
    #[must_use]
    pub fn read(directory: &impl Directory) -> Self {
        Self::parse(&fs::read_to_string(FILE).unwrap_or_default(), directory)
    }

    /// From the text of the file: lines of `owner:first:count`, the owner a name or a number.
    #[must_use]
    pub fn parse(text: &str, directory: &impl Directory) -> Self {
        let range = |line: &str| {
            let mut fields = line.trim().split(':');
            let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
            let owner = owner.parse().ok().or_else(|| directory.uid(owner))?;
            let (first, count): (u32, u32) = (first.parse().ok()?, count.parse().ok()?);
            let last = first.checked_add(count.checked_sub(1)?)?;
            Some((first, last, owner))
        };
        Self { ranges: text.lines().filter_map(range).collect() }
    }

    /// The user behind a number: its owner, or itself.
    #[must_use]
    pub fn person(&self, uid: u32) -> u32 {
        let owned = self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&uid));
        owned.map_or(uid, |(_, _, owner)| *owner)
    }

    /// What the caller counts as for the limits.
    #[must_use]
    pub fn key(&self, caller: &Caller) -> Key {
        match caller.key() {
            Key::User(uid) => Key::User(self.person(uid)),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Alice;

    impl Directory for Alice {
        fn uid(&self, user: &str) -> Option<u32> {
            (user == "alice").then_some(1000)
        }

        fn gid(&self, _group: &str) -> Option<u32> {
            None
        }

        fn user(&self, _uid: u32) -> Option<(String, Vec<u32>)> {
            None
        }

        fn group(&self, _gid: u32) -> Option<String> {
            None
        }
    }

    #[test]
    fn subordinate_numbers_are_their_owners() {
        let text = "alice:100000:65536\n1001:165536:65536\nbob:300000:10\n\nx\nalice:1:y\n\
                    alice:5:0\nalice:4294967295:2\n";
        let subuids = SubUids::parse(text, &Alice);
        for (uid, person) in [
            (1000, 1000),
            (99_999, 99_999),
            (100_000, 1000),
            (165_535, 1000),
            (165_536, 1001),
            (231_071, 1001),
            (231_072, 231_072),
            (300_000, 300_000),
            (5, 5),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(subuids.person(uid), person, "{uid}");
        }
    }
}
