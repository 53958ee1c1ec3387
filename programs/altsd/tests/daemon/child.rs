//! Other processes, if need be of other users: this test program again, with one of these "tests".
//!
//! They are ignored unless asked for by name, and variables say what they should do.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, GrpcHandshaker, ServerConfig};

use crate::common::Start;
use crate::support::{Caller, Directory, channel, endpoint};

/// This program, to run one of the functions below as a user.
pub fn program(directory: &Directory, test: &str, user: Option<u32>) -> Command {
    // Where other users can reach it.
    let program = directory.path("tests");
    if !program.exists() {
        // By another process: a program that this one has open for writing, or a child that it
        // is just starting, cannot be run.
        let copied = Command::new("cp").arg(env::current_exe().unwrap()).arg(&program).status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = match user {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args([format!("--reuid={user}"), format!("--regid={user}")]);
            command.arg("--clear-groups").arg(program);
            command
        }
    };
    command.args(["--ignored", "--nocapture", "--exact", test]);
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    command
}

/// What a process of that user is answered when it begins a handshake: `CODE details`.
pub fn ask(directory: &Directory, user: Option<u32>, address: &str, local: &str) -> String {
    ask_about(directory, user, address, local, Start::default().target_name)
}

/// As [`ask`], when it looks for that server.
pub fn ask_about(
    directory: &Directory,
    user: Option<u32>,
    address: &str,
    local: &str,
    target: &str,
) -> String {
    let mut command = program(directory, "child::begin", user);
    command.env("ADDRESS", address).env("LOCAL", local).env("TARGET", target);
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find_map(|line| line.split_once("ANSWER ")).map(|(_, rest)| rest);
    answer.unwrap_or_else(|| panic!("no answer: {text}")).to_owned()
}

/// A process that keeps what it has until this is dropped, and what it has said.
pub struct Held {
    child: Child,
    pub answer: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn held(mut command: Command) -> Held {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut answers = lines.map_while(Result::ok);
    let answer =
        answers.find_map(|line| line.split_once("ANSWER ").map(|(_, rest)| rest.to_owned()));
    Held { child, answer: answer.expect("an answer") }
}

/// A process of that user with one handshake under way.
pub fn hold(directory: &Directory, user: Option<u32>, address: &str) -> Held {
    hold_from(program(directory, "child::stay", user), address, "")
}

/// As [`hold`], over TCP from that address.
pub fn hold_from(mut program: Command, address: &str, from: &str) -> Held {
    program.env("ADDRESS", address).env("FROM", from);
    held(program)
}

/// This program in the network namespace of a process, to hold a handshake.
pub fn in_network_of(pid: u32, directory: &Directory) -> Command {
    in_network(pid, &program(directory, "child::stay", None))
}

/// A program in the network namespace of a process.
pub fn in_network(pid: u32, inner: &Command) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &pid.to_string()]).arg(inner.get_program());
    command.args(inner.get_args()).env_clear();
    command.env("PATH", env::var_os("PATH").unwrap_or_default());
    command
}

/// A process of that user with up to `count` connections; it says how many are served.
pub fn crowd(directory: &Directory, user: u32, count: u32) -> Held {
    let mut program = program(directory, "child::many", Some(user));
    program.env("ADDRESS", directory.path("s.sock")).env("COUNT", count.to_string());
    held(program)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: this is no test of its own"))
}

#[tokio::test]
#[ignore = "for other tests to run as a process"]
async fn begin() {
    let (address, local) = (variable("ADDRESS"), variable("LOCAL"));
    let local: &'static str = local.leak();
    let start = Start {
        target_name: variable("TARGET").leak(),
        local: (!local.is_empty()).then_some(local).into_iter().collect(),
        ..Start::default()
    };
    let channel = channel(&address).await;
    match Caller::call(&channel, start.client()).await {
        Ok((_, said)) => println!("ANSWER {} {}", said.code, said.details),
        Err(status) => println!("ANSWER rpc:{} {}", status.code() as i32, status.message()),
    }
}

/// Waits until the process that started this one has had enough of it.
fn wait() {
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "for other tests to run as a process"]
async fn stay() {
    let mut endpoint = endpoint(&variable("ADDRESS"));
    if let Ok(from) = variable("FROM").parse() {
        endpoint = endpoint.local_address(Some(from));
    }
    let channel = endpoint.connect().await.unwrap();
    let call = Caller::client(&channel).await;
    match &call {
        Ok((_, said)) => println!("ANSWER {} {}", said.code, said.details),
        Err(status) => println!("ANSWER rpc:{} {}", status.code() as i32, status.message()),
    }
    wait();
}

#[test]
#[ignore = "for other tests to run as a process"]
fn many() {
    let connected = || {
        let mut stream = UnixStream::connect(variable("ADDRESS")).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").ok()?;
        // A connection that is not served is closed.
        let length = stream.read(&mut [0; 100]).ok()?;
        (length > 0).then_some(stream)
    };
    let count: u32 = variable("COUNT").parse().unwrap();
    let held: Vec<_> = (0..count).filter_map(|_| connected()).collect();
    println!("ANSWER {}", held.len());
    wait();
}

#[tokio::test]
#[ignore = "for other tests to run as a process"]
async fn drop_root() {
    let channel = channel(&variable("ADDRESS")).await;
    for user in [None, Some(61_001)] {
        if let Some(user) = user {
            let user = nix::unistd::Uid::from_raw(user);
            nix::unistd::setresuid(user, user, user).unwrap();
        }
        match Caller::client(&channel).await {
            Ok((_, said)) => println!("ANSWER {} {}", said.code, said.details),
            Err(status) => println!("ANSWER rpc:{} {}", status.code() as i32, status.message()),
        }
    }
}

#[tokio::test]
#[ignore = "for other tests to run as a process"]
async fn server() {
    let service = GrpcHandshaker::at(&variable("ADDRESS")).unwrap();
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(listen).await.unwrap();
    println!("LISTENING {}", listener.local_addr().unwrap());
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream =
        AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), service)
            .accept(stream)
            .await
            .unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await.unwrap();
    let peer = stream.context().peer_service_account().to_owned();
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    println!("PEER {peer}");
    // The client closes when it has read.
    let _ = stream.read(&mut bytes).await;
}

#[tokio::test]
#[ignore = "for other tests to run as a process"]
async fn client() {
    let service = GrpcHandshaker::at(&variable("ADDRESS")).unwrap();
    let server: SocketAddr = variable("SERVER").parse().unwrap();
    let config = ClientConfig::builder().expect_peer(variable("EXPECTED")).build().unwrap();
    let stream = TcpStream::connect(server).await.unwrap();
    let mut stream = AltsConnector::new(config, service).connect(stream).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    stream.flush().await.unwrap();
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    println!("PEER {}", stream.context().peer_service_account());
}
