//! Other processes, if need be of other users: this test program again, with one of these "tests".
//!
//! They are ignored unless asked for by name, and told by variables what to do.

use std::{
    env, fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, GrpcHandshaker, ServerConfig};

use crate::{
    common::Start,
    support::{Caller, Directory, channel},
};

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
    let mut command = program(directory, "child::begin", user);
    let output = command.env("ADDRESS", address).env("LOCAL", local).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let answer = text.lines().find_map(|line| line.split_once("ANSWER ")).map(|(_, rest)| rest);
    answer.unwrap_or_else(|| panic!("no answer: {text}")).to_owned()
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
        local: (!local.is_empty()).then_some(local).into_iter().collect(),
        ..Start::default()
    };
    let channel = channel(&address).await;
    match Caller::call(&channel, start.client()).await {
        Ok((_, said)) => println!("ANSWER {} {}", said.code, said.details),
        Err(status) => println!("ANSWER rpc:{} {}", status.code() as i32, status.message()),
    }
}

#[tokio::test]
#[ignore = "for other tests to run as a process"]
async fn server() {
    let service = GrpcHandshaker::at(&variable("ADDRESS")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("LISTENING {}", listener.local_addr().unwrap());
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream =
        AltsAcceptor::new(ServerConfig::default(), service).accept(stream).await.unwrap();
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
