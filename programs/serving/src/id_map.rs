//! Which users this process can tell apart: in a user namespace, all that are not mapped look alike.
//!
//! The kernel shows each of them as the overflow user, usually 65534, which many systems call
//! `nobody`. See `user_namespaces(7)`.

use std::fs;

/// The kernel's default for the number of users and groups that are not mapped.
const OVERFLOW: u32 = 65534;

/// How many numbers there are: all of 32 bits but the last one, which is none.
const ALL: u64 = 0xFFFF_FFFF;

/// Which numbers stand for users and groups that cannot be told apart. The default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdMap {
    user: Option<u32>,
    group: Option<u32>,
}

impl IdMap {
    /// Reads those of this process' user namespace. What cannot be read counts as not mapped.
    #[must_use]
    pub fn of_this_process() -> Self {
        let read = |path: &str| fs::read_to_string(path).ok();
        Self {
            user: hidden(
                read("/proc/self/uid_map").as_deref(),
                read("/proc/sys/kernel/overflowuid").as_deref(),
            ),
            group: hidden(
                read("/proc/self/gid_map").as_deref(),
                read("/proc/sys/kernel/overflowgid").as_deref(),
            ),
        }
    }

    /// From the texts of `uid_map`, `overflowuid`, `gid_map` and `overflowgid`.
    #[must_use]
    pub fn parse(users: [&str; 2], groups: [&str; 2]) -> Self {
        let [users, user] = users;
        let [groups, group] = groups;
        Self { user: hidden(Some(users), Some(user)), group: hidden(Some(groups), Some(group)) }
    }

    /// Whether this number stands for every user that is not mapped.
    #[must_use]
    pub fn hides_user(&self, uid: u32) -> bool {
        self.user == Some(uid)
    }

    /// Whether this number stands for every group that is not mapped.
    #[must_use]
    pub fn hides_group(&self, gid: u32) -> bool {
        self.group == Some(gid)
    }
}

/// The number that stands for others, unless all are mapped.
fn hidden(map: Option<&str>, overflow: Option<&str>) -> Option<u32> {
    let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(OVERFLOW);
    // Each line: the first number inside, the first one outside, how many. They do not overlap.
    let count = |line: &str| line.split_ascii_whitespace().nth(2)?.parse::<u64>().ok();
    let mapped = map.into_iter().flat_map(str::lines).filter_map(count);
    let mapped = mapped.fold(0, u64::saturating_add);
    (mapped < ALL).then_some(overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_map_of_all_numbers_hides_nobody() {
        for (map, overflow, expected) in [
            ("         0          0 4294967295\n", "65534\n", None),
            ("0 0 1000\n1000 1000 4294966295\n", "65534", None),
            ("0 1000 1\n", "65534\n", Some(65534)),
            ("0 100000 65536\n", "65534\n", Some(65534)),
            ("0 100000 65536\n", "4242\n", Some(4242)),
            ("", "65534", Some(65534)),
            ("rubbish", "rubbish", Some(65534)),
            ("0 0 4294967294\n", "65534", Some(65534)),
        ] {
            let found = IdMap::parse([map, overflow], [map, overflow]);
            assert_eq!((found.user, found.group), (expected, expected), "{map:?}");
            if let Some(number) = expected {
                assert!(found.hides_user(number) && found.hides_group(number));
                assert!(!found.hides_user(number + 1));
            }
        }
        assert!(!IdMap::default().hides_user(65534));
    }
}
