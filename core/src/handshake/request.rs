//! Encoding a request with as many of the peer's bytes as there is room for.

use crate::msg::{HandshakerReq, NextHandshakeMessageReq, Request, StartServerHandshakeReq};
use crate::wire::Message;

/// Encodes `request` to the front of `out` with as many bytes from the front of `from_peer` as
/// fit, `least` at least. Says how many those were and how long the request is, or how many bytes
/// `out` has to have.
pub(super) fn encode<'a>(
    request: Request<'a>,
    from_peer: &'a [u8],
    least: usize,
    out: &mut [u8],
) -> Result<(usize, usize), usize> {
    let mut request = HandshakerReq { request: Some(request) };
    let all = fill(&mut request, from_peer);
    let len = request.encoded_len();
    // Fewer bytes never take longer length fields: what is cut off here is enough.
    let excess = len.saturating_sub(out.len());
    let given = all.checked_sub(excess).filter(|given| *given >= least);
    let given = given.ok_or(len.saturating_sub(all).saturating_add(least))?;
    fill(&mut request, from_peer.get(..given).unwrap_or(from_peer));
    let len = request.encode(out).map_err(|error| error.required())?;
    Ok((given, len))
}

/// Puts the peer's bytes into a request that has a place for them; says how many they are.
fn fill<'a>(request: &mut HandshakerReq<'a>, from_peer: &'a [u8]) -> usize {
    match &mut request.request {
        Some(
            Request::ServerStart(StartServerHandshakeReq { in_bytes, .. })
            | Request::Next(NextHandshakeMessageReq { in_bytes, .. }),
        ) => {
            *in_bytes = from_peer;
            from_peer.len()
        }
        Some(Request::ClientStart(_)) | None => 0,
    }
}
