//! Users that the policy names but a socket's mode keeps out: they could never call.

use alts_serving::caller_pattern::CallerPattern;
use alts_serving::directory::Directory;

use crate::config::Config;
use crate::listen::{Listen, ListenAddress};

/// A sentence for each listener and rule that do not fit together. Whether the directories above the
/// socket can be entered is not looked at.
pub(crate) fn shut_out(config: &Config, own_uid: u32, directory: &impl Directory) -> Vec<String> {
    let mut warnings = Vec::new();
    for Listen { name, endpoint, .. } in &config.listeners {
        let ListenAddress::Unix { mode, owner, group, .. } = endpoint else { continue };
        // To connect is to write.
        let (by_owner, by_group, by_others) =
            (mode.0 & 0o200 != 0, mode.0 & 0o020 != 0, mode.0 & 0o002 != 0);
        if by_owner && by_group && by_others {
            continue;
        }
        let number = |text: &str, look_up: &dyn Fn(&str) -> Option<u32>| {
            text.parse().ok().or_else(|| look_up(text))
        };
        let owner = owner
            .as_deref()
            .map_or(Some(own_uid), |text| number(text, &|user| directory.uid(user)));
        let own_group = || directory.user(own_uid).and_then(|(_, groups)| groups.last().copied());
        let group = group
            .as_deref()
            .map_or_else(own_group, |text| number(text, &|name| directory.gid(name)));
        let user_may = |uid: u32| {
            let member = || {
                let groups = directory.user(uid).map(|(_, groups)| groups).unwrap_or_default();
                group.is_some_and(|group| groups.contains(&group))
            };
            if uid == 0 {
                true
            } else if Some(uid) == owner {
                by_owner
            } else if member() {
                by_group
            } else {
                by_others
            }
        };
        let group_may = |gid: u32| if Some(gid) == group { by_group } else { by_others };
        for rule in &config.rules {
            let applies = rule.listeners.is_empty() || rule.listeners.contains(name);
            if !applies || rule.accounts.is_empty() {
                continue;
            }
            let kept_out = rule.callers.iter().filter(|caller| {
                let may = match caller {
                    CallerPattern::Uid(uid) => Some(user_may(*uid)),
                    CallerPattern::User(user) => directory.uid(user).map(user_may),
                    CallerPattern::Gid(gid) => Some(group_may(*gid)),
                    CallerPattern::Group(group) => directory.gid(group).map(group_may),
                    CallerPattern::Anyone => Some(by_others),
                    CallerPattern::Unidentified => None,
                };
                may == Some(false)
            });
            let kept_out: Vec<_> = kept_out.map(ToString::to_string).collect();
            if !kept_out.is_empty() {
                warnings.push(format!(
                    "{}: the mode {:04o} of the listener {name} keeps out {}, whom this rule is for: \
                     set its mode to \"0666\" (the policy decides who may do what), or its group",
                    rule.place,
                    mode.0,
                    kept_out.join(", ")
                ));
            }
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// alice is in the group web, bob is not.
    struct Users;

    impl Directory for Users {
        fn uid(&self, user: &str) -> Option<u32> {
            [("alice", 1000), ("bob", 1001), ("altsd", 500)]
                .into_iter()
                .find(|(name, _)| *name == user)
                .map(|(_, uid)| uid)
        }

        fn gid(&self, group: &str) -> Option<u32> {
            (group == "web").then_some(33)
        }

        fn user(&self, uid: u32) -> Option<(String, Vec<u32>)> {
            match uid {
                500 => Some(("altsd".to_owned(), vec![500])),
                1000 => Some(("alice".to_owned(), vec![1000, 33])),
                1001 => Some(("bob".to_owned(), vec![1001])),
                _ => None,
            }
        }

        fn group(&self, gid: u32) -> Option<String> {
            (gid == 33).then(|| "web".to_owned())
        }
    }

    #[test]
    fn who_is_kept_out_by_the_mode_is_named() {
        for (listen, callers, kept_out) in [
            ("", "'user:alice'", "user:alice"),
            ("", "'uid:1000', 'uid:0', 'uid:500'", "uid:1000"),
            ("", "'anyone'", "anyone"),
            ("mode = '0666'", "'anyone', 'user:bob', 'gid:5'", ""),
            ("group = 'web'", "'user:alice', 'group:web', 'uid:500'", ""),
            ("group = 'web'", "'user:bob', 'group:web'", "user:bob"),
            ("owner = 'bob'", "'user:bob', 'uid:0'", ""),
            ("mode = '0606'\ngroup = 'web'", "'user:alice', 'user:bob'", "user:alice"),
            ("mode = '0600'", "'user:altsd', 'uid:0'", ""),
        ] {
            let text = format!(
                "trust_roots = ['r']\n[[listen]]\nname = 's'\nunix = 's'\n{listen}\n[[identity]]\n\
                 certificate = 'c'\nkey = 'k'\n[[policy]]\ncallers = [{callers}]\n\
                 accounts = ['a@dev.test']\n"
            );
            let config = Config::parse(&text, Path::new("x.toml")).unwrap();
            let warnings = shut_out(&config, 500, &Users);
            if kept_out.is_empty() {
                assert!(warnings.is_empty(), "{listen} {callers}: {warnings:?}");
            } else {
                let wanted = format!("keeps out {kept_out}, whom");
                assert!(warnings.len() == 1, "{listen} {callers}: {warnings:?}");
                assert!(warnings.iter().all(|text| text.contains(&wanted)), "{warnings:?}");
            }
        }
    }
}
