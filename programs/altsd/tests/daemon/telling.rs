//! What the daemon reports: audit lines, metrics, the service manager; and what it never reveals.

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use leaks::Secrets;
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::Start;
use crate::support::{
    Authority, Caller, Directory, PATIENCE, Running, altsd, channel, own_uid, with_itself,
};

#[path = "../../../../handshaker/tests/common/leaks.rs"]
mod leaks;

const TOKEN: &str = "ya29.never-to-be-seen";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_handshake_has_an_audit_line_and_no_line_has_a_key() {
    for format in ["json", "text"] {
        let (directory, authority) = (Directory::new(), Authority::new());
        let config = directory.simple(&authority, "\"anyone\"", "level = \"debug\"\n");
        let mut command = altsd();
        command.arg("--config").arg(config).args(["--log-format", format]);
        let mut running = Running::spawn(command);
        running.wait_listening();
        let (client, _) = with_itself(&directory.socket()).await;
        let channel = channel(&directory.socket()).await;
        drop(Caller::client(&channel).await.unwrap());
        running.wait_for("abandoned");
        if format == "json" {
            let line = running.audit(&[("outcome", "success"), ("side", "client")]);
            let caller = line["caller"].as_str().unwrap();
            assert!(caller.starts_with(&format!("uid {}, user ", own_uid())), "{caller}");
            assert!(caller.contains(&format!("pid {}", std::process::id())), "{caller}");
            assert_eq!(line["local"], "web@dev.test");
            assert_eq!(line["peer"], "web@dev.test");
            assert_eq!(line["listener"], "s");
            assert_eq!(line["record_protocol"], "ALTSRP_GCM_AES128_REKEY");
            assert!(line["milliseconds"].as_f64().unwrap() > 0.0);
            running.audit(&[("outcome", "success"), ("side", "server")]);
            running.audit(&[("outcome", "abandoned"), ("local", "web@dev.test")]);
        } else {
            let line = running.wait_for("success");
            assert!(line.contains("peer=\"web@dev.test\""), "{line}");
        }
        let refused = Start { token: TOKEN, ..Start::default() };
        let (_, said) = Caller::call(&channel, refused.client()).await.unwrap();
        assert_ne!(said.code, 0, "tokens are not taken");
        running.wait_for("access_token");
        let log = running.log().join("\n");
        let mut secrets = Secrets::default();
        secrets.add_key_data(&client.key_data);
        secrets.add("the token", TOKEN.as_bytes());
        secrets.assert_not_in(&log, "the log at its finest level");
        let pem = std::fs::read_to_string(directory.path("web.key")).unwrap();
        assert!(!log.contains(pem.lines().nth(1).unwrap()));
        assert!(!log.contains("PRIVATE KEY"));
        // Nothing but altsd and its own library says more than what happens.
        if format == "json" {
            let lines = running.log();
            let lines: Vec<Value> =
                lines.iter().flat_map(|line| serde_json::from_str(line)).collect();
            let fine = |line: &&Value| line["level"] == "DEBUG" || line["level"] == "TRACE";
            let targets: BTreeSet<_> =
                lines.iter().filter(fine).map(|line| line["target"].to_string()).collect();
            assert!(!targets.is_empty(), "the level is not what was asked for: {lines:?}");
            assert!(targets.iter().all(|target| target.starts_with("\"alts")), "{targets:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_says_whose_fault_it_was() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config =
        directory.simple(&authority, "\"anyone\"", "[metrics]\naddress = \"127.0.0.1:0\"\n");
    let mut running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    let (mut caller, _) = Caller::client(&channel).await.unwrap();
    let said = caller.next(b"\x08\0\0\0\x01\x01\0\0\n no records").await.unwrap();
    assert_ne!(said.code, 0);
    let line = running.audit(&[("outcome", "failure")]);
    assert_eq!(line["fault"], "peer");
    assert_eq!(line["details"].as_str().unwrap(), said.details);
    with_itself(&directory.socket()).await;

    let start = Start { record: vec!["none"], ..Start::default() };
    Caller::call(&channel, start.client()).await.unwrap();
    running.audit(&[("fault", "caller")]);
    let code = said.code;
    for line in [
        "altsd_handshakes_total{code=\"0\",fault=\"none\",outcome=\"success\",side=\"client\"} 1",
        "altsd_handshakes_total{code=\"0\",fault=\"none\",outcome=\"success\",side=\"server\"} 1",
        "altsd_handshakes_total{code=\"3\",fault=\"caller\",outcome=\"failure\",side=\"client\"} 1",
        &format!(
            "altsd_handshakes_total{{code=\"{code}\",fault=\"peer\",outcome=\"failure\",side=\"client\"}} 1"
        ),
        "altsd_handshake_duration_seconds_count 2",
        "altsd_handshakes_in_progress 0",
        "altsd_connections{listener=\"s\"} 1",
        "altsd_reloads_total{outcome=\"success\"} 0",
        concat!("altsd_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        running.wait_for_metric(line);
    }
    assert!(running.metrics().contains("content-type: text/plain; version=0.0.4"));
}

#[test]
fn the_service_manager_is_told() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "");
    let manager = UnixDatagram::bind(directory.path("notify")).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut command = altsd();
    command.arg("--config").arg(&config).env("NOTIFY_SOCKET", directory.path("notify"));
    command.env("WATCHDOG_USEC", "400000");
    let mut running = Running::spawn(command);
    let mut alive = 0;
    let mut told = || {
        let mut bytes = [0; 500];
        loop {
            let length = manager.recv(&mut bytes).unwrap();
            let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
            if text == "WATCHDOG=1" {
                alive += 1;
            } else {
                return text;
            }
        }
    };
    assert_eq!(told(), "READY=1");
    std::thread::sleep(Duration::from_secs(1));
    running.signal(Signal::SIGHUP);
    let reloading = told();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0);
    assert_eq!(told(), "STATUS=");
    assert_eq!(told(), "READY=1");
    directory.write("altsd.toml", "[[listen", 0o644);
    running.signal(Signal::SIGHUP);
    assert!(told().starts_with("RELOADING=1\n"));
    assert_eq!(told(), "STATUS=the last reload failed: see the log");
    assert_eq!(told(), "READY=1");
    running.signal(Signal::SIGTERM);
    assert_eq!(told(), "STOPPING=1");
    assert!(running.wait().0.success());
    assert!((3..20).contains(&alive), "said {alive} times that it is alive");
}
