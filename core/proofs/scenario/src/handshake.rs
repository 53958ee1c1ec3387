//! How two parties meet: both machines, and a service in memory that accepts everybody.

use core::hint::black_box;
use core::time::Duration;

use alts_core::aead::Aead;
use alts_core::handshake::{ClientConfig, ExpectedPeer, Handshake, Role, ServerConfig, Want};
use alts_core::msg::{
    HandshakerReq, HandshakerResp, HandshakerResult, HandshakerStatus, Identity, Request,
    RpcProtocolVersions, RpcVersion,
};
use alts_core::wire::{Message, Secret, SecretText};
use alts_core::{ClientHandshake, Established, ServerHandshake, Session};

use crate::{Failure, copy};

/// The client's account.
pub const CLIENT: &str = "client@example.com";
/// The server's account.
pub const SERVER: &str = "server@example.com";
const NOW: Duration = Duration::ZERO;
/// Bytes of the buffers for messages.
const MESSAGE: usize = 512;

/// The sessions of a client and a server that have met with `key_data`.
///
/// # Errors
/// What went wrong.
pub fn sessions<A: Aead>(key_data: &[u8]) -> Result<(Session<A>, Session<A>), Failure> {
    let (client, server) = established(key_data)?;
    let client = Session::new(client).map_err(|_| Failure::Key)?;
    let server = Session::new(server).map_err(|_| Failure::Key)?;
    client.context().authorize(&[SERVER]).map_err(|_| Failure::Identity)?;
    server.context().authorize(&[CLIENT]).map_err(|_| Failure::Identity)?;
    if server.context().authorize(&[SERVER]).is_ok() {
        return Err(Failure::Identity);
    }
    Ok((client, server))
}

/// What the handshakes of a client and a server yield, when the service gives them `key_data`.
///
/// # Errors
/// What went wrong.
pub fn established(key_data: &[u8]) -> Result<(Established, Established), Failure> {
    let failed = |_| Failure::Handshake;
    let config = ClientConfig::new(ExpectedPeer::Accounts(&[SERVER]))
        .with_target_name("example.com:443")
        .with_access_token(SecretText::new("token"));
    let mut client = ClientHandshake::client(&config, NOW).map_err(failed)?;
    let config = ServerConfig::new();
    let mut server = ServerHandshake::server(&config, NOW).map_err(failed)?;
    let (mut to_server, mut to_client) = ([0; 64], [0; 64]);
    let sent = drive(&mut client, &[], &mut to_server, key_data)?;
    let inbox = to_server.get(..sent).ok_or(Failure::Room)?;
    let sent = drive(&mut server, inbox, &mut to_client, key_data)?;
    let inbox = to_client.get(..sent).ok_or(Failure::Room)?;
    drive(&mut client, inbox, &mut [], key_data)?;
    Ok((client.established().map_err(failed)?, server.established().map_err(failed)?))
}

/// Does what one side wants until it needs bytes that are not in `inbox`, or is done; says how many
/// bytes are in `outbox`.
fn drive<R: Role>(
    side: &mut Handshake<R>,
    inbox: &[u8],
    outbox: &mut [u8],
    key_data: &[u8],
) -> Result<usize, Failure> {
    let failed = |_| Failure::Handshake;
    let (mut inbox, mut sent) = (inbox, 0_usize);
    let (mut request, mut response) = ([0; MESSAGE], [0; MESSAGE]);
    loop {
        match side.want(NOW).map_err(failed)? {
            Want::Established => return Ok(sent),
            Want::PeerBytes if inbox.is_empty() => return Ok(sent),
            _ => {}
        }
        let asked = side.request(black_box(inbox), &mut request, NOW).map_err(failed)?;
        let asked = request.get(..asked).ok_or(Failure::Room)?;
        let answered = service(black_box(asked), &mut response, key_data)?;
        let answer = response.get_mut(..answered).ok_or(Failure::Room)?;
        let done = side.response(black_box(answer), NOW).map_err(failed)?;
        inbox = inbox.get(done.consumed..).ok_or(Failure::Room)?;
        let out_frames = answer.get(done.to_peer).ok_or(Failure::Room)?;
        let end = sent.saturating_add(out_frames.len());
        copy(out_frames, outbox.get_mut(sent..end).ok_or(Failure::Room)?);
        sent = end;
        side.sent(NOW);
    }
}

/// Answers one request of either side: the service, which gives everybody `key_data`.
///
/// # Errors
/// [`Failure::Message`].
pub fn service(request: &[u8], response: &mut [u8], key_data: &[u8]) -> Result<usize, Failure> {
    let result = |peer, local| {
        let version = RpcVersion::new(2, 1);
        Some(HandshakerResult {
            application_protocol: "grpc",
            record_protocol: "ALTSRP_GCM_AES128_REKEY",
            key_data: Secret::new(key_data),
            peer_identity: Some(Identity::from_service_account(peer)),
            local_identity: Some(Identity::from_service_account(local)),
            peer_rpc_versions: Some(RpcProtocolVersions::new(version, version)),
            ..HandshakerResult::default()
        })
    };
    let request = HandshakerReq::decode(request).map_err(|_| Failure::Message)?;
    let (out_frames, used, result): (&[u8], _, _) = match &request.request {
        Some(Request::ClientStart(start)) => {
            let token = start.access_token;
            if !token.is_empty() && token != SecretText::new("token") {
                return Err(Failure::Message);
            }
            (b"hello", 0, None)
        }
        Some(Request::ServerStart(start)) => {
            (b"welcome", start.in_bytes.len(), result(CLIENT, SERVER))
        }
        Some(Request::Next(next)) => (b"", next.in_bytes.len(), result(SERVER, CLIENT)),
        _ => return Err(Failure::Message),
    };
    let bytes_consumed = u32::try_from(used).map_err(|_| Failure::Message)?;
    let status = Some(HandshakerStatus { code: 0, details: "" });
    let answer = HandshakerResp { out_frames, bytes_consumed, result, status };
    answer.encode(response).map_err(|_| Failure::Room)
}
