//! The target: from its name to what it answers.

use std::io;
use std::time::Duration;

use alts_core::StatusCode;
use alts_core::msg::RpcVersion;
use tokio::time::Instant;
use tokio_alts::AltsStream;

use super::report::{Facts, Report, Said, Step, Stop};
use super::service::Service;
use crate::diagnosis::Problem;
use crate::reach::http2::Http2;
use crate::reach::refusal::{admitted, refusal};
use crate::reach::{Deadline, Destination, Watched, expect};

/// Goes through the steps until one fails.
pub(super) async fn check<W: io::Write>(
    target: &Destination,
    service: Service,
    expected: &[String],
    deadline: Deadline,
    report: &mut Report<W>,
) -> Result<(), Stop> {
    let began = Instant::now();
    let resolved = target.resolve(deadline.left()).await.map(|resolved| {
        let detail = resolved.to_string();
        (resolved, (detail, Facts::new()))
    });
    let resolved = report.tell(Step::TargetName, began, resolved)?;
    let began = Instant::now();
    let connected = target.connect(&resolved, deadline.left()).await;
    let connected = connected.map(|(io, at)| (io, (at, Facts::new())));
    let io = report.tell(Step::TargetConnect, began, connected)?;
    let began = Instant::now();
    let stream = target.handshake(&resolved, io, service, deadline.left()).await.map(described);
    let stream = report.tell(Step::TargetHandshake, began, stream)?;
    let began = Instant::now();
    let account = account(target, &stream, expected);
    report.tell(Step::TargetAccount, began, account)?;
    let began = Instant::now();
    let answer = http2(target, stream, deadline.left()).await;
    report.tell(Step::TargetHttp2, began, answer.map(|said| ((), said)))
}

/// The connection, with what was agreed upon.
fn described(stream: AltsStream<Watched>) -> Said<AltsStream<Watched>> {
    let context = stream.context();
    let versions = context.peer_rpc_versions();
    let version = |version: Option<RpcVersion>| {
        let version = version.unwrap_or_default();
        format!("{}.{}", version.major, version.minor)
    };
    let (min, max) = (version(versions.min_rpc_version), version(versions.max_rpc_version));
    let detail = format!(
        "{}, {}, application protocol {}, RPC versions {min} to {max}, frames of up to {} bytes",
        context.record_protocol(),
        context.security_level(),
        context.application_protocol(),
        stream.frame_size(),
    );
    let facts = Facts::from([
        ("record_protocol", context.record_protocol().name().into()),
        ("security_level", context.security_level().name().into()),
        ("application_protocol", context.application_protocol().into()),
        ("peer_rpc_version_min", min.into()),
        ("peer_rpc_version_max", max.into()),
        ("frame_size", stream.frame_size().into()),
    ]);
    (stream, (detail, facts))
}

fn account(
    target: &Destination,
    stream: &AltsStream<Watched>,
    expected: &[String],
) -> Result<Said<()>, Problem> {
    let context = stream.context();
    expect(target, context, expected)?;
    let (peer, own) = (context.peer_service_account(), context.local_service_account());
    let detail = if expected.is_empty() {
        format!("{peer} (any will do: --expect-peer was not given); it sees us as {own}")
    } else {
        format!("{peer}, as expected; it sees us as {own}")
    };
    let facts = Facts::from([("peer_account", peer.into()), ("local_account", own.into())]);
    Ok(((), (detail, facts)))
}

/// Whether HTTP/2 and gRPC are answered. ALTS works either way: what fails is a call that is refused.
async fn http2(
    target: &Destination,
    stream: AltsStream<Watched>,
    deadline: Duration,
) -> Result<(String, Facts), Problem> {
    let answered =
        |http2: bool, grpc: bool| Facts::from([("http2", http2.into()), ("grpc", grpc.into())]);
    let own = stream.context().local_service_account().to_owned();
    let stream = admitted(target, &own, stream).await?;
    let mut connection = match Http2::start(stream, deadline).await {
        Ok(connection) => connection,
        Err(error) => {
            let detail = format!("the peer does not speak HTTP/2, and need not: {error}");
            return Ok((detail, answered(false, false)));
        }
    };
    let answer = match connection.call(target.authority()).await {
        Ok(answer) => answer,
        Err(error) => {
            let detail = format!("HTTP/2, and no answer to a call: {error}");
            return Ok((detail, answered(true, false)));
        }
    };
    if let Some(problem) = refusal(target, &own, &answer) {
        return Err(problem);
    }
    Ok(if let Some(code) = answer.grpc_status {
        let status = StatusCode(code);
        let detail = format!("gRPC: a call of its health service ends with status {status}");
        (detail, answered(true, true))
    } else {
        let status = answer.http_status;
        let detail = format!("HTTP/2, and not gRPC: it answers with status {status}");
        (detail, answered(true, false))
    })
}
