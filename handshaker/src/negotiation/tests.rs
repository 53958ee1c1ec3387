//! Tests of the negotiation.

use proptest::prelude::*;

use super::*;

fn offer() -> Offer {
    Offer {
        application_protocols: vec!["grpc".to_owned(), "h2".to_owned()],
        record_protocols: vec![
            "ALTSRP_GCM_AES128_REKEY".to_owned(),
            "ALTSRP_GCM_AES128".to_owned(),
        ],
        max_frame_size: 65_536,
        ..Offer::new("client@dev.test")
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

fn versions(min: (u32, u32), max: (u32, u32)) -> RpcProtocolVersions {
    RpcProtocolVersions::new(RpcVersion::new(min.0, min.1), RpcVersion::new(max.0, max.1))
}

#[test]
fn what_grpc_offers_makes_sense() {
    let offer = Offer::new("client@dev.test");
    assert_eq!(offer.check(), Ok(()));
    assert_eq!(offer.application_protocols, ["grpc"]);
    assert_eq!(offer.record_protocols, ["ALTSRP_GCM_AES128_REKEY"]);
}

#[test]
fn parameters_survive_the_wire() {
    let offer = Offer { transport_protocols: names(&["TCP"]), ..offer() };
    assert_eq!(Offer::decode(&offer.encode()).unwrap(), offer);
}

#[test]
fn encoding_is_the_documented_one() {
    let offer = Offer {
        application_protocols: names(&["a"]),
        record_protocols: names(&["r"]),
        rpc_versions: versions((2, 0), (2, 1)),
        max_frame_size: 5,
        transport_protocols: names(&["t"]),
        service_account: "s".to_owned(),
    };
    assert_eq!(
        offer.encode(),
        *b"\x0A\x01a\x12\x01r\x1A\x06\x08\x02\x10\x01\x18\x02\x20\x05\x2A\x01t\x32\x01s"
    );
}

#[test]
fn unknown_fields_are_skipped() {
    let mut bytes = offer().encode();
    bytes.extend_from_slice(b"\x7A\x03new");
    assert_eq!(Offer::decode(&bytes).unwrap(), offer());
}

#[test]
fn the_servers_order_decides() {
    let server = Offer {
        application_protocols: names(&["x", "h2", "grpc"]),
        record_protocols: names(&["unheard-of", "ALTSRP_GCM_AES128", "ALTSRP_GCM_AES128_REKEY"]),
        transport_protocols: names(&["b", "a"]),
        ..offer()
    };
    let client = Offer {
        record_protocols: names(&["unheard-of", "ALTSRP_GCM_AES128_REKEY", "ALTSRP_GCM_AES128"]),
        transport_protocols: names(&["a", "b"]),
        ..offer()
    };
    let (agreement, choice) = server.choose(&client).unwrap();
    assert_eq!(agreement.application_protocol, "h2");
    assert_eq!(agreement.record_protocol, RecordProtocol::AesGcm128);
    assert_eq!(agreement.transport_protocol.as_deref(), Some("a"));
    let accepted = client.accept(&choice).unwrap();
    assert_eq!(accepted.application_protocol, "h2");
    assert_eq!(accepted.record_protocol, RecordProtocol::AesGcm128);
    assert_eq!(accepted.transport_protocol.as_deref(), Some("a"));
}

#[test]
fn no_common_transport_protocol_is_no_failure() {
    let client = Offer { transport_protocols: names(&["a"]), ..offer() };
    let (agreement, choice) = offer().choose(&client).unwrap();
    assert_eq!(agreement.transport_protocol, None);
    assert_eq!(client.accept(&choice).unwrap().transport_protocol, None);
}

#[test]
fn integrity_only_is_chosen_only_when_both_name_it() {
    let gmac = Offer { record_protocols: names(&["ALTSRP_GMAC_128"]), ..offer() };
    let failure = gmac.choose(&offer()).unwrap_err();
    assert_eq!(failure.reason(), Some(Reason::RecordProtocol));
    assert!(failure.details().contains("ALTSRP_GMAC_128"));
    assert_eq!(gmac.choose(&gmac).unwrap().0.record_protocol, RecordProtocol::Gmac128);
}

#[test]
fn a_choice_that_was_not_offered_is_refused() {
    let client = offer();
    let good = offer().choose(&client).unwrap().1;
    let bad = [
        Offer { application_protocols: names(&["http/1.1"]), ..good.clone() },
        Offer { application_protocols: names(&["grpc", "h2"]), ..good.clone() },
        Offer { application_protocols: names(&[]), ..good.clone() },
        Offer { record_protocols: names(&["ALTSRP_GMAC_128"]), ..good.clone() },
        Offer { record_protocols: names(&[]), ..good.clone() },
        Offer { transport_protocols: names(&["udp"]), ..good.clone() },
        Offer { rpc_versions: versions((3, 0), (3, 1)), ..good.clone() },
    ];
    assert!(client.accept(&good).is_ok());
    for choice in bad {
        assert!(client.accept(&choice).is_err(), "{choice:?}");
    }
}

#[test]
fn versions_are_compared_as_pairs() {
    for (own, peer, compatible) in [
        (versions((2, 1), (2, 1)), versions((2, 1), (2, 1)), true),
        (versions((1, 9), (2, 0)), versions((2, 0), (9, 9)), true),
        (versions((2, 2), (2, 3)), versions((2, 0), (2, 1)), false),
        (versions((1, 0), (1, 9)), versions((2, 0), (2, 1)), false),
    ] {
        assert_eq!(check_versions(&own, &peer).is_ok(), compatible, "{own:?} {peer:?}");
        assert_eq!(check_versions(&peer, &own).is_ok(), compatible, "{peer:?} {own:?}");
    }
}

#[test]
fn a_callers_nonsense_is_refused() {
    let bad = [
        Offer { application_protocols: vec![], ..offer() },
        Offer { record_protocols: vec![], ..offer() },
        Offer { record_protocols: names(&["unheard-of"]), ..offer() },
        Offer { application_protocols: names(&["new\nline"]), ..offer() },
        Offer { application_protocols: names(&[""]), ..offer() },
        Offer { application_protocols: vec!["x".repeat(65)], ..offer() },
        Offer { application_protocols: names(&["x"; 17]), ..offer() },
        Offer { rpc_versions: versions((2, 1), (2, 0)), ..offer() },
    ];
    assert!(offer().check().is_ok());
    for offer in bad {
        assert_eq!(offer.check().unwrap_err().fault(), Fault::Caller, "{offer:?}");
    }
}

#[test]
fn a_peers_nonsense_is_refused() {
    let bad = [
        Offer { service_account: String::new(), ..offer() },
        Offer { service_account: "two words".to_owned(), ..offer() },
        Offer { service_account: "x".repeat(257), ..offer() },
        Offer { application_protocols: names(&["\u{1b}[31m"]), ..offer() },
        Offer { transport_protocols: names(&["x"; 17]), ..offer() },
    ];
    for offer in bad {
        let failure = Offer::decode(&offer.encode()).unwrap_err();
        assert_eq!(failure.fault(), Fault::Peer, "{offer:?}");
    }
    let large = vec![0; MAX_PARAMETERS + 1];
    assert_eq!(Offer::decode(&large).unwrap_err().reason(), Some(Reason::Limit));
    assert!(Offer::decode(b"\x32\x01s").is_err(), "no RPC versions");
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Offer::decode(&bytes);
    }

    #[test]
    fn truncation_never_panics(cut in 0_usize..90) {
        let bytes = offer().encode();
        let _ = Offer::decode(&bytes[..cut.min(bytes.len())]);
    }
}
