//! `alts check` against services and targets that work, and against everything else.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

mod support;

use std::time::Duration;

use alts_handshaker::dev::Authority;
use alts_handshaker::grpc::Admission;
use alts_handshaker::{Call, Handshaker};
use support::*;
use tokio::net::UnixListener;

/// For what is meant to run out of time, and long enough for the steps before it.
const SHORT: &str = "--deadline=3s";
/// Long enough for what is meant to work, on a machine that has much else to do.
const LONG: &str = "--deadline=60s";

/// A machine's certificate, whose service vouches for one user and does not accept machines.
struct AsAlice(Handshaker);

impl Admission for AsAlice {
    type Caller = ();

    fn admit(&self, _: &http::Extensions, now: Duration) -> Result<(Call, ()), tonic::Status> {
        Ok((self.0.begin_for(["alice@host.test"], now).unwrap(), ()))
    }
}

async fn check(arguments: &[&str]) -> Ran {
    alts(&[&["check"], arguments].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshaker_on_tcp_on_a_socket_and_in_the_process() {
    let directory = Directory::new();
    let authority = Authority::new().unwrap();
    unix_handshaker(authority.handshaker(CLIENT).unwrap(), directory.path("s"));
    let tcp = handshaker(authority.handshaker(CLIENT).unwrap()).await;
    for service in [tcp.as_str(), &directory.socket("s"), "dev:client@dev.test"] {
        let ran = check(&["--handshaker", service, LONG]).await;
        ran.assert(0, &["handshake with itself", "we are client@dev.test", "records both ways"]);
        assert!(!ran.out.contains("FAIL"), "{}", ran.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_speaks_grpc_and_one_that_does_not() {
    let (service, server) = pair().await;
    let grpc = alts_grpc(server.clone()).await;
    let arguments = ["--handshaker", &service, &grpc, "--expect-peer", SERVER, LONG];
    check(&arguments).await.assert(
        0,
        &[
            "ALTSRP_GCM_AES128_REKEY, INTEGRITY_AND_PRIVACY, application protocol grpc, RPC \
             versions 2.1 to 2.1, frames of up to 131072 bytes",
            "server@dev.test, as expected; it sees us as client@dev.test",
            "gRPC: a call of its health service ends with status UNIMPLEMENTED (12)",
        ],
    );
    let echo = alts_echo(server).await;
    let ran = check(&["--handshaker", &service, &echo, LONG]).await;
    ran.assert(0, &["server@dev.test (any will do", "does not speak HTTP/2, and need not"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_admit_this_account() {
    let (service, server) = pair().await;
    let target = alts_grpc_for(server.clone(), "somebody@dev.test").await;
    let ran = check(&["--handshaker", &service, &target, LONG]).await;
    let words =
        ["status PERMISSION_DENIED (7)", "as client@dev.test", "does not admit that account"];
    ran.assert(7, &words);
    let target = alts_closing(server).await;
    let ran = check(&["--handshaker", &service, &target, LONG]).await;
    ran.assert(7, &["right after the handshake", "it may not admit client@dev.test"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deadline_is_for_all_steps_together() {
    let (service, _) = pair().await;
    let target = silent().await;
    let began = std::time::Instant::now();
    let ran = check(&["--handshaker", &service, &target, "--deadline=6s"]).await;
    assert_eq!(ran.status, 5, "{ran:#?}");
    // And three seconds for the question what listens there.
    assert!(began.elapsed() < Duration::from_secs(14), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_documented_lines() {
    let (service, server) = pair().await;
    let grpc = alts_grpc(server).await;
    let ran = check(&["--handshaker", &service, &grpc, "--json", LONG]).await;
    let lines = ran.lines();
    let steps: Vec<_> = lines.iter().map(|line| line["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "platform",
            "handshaker_address",
            "handshaker_connect",
            "handshaker_answer",
            "handshake_with_itself",
            "records",
            "target_name",
            "target_connect",
            "target_handshake",
            "target_account",
            "target_http2",
            "end"
        ]
    );
    assert!(lines.iter().all(|line| line["ok"] == true), "{ran:#?}");
    assert!(lines[4]["milliseconds"].as_f64().unwrap() > 0.0);
    assert_eq!(lines[4]["facts"]["client_account"], CLIENT);
    assert_eq!(lines[8]["facts"]["frame_size"], 131_072);
    assert_eq!(lines[9]["facts"]["peer_account"], SERVER);
    assert_eq!(lines[10]["facts"]["grpc"], true);
    assert_eq!(lines[11]["exit_status"], 0);

    let ran = check(&["--handshaker", &service, &grpc, "--json", LONG, "--expect-peer=x@y"]).await;
    let lines = ran.lines();
    let [.., bad, end] = &lines[..] else { panic!("{ran:#?}") };
    assert_eq!((&bad["step"], &bad["ok"]), (&"target_account".into(), &false.into()));
    assert_eq!(bad["problem"]["fault"], "peer");
    for part in ["tried", "got", "remedy"] {
        assert!(!bad["problem"][part].as_str().unwrap().is_empty());
    }
    assert_eq!((end["exit_status"].as_i64(), ran.status), (Some(5), 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_handshaker_where_there_is_none() {
    let directory = Directory::new();
    let missing = directory.socket("missing");
    let stale = directory.path("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let stale = format!("unix:{}", stale.display());
    let (_held, nobody) = nobody();
    for (service, word) in [
        (missing.as_str(), "there is no such file"),
        (&stale, "the socket is there, and nobody listens on it"),
        (&nobody, "connection refused: nobody listens there"),
    ] {
        let ran = check(&["--handshaker", service, LONG]).await;
        ran.assert(4, &[word, "at fault  the handshaker service", "start the handshaker service"]);
    }
    let name = "handshaker.invalid:80";
    check(&["--handshaker", name, LONG]).await.assert(3, &["to look up handshaker.invalid:80"]);
    // Off Google Cloud there is no default; on it, this asks the real one.
    if !tokio_alts::platform::is_google_cloud() {
        for arguments in [&[][..], &["--handshaker", "google"]] {
            let ran = check(arguments).await;
            ran.assert(3, &["this is not Google Cloud", "name a handshaker service"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshaker_is_called_what_it_is() {
    let tls = saying(b"\x15\x03\x01\x00\x02\x02\x46").await;
    for (service, word) in [
        (plain_grpc().await, "a gRPC or HTTP/2 server that is not a handshaker service"),
        (http1().await, "an HTTP/1 response"),
        (tls, "a TLS alert (70)"),
        (saying(b"").await, "no gRPC"),
    ] {
        let ran = check(&["--handshaker", &service, LONG]).await;
        ran.assert(4, &["handshaker's answer", word, "at fault  the handshaker service"]);
    }
    let ran = check(&["--handshaker", &silent().await, SHORT]).await;
    ran.assert(4, &["did not answer before the deadline", "it hangs, or is not a handshaker"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_is_for_others() {
    let why = "the caller (uid 4294000) may not use any identity of this handshaker service: no \
               rule of the policy is for it";
    let service = serve_handshaker(Refusing(why)).await;
    let ran = check(&["--handshaker", &service, LONG]).await;
    ran.assert(
        4,
        &["status PERMISSION_DENIED (7): ", "its policy gives this user no account", "[[policy]]"],
    );
    // A terminal does not obey what a service says.
    let service = serve_handshaker(Refusing("no\u{1b}[2K\0\u{202e}\nok    all is well")).await;
    let ran = check(&["--handshaker", &service, LONG]).await;
    ran.assert(4, &["no\\u{1b}[2K\\u{0}\\u{202e}\\u{a}ok    all is well"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshaker_of_another_user() {
    let socket = format!("/tmp/alts-check-user-{}.sock", std::process::id());
    let _ = std::fs::remove_file(&socket);
    let service = Authority::new().unwrap().handshaker(SERVER).unwrap();
    unix_handshaker(service, socket.clone().into());
    let address = format!("unix:{socket}");
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&socket).unwrap());
    let (own, other) = (own.to_string(), (own + 1).to_string());
    let ran = check(&["--handshaker", &address, "--require-user", &own, LONG]).await;
    ran.assert(0, &["records both ways"]);
    let ran = check(&["--handshaker", &address, "--require-user", &other, LONG]).await;
    let is = format!("uid {other} is required");
    ran.assert(4, &["handshaker's answer", &is, "has taken the address"]);
    let ran = check(&["--handshaker", "127.0.0.1:1", "--require-user", &own, LONG]).await;
    ran.assert(3, &["only at UNIX sockets", "--require-user"]);
    std::fs::remove_file(&socket).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshaker_that_does_not_believe_itself() {
    let machine = Authority::new().unwrap().machine_builder("host.test").unwrap();
    let service = serve_handshaker(AsAlice(machine.build().unwrap())).await;
    let ran = check(&["--handshaker", &service, LONG]).await;
    ran.assert(
        4,
        &["handshake with itself", "machine host.test", "altsd: machines of its trust_roots"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_cannot_be_reached() {
    let (_held, nobody) = nobody();
    let arguments = |target| ["--handshaker", "dev:a@dev.test", target, LONG];
    let ran = check(&arguments(nobody.as_str())).await;
    ran.assert(6, &["target's socket", "connection refused", "check its port"]);
    let ran = check(&arguments("peer.invalid:1")).await;
    ran.assert(6, &["target's name", "to look up peer.invalid:1", "check the spelling"]);
    let ran = check(&arguments("unix:/nowhere/at/all")).await;
    ran.assert(6, &["there is no such file", "start the peer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_speak_something_else() {
    let tls = saying(b"\x15\x03\x03\x00\x02\x02\x0a").await;
    for (target, words) in [
        (tls, ["a TLS alert (10)", "that port speaks TLS"]),
        (only_tls().await, ["a TLS handshake message", "that port speaks TLS"]),
        (http1().await, ["HTTP/1.1 400 Bad Request", "that port speaks HTTP/1"]),
        (plain_grpc().await, ["HTTP/2 frames", "(gRPC?) without encryption"]),
        (saying(b"SSH-2.0-OpenSSH_9\r\n").await, ["SSH-2.0-OpenSSH_9", "another protocol"]),
        (saying(b"").await, ["without a word", "servers of TLS"]),
    ] {
        let ran = check(&["--handshaker", "dev:a@dev.test", &target, LONG]).await;
        ran.assert(5, &["target's handshake", "at fault  the peer"]);
        ran.assert(5, &words);
    }
    let ran = check(&["--handshaker", "dev:a@dev.test", &silent().await, SHORT]).await;
    ran.assert(5, &["said nothing before the deadline", "run alts check there"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_different_authorities() {
    let stranger = Authority::new().unwrap().handshaker(SERVER).unwrap();
    let target = alts_grpc(stranger).await;
    let (service, _) = pair().await;
    let ran = check(&["--handshaker", &service, &target, LONG]).await;
    ran.assert(5, &["status UNAUTHENTICATED (16): ", "compare the trust roots"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_does_not_believe_this_side() {
    let authority = Authority::new().unwrap();
    // The server is from before there were machines.
    let target = alts_grpc(authority.handshaker(SERVER).unwrap()).await;
    let authority = authority.machines(vec!["host.test".parse().unwrap()]);
    let machine = authority.machine_builder("host.test").unwrap();
    let service = serve_handshaker(AsAlice(machine.build().unwrap())).await;
    let ran = check(&["--handshaker", &service, &target, LONG]).await;
    ran.assert(
        5,
        &[
            "we are alice@host.test",
            "(alert 17)",
            "the peer decides for which names an authority may vouch",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_somebody_else() {
    let (service, server) = pair().await;
    let target = alts_grpc(server).await;
    let arguments = ["--handshaker", &service, &target, "--expect-peer=other@dev.test", LONG];
    let ran = check(&arguments).await;
    ran.assert(
        5,
        &[
            "to find other@dev.test at",
            "another peer, which has proved to be server@dev.test",
            "--expect-peer server@dev.test",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_whose_handshaker_is_down() {
    let (service, _) = pair().await;
    let (_held, nobody) = nobody();
    let acceptor = tokio_alts::AltsAcceptor::new(
        tokio_alts::ServerConfig::builder().any_peer().build().unwrap(),
        tokio_alts::GrpcHandshaker::at(&nobody).unwrap(),
    );
    let incoming = tokio_alts::AltsIncoming::bind("127.0.0.1:0", acceptor).await.unwrap();
    let target = incoming.local_addr().unwrap().to_string();
    let router = tonic::transport::Server::builder().add_routes(tonic::service::Routes::default());
    tokio::spawn(router.serve_with_incoming(incoming));
    let ran = check(&["--handshaker", &service, &target, LONG]).await;
    ran.assert(5, &["without a word", "no handshaker service that works", "run alts check there"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_is_checked() {
    for arguments in [
        &["no-port", "--handshaker=dev:a@dev.test"][..],
        &["--expect-peer=a@b", "--handshaker=dev:a@dev.test"],
        &["--deadline=soon"],
        &["--handshaker=http://x:1"],
    ] {
        let ran = check(arguments).await;
        assert_eq!(ran.status, 2, "{ran:#?}");
        assert!(!ran.err.is_empty());
    }
    let ran = check(&["--handshaker=dev:a@real.com"]).await;
    ran.assert(3, &["could be real", ".test"]);
    let help = check(&["--help"]).await;
    help.assert(0, &["Exit status:", "4  the handshaker service", "With --json"]);
}
