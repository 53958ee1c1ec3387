//! Patterns for service accounts: what they match, and what is no pattern.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "these are tests")]

use alts_core::account::{AccountPattern, check_account, is_email, is_uri};
use proptest::prelude::*;

fn matches(pattern: &str, account: &str) -> bool {
    AccountPattern::new(pattern).unwrap().matches(account)
}

#[test]
fn patterns_are_for_what_they_say_and_nothing_else() {
    for (pattern, good, bad) in [
        ("*", &["web@prod.example", "spiffe://a/b", "web"][..], &["", "a b", "a\n"][..]),
        (
            "web@prod.example",
            &["web@prod.example"],
            &["Web@prod.example", "web@prod.example.", "xweb@prod.example", "web@b"],
        ),
        (
            "*@prod.example",
            &["web@prod.example", "*@prod.example"],
            &[
                "@prod.example",
                "web@x.prod.example",
                "web@xprod.example",
                "web@x@prod.example",
                "spiffe://other/web@prod.example",
                "prod.example",
            ],
        ),
        (
            "web@*.prod.example",
            &["web@a.prod.example", "web@b.a.prod.example"],
            &["web@prod.example", "x@a.prod.example", "web@.prod.example", "web@a..prod.example"],
        ),
        (
            "*@*.prod.example",
            &["a@b.prod.example", "a@c.b.prod.example"],
            &["a@prod.example", "a@.prod.example", "a@bprod.example", "x:a@b.prod.example"],
        ),
        (
            "spiffe://prod.example/ns/*",
            &["spiffe://prod.example/ns/a", "spiffe://prod.example/ns/a/b"],
            &[
                "spiffe://prod.example/ns",
                "spiffe://prod.example/ns/",
                "spiffe://prod.example/nsx/a",
                "spiffe://prod.example/ns//a",
                "spiffe://prod.example/ns/../b",
                "spiffe://prod.example/ns/a/.",
                "spiffe://prod.example.evil/ns/a",
            ],
        ),
        (
            "spiffe://prod.example/*",
            &["spiffe://prod.example/a"],
            &["spiffe://prod.example@evil/a", "spiffe://prod.example.evil/a"],
        ),
        ("somebody", &["somebody"], &["somebody@prod.example", "somebodyelse"]),
    ] {
        for account in good {
            assert!(matches(pattern, account), "{pattern} {account}");
        }
        for account in bad {
            assert!(!matches(pattern, account), "{pattern} {account}");
        }
    }
}

#[test]
fn no_name_is_of_both_forms() {
    for (name, email, uri) in [
        ("web@prod.example", true, false),
        ("spiffe://prod.example/web", false, true),
        ("spiffe://a/web@prod.example", false, true),
        ("mailto:web@prod.example", false, true),
        ("a:b@c", false, true),
        ("web", false, false),
        ("a@b@c", false, false),
        (":a@b", false, false),
        ("@b", false, false),
    ] {
        assert_eq!((is_email(name), is_uri(name)), (email, uri), "{name}");
    }
}

#[test]
fn an_exact_account_is_itself_whatever_is_in_it() {
    for account in ["*", "*@prod.example", "web@prod.example"] {
        let pattern = AccountPattern::exact(account);
        assert!(pattern.is_exact() && pattern.matches(account));
        assert!(!pattern.matches("other@prod.example"));
    }
    assert!(!AccountPattern::exact("").matches(""));
}

#[test]
fn patterns_are_passed_on_and_printed_as_they_are_written() {
    for text in ["*@prod.example", "web@prod.example"] {
        let owned: AccountPattern<String> = text.parse().unwrap();
        let borrowed = owned.borrowed();
        assert_eq!((borrowed.as_ref(), owned.to_string()), (text, text.to_owned()));
        assert!(borrowed.matches("web@prod.example"));
        assert_eq!(borrowed.is_exact(), owned.is_exact());
    }
}

#[test]
fn what_no_account_may_look_like_is_said() {
    for (account, words) in [
        (String::new(), "it is empty"),
        ("x".repeat(257), "more than 256 bytes"),
        ("a b@c".to_owned(), "printable ASCII"),
        ("\u{e4}@c".to_owned(), "printable ASCII"),
    ] {
        let said = check_account(&account).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
        assert!(!AccountPattern::new("*").unwrap().matches(&account));
    }
    assert!(check_account(&"x".repeat(256)).is_ok());
}

#[test]
fn a_star_elsewhere_is_no_pattern() {
    for bad in [
        "",
        "web@*",
        "*@*",
        "w*@prod.example",
        "web@pr*d.example",
        "web@*.*.example",
        "*@a@b",
        "*@",
        "*@a..b",
        "*@*.",
        "spiffe://*/web",
        "spiffe://*.prod.example/web",
        "spiffe://prod.example/*/web",
        "spiffe://prod.example/w*",
        "**",
        "a *@c",
        "x:y@z*",
        "spiffe:/*",
        "spiffe://*",
        "spiffe:///*",
        "*:a",
    ] {
        assert!(AccountPattern::new(bad).is_err(), "{bad}");
    }
    let long = format!("*@{}", "a".repeat(300));
    assert!(long.parse::<AccountPattern<String>>().is_err());
    let sentence = AccountPattern::new("w*@prod.example").unwrap_err().to_string();
    assert!(sentence.contains("web@*.prod.example"), "{sentence}");
}

/// Pieces that accounts and patterns are made of, so that they often meet.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "*", "@", ".", "/", ":", "//", "web", "prod", "a", "b", "spiffe:", "..", "*.", "*@", "/*",
    ]);
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

/// The grammar once more, as a comparison of parts from the right, by hand.
fn model(pattern: &str, account: &str) -> bool {
    if pattern == "*" || pattern == account {
        return true;
    }
    if !pattern.contains('*') {
        return false;
    }
    if is_uri(pattern) {
        let (mut wanted, mut parts) = (pattern.split('/'), account.split('/'));
        loop {
            match (wanted.next(), parts.next()) {
                (Some("*"), Some(first)) => {
                    let bad = |part: &str| {
                        part.is_empty() || part.bytes().all(|b| b == b'.') && part.len() < 3
                    };
                    return !bad(first) && !parts.any(bad);
                }
                (Some(one), Some(other)) if one == other => {}
                _ => return false,
            }
        }
    }
    let parts = |text: &str| -> Option<(String, Vec<String>)> {
        let (user, host) = text.split_once('@')?;
        Some((user.to_owned(), host.rsplit('.').map(str::to_owned).collect()))
    };
    let (Some((wanted, domain)), Some((user, host))) = (parts(pattern), parts(account)) else {
        return false;
    };
    if !is_email(account) || (wanted != "*" && wanted != user) {
        return false;
    }
    match domain.split_last() {
        Some((star, rest)) if star == "*" => {
            host.len() > rest.len()
                && host[..rest.len()] == *rest
                && host[rest.len()..].iter().all(|label| !label.is_empty())
        }
        _ => domain == host,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(20_000) })]

    /// Two readings of the grammar agree, and no pattern crosses from one form to the other.
    #[test]
    fn patterns_match_what_the_grammar_says(text in pieces(), account in pieces()) {
        if let Ok(pattern) = AccountPattern::new(text.as_str()) {
            let matched = pattern.matches(&account);
            prop_assert_eq!(matched, check_account(&account).is_ok() && model(&text, &account));
            if matched && text != "*" && text.contains('*') {
                prop_assert_eq!(is_uri(&text), is_uri(&account));
                prop_assert_eq!(is_email(&text), is_email(&account));
            }
            prop_assert_eq!(pattern.is_exact() && matched, !text.contains('*') && text == account && check_account(&account).is_ok());
        }
    }
}
