//! The policy by itself, with users and groups that the test makes up.

use alts_serving::caller::{Caller, local};
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::directory::Directory;
use altsd::policy::{AccountPattern, Decision, Given, Policy, Rule};

/// alice: 1000, with the groups 1000 and 27 (admins); nobody: 65534.
struct Users;

impl Directory for Users {
    fn uid(&self, user: &str) -> Option<u32> {
        [("alice", 1000), ("nobody", 65534)]
            .into_iter()
            .find(|(name, _)| *name == user)
            .map(|u| u.1)
    }

    fn gid(&self, group: &str) -> Option<u32> {
        (group == "admins").then_some(27)
    }

    fn group(&self, gid: u32) -> Option<String> {
        (gid == 27).then(|| "admins".to_owned())
    }

    fn user(&self, uid: u32) -> Option<(String, Vec<u32>)> {
        match uid {
            1000 => Some(("alice".to_owned(), vec![1000, 27])),
            65534 => Some(("nobody".to_owned(), vec![65534])),
            _ => None,
        }
    }
}

fn rule(callers: &[&str], listeners: &[&str], accounts: &[&str]) -> Rule {
    Rule {
        callers: callers.iter().map(|text| text.parse().unwrap()).collect(),
        listeners: listeners.iter().map(ToString::to_string).collect(),
        accounts: accounts.iter().map(|text| text.parse().unwrap()).collect(),
        place: "test".to_owned(),
    }
}

fn decide(rules: &[Rule], caller: &Caller, listener: &str) -> Result<Vec<String>, String> {
    match Policy::resolve(rules, &Users).0.decide(caller, listener) {
        Decision::Accounts(given) => Ok(given
            .into_iter()
            .map(|one| match one {
                Given::Account(account) => account,
                Given::Attested => "{spiffe}".to_owned(),
            })
            .collect()),
        Decision::Refused(why) => Err(why),
    }
}

fn user(uid: u32) -> Caller {
    local(uid, None, Some(1), &Users)
}

#[test]
fn users_and_groups_by_name_and_number() {
    for pattern in ["user:alice", "uid:1000", "group:admins", "gid:27", "gid:1000", "anyone"] {
        let rules = [rule(&[pattern], &[], &["a@dev.test"])];
        assert_eq!(decide(&rules, &user(1000), "l").unwrap(), ["a@dev.test"], "{pattern}");
        let other = decide(&rules, &user(1001), "l");
        assert_eq!(other.is_ok(), pattern == "anyone", "{pattern}");
    }
    // The process's own group counts, whatever the user database says.
    let rules = [rule(&["gid:5"], &[], &["a@dev.test"])];
    assert!(decide(&rules, &local(1001, Some(5), None, &Users), "l").is_ok());
    assert!(decide(&rules, &local(1001, Some(6), None, &Users), "l").is_err());
}

#[test]
fn the_first_rule_decides_and_may_refuse() {
    let rules = [
        rule(&["uid:7"], &[], &[]),
        rule(&["anyone"], &["one"], &["a@dev.test", "b@dev.test"]),
        rule(&["anyone"], &[], &["c@dev.test"]),
    ];
    assert!(decide(&rules, &user(7), "one").unwrap_err().contains("gives this caller none"));
    assert_eq!(decide(&rules, &user(8), "one").unwrap(), ["a@dev.test", "b@dev.test"]);
    assert_eq!(decide(&rules, &user(8), "two").unwrap(), ["c@dev.test"]);
}

#[test]
fn who_is_not_known_gets_nothing_that_is_for_anyone() {
    let address = "192.0.2.1:5".parse().unwrap();
    let rules =
        [rule(&["anyone"], &[], &["a@dev.test"]), rule(&["unidentified"], &[], &["b@dev.test"])];
    let unidentified = Caller::Unidentified { address };
    assert_eq!(decide(&rules, &unidentified, "l").unwrap(), ["b@dev.test"]);
    let unknown = Caller::Unknown { address: Some(address), why: "lookup failed".to_owned() };
    let why = decide(&rules, &unknown, "l").unwrap_err();
    assert!(why.contains("lookup failed") && why.contains("192.0.2.1:5"), "{why}");
}

#[test]
fn users_have_their_own_name_on_a_machine() {
    let rules = [rule(&["anyone"], &[], &["{user}@host.test"])];
    assert_eq!(decide(&rules, &user(1000), "l").unwrap(), ["alice@host.test"]);
    assert!(decide(&rules, &user(1001), "l").is_err(), "no name");
    // All users that a user namespace does not map look like this one.
    assert!(decide(&rules, &user(65534), "l").is_err());
}

#[test]
fn names_that_are_not_there_match_nobody_and_are_told() {
    let rules = [rule(&["user:bob", "group:none"], &[], &["a@dev.test"])];
    let (policy, warnings) = Policy::resolve(&rules, &Users);
    assert_eq!(warnings.len(), 2);
    assert_eq!(warnings[0], "test: there is no user:bob on this machine");
    for uid in [0, 1000, 1001] {
        assert!(matches!(policy.decide(&user(uid), "l"), Decision::Refused(_)));
    }
}

proptest::proptest! {
    /// Whatever the rules: the first one that names a user decides, and nobody else gets anything.
    #[test]
    fn the_first_rule_that_names_a_user_decides_in_every_policy(
        named in proptest::collection::vec(proptest::collection::btree_set(1_u32..6, 1..4), 0..6),
        refusing in 0_usize..6,
        uid in 1_u32..7,
    ) {
        let account = |index: usize| format!("a{index}@dev.test");
        let rules: Vec<_> = named
            .iter()
            .enumerate()
            .map(|(index, uids)| {
                let callers: Vec<_> = uids.iter().map(|uid| format!("uid:{uid}")).collect();
                let callers: Vec<_> = callers.iter().map(String::as_str).collect();
                let account = account(index);
                let accounts = if index == refusing { vec![] } else { vec![account.as_str()] };
                rule(&callers, &[], &accounts)
            })
            .collect();
        let expected = named
            .iter()
            .position(|uids| uids.contains(&uid))
            .filter(|index| *index != refusing)
            .map(|index| vec![account(index)]);
        proptest::prop_assert_eq!(decide(&rules, &user(uid), "s").ok(), expected);
    }

    /// What can be read is written so that it is read as the same again.
    #[test]
    fn callers_and_accounts_are_written_as_they_are_read(
        text in "(user|uid|group|gid|anyone|unidentified|\\{user\\}@)?:?[a-z0-9@.{}-]{0,12}",
    ) {
        if let Ok(pattern) = text.parse::<CallerPattern>() {
            proptest::prop_assert_eq!(pattern.to_string().parse(), Ok(pattern));
        }
        if let Ok(pattern) = text.parse::<AccountPattern>() {
            proptest::prop_assert_eq!(pattern.to_string(), text);
        }
    }
}
