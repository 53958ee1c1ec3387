//! Who is calling: UNIX credentials, the owner of a TCP socket, and what each may then do.

use crate::child::ask;
use crate::common::Start;
use crate::support::{
    Authority, Caller, Directory, Running, channel, handshake, own_uid, with_itself,
};

/// Users without an entry anywhere, who need none.
const ALICE: u32 = 61_001;
const BOB: u32 = 61_002;

fn two_identities(listen: &str, policy: &str) -> (Directory, Running) {
    let (directory, authority) = (Directory::new(), Authority::new());
    directory.identity("a", &authority, "a@dev.test", 100);
    directory.identity("b", &authority, "b@dev.test", 100);
    let config = directory.config(
        &authority,
        &format!(
            "trust_roots = [\"roots.pem\"]\n[[listen]]\n{listen}\n\
             [[identity]]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n\
             [[identity]]\ncertificate = \"b.pem\"\nkey = \"b.key\"\n{policy}\n\
             [log]\nformat = \"json\"\n"
        ),
    );
    let running = Running::start(&config);
    (directory, running)
}

fn policy_of_users() -> String {
    format!(
        "[[policy]]\ncallers = [\"uid:{}\"]\naccounts = [\"a@dev.test\", \"b@dev.test\"]\n\
         [[policy]]\ncallers = [\"gid:{ALICE}\"]\naccounts = [\"b@dev.test\"]\n",
        own_uid()
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_chooses_among_its_identities_and_no_others() {
    let (directory, _running) =
        two_identities("unix = \"s.sock\"\nmode = \"0666\"", &policy_of_users());
    let channel = channel(&directory.socket()).await;
    let as_b = Start { local: vec!["b@dev.test"], ..Start::default() };
    let (client, server) = handshake(&channel, &channel, (&Start::default(), &as_b)).await;
    assert_eq!(client.local.as_deref(), Some("a@dev.test"), "the first is the default");
    assert_eq!(client.peer.as_deref(), Some("b@dev.test"), "of another certificate");
    assert_eq!(server.peer.as_deref(), Some("a@dev.test"));
    let as_c = Start { local: vec!["c@dev.test"], ..Start::default() };
    let (_, said) = Caller::call(&channel, as_c.client()).await.unwrap();
    assert_eq!(said.code, 7);
    assert!(said.details.contains("may use a@dev.test, b@dev.test"), "{}", said.details);
}

/// Whether this test may be other users.
fn can_be_others() -> bool {
    let can = own_uid() == 0;
    if !can {
        eprintln!("not root: the part with other users is left out");
    }
    can
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_told_apart_on_a_unix_socket() {
    let (directory, mut running) =
        two_identities("unix = \"s.sock\"\nmode = \"0666\"", &policy_of_users());
    let address = directory.socket();
    assert_eq!(ask(&directory, None, &address, "a@dev.test"), "0 ");
    if !can_be_others() {
        return;
    }
    assert_eq!(ask(&directory, Some(ALICE), &address, ""), "0 ");
    running.audit(&[("local", "b@dev.test")]);
    let told = ask(&directory, Some(ALICE), &address, "a@dev.test");
    assert!(told.starts_with("7 ") && told.ends_with("may use b@dev.test"), "{told}");
    let told = ask(&directory, Some(BOB), &address, "b@dev.test");
    assert!(told.starts_with("7 the caller (uid 61002, pid "), "{told}");
    assert!(told.contains("its policy has no rule for this caller"), "{told}");
    let line = running.audit(&[("outcome", "refused")]);
    assert_eq!(line["code"], 7);
    assert!(line["caller"].as_str().unwrap().starts_with("uid 61002, pid "), "{line}");
    assert_eq!(line["details"].as_str().unwrap(), told.strip_prefix("7 ").unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_told_apart_on_tcp() {
    for host in ["127.0.0.1", "[::1]"] {
        let (directory, mut running) =
            two_identities(&format!("tcp = \"{host}:0\""), &policy_of_users());
        let address = running.tcp().to_string();
        assert_eq!(ask(&directory, None, &address, "a@dev.test"), "0 ");
        if !can_be_others() {
            return;
        }
        let told = ask(&directory, Some(BOB), &address, "");
        assert!(told.starts_with("7 the caller (uid 61002)"), "{told}");
        let told = ask(&directory, Some(ALICE), &address, "");
        // Over TCP the group is not known, and this user has no entry to look it up in.
        assert!(told.starts_with("7 the caller (uid 61001)"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_asked_is_unidentified() {
    let policy = "[[policy]]\ncallers = [\"anyone\"]\naccounts = [\"a@dev.test\"]\n\
                  [[policy]]\ncallers = [\"unidentified\"]\naccounts = [\"b@dev.test\"]\n";
    let (_directory, mut running) =
        two_identities("tcp = \"127.0.0.1:0\"\nidentify = false", policy);
    let address = running.tcp().to_string();
    let (client, _) = with_itself(&address).await;
    assert_eq!(client.local.as_deref(), Some("b@dev.test"));
    running.wait_for("does not look up who is calling");
    let line = running.audit(&[("side", "client")]);
    assert!(line["caller"].as_str().unwrap().starts_with("unidentified, from 127.0.0.1:"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unidentified_is_not_anyone() {
    let policy = "[[policy]]\ncallers = [\"anyone\"]\naccounts = [\"a@dev.test\"]\n";
    let (_directory, mut running) =
        two_identities("tcp = \"127.0.0.1:0\"\nidentify = false", policy);
    let channel = channel(&running.tcp().to_string()).await;
    let (_, said) = Caller::client(&channel).await.unwrap();
    assert_eq!(said.code, 7, "{}", said.details);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_server_tells_its_client() {
    let (directory, _running) = two_identities("unix = \"s.sock\"", "");
    let channel = channel(&directory.socket()).await;
    let (_, said) = Caller::call(&channel, Start::default().server(&[])).await.unwrap();
    assert_eq!(said.code, 7);
    assert_eq!(said.out.len(), 12, "an alert for the client that waits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_vouch_for_their_users() {
    let Ok(Some(user)) = nix::unistd::User::from_uid(nix::unistd::geteuid()) else {
        panic!("this test needs a user with a name");
    };
    let (authority, mut directories) = (Authority::new(), Vec::new());
    let mut daemons = Vec::new();
    for machine in ["one.test", "two.test"] {
        let directory = Directory::new();
        directory.identity("machine", &authority, machine, 100);
        let config = directory.config(
            &authority,
            &format!(
                "trust_roots = [{{ path = \"roots.pem\", machines = [\"*.test\"] }}]\n\
                 [[listen]]\nunix = \"s.sock\"\n\
                 [[identity]]\ncertificate = \"machine.pem\"\nkey = \"machine.key\"\n\
                 [[policy]]\ncallers = [\"anyone\"]\naccounts = [\"{{user}}@{machine}\"]\n"
            ),
        );
        daemons.push(Running::start(&config));
        directories.push(directory);
    }
    let (one, two) =
        (channel(&directories[0].socket()).await, channel(&directories[1].socket()).await);
    let (client, server) = handshake(&one, &two, (&Start::default(), &Start::default())).await;
    assert_eq!(client.peer, Some(format!("{}@two.test", user.name)));
    assert_eq!(server.peer, Some(format!("{}@one.test", user.name)));
    let other = Start { local: vec!["somebody.else@one.test"], ..Start::default() };
    let (_, said) = Caller::call(&one, other.client()).await.unwrap();
    assert_eq!(said.code, 7, "{}", said.details);
    if own_uid() == 0 {
        // Nobody has a name for this user, so no machine vouches for it.
        let directory = &directories[0];
        std::fs::set_permissions(
            directory.path("s.sock"),
            std::os::unix::fs::PermissionsExt::from_mode(0o666),
        )
        .unwrap();
        let told = ask(directory, Some(ALICE), &directory.socket(), "");
        assert!(told.starts_with("7 ") && told.contains("there is no such user name"), "{told}");
    }
}
