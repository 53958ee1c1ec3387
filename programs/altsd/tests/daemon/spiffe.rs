//! Identities that a SPIFFE agent gives to the processes that call: an agent of the tests, which knows
//! processes by their users. `interop/run --peer spire` has SPIRE's own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::Signal;

use crate::agent::{Domain, Said, Svid, TestAgent};
use crate::child::{ask, program};
use crate::common::Start;
use crate::support::{Caller, Directory, Running, channel, handshake, own_uid};

const WEB: &str = "spiffe://field.test/web";
const DB: &str = "spiffe://field.test/db";

/// A configuration without any certificate.
fn config(directory: &Directory, more: &str) -> PathBuf {
    let text = format!(
        "[[listen]]\nname = \"s\"\nunix = \"s.sock\"\nmode = \"0666\"\n\
         [[listen]]\nname = \"t\"\ntcp = \"127.0.0.1:0\"\n\
         [spiffe]\nagent = \"unix:{}\"\n\
         [[policy]]\ncallers = [\"anyone\"]\naccounts = [\"{{spiffe}}\"]\n\
         [metrics]\naddress = \"127.0.0.1:0\"\n\
         [reload]\npoll = \"100ms\"\n[log]\nformat = \"json\"\n{more}",
        directory.path("agent.sock").display()
    );
    directory.write("altsd.toml", &text, 0o644);
    directory.path("altsd.toml")
}

fn users(domain: &Domain, of: &[(u32, &[&str])]) -> HashMap<u32, Vec<Svid>> {
    of.iter().map(|(uid, ids)| (*uid, ids.iter().map(|id| domain.issue(id)).collect())).collect()
}

fn said(domain: &Domain, of: &[(u32, &[&str])]) -> Said {
    Said { users: users(domain, of), ..Said::new(&[domain]) }
}

#[test]
fn each_process_gets_the_identity_that_the_agent_attests_for_it() {
    if own_uid() != 0 {
        eprintln!("only root can be several users: nothing is tested");
        return;
    }
    let directory = Directory::new();
    let config = config(&directory, "");
    let domain = Domain::new("field.test");
    let of = said(&domain, &[(61_001, &[WEB]), (61_002, &[DB, WEB])]);
    let agent = TestAgent::start(&directory.path("agent.sock"), of);
    let mut running = Running::start(&config);
    let tcp = running.tcp_of("t").to_string();
    for address in [directory.socket(), tcp] {
        let ask = |uid, local: &str| ask(&directory, Some(uid), &address, local);
        for (uid, local) in [(61_001, ""), (61_001, WEB), (61_002, ""), (61_002, DB), (61_002, WEB)]
        {
            assert_eq!(ask(uid, local), "0 ", "{address} {uid} {local}");
        }
        let told = ask(61_001, DB);
        assert!(told.starts_with("7 ") && told.contains(WEB), "{address}: {told}");
        let told = ask(61_003, "");
        let why = "refuses: it has no identity for this process";
        assert!(told.starts_with("7 the caller (uid 61003") && told.contains(why), "{told}");
    }
    assert!(agent.asked().iter().any(|asked| asked.starts_with("delegated  ")));
    running.wait_for_metric("altsd_spiffe_processes{state=\"identified\"} 0");

    // The first one is the one that is used if none is asked for, and what peers see.
    let mut server = program(&directory, "child::server", Some(61_001));
    server.env("ADDRESS", directory.socket());
    let mut server = server.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let listening = |line: String| line.split_once("LISTENING ").map(|(_, rest)| rest.to_owned());
    let address = lines.find_map(listening).unwrap();
    let mut client = program(&directory, "child::client", Some(61_002));
    client.env("ADDRESS", directory.socket()).env("SERVER", address).env("EXPECTED", WEB);
    let output = String::from_utf8(client.output().unwrap().stdout).unwrap();
    assert!(output.contains(&format!("PEER {WEB}")), "{output}");
    let peer = lines.find(|line| line.contains("PEER ")).unwrap();
    assert!(peer.contains(DB), "{peer}");
    server.wait().unwrap();
    running.audit(&[("outcome", "success"), ("side", "client"), ("local", DB), ("peer", WEB)]);
}

/// One handshake after the other, each on a connection of its own, until it is told to end; how many
/// there were, what went wrong, and the longest.
async fn load(address: String, stop: Arc<AtomicBool>) -> (usize, Vec<String>, Duration) {
    let (mut count, mut failed, mut longest) = (0, Vec::new(), Duration::ZERO);
    while !stop.load(Ordering::SeqCst) {
        let began = Instant::now();
        let one = async {
            let channel = channel(&address).await;
            let (mut client, hello) =
                Caller::client(&channel).await.map_err(|status| status.to_string())?;
            if hello.code != 0 {
                return Err(hello.details);
            }
            let start = Start::default().server(&hello.out);
            let (mut server, init) =
                Caller::call(&channel, start).await.map_err(|status| status.to_string())?;
            if init.code != 0 {
                return Err(init.details);
            }
            let parameters = client.next(&init.out).await.map_err(|status| status.to_string())?;
            let choice = server.next(&parameters.out).await.map_err(|status| status.to_string())?;
            let end = client.next(&choice.out).await.map_err(|status| status.to_string())?;
            let told = server.next(&end.out).await.map_err(|status| status.to_string())?;
            match (end.peer.as_deref(), told.peer.as_deref()) {
                (Some(WEB), Some(WEB)) => Ok(()),
                _ => Err(format!("{} {} {}", parameters.details, end.details, told.details)),
            }
        };
        if let Err(why) = one.await {
            failed.push(why);
        }
        count += 1;
        longest = longest.max(began.elapsed());
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    (count, failed, longest)
}

/// Ten seconds, or what the environment says: the gate takes a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_call_fails_while_identities_and_authorities_rotate() {
    let seconds =
        env::var("ROTATION_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let directory = Directory::new();
    let config = config(&directory, "[limits]\nhandshakes_per_caller = 512\n");
    let mut domain = Domain::new("field.test");
    let of = said(&domain, &[(own_uid(), &[WEB])]);
    let agent = TestAgent::start(&directory.path("agent.sock"), of);
    let running = Running::start(&config);
    let stop = Arc::new(AtomicBool::new(false));
    let loads: Vec<_> =
        (0..5).map(|_| tokio::spawn(load(directory.socket(), Arc::clone(&stop)))).collect();
    let began = Instant::now();
    let (mut rotations, mut authorities) = (0, 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        // An identity that ends within seconds, five times a second.
        let svid = domain.issue_for(WEB, Duration::from_secs(4));
        agent.change(|said| drop(said.users.insert(own_uid(), vec![svid])));
        rotations += 1;
        if rotations % 10 == 0 {
            // As SPIRE does it: the next authority is known to everybody before it is used, and the
            // last one is not forgotten while it is in use.
            let next = Domain::new("field.test");
            let both = [domain.certificate.clone(), next.certificate.clone()].concat();
            agent.change(|said| drop(said.bundles.insert(next.name.clone(), both)));
            tokio::time::sleep(Duration::from_millis(500)).await;
            domain = next;
            authorities += 1;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::SeqCst);
    let (mut count, mut failed, mut longest) = (0, Vec::new(), Duration::ZERO);
    for load in loads {
        let (calls, why, slowest) = load.await.unwrap();
        count += calls;
        failed.extend(why);
        longest = longest.max(slowest);
    }
    println!(
        "{count} handshakes in {:?}, {} failed, the longest took {longest:?}; {rotations} identities, \
         {authorities} authorities",
        began.elapsed(),
        failed.len()
    );
    assert!(failed.is_empty(), "{} of {count}: {:?}", failed.len(), &failed[..failed.len().min(3)]);
    assert!(count > usize::try_from(seconds).unwrap() * 5, "{count}");
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn while_the_agent_is_away_what_is_valid_goes_on_with_a_warning() {
    let directory = Directory::new();
    let config = config(&directory, "");
    let domain = Domain::new("field.test");
    let of = said(&domain, &[(own_uid(), &[WEB])]);
    let mut agent = TestAgent::start(&directory.path("agent.sock"), of);
    let mut running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    let starts = (&Start::default(), &Start::default());
    handshake(&channel, &channel, starts).await;
    running.wait_for_metric("altsd_spiffe_processes{state=\"identified\"} 1");
    agent.stop();
    running.wait_for_metric("altsd_spiffe_processes{state=\"stale\"} 1");
    running.wait_for("SPIFFE identities are not renewed");
    handshake(&channel, &channel, starts).await;
    // Another process cannot be attested now.
    let told = ask(&directory, None, &directory.socket(), "");
    assert!(told.starts_with("7 ") && told.contains("cannot be asked"), "{told}");
    agent.change(|said| said.users = users(&domain, &[(own_uid(), &[DB])]));
    agent.restart();
    running.wait_for_metric("altsd_spiffe_processes{state=\"identified\"} 1");
    running.wait_for("SPIFFE identities are renewed again");
    let (client, _) = handshake(&channel, &channel, starts).await;
    assert_eq!(client.local.as_deref(), Some(DB));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_certificate_ends_although_the_agent_is_away() {
    let directory = Directory::new();
    let config = config(&directory, "");
    let domain = Domain::new("field.test");
    let mut of = Said::new(&[&domain]);
    of.users.insert(own_uid(), vec![domain.issue_for(WEB, Duration::from_secs(3))]);
    let mut agent = TestAgent::start(&directory.path("agent.sock"), of);
    let _running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    handshake(&channel, &channel, (&Start::default(), &Start::default())).await;
    agent.stop();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (_, told) = Caller::client(&channel).await.unwrap();
    assert_eq!(told.code, 7);
    assert!(told.details.contains("its certificate has expired"), "{}", told.details);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_reload_counts_for_processes_that_are_connected() {
    let directory = Directory::new();
    let domain = Domain::new("field.test");
    let of = said(&domain, &[(own_uid(), &[WEB])]);
    let _agent = TestAgent::start(&directory.path("agent.sock"), of);
    let path = config(&directory, "");
    let mut running = Running::start(&path);
    let channel = channel(&directory.socket()).await;
    let starts = (&Start::default(), &Start::default());
    handshake(&channel, &channel, starts).await;
    config(&directory, &format!("[deny]\naccounts = [\"{WEB}\"]\n"));
    running.signal(Signal::SIGHUP);
    running.wait_for("reloaded");
    let began = Instant::now();
    loop {
        let (mut client, hello) = Caller::client(&channel).await.unwrap();
        let start = Start::default().server(&hello.out);
        let (_server, init) = Caller::call(&channel, start).await.unwrap();
        let told = client.next(&init.out).await.unwrap();
        if told.code != 0 {
            assert!(told.details.contains("denied"), "{}", told.details);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "it is still accepted");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_process_that_ends_while_the_agent_looks_leaves_nothing_to_its_successor() {
    let directory = Directory::new();
    let config = config(&directory, "");
    let domain = Domain::new("field.test");
    let of = said(&domain, &[(own_uid(), &[WEB])]);
    let agent = TestAgent::start(&directory.path("agent.sock"), of);
    agent.before_answers(|pid| {
        if pid != 0 {
            // It is gone before there is an answer, which is about its number.
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            if status.contains("tests") {
                let pid = nix::unistd::Pid::from_raw(pid);
                nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
                thread::sleep(Duration::from_millis(300));
            }
        }
    });
    let mut running = Running::start(&config);
    let mut doomed = program(&directory, "child::begin", None);
    doomed.env("ADDRESS", directory.socket()).env("LOCAL", "").env("TARGET", "");
    let output = doomed.output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("ANSWER"), "{output:?}");
    assert!(agent.asked().iter().any(|asked| asked.starts_with("delegated")));
    running.wait_for_metric("altsd_spiffe_processes{state=\"identified\"} 0");
    assert!(!running.log().iter().any(|line| line.contains(WEB)), "{:#?}", running.log());
}

#[test]
fn an_agent_that_does_not_answer_holds_up_nobody_but_its_own() {
    let directory = Directory::new();
    let config = config(&directory, "");
    // A socket at which nobody takes connections.
    let _listener = std::os::unix::net::UnixListener::bind(directory.path("agent.sock")).unwrap();
    let mut running = Running::start(&config);
    let began = Instant::now();
    let told = ask(&directory, None, &directory.socket(), "");
    assert!(told.starts_with("7 ") && told.contains("agent"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    running.wait_for_metric("altsd_spiffe_processes{state=\"identified\"} 0");
}
