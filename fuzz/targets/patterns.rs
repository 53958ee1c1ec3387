//! Patterns for accounts and for target names: two matchers agree, and what is read is written as the same.
#![no_main]

use alts_core::account::{AccountPattern, check_account};
use alts_handshaker::naming::{NamePattern, TargetName};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Account { pattern: &'a str, account: &'a str },
    Name { pattern: &'a str, name: &'a str, other: &'a str },
}

fuzz_target!(|input: Input| match input {
    Input::Account { pattern, account } => of_accounts(pattern, account),
    Input::Name { pattern, name, other } => of_names(pattern, name, other),
});

fn of_accounts(pattern: &str, account: &str) {
    let Ok(parsed) = AccountPattern::new(pattern) else {
        assert!(check_account(pattern).is_err() || pattern.contains('*'), "{pattern:?}");
        return;
    };
    assert_eq!(parsed.to_string(), pattern);
    assert_eq!(AccountPattern::new(parsed.as_str()), Ok(parsed));
    let expected = check_account(account).is_ok() && is_for(pattern, account);
    assert_eq!(parsed.matches(account), expected, "{pattern:?} {account:?}");
    // What a pattern says of an account with a star in it is another matter than being that account.
    if parsed.is_exact() {
        assert!(parsed.matches(pattern) && parsed == AccountPattern::exact(pattern));
    } else {
        let text = AccountPattern::exact(pattern);
        assert!(text.matches(pattern) && text != parsed);
    }
}

fn of_names(pattern: &str, name: &str, other: &str) {
    let Ok(name) = read(name) else { return };
    if let Ok(other) = other.parse::<TargetName>() {
        // Two names are one exactly when they are written alike.
        assert_eq!(name == other, name.to_string() == other.to_string());
    }
    let Ok(parsed) = pattern.parse::<NamePattern>() else {
        assert!(pattern.parse::<TargetName>().is_err(), "{pattern:?} is a name");
        return;
    };
    let written = parsed.to_string();
    assert_eq!(written.parse::<NamePattern>().as_ref(), Ok(&parsed), "{written:?}");
    assert!(parsed.covers(&parsed), "{written:?}");
    let (host, port) = split(&written);
    let (own, own_port) = split(&name.to_string());
    let fits = match host.strip_prefix("*.") {
        // An address has no domain, and the name of a socket neither.
        Some(_) if own.contains(':') || own.parse::<std::net::Ipv4Addr>().is_ok() => false,
        Some(_) => is_below(&host, &own),
        None => host == "*" || host == own,
    };
    let expected = fits && (port.is_empty() || port == own_port);
    assert_eq!(parsed.matches(&name), expected, "{written:?} {name}");
    if let Ok(one) = name.to_string().parse::<NamePattern>() {
        assert!(one.matches(&name), "{name} is not for itself");
        assert_eq!(parsed.covers(&one), expected, "{written:?} {name}");
    }
}

/// Reads a name, and the spellings of it that mean the same.
fn read(text: &str) -> Result<TargetName, ()> {
    let name: TargetName = text.parse().map_err(drop)?;
    let written = name.to_string();
    assert_eq!(written.parse(), Ok(name.clone()), "{text:?} {written:?}");
    if !is_socket(&written) {
        let shout = format!("DNS://8.8.8.8/{}", written.to_ascii_uppercase());
        assert_eq!(shout.parse(), Ok(name.clone()), "{shout:?}");
    }
    Ok(name)
}

/// The host, or the whole name of a socket, and the port.
fn split(written: &str) -> (String, String) {
    let port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match written.rsplit_once(':') {
        Some((host, end)) if port(end) && !is_socket(written) && !ends_inside(host) => {
            (host.to_owned(), end.to_owned())
        }
        _ => (written.to_owned(), String::new()),
    }
}

fn is_socket(written: &str) -> bool {
    written.starts_with("unix:") || written.starts_with("unix-abstract:")
}

/// Whether this is the beginning of an IPv6 address.
fn ends_inside(host: &str) -> bool {
    host.starts_with('[') && !host.ends_with(']')
}

/// Part by part, where the library compares from the ends: labels, and segments.
fn is_for(pattern: &str, account: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if !pattern.contains('*') {
        return pattern == account;
    }
    if let Some(base) = pattern.strip_suffix("/*") {
        let (wanted, found): (Vec<_>, Vec<_>) =
            (base.split('/').collect(), account.split('/').collect());
        return found.len() > wanted.len()
            && found.iter().zip(&wanted).all(|(one, other)| one == other)
            && found[wanted.len()..].iter().all(|part| !["", ".", ".."].contains(part));
    }
    let (Some((user, domain)), [own, host]) =
        (pattern.split_once('@'), &account.split('@').collect::<Vec<_>>()[..])
    else {
        return false;
    };
    !account.contains(':')
        && !own.is_empty()
        && !host.is_empty()
        && (user == "*" || user == *own)
        && is_below(domain, host)
}

fn is_below(pattern: &str, host: &str) -> bool {
    let (wanted, found): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    match wanted.split_first() {
        Some((&"*", below)) => {
            let labels = found.len().saturating_sub(below.len());
            found.len() > below.len()
                && found.ends_with(below)
                && found[..labels].iter().all(|label| !label.is_empty())
        }
        _ => wanted == found,
    }
}
