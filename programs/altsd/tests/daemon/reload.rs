//! Certificates and configuration that change while the daemon is at work.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::common::Start;
use crate::support::{Authority, Caller, Directory, Running, channel, finish, with_itself};

const METRICS: &str = "[metrics]\naddress = \"127.0.0.1:0\"\n";
const STALE: &str = "altsd_certificate_reload_failed{identity=\"service account web@dev.test\"}";

fn expiry(running: &mut Running) -> f64 {
    let metrics = running.metrics();
    let name =
        "altsd_certificate_expiry_timestamp_seconds{identity=\"service account web@dev.test\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_change_are_used_and_bad_ones_are_not() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", METRICS);
    let mut running = Running::start(&config);
    let before = expiry(&mut running);
    let channel = channel(&directory.socket()).await;
    // One that is under way all the time.
    let (mut client, hello) = Caller::client(&channel).await.unwrap();
    let first = Start::default().server(&hello.out);
    let (mut server, init) = Caller::call(&channel, first).await.unwrap();

    directory.identity("web", &authority, "web@dev.test", 200);
    running.wait_for("certificates renewed");
    assert!(expiry(&mut running) > before + 80.0 * 86_400.0);
    with_itself(&directory.socket()).await;

    directory.write("web.pem", "rubbish", 0o644);
    let line = running.wait_for("the old ones stay in use");
    assert!(line.contains("web.pem: no certificate in the input"), "{line}");
    running.wait_for_metric(&format!("{STALE} 1"));
    with_itself(&directory.socket()).await;

    // Somebody else's certificate is not what was meant.
    directory.identity("web", &authority, "api@dev.test", 200);
    running.wait_for("the new certificate is for service account api@dev.test");
    let (client_said, _) = with_itself(&directory.socket()).await;
    assert_eq!(client_said.local.as_deref(), Some("web@dev.test"));

    directory.identity("web", &authority, "web@dev.test", 300);
    running.wait_for_metric(&format!("{STALE} 0"));
    assert!(expiry(&mut running) > before + 180.0 * 86_400.0);
    with_itself(&directory.socket()).await;

    // The old handshake ends well, with the certificates that it began with.
    let (of_client, of_server) = finish(&mut client, &mut server, init).await;
    assert_eq!(of_client.peer, of_server.peer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trust_roots_are_replaced_too() {
    let (directory, authority, other) = (Directory::new(), Authority::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", "");
    // Peers go on to believe this side, which does not believe them any more.
    directory.write("ours.pem", &authority.certificate, 0o644);
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("[[identity]]", "[[identity]]\nverified_by = [\"ours.pem\"]");
    fs::write(&config, text).unwrap();
    let mut running = Running::start(&config);
    with_itself(&directory.socket()).await;
    directory.write("roots.pem", &other.certificate, 0o644);
    running.wait_for("certificates renewed");
    let channel = channel(&directory.socket()).await;
    let (mut client, hello) = Caller::client(&channel).await.unwrap();
    let first = Start::default().server(&hello.out);
    let (_server, init) = Caller::call(&channel, first).await.unwrap();
    let said = client.next(&init.out).await.unwrap();
    assert_eq!(said.code, 16, "its own authority is not believed any more: {}", said.details);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_reads_the_configuration_again() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", METRICS);
    let mut running = Running::start(&config);
    let channel = channel(&directory.socket()).await;
    let text = fs::read_to_string(&config).unwrap();

    fs::write(&config, text.replace("callers", "caller")).unwrap();
    running.signal(Signal::SIGHUP);
    let line = running.wait_for("the new configuration is bad: the old one stays in use");
    assert!(line.contains("unknown field `caller`"), "{line}");
    running.wait_for_metric("altsd_reloads_total{outcome=\"failure\"} 1");
    assert_eq!(Caller::client(&channel).await.unwrap().1.code, 0);

    fs::write(&config, text.replace("\"anyone\"", "\"uid:4000000\"")).unwrap();
    running.signal(Signal::SIGHUP);
    running.wait_for("\"reloaded\"");
    assert_eq!(Caller::client(&channel).await.unwrap().1.code, 7);

    fs::write(&config, text.replace("s.sock", "t.sock")).unwrap();
    running.signal(Signal::SIGHUP);
    running.wait_for("only change with a restart");
    assert_eq!(Caller::client(&channel).await.unwrap().1.code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_certificate_is_reported() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", METRICS);
    directory.identity("web", &authority, "web@dev.test", 3);
    let mut running = Running::start(&config);
    let line = running.wait_for("a certificate expires soon");
    assert!(line.contains("web@dev.test") && line.contains("2 days"), "{line}");
    let channel = channel(&directory.socket()).await;
    assert_eq!(health(&channel).await, 1, "SERVING");

    // One that has ended already is not used at all.
    directory.identity("web", &authority, "web@dev.test", -1);
    running.wait_for("not valid at this time");
    directory.identity_with("web", &authority, "web@dev.test", |params| {
        params.not_after = time::OffsetDateTime::now_utc() + Duration::from_secs(3);
    });
    running.wait_for("a certificate has expired: peers will refuse it");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(expiry(&mut running) < now.as_secs_f64());
    for _ in 0..200 {
        if health(&channel).await == 2 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it has nothing to offer and still says that it serves");
}

/// What the standard health service says about the whole.
pub async fn health(channel: &tonic::transport::Channel) -> i32 {
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    let mut of = async |service: &str| {
        let request = tonic_health::pb::HealthCheckRequest { service: service.to_owned() };
        client.check(request).await.unwrap().into_inner().status
    };
    let whole = of("").await;
    assert_eq!(of("grpc.gcp.HandshakerService").await, whole);
    whole
}
