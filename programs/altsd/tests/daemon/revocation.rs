//! Revocation lists and the deny list of a daemon at work.

use std::fs;

use rcgen::{
    CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber, date_time_ymd,
};

use time::{Duration, OffsetDateTime};

use crate::common::Start;
use crate::support::{Authority, Caller, Directory, Running, Said, altsd, channel};

/// The authority's revocation list, PEM.
pub fn revocation_list(authority: &Authority, revoked: &[u64], due: i32) -> String {
    let period = (date_time_ymd(2020, 1, 1), date_time_ymd(due, 1, 1));
    revocation_list_of(authority, revoked, period)
}

/// As [`revocation_list`], made and due then.
fn revocation_list_of(
    authority: &Authority,
    revoked: &[u64],
    (made, due): (OffsetDateTime, OffsetDateTime),
) -> String {
    let one = |&serial: &u64| RevokedCertParams {
        serial_number: serial.into(),
        revocation_time: date_time_ymd(2020, 1, 1),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: made,
        next_update: due,
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.iter().map(one).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority.issuer()).unwrap().pem().unwrap()
}

/// The last word of a client, whose service judges the server's certificate, serial number 7.
async fn client_says(client: &Directory, server: &Directory) -> Said {
    let (client, server) = (channel(&client.socket()).await, channel(&server.socket()).await);
    let (mut client, hello) = Caller::client(&client).await.unwrap();
    let first = Start::default().server(&hello.out);
    let (_server, init) = Caller::call(&server, first).await.unwrap();
    client.next(&init.out).await.unwrap()
}

/// A daemon of an account with this serial number, and what its `trust_roots` says besides the path.
fn daemon(authority: &Authority, serial: u64, root: &str, more: &str) -> (Directory, Running) {
    let directory = Directory::new();
    let config = directory.simple(authority, "\"anyone\"", more);
    directory.identity_with("web", authority, "web@dev.test", |params| {
        params.serial_number = Some(SerialNumber::from(serial));
    });
    let text = fs::read_to_string(&config).unwrap();
    let root = format!("[{{ path = \"roots.pem\"{root} }}]");
    fs::write(&config, text.replace("[\"roots.pem\"]", &root)).unwrap();
    directory.write("roots.crl", &revocation_list(authority, &[1], 2099), 0o644);
    let running = Running::start(&config);
    (directory, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_changes_counts_without_a_restart() {
    let authority = Authority::new();
    let (server, _running) = daemon(&authority, 7, "", "");
    let (client, mut running) = daemon(&authority, 8, ", crl = [\"roots.crl\"]", "");
    let said = client_says(&client, &server).await;
    assert_eq!(said.code, 0, "{}", said.details);

    client.write("roots.crl", "rubbish", 0o644);
    let line = running.wait_for("the old ones stay in use");
    assert!(line.contains("roots.crl: no revocation list in the input"), "{line}");
    assert_eq!(client_says(&client, &server).await.code, 0);

    client.write("roots.crl", &revocation_list(&authority, &[1, 7], 2099), 0o644);
    running.wait_for("certificates renewed");
    let said = client_says(&client, &server).await;
    assert_eq!(said.code, 16);
    assert!(said.details.contains("its authority has revoked it"), "{}", said.details);

    // Its own certificate is on the list: the old ones stay in use, as whatever peers would refuse.
    client.write("roots.crl", &revocation_list(&authority, &[8], 2099), 0o644);
    running.wait_for("peers would refuse this certificate: its authority has revoked it");
    assert_eq!(client_says(&client, &server).await.code, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_too_old_refuses_unless_the_configuration_says_otherwise() {
    let authority = Authority::new();
    let (server, _running) = daemon(&authority, 7, "", "");
    let root = ", crl = [\"roots.crl\"], expired_crl = \"accept\"";
    let (client, mut running) = daemon(&authority, 8, root, "");
    client.write("roots.crl", &revocation_list(&authority, &[1], 2021), 0o644);
    running.wait_for("certificates renewed");
    assert_eq!(client_says(&client, &server).await.code, 0);
    client.write("roots.crl", &revocation_list(&authority, &[7], 2021), 0o644);
    running.wait_for("certificates renewed");
    let path = client.path("altsd.toml");
    let text = fs::read_to_string(&path).unwrap().replace("\"accept\"", "\"refuse\"");
    fs::write(&path, text).unwrap();
    let output = altsd().args(["check-config", "--config"]).arg(&path).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!output.status.success() && said.contains("older than its next update"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_denied_is_refused_whatever_its_authority_says() {
    let authority = Authority::new();
    let (server, _running) = daemon(&authority, 7, "", "");
    for (deny, words) in [
        ("serials = [\"7\"]", "serial number"),
        ("accounts = [\"other@dev.test\"]", ""),
        ("serials = [\"77\"]\nkeys = []", ""),
    ] {
        let (client, _running) = daemon(&authority, 8, "", &format!("[deny]\n{deny}\n"));
        let said = client_says(&client, &server).await;
        assert_eq!(said.code, if words.is_empty() { 0 } else { 16 }, "{deny}: {}", said.details);
        assert!(said.details.contains(words), "{deny}: {}", said.details);
    }
    let directory = Directory::new();
    for (deny, words) in [
        ("serials = [\"seven\"]", "\"seven\": "),
        ("keys = [\"ab\"]", "64 hexadecimal digits"),
        ("accounts = [\"w*@dev.test\"]", "\"w*@dev.test\": no pattern for service accounts"),
    ] {
        let path = directory.simple(&authority, "\"anyone\"", &format!("[deny]\n{deny}\n"));
        let output = altsd().args(["check-config", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_warned_of_in_the_last_third_of_their_time_and_at_their_end() {
    const METRICS: &str = "[metrics]\naddress = \"127.0.0.1:0\"\n";
    let authority = Authority::new();
    let (directory, mut running) = daemon(&authority, 8, ", crl = [\"roots.crl\"]", METRICS);
    let now = OffsetDateTime::now_utc();
    let renew = |running: &mut Running, begun: Duration, left: Duration| {
        let period = (now - begun, now + left);
        directory.write("roots.crl", &revocation_list_of(&authority, &[], period), 0o644);
        let metric = format!(
            "altsd_revocation_list_next_update_timestamp_seconds{{identity=\"service account \
             web@dev.test\",root=\"CN=tests of altsd\"}} {}",
            (now + left).unix_timestamp()
        );
        running.wait_for_metric(&metric);
    };
    // Two thirds are not over.
    renew(&mut running, Duration::days(19), Duration::days(11));
    let said = |running: &Running| {
        running.log().iter().filter(|line| line.contains("a revocation list of")).count()
    };
    assert_eq!(said(&running), 0, "{:?}", running.log());
    renew(&mut running, Duration::days(21), Duration::days(9));
    let line =
        running.wait_for("a revocation list of CN=tests of altsd has to be replaced within 8");
    assert!(line.contains("the last third of its time has begun"), "{line}");
    // One that ends while the daemon is at work, in the last third from the start.
    renew(&mut running, Duration::days(1), Duration::seconds(8));
    running
        .wait_for("a revocation list of CN=tests of altsd should have been replaced: peers that");
    assert_eq!(said(&running), 3, "each is said once: {:?}", running.log());

    let output =
        altsd().args(["check-config", "--config"]).arg(directory.path("altsd.toml")).output();
    let output = output.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(said.contains("older than its next update"), "{said}");
    renew(&mut running, Duration::days(21), Duration::days(9));
    let output =
        altsd().args(["check-config", "--config"]).arg(directory.path("altsd.toml")).output();
    let output = output.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && said.contains("has to be replaced within 8 days"), "{said}");
}
