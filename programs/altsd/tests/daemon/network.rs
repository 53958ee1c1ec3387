//! A loose network of machines: three of them, each in a network namespace with users of its own, and
//! each vouching for itself with a certificate that it has signed itself. The page is `docs/machines.md`.

use std::env;
use std::io::{BufRead, BufReader, Write, stderr};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType, date_time_ymd,
};

use crate::child::{in_network, program};
use crate::machine::{Machine, can_have_namespaces};
use crate::support::{Directory, PATIENCE, Running};

const NAMES: [&str; 3] = ["a", "b", "c"];
const USERS: [(&str, u32); 3] = [("alice", 61_001), ("bob", 61_002), ("carol", 61_003)];

fn host(name: &str) -> String {
    format!("{name}.hosts.example")
}

/// A machine's key, and the certificate that it has made for itself.
struct Own {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = vec![SanType::DnsName(host(name).try_into().unwrap())];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

impl Own {
    fn new(name: &str) -> Self {
        let (key, params) = (KeyPair::generate().unwrap(), params(name));
        let certificate = params.self_signed(&key).unwrap().pem();
        let text = key.serialize_pem();
        Self { certificate, key: text, issuer: Issuer::new(params, key) }
    }

    /// A certificate for another machine, signed with this one's key: what nobody should believe.
    fn claim(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name).signed_by(&key, &self.issuer).unwrap().pem();
        (certificate, key.serialize_pem())
    }
}

/// One machine at work.
struct Host {
    directory: Directory,
    running: Running,
    _users: Machine,
}

impl Host {
    /// The machine of this number, which calls itself `claimed` and believes of the others what it should.
    fn start(
        all: &[Own],
        index: usize,
        claimed: &str,
        (certificate, key): &(String, String),
    ) -> Self {
        let directory = Directory::new();
        let mut roots = Vec::new();
        for (name, own) in NAMES.iter().zip(all) {
            directory.write(&format!("{name}.pem"), &own.certificate, 0o644);
            let machine = host(name);
            roots.push(format!(
                "{{ path = \"{name}.pem\", accounts = [], machines = [\"{machine}\"] }}"
            ));
        }
        directory.write("own.pem", certificate, 0o644);
        directory.write("own.key", key, 0o600);
        let (name, claimed) = (NAMES[index], host(claimed));
        let text = format!(
            "trust_roots = [{}]\n\
             [[listen]]\nname = \"s\"\nunix = \"s.sock\"\nmode = \"0666\"\n\
             [[identity]]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n\
             verified_by = [{{ path = \"{name}.pem\", machines = [\"{claimed}\"] }}]\n\
             [[policy]]\ncallers = [\"anyone\"]\naccounts = [\"{{user}}@{claimed}\"]\n\
             [log]\nformat = \"json\"\n",
            roots.join(", ")
        );
        directory.write("altsd.toml", &text, 0o644);
        let users = Machine::new(&[USERS[index]], &[]);
        let loopback = "ip link set lo up";
        let running = users.start_with(&directory.path("altsd.toml"), &["--net"], loopback);
        Self { directory, running, _users: users }
    }

    fn pid(&self) -> u32 {
        self.running.child.id()
    }

    /// One of the child programs, run here by the machine's user.
    fn run(&self, test: &str, uid: u32, variables: &[(&str, &str)]) -> Child {
        let mut command = in_network(self.pid(), &program(&self.directory, test, Some(uid)));
        command.env("ADDRESS", self.directory.socket()).stdin(Stdio::null());
        command.envs(variables.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

fn ip(pid: u32, arguments: &[&str]) {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &pid.to_string(), "ip"]).args(arguments);
    assert!(command.status().unwrap().success(), "ip {arguments:?}");
}

/// A cable between two machines.
fn connect((one, at): (&Host, &str), (other, there): (&Host, &str)) {
    let (name, peer) = (format!("to{}", other.pid()), format!("to{}", one.pid()));
    let (pid, far) = (one.pid(), other.pid().to_string());
    ip(pid, &["link", "add", &name, "type", "veth", "peer", "name", &peer, "netns", &far]);
    for (pid, device, address) in [(pid, &name, at), (other.pid(), &peer, there)] {
        ip(pid, &["addr", "add", &format!("{address}/30"), "dev", device]);
        ip(pid, &["link", "set", device, "up"]);
    }
}

/// What a user of one machine and one of another know of each other, or what the client is told.
fn call(from: (&Host, u32), to: (&Host, u32), at: &str, expected: &str) -> Result<String, String> {
    let listen = format!("{at}:0");
    let mut server = to.0.run("child::server", to.1, &[("LISTEN", &listen)]);
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.split_once("LISTENING ").map(|(_, at)| at.to_owned()));
    let address = address.expect("a server that listens");
    let client =
        from.0.run("child::client", from.1, &[("SERVER", &address), ("EXPECTED", expected)]);
    let output = client.wait_with_output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8(told).unwrap();
    let peer = lines.find_map(|line| line.split_once("PEER ").map(|(_, peer)| peer.to_owned()));
    let _ = server.kill();
    let _ = server.wait();
    if output.status.success() { Ok(peer.expect("the client's account")) } else { Err(told) }
}

/// Whether there can be networks here; a machine of a gate has to have them.
fn can_have_networks() -> bool {
    let works = can_have_namespaces() && {
        let mut command = Command::new("unshare");
        command.args(["--net", "ip", "link", "add", "x", "type", "veth", "peer", "name", "y"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if !works {
        assert_ne!(env::var("CI").as_deref(), Ok("true"), "a gate has to have networks");
        // Not by `eprintln!`, which tests that pass keep to themselves.
        let mut seen = stderr();
        writeln!(seen, "\nSKIPPED: no networks: `unshare --net ip link add` fails").unwrap();
    }
    works
}

#[test]
fn machines_that_know_each_other_need_no_authority_and_cannot_pose_as_each_other() {
    if !can_have_networks() {
        return;
    }
    let all = NAMES.map(Own::new);
    let itself = |index: usize| {
        let own: &Own = &all[index];
        (own.certificate.clone(), own.key.clone())
    };
    let [a, b, c] = [0, 1, 2].map(|index| Host::start(&all, index, NAMES[index], &itself(index)));
    let [alice, bob, carol] = USERS.map(|(_, uid)| uid);
    connect((&a, "10.77.0.1"), (&b, "10.77.0.2"));
    connect((&b, "10.77.0.5"), (&c, "10.77.0.6"));
    connect((&a, "10.77.0.9"), (&c, "10.77.0.10"));
    for (from, to, at, expected, caller) in [
        ((&a, alice), (&b, bob), "10.77.0.2", "bob@b.hosts.example", "alice@a.hosts.example"),
        ((&b, bob), (&c, carol), "10.77.0.6", "carol@c.hosts.example", "bob@b.hosts.example"),
        ((&c, carol), (&a, alice), "10.77.0.9", "alice@a.hosts.example", "carol@c.hosts.example"),
    ] {
        assert_eq!(call(from, to, at, expected).as_deref(), Ok(caller));
    }
    let told = call((&a, alice), (&b, bob), "10.77.0.2", "carol@c.hosts.example").unwrap_err();
    assert!(told.contains("it is machine b.hosts.example"), "{told}");

    // Another machine at B's place has B's key, and says with it that it is C.
    let eve = Host::start(&all, 1, "c", &all[1].claim("c"));
    connect((&a, "10.77.0.13"), (&eve, "10.77.0.14"));
    let words = "it is for machine c.hosts.example, and the authority CN=b may vouch for the \
                 accounts none and the machines b.hosts.example";
    let expected = "bob@c.hosts.example";
    let told = call((&a, alice), (&eve, bob), "10.77.0.14", expected).unwrap_err();
    assert!(told.contains(words), "{told}");
    // As a client likewise: A's own audit line has the reason, and Eve is told as much as she may know.
    let expected = "alice@a.hosts.example";
    let told = call((&eve, bob), (&a, alice), "10.77.0.13", expected).unwrap_err();
    assert!(told.contains("does not let the authority of this side's certificate vouch"), "{told}");
    // One line for each side that A was on; the last one may be on its way.
    let lines = || a.running.log().into_iter().filter(|line| line.contains(words)).count();
    let begun = Instant::now();
    while lines() < 2 {
        assert!(begun.elapsed() < PATIENCE, "{:#?}", a.running.log());
        sleep(Duration::from_millis(20));
    }
}
