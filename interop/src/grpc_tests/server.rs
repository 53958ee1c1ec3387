//! The service of gRPC's interoperability tests.

use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::codec::Codec;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

use super::{
    ECHO_INITIAL, ECHO_TRAILING, EchoStatus, Payload, SimpleRequest, SimpleResponse,
    StreamingInputCallRequest, StreamingInputCallResponse, StreamingOutputCallRequest,
    StreamingOutputCallResponse,
};

/// How long a call without a deadline may take: far longer than any of the tests.
const FOREVER: Duration = Duration::from_secs(3600);

/// Answers one call of a method of the service.
pub async fn serve(method: &str, request: http::Request<Body>) -> http::Response<Body> {
    let header = request.headers().get(ECHO_INITIAL).cloned();
    let trailer = request.headers().get(ECHO_TRAILING).cloned();
    let response = match method {
        "EmptyCall" => grpc(ProstCodec::default()).unary(service_fn(empty_call), request).await,
        "UnaryCall" => grpc(ProstCodec::default()).unary(service_fn(unary_call), request).await,
        "StreamingInputCall" => {
            let service = service_fn(streaming_input_call);
            grpc(ProstCodec::default()).client_streaming(service, request).await
        }
        "StreamingOutputCall" => {
            let service = service_fn(streaming_output_call);
            grpc(ProstCodec::default()).server_streaming(service, request).await
        }
        "FullDuplexCall" => {
            let service = service_fn(full_duplex_call);
            grpc(ProstCodec::default()).streaming(service, request).await
        }
        _ => Status::unimplemented("there is no such method").into_http(),
    };
    with_metadata(response, header.as_ref(), trailer)
}

fn grpc<T: Codec>(codec: T) -> Grpc<T> {
    Grpc::new(codec)
}

/// Sends back what the client wants to see in headers and trailers.
fn with_metadata(
    mut response: http::Response<Body>,
    header: Option<&HeaderValue>,
    trailer: Option<HeaderValue>,
) -> http::Response<Body> {
    let insert = |map: &mut HeaderMap, name, value: Option<&HeaderValue>| {
        if let Some(value) = value {
            map.insert(HeaderName::from_static(name), value.clone());
        }
    };
    insert(response.headers_mut(), ECHO_INITIAL, header);
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                insert(trailers, ECHO_TRAILING, trailer.as_ref());
            }
            frame
        }))
    })
}

async fn empty_call(_: Request<()>) -> Result<Response<()>, Status> {
    Ok(Response::new(()))
}

async fn unary_call(request: Request<SimpleRequest>) -> Result<Response<SimpleResponse>, Status> {
    let request = request.into_inner();
    refuse_if_wanted(request.response_status)?;
    Ok(Response::new(SimpleResponse { payload: Some(payload(request.response_size)?) }))
}

async fn streaming_input_call(
    request: Request<Streaming<StreamingInputCallRequest>>,
) -> Result<Response<StreamingInputCallResponse>, Status> {
    let (mut requests, mut sum) = (request.into_inner(), 0);
    while let Some(request) = requests.next().await {
        sum += request?.payload.unwrap_or_default().body.len();
    }
    let aggregated_payload_size =
        i32::try_from(sum).map_err(|_| Status::out_of_range("that is too much"))?;
    Ok(Response::new(StreamingInputCallResponse { aggregated_payload_size }))
}

async fn streaming_output_call(
    request: Request<StreamingOutputCallRequest>,
) -> Result<Response<impl Stream<Item = OutputResult>>, Status> {
    Ok(Response::new(tokio_stream::iter(responses(request.into_inner()))))
}

async fn full_duplex_call(
    request: Request<Streaming<StreamingOutputCallRequest>>,
) -> Result<Response<ReceiverStream<OutputResult>>, Status> {
    let (sender, receiver) = mpsc::channel(1);
    // tonic's own clock stops at the response's headers, which this one has at once.
    let deadline =
        request.metadata().get("grpc-timeout").and_then(|text| duration(text.to_str().ok()?));
    let mut requests = request.into_inner();
    let late = sender.clone();
    let answer = async move {
        while let Some(request) = requests.next().await {
            let answers = request.map_or_else(|status| vec![Err(status)], responses);
            for answer in answers {
                let ends = answer.is_err();
                if sender.send(answer).await.is_err() || ends {
                    return;
                }
            }
        }
    };
    tokio::spawn(async move {
        if timeout(deadline.unwrap_or(FOREVER), answer).await.is_err() {
            let _ = late.send(Err(Status::deadline_exceeded("the call's time is over"))).await;
        }
    });
    Ok(Response::new(ReceiverStream::new(receiver)))
}

/// A duration as gRPC writes it: up to eight digits and a unit.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = number.parse::<u32>().ok()?;
    let one = match unit {
        "H" => Duration::from_secs(3600),
        "M" => Duration::from_secs(60),
        "S" => Duration::from_secs(1),
        "m" => Duration::from_millis(1),
        "u" => Duration::from_micros(1),
        "n" => Duration::from_nanos(1),
        _ => return None,
    };
    one.checked_mul(number)
}

type OutputResult = Result<StreamingOutputCallResponse, Status>;

/// All that a request wants to have.
fn responses(request: StreamingOutputCallRequest) -> Vec<OutputResult> {
    if let Err(status) = refuse_if_wanted(request.response_status) {
        return vec![Err(status)];
    }
    let wanted = request.response_parameters.into_iter();
    wanted
        .map(|parameters| {
            Ok(StreamingOutputCallResponse { payload: Some(payload(parameters.size)?) })
        })
        .collect()
}

fn refuse_if_wanted(status: Option<EchoStatus>) -> Result<(), Status> {
    match status {
        Some(status) if status.code != 0 => {
            Err(Status::new(Code::from_i32(status.code), status.message))
        }
        _ => Ok(()),
    }
}

fn payload(size: i32) -> Result<Payload, Status> {
    let size = usize::try_from(size)
        .map_err(|_| Status::invalid_argument(format!("a payload of {size} bytes")))?;
    Ok(Payload::zeros(size))
}
