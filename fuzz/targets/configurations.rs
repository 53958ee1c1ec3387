//! Configurations and policies: any text is read or refused, and refused at a place in it; patterns
//! that are written are read as the same, and nothing is open to whom no rule names.
#![no_main]

use std::path::Path;

use alts_handshaker::identity::check_account;
use alts_serving::caller::Caller;
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::directory::System;
use altsd::config::Config;
use altsd::policy::{AccountPattern, Decision, Given, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Relative to a place that nobody has made: nothing that a text names is there.
    let path = Path::new("/nonexistent/fuzz.toml");
    match Config::parse(text, path) {
        Ok(config) => judge(&config),
        Err(error) => assert!(error.to_string().starts_with("/nonexistent/"), "{error}"),
    }
    match alts_proxy::config::Config::parse(text, path) {
        Ok(config) => {
            assert!(!config.listeners.is_empty());
            let _ = config.warnings();
        }
        Err(error) => assert!(error.to_string().starts_with("/nonexistent/"), "{error}"),
    }
    // The first line as what rules are made of.
    let line = text.lines().next().unwrap_or_default();
    if let Ok(pattern) = line.parse::<CallerPattern>() {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
    }
    if let Ok(pattern) = line.parse::<AccountPattern>() {
        assert_eq!(pattern.to_string().parse().as_ref(), Ok(&pattern));
        if let AccountPattern::Exact(account) = &pattern {
            assert_eq!(check_account(account), Ok(()));
        }
    }
});

/// The first rule that names a caller decides: it gives its own accounts, in their order, and whom
/// no rule names gets none.
fn judge(config: &Config) {
    let _ = config.warnings();
    let (policy, _) = Policy::resolve(&config.rules, &System);
    let local = Caller::Local { uid: 4242, user: None, groups: Vec::new(), pid: None };
    let unidentified = Caller::Unidentified { address: ([192, 0, 2, 1], 1).into() };
    let unknown = Caller::Unknown { address: None, why: "it is gone".to_owned() };
    for (caller, named) in [
        (local, &[CallerPattern::Anyone, CallerPattern::Uid(4242)][..]),
        (unidentified, &[CallerPattern::Unidentified]),
        (unknown, &[]),
    ] {
        for listener in &config.listeners {
            let first = config.rules.iter().find(|rule| {
                (rule.listeners.is_empty() || rule.listeners.contains(&listener.name))
                    && rule.callers.iter().any(|pattern| named.contains(pattern))
            });
            // None of these callers has a user name, so {user} is nobody.
            let wanted: Vec<_> = first
                .map_or(&[][..], |rule| &rule.accounts)
                .iter()
                .filter_map(|pattern| match pattern {
                    AccountPattern::Exact(account) => Some(Given::Account(account.clone())),
                    AccountPattern::Attested => Some(Given::Attested),
                    AccountPattern::OwnUser { .. } => None,
                })
                .collect();
            match policy.decide(&caller, &listener.name) {
                Decision::Accounts(accounts) => assert_eq!(accounts, wanted),
                Decision::Refused(_) => assert!(wanted.is_empty(), "{wanted:?}"),
            }
        }
    }
}
