//! The driver against honest and dishonest services and peers.

use std::error::Error as _;
use std::io;

use alts_core::Fault;
use alts_core::handshake::{HandshakeErrorKind, HandshakePhase};
use alts_core::msg::HandshakerStatus;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_alts::{
    AltsAcceptor, AltsConnector, ClientConfig, ConfigError, Error, ErrorKind, HandshakeFailure,
    Phase, ServerConfig,
};

use crate::support::*;

/// A client with a service that keeps to `script`, and an honest server. The client's error, and
/// what the server says.
async fn client_error(
    script: impl Fn(usize) -> Act + Send + Sync + 'static,
) -> (Error, Option<Error>) {
    let (ours, theirs) = services();
    let ours = Scripted::new(ours, script);
    let (near, far) = duplex(64 * 1024);
    let server = tokio::spawn(async move { acceptor(theirs).accept(far).await.err() });
    let failure = connector(ours.clone()).connect(near).await.err().unwrap();
    assert_eq!(ours.open(), 0);
    let error = failure.into_error();
    assert_eq!(error.service_address(), ADDRESS);
    (error, server.await.unwrap().map(HandshakeFailure::into_error))
}

/// An honest client, and a server with a service that keeps to `script`.
async fn server_error(
    script: impl Fn(usize) -> Act + Send + Sync + 'static,
) -> (Error, Option<Error>) {
    let (theirs, ours) = services();
    let ours = Scripted::new(ours, script);
    let (near, far) = duplex(64 * 1024);
    let client = tokio::spawn(async move { connector(theirs).connect(far).await.err() });
    let failure = acceptor(ours.clone()).accept(near).await.err().unwrap();
    assert_eq!(ours.open(), 0);
    let error = failure.into_error();
    (error, client.await.unwrap().map(HandshakeFailure::into_error))
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (ours, theirs) = services();
    let (near, far) = duplex(64 * 1024);
    let (connector, acceptor) = (connector(ours), acceptor(theirs));
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.context().peer_service_account(), SERVER);
    assert_eq!(client.context().local_service_account(), CLIENT);
    assert_eq!(server.context().peer_service_account(), CLIENT);
    assert_eq!(server.context().local_service_account(), SERVER);
    assert_eq!(server.context().application_protocol(), "grpc");
    talk(&mut client, &mut server).await;
}

#[tokio::test]
async fn bytes_may_come_one_at_a_time() {
    let (ours, theirs) = services();
    let (near, far) = duplex(1);
    let (connector, acceptor) = (connector(ours), acceptor(theirs));
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    let both = tokio::spawn(async move {
        client.write_all(b"hello").await.unwrap();
        client.flush().await.unwrap();
    });
    let mut heard = [0; 5];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    both.await.unwrap();
}

/// On one thread, so that the client writes before the server reads: the server finds the end of
/// the handshake and the first record in one read.
#[tokio::test]
async fn bytes_behind_the_handshake_reach_the_stream_once() {
    let (ours, theirs) = services();
    let (near, far) = duplex(64 * 1024);
    let server = tokio::spawn(async move {
        let tally = Tally { io: far, read: 0 };
        let mut server = acceptor(theirs).accept(tally).await.unwrap();
        let read_in_handshake = server.get_ref().read;
        let mut first = [0; 5];
        server.read_exact(&mut first).await.unwrap();
        let read_for_the_first = server.get_ref().read;
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).await.unwrap();
        (read_in_handshake, first, read_for_the_first, rest)
    });
    let mut client = connector(ours).connect(near).await.unwrap();
    client.write_all(b"first").await.unwrap();
    client.flush().await.unwrap();
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    client.write_all(b"second").await.unwrap();
    client.shutdown().await.unwrap();
    let (in_handshake, first, for_the_first, rest) = server.await.unwrap();
    assert_eq!(in_handshake, for_the_first, "the first record came with the handshake");
    assert_eq!(&first, b"first");
    assert_eq!(rest, b"second");
}

#[tokio::test]
async fn an_error_gives_the_io_object_back() {
    let (near, mut far) = duplex(64 * 1024);
    let (ours, _) = services();
    let failure =
        connector(Scripted::new(ours, |_| Act::Fail("down"))).connect(near).await.err().unwrap();
    assert!(matches!(failure.error().kind(), ErrorKind::Service(_)));
    let (error, mut near) = failure.into_parts();
    assert_eq!(
        error.to_string(),
        format!(
            "client handshake failed, start of the handshake: handshaker service ({ADDRESS}): down"
        )
    );
    near.write_all(b"still here").await.unwrap();
    let mut heard = [0; 10];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"still here");

    let (near, far) = duplex(64);
    drop(far);
    let failure = acceptor(silent()).accept(near).await.err().unwrap();
    assert_eq!(failure.error().fault(), Fault::Peer);
    assert_eq!(io::Error::from(failure).kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn the_client_compares_the_account_for_itself() {
    let (ours, theirs) = services();
    // The service never learns whom to expect, and so it vouches for the wrong one.
    let ours = Scripted::new(ours, |request| match request {
        0 => Act::Ask(Box::new(expect_anybody)),
        _ => Act::Honest,
    });
    let config = ClientConfig::builder().expect_peer("Server@dev.test").build().unwrap();
    let (near, far) = duplex(64 * 1024);
    let _server = tokio::spawn(async move { acceptor(theirs).accept(far).await });
    let connector = AltsConnector::new(config, ours);
    let error = connector.connect_to("greeter:443", near).await.err().unwrap().into_error();
    assert!(matches!(error.kind(), ErrorKind::Handshake(HandshakeErrorKind::UnexpectedPeer)));
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(
        error.to_string(),
        "client handshake with greeter:443 failed, exchange of handshake messages: peer: expected one of \
         [Server@dev.test], the peer is server@dev.test"
    );
    assert_eq!(error.peer_service_account(), SERVER);
    assert_eq!(error.expected_service_accounts(), ["Server@dev.test"]);
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn an_error_wins_over_a_result_in_any_response() {
    for (refused, phase) in [(0, HandshakePhase::Start), (1, HandshakePhase::Exchange)] {
        let (error, server) =
            client_error(
                move |request| {
                    if request < refused { Act::Honest } else { Act::Change(refuse) }
                },
            )
            .await;
        let ErrorKind::Handshake(HandshakeErrorKind::Refused { code: 7 }) = error.kind() else {
            panic!("{error}");
        };
        assert_eq!(error.phase(), Phase::Handshake(phase));
        assert_eq!(error.service_details(), "policy says no");
        assert!(error.to_string().contains("PERMISSION_DENIED (7): policy says no"), "{error}");
        assert!(server.is_some());
    }
    // The client's last response has the result.
    let (error, _) = client_error(|request| match request {
        2 => Act::Change(|response| {
            assert!(response.result.is_some());
            refuse(response);
        }),
        _ => Act::Honest,
    })
    .await;
    assert!(matches!(error.kind(), ErrorKind::Handshake(HandshakeErrorKind::Refused { .. })));
}

#[tokio::test]
async fn an_alert_reaches_the_peer_before_the_failure() {
    let (_, ours) = services();
    let (near, mut far) = duplex(64 * 1024);
    far.write_all(b"not a handshake at all").await.unwrap();
    let service = Scripted::new(ours, |_| Act::Change(refuse));
    let failure = acceptor(service).accept(near).await.err().unwrap();
    assert!(matches!(
        failure.error().kind(),
        ErrorKind::Handshake(HandshakeErrorKind::Refused { code: 7 })
    ));
    drop(failure);
    let mut heard = Vec::new();
    far.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"ALERT");
}

#[tokio::test]
async fn what_was_not_offered_is_refused() {
    let (error, _) = client_error(|_| {
        Act::Change(|response| {
            if let Some(result) = &mut response.result {
                result.record_protocol = "ALTSRP_GMAC_128";
            }
        })
    })
    .await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert_eq!(*kind, HandshakeErrorKind::NotOffered("record_protocol"));
    assert_eq!(error.fault(), Fault::HandshakerService);
    assert!(error.to_string().contains(ADDRESS));

    let (error, _) = server_error(|_| {
        Act::Change(|response| {
            if let Some(result) = &mut response.result {
                result.application_protocol = "h2c";
            }
        })
    })
    .await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert_eq!(*kind, HandshakeErrorKind::NotOffered("application_protocol"));
}

#[tokio::test]
async fn incomplete_results_are_refused_in_words() {
    let (error, _) = client_error(|_| {
        Act::Change(|response| {
            if let Some(result) = &mut response.result {
                result.key_data = alts_core::wire::Secret::new(&[7; 43]);
            }
        })
    })
    .await;
    assert!(error.to_string().ends_with("key_data has 43 bytes, 44 are needed"), "{error}");
    let (error, _) = server_error(|_| {
        Act::Change(|response| {
            if let Some(result) = &mut response.result {
                result.peer_rpc_versions = None;
            }
        })
    })
    .await;
    assert!(error.to_string().contains("peer_rpc_versions"), "{error}");
}

#[tokio::test]
async fn impossible_answers_are_refused() {
    let (error, _) =
        server_error(|_| Act::Change(|response| response.bytes_consumed = 1_000_000)).await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert!(matches!(kind, HandshakeErrorKind::ConsumedTooMuch { consumed: 1_000_000, .. }));
    let (error, _) = client_error(|_| Act::Answer(vec![0xff; 40])).await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert!(matches!(kind, HandshakeErrorKind::Malformed(_)));
    let (error, _) = client_error(|_| Act::Answer(Vec::new())).await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert_eq!(*kind, HandshakeErrorKind::MissingStatus);
    let flood = |response: &mut alts_core::msg::HandshakerResp<'_>| {
        response.status = Some(HandshakerStatus::default());
        response.out_frames = vec![0; alts_core::handshake::MAX_HANDSHAKE_BYTES + 1].leak();
    };
    let (error, _) = client_error(move |_| Act::Change(flood)).await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert_eq!(*kind, HandshakeErrorKind::TooManyOutFrames);
}

#[tokio::test]
async fn a_service_that_ends_the_call_is_named() {
    let (error, _) =
        client_error(|request| if request == 1 { Act::End } else { Act::Honest }).await;
    let ErrorKind::Handshake(kind) = error.kind() else { panic!("{error}") };
    assert_eq!(*kind, HandshakeErrorKind::ServiceClosed);
    assert!(error.to_string().contains(ADDRESS), "{error}");
    let (error, _) = server_error(|_| Act::Fail("on fire")).await;
    assert!(error.to_string().ends_with("handshaker service (scripted.test:1): on fire"));
    assert!(error.source().is_none());
}

#[tokio::test]
async fn a_peer_that_closes_half_way_is_at_fault() {
    let (ours, _) = services();
    let (near, mut far) = duplex(64 * 1024);
    let client = tokio::spawn(async move { connector(ours).connect(near).await.err() });
    let mut some = [0; 16];
    far.read_exact(&mut some).await.unwrap();
    drop(far);
    let error = client.await.unwrap().unwrap().into_error();
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(error.side(), alts_core::Side::Client);
}

#[tokio::test]
async fn frame_sizes_and_protocols_are_negotiated() {
    let (ours, theirs) = services();
    let client =
        ClientConfig::builder().any_peer().application_protocols(["x", "y"]).build().unwrap();
    let server = ServerConfig::builder()
        .any_peer()
        .application_protocols(["y"])
        .max_frame_size(alts_core::frame::FrameSize::MIN)
        .build()
        .unwrap();
    let (near, far) = duplex(64 * 1024);
    let connector = AltsConnector::new(client, ours);
    let acceptor = AltsAcceptor::new(server, theirs);
    let (client, server) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let (mut client, mut server) = (client.unwrap(), server.unwrap());
    assert_eq!(client.context().application_protocol(), "y");
    assert_eq!((client.frame_size(), server.frame_size()), (16 * 1024, 16 * 1024));
    talk(&mut client, &mut server).await;
}

#[tokio::test]
async fn what_a_service_says_is_fit_for_a_terminal_and_debug_is_the_sentence() {
    let (ours, theirs) = services();
    let wild = |response: &mut alts_core::msg::HandshakerResp<'_>| {
        let details = "no\u{1b}[2Jtrust \u{202e}ten\0\n2026 INFO all is well";
        response.status = Some(HandshakerStatus { code: 7, details });
    };
    let refused = Scripted::new(ours, move |_| Act::Change(wild));
    let failed = Scripted::new(theirs, |_| Act::Fail("down\u{1b}[2J\nand out"));
    for service in [refused, failed] {
        let (near, _far) = duplex(64 * 1024);
        let failure = connector(service).connect(near).await.err().unwrap();
        let debug = format!("{failure:?}");
        let error = failure.into_error();
        let text = error.to_string();
        assert!(text.contains("\\u{1b}[2J"), "{text}");
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        assert_eq!(debug, text);
        assert_eq!(format!("{error:?}"), text);
    }
}

#[tokio::test]
async fn patterns_say_whom_to_expect_and_exact_accounts_are_not_patterns() {
    // More than a service can be told of.
    let many: Vec<_> = (0..40).map(|n| format!("{n}@b.test")).chain([SERVER.to_owned()]).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let cases: [(&[&str], &[&str], bool); 7] = [
        (&[], &["*@dev.test"], true),
        (&["a@b.test"], &["*"], true),
        (&[SERVER], &["a@*.test"], true),
        (&[], &["*@*.dev.test"], false),
        (&["*@dev.test"], &[], false),
        (&["*"], &["a@b.test"], false),
        (&many, &[], true),
    ];
    for (number, (exact, patterns, admitted)) in cases.into_iter().enumerate() {
        let (ours, theirs) = services();
        let mut builder = ClientConfig::builder().expected_service_accounts(exact.iter().copied());
        for pattern in patterns {
            builder = builder.expect_peer_matching(pattern.parse().unwrap());
        }
        let config = builder.build().unwrap();
        let (near, far) = duplex(64 * 1024);
        let _server = tokio::spawn(async move { acceptor(theirs).accept(far).await });
        let connected = AltsConnector::new(config, ours).connect(near).await;
        match connected {
            Ok(_) => assert!(admitted, "case {number}"),
            Err(failure) => {
                assert!(!admitted, "case {number}: {failure}");
                let kind = failure.error().kind();
                assert!(
                    matches!(
                        kind,
                        ErrorKind::Handshake(
                            HandshakeErrorKind::UnexpectedPeer | HandshakeErrorKind::Refused { .. }
                        )
                    ),
                    "case {number}: {failure}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_rule_of_the_programs_admits_peers_by_all_that_was_proved() {
    type Rule = fn(&tokio_alts::AltsContext) -> bool;
    let good: Rule = |context| {
        context.peer_service_account().ends_with("@dev.test")
            && context.application_protocol() == "grpc"
    };
    let bad: Rule = |context| context.peer_service_account() == "other@dev.test";
    for (rule, account, admitted) in
        [(good, None, true), (bad, None, false), (bad, Some("a@b.test"), false)]
    {
        let (ours, theirs) = services();
        // At the client.
        let mut config = ClientConfig::builder().expect_peer_by(rule);
        if let Some(account) = account {
            config = config.expect_peer(account);
        }
        let (near, far) = duplex(64 * 1024);
        let accepting = acceptor(theirs.clone());
        let _server = tokio::spawn(async move { accepting.accept(far).await });
        let config = config.build().unwrap();
        let connected = AltsConnector::new(config, ours.clone()).connect(near).await;
        assert_eq!(connected.is_ok(), admitted);
        if let Err(failure) = connected {
            let kind = failure.error().kind();
            let unexpected = ErrorKind::Handshake(HandshakeErrorKind::UnexpectedPeer);
            assert_eq!(format!("{kind:?}"), format!("{unexpected:?}"));
            let words = account.map_or_else(
                || format!("the program's own rule does not admit the peer {SERVER}"),
                |account| format!("expected one of [{account}], the peer is {SERVER}"),
            );
            assert!(failure.to_string().ends_with(&words), "{failure}");
        }
        // At the server.
        let mut config = ServerConfig::builder().expect_peer_by(rule);
        if let Some(account) = account {
            config = config.expect_peer(account);
        }
        let (near, far) = duplex(64 * 1024);
        let accepting = AltsAcceptor::new(config.build().unwrap(), theirs);
        let client = tokio::spawn(async move { connector(ours).connect(near).await });
        assert_eq!(accepting.accept(far).await.is_ok(), admitted);
        let _ = client.await;
    }
    // An account that is given is enough.
    let (ours, theirs) = services();
    let config = ClientConfig::builder().expect_peer_by(bad).expect_peer(SERVER).build().unwrap();
    let (near, far) = duplex(64 * 1024);
    let _server = tokio::spawn(async move { acceptor(theirs).accept(far).await });
    assert!(AltsConnector::new(config, ours).connect(near).await.is_ok());
    // It is somebody to expect, and not anybody.
    let both = ClientConfig::builder().expect_peer_by(good).any_peer().build();
    assert_eq!(both.unwrap_err(), ConfigError::AnyPeerAndSome);
    let shown = format!("{:?}", ServerConfig::builder().expect_peer_by(good).build().unwrap());
    assert!(shown.contains("a rule of the application's"), "{shown}");
}

#[tokio::test]
async fn a_server_hands_out_no_stream_of_a_client_that_it_does_not_expect() {
    let (ours, theirs) = services();
    let server = |accounts: &[&str]| {
        let accounts = accounts.iter().copied();
        let config = ServerConfig::builder().expected_service_accounts(accounts).build().unwrap();
        AltsAcceptor::new(config, theirs.clone())
    };
    let connector = connector(ours);

    let (near, far) = duplex(64 * 1024);
    let acceptor = server(&["other@dev.test", CLIENT]);
    let (client, server_stream) = tokio::join!(connector.connect(near), acceptor.accept(far));
    talk(&mut client.unwrap(), &mut server_stream.unwrap()).await;

    // Neither case nor what stands around an account is overlooked.
    let other = ["other@dev.test", "Client@dev.test", "client@dev.test "];
    let acceptor = server(&other);
    let (near, far) = duplex(64 * 1024);
    let (client, server_stream) = tokio::join!(connector.connect(near), acceptor.accept(far));
    let failure = server_stream.err().unwrap();
    let error = failure.error();
    let expected = HandshakeErrorKind::UnexpectedPeer;
    assert!(matches!(error.kind(), ErrorKind::Handshake(kind) if *kind == expected), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(error.peer_service_account(), CLIENT);
    assert_eq!(error.expected_service_accounts(), other);
    assert_eq!(
        error.to_string(),
        "server handshake failed, end of the handshake: peer: expected one of [other@dev.test, \
         Client@dev.test, client@dev.test ], the peer is client@dev.test"
    );
    let kind = io::Error::from(failure.into_error()).kind();
    assert_eq!(kind, io::ErrorKind::PermissionDenied);
    // The connection is closed, and the client has heard nothing.
    let heard = client.unwrap().read(&mut [0]).await;
    assert!(matches!(heard, Ok(0) | Err(_)), "{heard:?}");
}
