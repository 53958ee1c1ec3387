//! A handshaker as tokio-alts sees it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use alts_core::msg::HandshakerResp;
use alts_core::wire::Message as _;
use alts_handshaker::dev::Authority;
use common::{CLIENT, SERVER, Start, next};
use tokio_alts::{HandshakerCall, HandshakerService};

async fn ask(call: &mut Box<dyn HandshakerCall>, request: Vec<u8>) -> Vec<u8> {
    let response = call.exchange(request.into()).await.unwrap().expect("an answer");
    response.to_vec()
}

fn out_frames(response: &[u8]) -> Vec<u8> {
    HandshakerResp::decode(response).unwrap().out_frames.to_vec()
}

#[tokio::test]
async fn two_in_one_process() {
    let authority = Authority::new().unwrap();
    let (client, server) =
        (authority.handshaker(CLIENT).unwrap(), authority.handshaker(SERVER).unwrap());
    assert_eq!(client.address(), "this process");
    let (mut client, mut server) = (client.open(), server.open());
    let hello = out_frames(&ask(&mut client, Start::default().client()).await);
    let init = out_frames(&ask(&mut server, Start::default().server(&hello)).await);
    let parameters = out_frames(&ask(&mut client, next(&init)).await);
    let choice = out_frames(&ask(&mut server, next(&parameters)).await);
    let of_client = ask(&mut client, next(&choice)).await;
    let of_server = ask(&mut server, next(&out_frames(&of_client))).await;
    let of_client = HandshakerResp::decode(&of_client).unwrap().result.unwrap();
    let of_server = HandshakerResp::decode(&of_server).unwrap().result.unwrap();
    assert_eq!(of_client.key_data.expose(), of_server.key_data.expose());
    assert_eq!(of_client.peer_identity.unwrap().service_account(), Some(SERVER));
    assert!(client.exchange(next(b"more").into()).await.unwrap().is_none(), "the dialogue is over");
}
