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

use altsd::dev::Authority;
use serde_json::Value;
use support::*;

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
    ping(&nobody, &target, &["--any-peer"]).await.assert(4, &["look whether it runs"]);
    ping(&service, &http1().await, &["--any-peer"]).await.assert(5, &["speaks HTTP/1"]);
    ping(&service, &target, &["--any-peer", "--echo"])
        .await
        .assert(5, &["messages that come back", "at fault  the peer"]);
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
