//! `alts ping` against servers of each kind.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "../check/support.rs"]
mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use support::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_alts::{AltsAcceptor, ServerConfig};
use tokio_stream::StreamExt as _;

const LONG: &str = "--deadline=60s";

async fn ping(service: &str, target: &str, arguments: &[&str]) -> Ran {
    let all = ["ping", "--handshaker", service, target, "--interval=1ms", LONG];
    alts(&[&all, arguments].concat()).await
}

fn document(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap()
}

/// The summary of one thing, which has to be in order.
#[track_caller]
fn summary<'a>(document: &'a Value, what: &str) -> &'a Value {
    let all = document["latencies"].as_array().unwrap();
    let found = all.iter().find(|summary| summary["what"] == what).expect(what);
    let at = |name: &str| found[name].as_f64().unwrap();
    let sorted = [at("min_ms"), at("p50_ms"), at("p90_ms"), at("p99_ms"), at("max_ms")];
    assert!(sorted[0] > 0.0 && sorted.is_sorted(), "{found}");
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_server_without_any_method() {
    let (service, server) = pair().await;
    let target = alts_grpc(server).await;
    let arguments = ["--count=30", "--expect-peer", SERVER, "--json", "--throughput=2s"];
    let ran = ping(&service, &target, &arguments).await;
    ran.assert(0, &[]);
    assert_eq!(ran.err, "", "no bar without a terminal");
    let document = document(&ran);
    assert_eq!((&document["ok"], &document["mode"]), (&true.into(), &"http2".into()));
    assert_eq!(document["peer_account"], SERVER);
    assert!(document["handshake_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(summary(&document, "http2_ping")["count"], 30);
    assert_eq!(summary(&document, "grpc_call")["count"], 30);
    // More than one window went through, so the server has read what it was sent.
    let throughput = &document["throughput"];
    assert_eq!(throughput["what"], "upload");
    assert!(throughput["bytes"].as_u64().unwrap() > 2 << 20, "{throughput}");
    assert!(throughput["seconds"].as_f64().unwrap() >= 2.0);
    assert_eq!(document["not_measured"], Value::Array(vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_are_not_measured() {
    let (service, server) = pair().await;
    let refusing = alts_grpc_for(server.clone(), "somebody@dev.test").await;
    for target in [refusing, alts_closing(server).await] {
        let ran = ping(&service, &target, &["--any-peer"]).await;
        assert_eq!(ran.status, 7, "{ran:#?}");
        assert!(!ran.out.contains("grpc_call") && !ran.out.contains("p99"), "{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_everything_back() {
    let (service, server) = pair().await;
    let target = alts_echo(server).await;
    let arguments = ["--any-peer", "--echo", "--size=300000", "--count=5", "--throughput=300ms"];
    let ran = ping(&service, &target, &[&arguments[..], &["--json"]].concat()).await;
    ran.assert(0, &[]);
    let document = document(&ran);
    assert_eq!(document["mode"], "echo");
    assert_eq!(summary(&document, "echo")["count"], 5);
    assert_eq!(document["throughput"]["what"], "echo");
    assert!(document["throughput"]["bytes"].as_u64().unwrap() >= 128 * 1024);

    let ran = ping(&service, &target, &arguments).await;
    ran.assert(0, &["server@dev.test; it sees us as client@dev.test", "p99", "throughput (echo)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_something_else_is_measured_by_its_handshakes() {
    let (service, server) = pair().await;
    let target = alts_echo(server).await;
    let arguments = ["--any-peer", "--count=3", "--json", "--throughput=1s"];
    let ran = ping(&service, &target, &arguments).await;
    ran.assert(0, &[]);
    let document = document(&ran);
    assert_eq!(document["mode"], "handshake");
    assert_eq!(summary(&document, "handshake")["count"], 3);
    assert_eq!(summary(&document, "connect")["count"], 3);
    assert_eq!(document["throughput"], Value::Null);
    let not_measured = document["not_measured"].to_string();
    assert!(not_measured.contains("--echo measures"), "{not_measured}");
    assert!(not_measured.contains("throughput"), "{not_measured}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_sends_something_else_back_is_no_echo() {
    let (service, server) = pair().await;
    let (mut incoming, target) = incoming(server).await;
    tokio::spawn(async move {
        let mut stream = incoming.next().await.unwrap().unwrap();
        let mut read = [0; 64];
        stream.read_exact(&mut read).await.unwrap();
        stream.write_all(&[0; 64]).await.unwrap();
        stream.flush().await.unwrap();
        // Until the other end closes.
        let _ = stream.read(&mut read).await;
    });
    let ran = ping(&service, &target, &["--any-peer", "--echo", "--size=64"]).await;
    ran.assert(5, &["the bytes that came back differ", "the target does not echo"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_explained_as_by_check() {
    let (service, server) = pair().await;
    let target = alts_grpc(server).await;
    let ran = ping(&service, &target, &["--expect-peer=other@dev.test", "--json"]).await;
    ran.assert(5, &[]);
    let document = document(&ran);
    assert_eq!((&document["ok"], &document["exit_status"]), (&false.into(), &5.into()));
    assert!(document["problem"]["got"].as_str().unwrap().contains("server@dev.test"));
    let stranger = alts_grpc(Authority::new().unwrap().handshaker(SERVER).unwrap()).await;
    ping(&service, &stranger, &["--any-peer"]).await.assert(5, &["compare the trust roots"]);
    let (_held, nobody) = nobody();
    ping(&service, &nobody, &["--any-peer"]).await.assert(6, &["connection refused"]);
    ping(&nobody, &target, &["--any-peer"]).await.assert(4, &["check that it runs"]);
    ping(&service, &http1().await, &["--any-peer"]).await.assert(5, &["speaks HTTP/1"]);
    ping(&service, &target, &["--any-peer", "--echo"])
        .await
        .assert(5, &["messages that come back", "at fault  the peer"]);
}

/// An HTTP/2 server over ALTS that does not speak gRPC, and counts its requests.
async fn http2(server: Handshaker) -> (String, Arc<AtomicU32>) {
    let (listener, address) = listener().await;
    let acceptor = AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), server);
    let count = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let service = service_fn(move |_: http::Request<Incoming>| {
            counter.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(http::Response::new(String::new())) }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await
    });
    (address, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_measured_before_an_interruption_is_told() {
    let (service, server) = pair().await;
    let (target, requests) = http2(server).await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_alts"));
    command
        .args(["ping", "--handshaker", &service, &target, "--any-peer", "--json", LONG])
        .args(["--count=1000000", "--interval=1ms"])
        .stdout(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let begun = Instant::now();
    while requests.load(Ordering::Relaxed) < 5 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no requests");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let waited = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let output = waited.await.unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{document}");
    assert!(document["not_measured"].to_string().contains("interrupted"), "{document}");
    assert!(summary(&document, "http2_ping")["count"].as_u64() >= Some(4));
    summary(&document, "http_call");
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_to_expect_has_to_be_said() {
    let ran = alts(&["ping", "--handshaker=dev:a@dev.test", "localhost:1"]).await;
    assert_eq!(ran.status, 2);
    assert!(ran.err.contains("--expect-peer"), "{}", ran.err);
    let ran = alts(&["ping", "localhost:1", "--any-peer", "--expect-peer=a@b"]).await;
    assert_eq!(ran.status, 2);
    alts(&["ping", "--help"]).await.assert(0, &["What the figures mean", "Exit status"]);
}
