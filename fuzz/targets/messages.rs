//! Messages: any bytes, against prost's derive. The first byte chooses the message.
#![no_main]

use alts_core::wire::{Message, Refusal};
use alts_core::{AltsContext, msg};
use libfuzzer_sys::fuzz_target;
use prost::Message as Prost;

#[path = "../../core/tests/support/proto.rs"]
mod proto;

/// Acceptance apart from capacities, values, and the bytes that are written.
macro_rules! compare {
    ($name:ident, $bytes:expr) => {{
        let bytes: &[u8] = $bytes;
        let theirs = <proto::$name as Prost>::decode(bytes);
        match (msg::$name::decode(bytes), theirs) {
            (Ok(ours), Ok(theirs)) => {
                assert_eq!(proto::$name::from(&ours), theirs);
                let written = write(&ours);
                // Ours keeps a map's entries in their order, theirs sorts them.
                assert_eq!(written.len(), Prost::encoded_len(&theirs));
                assert_eq!(<proto::$name as Prost>::decode(&*written).unwrap(), theirs);
                let theirs = theirs.encode_to_vec();
                let again = msg::$name::decode(&theirs).unwrap();
                assert_eq!(write(&again), theirs);
            }
            (Err(refusal), Ok(theirs)) => assert!(
                matches!(refusal.refusal(), Refusal::TooMany { .. }),
                "we refuse ({refusal}) what prost accepts: {theirs:?}"
            ),
            (Ok(ours), Err(error)) => panic!("prost refuses ({error}) what we accept: {ours:?}"),
            (Err(refusal), Err(_)) => assert!(!refusal.to_string().is_empty()),
        }
    }};
}

fn write<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let len = message.encoded_len();
    let mut out = vec![0; len];
    assert_eq!(message.encode(&mut out), Ok(len));
    if let Some(less) = len.checked_sub(1) {
        assert!(message.encode(&mut vec![0; less]).is_err());
    }
    out
}

fn context(bytes: &[u8]) {
    let Ok(context) = AltsContext::decode(bytes) else { return };
    let mut written = vec![0; context.encoded_len()];
    assert_eq!(context.encode(&mut written), Ok(written.len()));
    assert_eq!(AltsContext::decode(&written).unwrap(), context);
}

fuzz_target!(|input: &[u8]| {
    let Some((&choice, bytes)) = input.split_first() else { return };
    match choice % 15 {
        0 => compare!(HandshakerReq, bytes),
        1 => compare!(HandshakerResp, bytes),
        2 => compare!(StartClientHandshakeReq, bytes),
        3 => compare!(StartServerHandshakeReq, bytes),
        4 => compare!(ServerHandshakeParameters, bytes),
        5 => compare!(NextHandshakeMessageReq, bytes),
        6 => compare!(HandshakerResult, bytes),
        7 => compare!(HandshakerStatus, bytes),
        8 => compare!(Identity, bytes),
        9 => compare!(Endpoint, bytes),
        10 => compare!(RpcProtocolVersions, bytes),
        11 => compare!(RpcVersion, bytes),
        12 => compare!(TransportProtocolPreferences, bytes),
        13 => compare!(NegotiatedTransportProtocol, bytes),
        _ => context(bytes),
    }
});
