//! The first minute: throw-away identities, and one identity by flags.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use crate::child::program;
use crate::support::{Authority, Directory, Running, altsd, own_uid, with_itself};

/// The rest of the line that begins so, from a process's output.
fn line(child: &mut Child, start: &str) -> String {
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let found =
        lines.find_map(|line| line.unwrap().split_once(start).map(|(_, rest)| rest.to_owned()));
    found.unwrap_or_else(|| panic!("no {start:?}"))
}

#[test]
fn two_processes_talk_within_a_minute() {
    let directory = Directory::new();
    let mut command = altsd();
    command.arg("dev").env("XDG_RUNTIME_DIR", &directory.0).stdout(Stdio::piped());
    let mut running = Running::spawn(command);
    let mut out = BufReader::new(running.child.stdout.take().unwrap()).lines();
    let mut addresses = Vec::new();
    while addresses.len() < 2 {
        let line = out.next().expect("two addresses").unwrap();
        if let Some((address, account)) = line.split_once("  is the handshaker service of  ") {
            addresses.push((address.trim().to_owned(), account.to_owned()));
        }
    }
    let sockets = directory.path(&format!("altsd-dev-{}", own_uid()));
    assert_eq!(
        addresses[0],
        (format!("unix:{}/client.sock", sockets.display()), "client@dev.test".to_owned())
    );
    assert_eq!(addresses[1].1, "server@dev.test");
    let lines_to_copy = out.map_while(Result::ok).find(|line| line.contains("GrpcHandshaker::at"));
    assert!(lines_to_copy.unwrap().contains(&addresses[0].0));

    let mut server = program(&directory, "child::server", None);
    let mut server = server.env("ADDRESS", &addresses[1].0).stdout(Stdio::piped()).spawn().unwrap();
    let address = line(&mut server, "LISTENING ");
    let mut client = program(&directory, "child::client", None);
    client
        .env("ADDRESS", &addresses[0].0)
        .env("SERVER", address)
        .env("EXPECTED", "server@dev.test");
    let mut client = client.stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(line(&mut client, "PEER "), "server@dev.test");
    assert_eq!(line(&mut server, "PEER "), "client@dev.test");
    assert!(client.wait().unwrap().success());
    assert!(server.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_and_addresses_of_ones_own() {
    let directory = Directory::new();
    let mut command = altsd();
    let socket = directory.path("m.sock");
    command.arg("dev").stdout(Stdio::null());
    command.arg("--listen").arg(format!("unix:{}={{user}}@host.test", socket.display()));
    let mut running = Running::spawn(command);
    running.wait_listening();
    let (said, _) = with_itself(&format!("unix:{}", socket.display())).await;
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap().unwrap().name;
    assert_eq!(said.peer, Some(format!("{user}@host.test")));

    let mut command = altsd();
    command.args(["dev", "--listen", "127.0.0.1:0=web@prod.example.com"]);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("could be real"), "{text}");
}

#[test]
fn no_service_account_is_mistaken_for_a_user_of_a_machine() {
    let directory = Directory::new();
    let socket = |name: &str| format!("unix:{}", directory.path(name).display());
    let mut command = altsd();
    command.args(["dev", "--listen", &format!("{}={{user}}@prod.example", socket("m.sock"))]);
    command.args(["--listen", &format!("{}=web@prod.example", socket("s.sock"))]);
    // It would go on for ever if it took them.
    let mut running = Running::spawn(command);
    assert!(!running.wait().0.success());
    running.wait_for_end("service account web@prod.example, and prod.example is a machine's name");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identity_by_flags() {
    let (directory, authority) = (Directory::new(), Authority::new());
    directory.identity("web", &authority, "web@dev.test", 100);
    directory.config(&authority, "");
    let mut command = altsd();
    command.current_dir(&directory.0).args(["--listen", "unix:s.sock", "--mode", "0600"]);
    command.args(["--certificate", "web.pem", "--key", "web.key", "--trust-roots", "roots.pem"]);
    let mut running = Running::spawn(command);
    running.wait_listening();
    let (said, _) = with_itself(&directory.socket()).await;
    assert_eq!(said.peer.as_deref(), Some("web@dev.test"), "the default caller is who starts it");
}
