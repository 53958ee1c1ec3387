//! Secure naming: how target names are read, and which servers a client may find under them.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use alts_handshaker::dev::Authority;
use alts_handshaker::naming::{NamePattern, SecureNaming, TargetName, WithoutRule};
use alts_handshaker::{Code, Fault, Handshaker, Reason};
use common::{CLIENT, End, NOW, SERVER, Start, drive, next};

const PAGE: &str = include_str!("../../docs/naming.md");

/// The cells of the table on the page whose head begins with this.
fn table(head: &str) -> Vec<Vec<String>> {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with(&format!("| {head} |"))).skip(2);
    let cells = |line: &str| {
        let line = line.trim_matches(['|', ' ']);
        line.split(" | ").map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>()
    };
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(rows.len() > 5, "the page has no table that begins with {head:?}");
    rows
}

#[test]
fn names_are_read_as_the_page_says() {
    for row in table("a client's target name") {
        let [names, read, ..] = &row[..] else { panic!("{row:?}") };
        for name in names.split(", ") {
            match name.parse::<TargetName>() {
                Ok(found) => {
                    assert_eq!(found.to_string(), *read, "{name}");
                    // What is compared is read as itself.
                    assert_eq!(read.parse(), Ok(found), "{name}");
                }
                Err(why) => {
                    assert_eq!(format!("refused: {why}"), *read, "{name}");
                }
            }
        }
    }
}

#[test]
fn names_that_no_page_can_show_are_refused() {
    let long = "a".repeat(64);
    let labels = ["a"; 127].join(".");
    assert!(labels.parse::<TargetName>().is_ok());
    for name in [
        "",
        ".",
        "..",
        "a..b",
        "a b",
        "a\n",
        "a\0.example",
        "ä.example",
        "*",
        "*.example",
        "a|b",
        &long,
        &format!("{labels}.a"),
        &"a.".repeat(600),
        "a.example:+80",
        "a.example: 80",
        "[::1]80",
        "[::1",
        "::1]",
        "[[::1]]",
        "[192.0.2.1]",
        "dns://8.8.8.8",
        "dns://",
        "dns:",
        "unix:",
        "unix:/a b",
        "ipv4:a.example",
        "ipv4:[::1]:80",
        "ipv6:192.0.2.1:80",
        "ipv6:a.example",
    ] {
        assert!(name.parse::<TargetName>().is_err(), "{name:?}");
    }
}

#[test]
fn patterns_match_what_the_page_says() {
    for row in table("a rule's name") {
        let [pattern, yes, rest @ ..] = &row[..] else { panic!("{row:?}") };
        let parsed: NamePattern = pattern.parse().unwrap_or_else(|why| panic!("{why}"));
        let written: NamePattern = parsed.to_string().parse().unwrap();
        assert_eq!(written, parsed, "{pattern}");
        let others = rest.first().map(|names| (names, false));
        for (names, expected) in [(yes, true)].into_iter().chain(others) {
            for name in names.split(", ") {
                let name: TargetName = name.parse().unwrap();
                assert_eq!(parsed.matches(&name), expected, "{pattern}: {name}");
            }
        }
    }
    for bad in
        ["", "*.", "**", "*.*.example", "a.*", "w*.example", "*:80", "*.192.0.2.1", "*.[::1]"]
    {
        let why = bad.parse::<NamePattern>().unwrap_err();
        assert!(why.contains("no pattern for target names: write web.prod.example"), "{why}");
    }
}

/// `service.test` is the server's, and `*.dev.test` that of others.
fn naming() -> SecureNaming {
    SecureNaming::new()
        .rule(vec!["service.test".parse().unwrap()], vec![SERVER.parse().unwrap()])
        .rule(vec!["*.dev.test".parse().unwrap()], vec!["*@others.test".parse().unwrap()])
}

fn client(authority: &Authority, naming: SecureNaming) -> Handshaker {
    authority.builder(CLIENT).unwrap().naming(naming).build().unwrap()
}

fn start(target_name: &'static str) -> Start {
    Start { target_name, ..Start::default() }
}

/// A handshake under that name with a server that knows nothing of naming.
fn under(client: &Handshaker, server: &Handshaker, target: &'static str) -> (End, End) {
    let calls = (client.begin(NOW), server.begin(NOW));
    drive(calls, (&start(target), &Start::default()), usize::MAX)
}

#[test]
fn a_server_that_may_not_serve_a_name_is_refused_and_learns_nothing() {
    let authority = Authority::new().unwrap();
    let client = client(&authority, naming());
    let server = authority.handshaker(SERVER).unwrap();
    let good = under(&client, &server, "dns:///SERVICE.test.:8443");
    assert_eq!(good.0.outcome().peer_account(), SERVER);

    let (client, server) = under(&client, &server, "db.dev.test:443");
    let failure = client.failure();
    assert_eq!(failure.code(), Code::Unauthenticated);
    assert_eq!(failure.reason(), Some(Reason::IdentityUnexpected));
    assert_eq!(
        failure.details(),
        "the server may not serve db.dev.test:443: it is service account server@dev.test, and the \
         accounts for that name are *@others.test"
    );
    // It was refused before it saw the client's certificate.
    assert_eq!(client.sent.len(), 2, "a hello and an alert");
    assert!(server.failure().details().contains("none of those that the peer expects"));
}

#[test]
fn what_the_caller_expects_counts_besides() {
    let authority = Authority::new().unwrap();
    let client = client(&authority, naming());
    let server = authority.handshaker(SERVER).unwrap();
    let start = Start { targets: vec!["another@dev.test"], ..start("service.test") };
    let calls = (client.begin(NOW), server.begin(NOW));
    let (client, _) = drive(calls, (&start, &Start::default()), usize::MAX);
    assert!(client.failure().details().contains("the server is not who was expected"));
}

#[test]
fn no_handshake_profits_from_another_one() {
    let authority = Authority::new().unwrap();
    let client = client(&authority, naming());
    let server = authority.handshaker(SERVER).unwrap();
    for _ in 0..3 {
        under(&client, &server, "service.test").0.outcome();
        let refused = under(&client, &server, "a.dev.test");
        assert!(refused.0.failure().details().contains("may not serve a.dev.test:443"));
    }
}

#[test]
fn names_without_a_rule_and_no_name_are_what_the_table_says() {
    let authority = Authority::new().unwrap();
    let server = authority.handshaker(SERVER).unwrap();
    let (refuse, allow) = (WithoutRule::Refuse, WithoutRule::Allow);
    for (target, unknown, empty, words) in [
        ("", refuse, refuse, "has no target name"),
        ("", allow, refuse, "has no target name"),
        ("", refuse, allow, ""),
        ("else.test", refuse, allow, "no rule of this service says who may serve else.test:443"),
        ("else.test", allow, refuse, ""),
        ("else%2etest", allow, allow, "cannot be compared with this service's rules: its host"),
        ("http://service.test", allow, allow, "its scheme is none of dns,"),
        // A rule that is there counts, whatever happens to the rest.
        ("db.dev.test", allow, allow, "may not serve db.dev.test:443"),
    ] {
        let client = client(&authority, naming().unknown(unknown).empty(empty));
        let (client, _) = under(&client, &server, target);
        if words.is_empty() {
            assert_eq!(client.outcome().peer_account(), SERVER, "{target}");
            continue;
        }
        let failure = client.failure();
        assert!(failure.details().contains(words), "{words}: {failure}");
        let caller = !words.starts_with("may not serve");
        assert_eq!(failure.fault() == Fault::Caller, caller, "{failure}");
        assert_eq!(client.sent.is_empty(), caller, "nobody hears of it");
    }
}

#[test]
fn without_a_table_names_are_not_looked_at() {
    let authority = Authority::new().unwrap();
    let client = authority.handshaker(CLIENT).unwrap();
    let server = authority.handshaker(SERVER).unwrap();
    for target in ["", "db.dev.test", "%", "http://x"] {
        under(&client, &server, target).0.outcome();
    }
}

#[test]
fn servers_are_not_asked_for_whom_they_are_looked() {
    // The table is the client's side's: one at the server's side changes nothing.
    let authority = Authority::new().unwrap();
    let server = authority.builder(SERVER).unwrap().naming(SecureNaming::new()).build().unwrap();
    let client = authority.handshaker(CLIENT).unwrap();
    under(&client, &server, "anything.test").1.outcome();
}

#[test]
fn a_machine_serves_names_as_the_users_on_it() {
    let authority = Authority::new().unwrap().machines(vec!["host.test".parse().unwrap()]);
    let machine = authority.machine_builder("host.test").unwrap().build().unwrap();
    for (accounts, user, words) in [
        ("web@host.test", "web", ""),
        ("*@host.test", "web", ""),
        ("*", "web", ""),
        // Only its last message says which user it is.
        ("web@host.test", "eve", "it is service account eve@host.test"),
        ("web@other.test", "web", "it is machine host.test"),
        ("*@*.host.test", "web", "it is machine host.test"),
        ("spiffe://host.test/*", "web", "it is machine host.test"),
    ] {
        let naming = SecureNaming::new()
            .rule(vec!["service.test".parse().unwrap()], vec![accounts.parse().unwrap()]);
        let client = client(&authority, naming);
        let server = machine.begin_for([format!("{user}@host.test")], NOW).unwrap();
        let calls = (client.begin(NOW), server);
        let start = start("service.test");
        let (client, _) = drive(calls, (&start, &Start::default()), usize::MAX);
        if words.is_empty() {
            client.outcome();
            continue;
        }
        assert!(client.failure().details().contains(words), "{words}: {}", client.failure());
        let early = words.starts_with("it is machine");
        assert_eq!(client.sent.len(), if early { 2 } else { 3 }, "{accounts}");
    }
}

#[test]
fn the_refusal_of_a_name_ends_the_call() {
    let authority = Authority::new().unwrap();
    let mut call = client(&authority, SecureNaming::new()).begin(NOW);
    assert!(call.handle(&start("a.test").client(), NOW).out_frames().is_empty());
    assert!(call.is_finished());
    assert!(call.handle(&next(b"x"), NOW).failure().is_some());
}
