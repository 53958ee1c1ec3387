//! The program and what the machine allows it: file descriptors, callers, what nobody secures.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::time::sleep;

use crate::program::{Running, outcome};
use crate::support::{Directory, connect, echo, echo_server, soon};

#[test]
fn what_nobody_secures_is_said_at_the_start() {
    let nothing = "nothing is secured by ALTS";
    let everybody = "every user of this machine calls upstream";
    let alts = &["--to-alts", "x.test:1", "--handshaker", "dev:a@dev.test", "--any-peer"][..];
    for (listen, to, wanted) in [
        (&["--listen", "127.0.0.1:0"][..], &["--to", "127.0.0.1:1"][..], Some(nothing)),
        (&["--listen", "127.0.0.1:0"], alts, Some(everybody)),
        (&["--listen", "0.0.0.0:0"], alts, Some("can be reached from other machines")),
        (&["--listen", "127.0.0.1:0", "--allow-caller", "uid:0"], alts, None),
        (&["--listen", "127.0.0.1:0", "--allow-caller", "unidentified"], alts, Some(everybody)),
        (
            &["--listen", "127.0.0.1:0", "--allow-caller", "user:no-such-user"],
            alts,
            Some("there is no user:no-such-user on this machine"),
        ),
        (&["--listen", "unix:/tmp/alts-proxy-nowhere.sock"], alts, None),
    ] {
        let (output, text) = outcome(&[&["--check"], listen, to].concat());
        assert!(output.status.success(), "{text}");
        match wanted {
            Some(wanted) => assert!(text.contains(wanted), "no {wanted:?} in {text}"),
            None => assert!(!text.contains("warning"), "{text}"),
        }
    }
    for (arguments, wanted) in [
        (
            &["--listen", "[::1]:0", "--metrics", "0.0.0.0:0"][..],
            "can be reached from other machines",
        ),
        (&["--listen", "[::1]:0", "--allow-caller", "web"], "write user:NAME"),
    ] {
        let (output, text) = outcome(&[arguments, &["--to", "x.test:1"]].concat());
        assert!(!output.status.success() && text.contains(wanted), "{arguments:?}: {text}");
    }
    let directory = Directory::new();
    let listen = "[[listen]]\ntcp = \"[::1]:0\"\nupstream = \"u\"\ncallers = []\n";
    let up = "[[upstream]]\nname = \"u\"\naddresses = [\"x.test:1\"]\n";
    let alts = "security = \"alts\"\nhandshaker = \"dev:a@dev.test\"\nany_peer = true\n";
    for (text, wanted) in [
        (format!("{listen}{up}"), "lets nobody in"),
        (format!("{listen}{alts}{up}"), "callers is for plain listeners"),
    ] {
        let path = directory.config(&text);
        let (output, said) = outcome(&["--check", "--config", path.to_str().unwrap()]);
        assert!(!output.status.success() && said.contains(wanted), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_callers_are_named_and_do_not_fill_the_log() {
    let (server, _echo) = echo_server("echo").await;
    let to = server.to_string();
    let arguments = ["--listen", "127.0.0.1:0", "--allow-caller", "uid:4242", "--to", &to];
    let running = Running::start(&arguments);
    let at = running.address("127.0.0.1:0").await;
    let refuse = async || {
        let mut client = connect(at).await;
        assert!(matches!(soon(client.read(&mut [0; 10])).await, Ok(0) | Err(_)));
    };
    for _ in 0..50 {
        refuse().await;
    }
    sleep(Duration::from_millis(1200)).await;
    refuse().await;
    let line = running.line("connection", &[("outcome", "refused")]).await;
    let caller = line["fields"]["caller"].as_str().unwrap();
    assert!(caller.starts_with(&format!("uid {}", nix::unistd::geteuid())), "{line}");
    assert!(line["fields"]["error"].as_str().unwrap().contains("allows uid:4242"), "{line}");
    let more = || running.said("\"more\":");
    while more() == 0 {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(running.said("\"refused\"") < 10, "51 were refused");
}

/// How many files a process may open, at most by itself and at most at all.
fn allowed(pid: u32) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().skip(3).map(ToOwned::to_owned);
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptors_are_there_for_all_connections_or_it_does_not_start() {
    let (server, _echo) = echo_server("echo").await;
    let directory = Directory::new();
    let path = directory.config(&format!(
        "[[listen]]\nname = \"a\"\ntcp = \"127.0.0.1:0\"\nupstream = \"u\"\n\
         [[upstream]]\nname = \"u\"\naddresses = [\"{server}\"]\n[limits]\nconnections = 500\n"
    ));
    let config = path.to_str().unwrap();
    // 500 on either side, 32 for metrics, and 128 that are kept.
    let running = Running::limited("-Sn 256", &["--config", config]);
    echo(&mut connect(running.address("a").await).await, "hello").await;
    assert_eq!(allowed(running.id()).0, "1160");
    let mut refused = Running::limited("-n 1000", &["--config", config]);
    assert!(!refused.end().await.success());
    assert_eq!(refused.said("1032 connections take 1160 file descriptors"), 1);
    assert_eq!(refused.said("this process may have 1000"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_machine_lacks_is_said_once_and_not_blamed_on_the_upstream() {
    let (server, _echo) = echo_server("echo").await;
    exhaust(&server.to_string()).await;
    // A look-up of a name fails in its own way.
    exhaust(&format!("localhost:{}", server.port())).await;
}

async fn exhaust(to: &str) {
    let running = Running::start(&["--listen", "127.0.0.1:0", "--to", to]);
    let at: SocketAddr = running.address("127.0.0.1:0").await;
    echo(&mut connect(at).await, "before").await;
    running.line("connection", &[("outcome", "finished")]).await;
    let pid = running.id();
    let (_, hard) = allowed(pid);
    let limit = |soft: &str| {
        let nofile = format!("--nofile={soft}:{hard}");
        let set = Command::new("prlimit").args(["--pid", &pid.to_string(), &nofile]).status();
        assert!(set.unwrap().success());
    };
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: HashSet<u32> =
        open.map(|one| one.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let free = (0..10_000).find(|number| !open.contains(number)).unwrap();

    // Enough for the client, and not for the upstream.
    limit(&(free + 1).to_string());
    for _ in 0..20 {
        // It may be reset before it is known to be connected.
        if let Ok(mut client) = tokio::net::TcpStream::connect(at).await {
            assert!(matches!(soon(client.read(&mut [0; 10])).await, Ok(0) | Err(_)));
        }
    }
    running.line("cannot connect", &[("upstream", "upstream")]).await;
    assert!(running.said("\"cannot connect\"") < 5);
    // Not enough for the client.
    limit(&free.to_string());
    let mut waiting = connect(at).await;
    running.line("this process or its machine has nothing left for another connection", &[]).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(
        running.said("\"this process or its machine has nothing left for another connection\""),
        1
    );
    limit(&hard);
    echo(&mut waiting, "served at last").await;
    sleep(Duration::from_millis(1200)).await;
    echo(&mut connect(at).await, "and the next one").await;
    running.line("connections are accepted again", &[]).await;
    assert_eq!(running.said("others are tried first"), 0, "the upstream is as good as ever");
}
