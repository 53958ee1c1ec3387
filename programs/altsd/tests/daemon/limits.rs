//! Limits: one caller's flood is that caller's problem.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::common::Start;
use crate::support::{
    Authority, Caller, Directory, Running, channel, endpoint, finish, handshake, with_itself,
};

/// A service on TCP that knows callers by their address.
fn by_address(more: &str) -> (Directory, Running) {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"unidentified\"", more);
    let text = std::fs::read_to_string(&config).unwrap();
    let tcp = "tcp = \"127.0.0.1:0\"\nidentify = false";
    directory.write("altsd.toml", &text.replace("unix = \"s.sock\"\nmode = \"0666\"", tcp), 0o644);
    let running = Running::start(&config);
    (directory, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_by_one_caller_does_not_starve_another() {
    let (_directory, mut running) = by_address("[limits]\nhandshakes = 16\n");
    let address = running.tcp().to_string();
    let flood = channel(&address).await;
    let mut held = Vec::new();
    let refused = loop {
        match Caller::client(&flood).await {
            Ok(call) => held.push(call),
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(held.len(), 8, "half of them are left for others");

    let other = "127.0.0.2".parse().unwrap();
    let other = endpoint(&address).local_address(Some(other)).connect().await.unwrap();
    let begun = Instant::now();
    for _ in 0..10 {
        handshake(&other, &other, (&Start::default(), &Start::default())).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    // The flood's slots come back when it goes away.
    drop(held);
    let begun = Instant::now();
    while Caller::client(&flood).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the slots never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let line = running.audit(&[("reason", "total_limit")]);
    assert_eq!(line["outcome"], "refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_has_a_limit_of_its_own() {
    let (_directory, mut running) =
        by_address("[limits]\nhandshakes_per_caller = 2\n[metrics]\naddress = \"127.0.0.1:0\"\n");
    let channel = channel(&running.tcp().to_string()).await;
    let one = Caller::client(&channel).await.unwrap();
    let _two = Caller::client(&channel).await.unwrap();
    let refused = Caller::client(&channel).await.err().expect("one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(one);
    let begun = Instant::now();
    while Caller::client(&channel).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the slot never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    running.wait_for_metric("altsd_handshakes_in_progress 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_caller_do_not_keep_others_out() {
    let (_directory, mut running) = by_address("[limits]\nconnections_per_caller = 4\n");
    let address = running.tcp();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    running.wait_for("connection closed: the caller has too many");
    let other = "127.0.0.2".parse().unwrap();
    let own = endpoint(&address.to_string());
    let other = own.clone().local_address(Some(other)).connect().await.unwrap();
    handshake(&other, &other, (&Start::default(), &Start::default())).await;
    drop(held);
    let begun = Instant::now();
    loop {
        if let Ok(channel) = own.connect().await
            && Caller::client(&channel).await.is_ok()
        {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the connections are still counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_is_the_configured_one() {
    let (_directory, mut running) = by_address("[limits]\ndeadline = \"300ms\"\n");
    let address = running.tcp().to_string();
    let channel = channel(&address).await;
    let (mut caller, _) = Caller::client(&channel).await.unwrap();
    let begun = Instant::now();
    let said = caller.response().await.unwrap();
    assert_eq!(said.code, 4, "{}", said.details);
    assert!(begun.elapsed() < Duration::from_secs(5));
    with_itself(&address).await;
    let line = running.audit(&[("outcome", "failure")]);
    assert_eq!((line["side"].as_str(), line["code"].as_u64()), (Some("client"), Some(4)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_are_refused() {
    let (_directory, mut running) = by_address("[limits]\nrequest_bytes = 65536\n");
    let channel = channel(&running.tcp().to_string()).await;
    let refused = Caller::call(&channel, Start::default().server(&vec![0; 70_000])).await;
    assert_eq!(refused.err().unwrap().code(), Code::OutOfRange);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_refused_unread_are_refused_calls_and_few_lines() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let nobody = "\"uid:4294967294\"";
    let config = directory.simple(&authority, nobody, "[metrics]\naddress = \"127.0.0.1:0\"\n");
    let mut running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    for _ in 0..200 {
        let refused = Caller::call(&channel, Start::default().server(&vec![0; 40_000])).await;
        assert_eq!(refused.err().unwrap().code(), Code::PermissionDenied);
    }
    let line = running.audit(&[("outcome", "refused"), ("reason", "request_bytes")]);
    assert_eq!(line["listener"], "s");
    running.wait_for_metric(
        "altsd_handshakes_total{code=\"7\",fault=\"caller\",outcome=\"refused\",side=\"none\"} 200",
    );
    let lines = running.log();
    assert!(lines.iter().filter(|line| line.contains("altsd::audit")).count() < 20, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("abandoned")), "{lines:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_at_once_are_not_too_many() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "");
    let _running = Running::start(&config);
    let mut tasks = tokio::task::JoinSet::new();
    let all = std::sync::Arc::new(tokio::sync::Barrier::new(200));
    for _ in 0..200 {
        let (address, all) = (directory.socket(), std::sync::Arc::clone(&all));
        tasks.spawn(async move {
            let channel = channel(&address).await;
            // Two calls and no answer to the second yet: all of them are under way together.
            let (mut client, hello) = Caller::client(&channel).await.unwrap();
            let first = Start::default().server(&hello.out);
            let (mut server, init) = Caller::call(&channel, first).await.unwrap();
            all.wait().await;
            finish(&mut client, &mut server, init).await;
        });
    }
    let mut done = 0;
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
        done += 1;
    }
    assert_eq!(done, 200);
}
