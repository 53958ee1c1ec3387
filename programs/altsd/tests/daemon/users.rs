//! Users as a machine has them: names that outlive their users, users of other namespaces, people
//! with many numbers, and processes that become somebody else.

use crate::child::{ask, crowd, hold, hold_from, in_network_of, program};
use crate::machine::{Machine, can_have_namespaces};
use crate::support::{Authority, Directory, own_uid};

/// A daemon's directory with `web@dev.test` for these callers.
fn daemon(callers: &str, more: &str) -> (Directory, std::path::PathBuf) {
    let directory = Directory::new();
    let config = directory.simple(&Authority::new(), callers, more);
    (directory, config)
}

#[test]
fn a_number_that_passes_to_another_user_takes_no_account_along() {
    if !can_have_namespaces() {
        return;
    }
    for callers in ["\"user:svc-a\"", "\"group:svc-a\""] {
        let machine = Machine::new(&[("svc-a", 61_500)], &[("svc-a", 61_500, "")]);
        let (directory, config) = daemon(callers, "");
        let _running = machine.start(&config);
        let ask = |uid| ask(&directory, Some(uid), &directory.socket(), "");
        assert_eq!(ask(61_500), "0 ", "{callers}");
        machine.write(&[("svc-b", 61_500)], &[("svc-b", 61_500, "")]);
        let told = ask(61_500);
        assert!(told.starts_with("7 the caller (uid 61500, user svc-b"), "{callers}: {told}");
        // And the user who has the name now has its account.
        machine.write(
            &[("svc-b", 61_500), ("svc-a", 61_501)],
            &[("svc-b", 61_500, ""), ("svc-a", 61_501, "")],
        );
        assert_eq!(ask(61_501), "0 ", "{callers}");
        assert!(ask(61_500).starts_with("7 "), "{callers}");
    }
}

#[test]
fn users_who_are_not_mapped_are_not_nobody() {
    if !can_have_namespaces() {
        return;
    }
    let machine = Machine::new(&[("nobody", 65_534)], &[("nogroup", 65_534, "")]);
    for callers in ["\"user:nobody\"", "\"uid:65534\"", "\"group:nogroup\"", "\"anyone\""] {
        let (directory, config) =
            daemon(callers, "[[listen]]\nname = \"t\"\ntcp = \"127.0.0.1:0\"\n");
        let mut running = machine.start_with(&config, &["--user", "--map-root-user"], "");
        let tcp = running.tcp_of("t").to_string();
        for address in [directory.socket(), tcp] {
            let told = ask(&directory, Some(61_002), &address, "");
            assert!(told.starts_with("7 the caller (unknown"), "{callers} {address}: {told}");
            assert!(told.contains("does not exist in this user namespace"), "{told}");
        }
        let warned = running.log().iter().any(|line| {
            line.contains("matches nobody")
                && line.contains("stands for everybody who is not mapped")
        });
        assert_eq!(warned, callers != "\"anyone\"", "{callers}: {:#?}", running.log());
    }
    // Where all are mapped, nobody is a user like others.
    let (directory, config) = daemon("\"user:nobody\"", "");
    let _running = machine.start(&config);
    assert_eq!(ask(&directory, Some(65_534), &directory.socket(), ""), "0 ");
}

#[test]
fn a_person_with_many_numbers_has_one_share() {
    if !can_have_namespaces() {
        return;
    }
    let machine = Machine::new(&[("alice", 61_001), ("bob", 61_002)], &[]);
    machine.subuids("alice:700000:65536\n");
    let (directory, config) = daemon("\"anyone\"", "[limits]\nhandshakes_per_caller = 2\n");
    let _running = machine.start(&config);
    let hold = |uid| hold(&directory, Some(uid), &directory.socket());
    let (one, two) = (hold(700_000), hold(765_535));
    assert_eq!((one.answer.as_str(), two.answer.as_str()), ("0 ", "0 "));
    for uid in [700_001, 61_001] {
        let told = hold(uid).answer.clone();
        assert!(told.starts_with("rpc:8 "), "{uid}: {told}");
    }
    assert_eq!(hold(61_002).answer, "0 ", "bob has a share of his own");
    assert_eq!(hold(765_536).answer, "0 ", "and so has the user with the next number");
}

#[test]
fn a_machine_with_many_addresses_has_one_share() {
    if !can_have_namespaces() {
        return;
    }
    let machine = Machine::new(&[], &[]);
    let (directory, config) = daemon("\"unidentified\"", "[limits]\nhandshakes_per_caller = 2\n");
    let text = std::fs::read_to_string(&config).unwrap();
    let tcp = "tcp = \"[::]:7000\"\nremote = true\nidentify = false";
    directory.write("altsd.toml", &text.replace("unix = \"s.sock\"\nmode = \"0666\"", tcp), 0o644);
    let addresses = "ip link set lo up\n\
         for a in 2:8000::1 2::1 2::2 2:ffff::3 3::1; do ip addr add 2001:db8:1:$a/128 dev lo nodad; done";
    let running = machine.start_with(&config, &["--net"], addresses);
    let pid = running.child.id();
    let hold =
        |from: &str| hold_from(in_network_of(pid, &directory), "[2001:db8:1:2::1]:7000", from);
    let (one, two) = (hold("2001:db8:1:2::1"), hold("2001:db8:1:2::2"));
    assert_eq!((one.answer.as_str(), two.answer.as_str()), ("0 ", "0 "));
    let told = hold("2001:db8:1:2:ffff::3").answer.clone();
    assert!(told.starts_with("rpc:8 "), "{told}");
    assert_eq!(hold("2001:db8:1:3::1").answer, "0 ", "another network has a share of its own");
}

#[test]
fn callers_whom_the_policy_refuses_hold_no_slots() {
    if !can_have_namespaces() {
        return;
    }
    let machine = Machine::new(&[], &[]);
    let (directory, config) = daemon("\"uid:0\"", "[limits]\nconnections = 8\nhandshakes = 8\n");
    let _running = machine.start(&config);
    let crowds: Vec<_> = (61_001..61_007).map(|uid| crowd(&directory, uid, 20)).collect();
    let open: Vec<u32> = crowds.iter().map(|crowd| crowd.answer.parse().unwrap()).collect();
    assert_eq!(open, [16; 6], "each has as many as refused callers may have");
    assert_eq!(ask(&directory, None, &directory.socket(), ""), "0 ");
}

#[test]
fn a_process_that_gives_up_root_gives_up_roots_account() {
    if !can_have_namespaces() {
        return;
    }
    assert_eq!(own_uid(), 0);
    let (directory, config) = daemon("\"uid:0\"", "");
    let machine = Machine::new(&[], &[]);
    let _running = machine.start(&config);
    let output = program(&directory, "child::drop_root", None)
        .env("ADDRESS", directory.socket())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answers: Vec<_> = text.lines().filter_map(|line| line.split_once("ANSWER ")).collect();
    let [(_, before), (_, after)] = answers[..] else { panic!("{text}") };
    assert_eq!(before, "0 ");
    if after == "0 " && !kernel_holds_on_to_processes() {
        eprintln!("SKIPPED: this kernel has no SO_PEERPIDFD (Linux 6.5)");
        return;
    }
    assert!(after.starts_with("7 the caller (uid 0"), "{after}");
    assert!(after.contains("has become uid 61001 since it connected"), "{after}");
}

/// Whether it is Linux 6.5 or newer.
fn kernel_holds_on_to_processes() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(6), Some(5))
}
