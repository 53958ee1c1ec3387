//! A client for each of gRPC's interoperability tests.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{
    ECHO_INITIAL, ECHO_TRAILING, EchoStatus, Payload, ResponseParameters, SERVICE, SimpleRequest,
    SimpleResponse, StreamingInputCallRequest, StreamingInputCallResponse,
    StreamingOutputCallRequest, StreamingOutputCallResponse,
};
use crate::arguments::Failure;

/// Bytes of the requests and of the responses of the tests with streams.
const SIZES: [(i32, i32); 4] = [(27_182, 31_415), (8, 9), (1_828, 2_653), (45_904, 58_979)];
/// How long a call is left alone before it is cancelled.
const A_WHILE: Duration = Duration::from_millis(200);

/// Does the test of that name.
///
/// # Errors
/// When the server does not do what the test expects, and when there is no such test.
pub async fn run(grpc: Grpc<Channel>, test: &str) -> Result<(), Failure> {
    let mut client = Client(grpc);
    match test {
        "empty_unary" => client.empty_unary().await,
        "large_unary" => client.large_unary().await,
        "client_streaming" => client.client_streaming().await,
        "server_streaming" => client.server_streaming().await,
        "ping_pong" => client.ping_pong().await,
        "empty_stream" => client.empty_stream().await,
        "timeout_on_sleeping_server" => client.timeout_on_sleeping_server().await,
        "cancel_after_begin" => client.cancel_after_begin().await,
        "cancel_after_first_response" => client.cancel_after_first_response().await,
        "status_code_and_message" => client.status_code_and_message("test status message").await,
        "special_status_message" => {
            let message = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n";
            client.status_code_and_message(message).await
        }
        "custom_metadata" => client.custom_metadata().await,
        "unimplemented_method" => client.unimplemented(SERVICE).await,
        "unimplemented_service" => client.unimplemented("grpc.testing.UnimplementedService").await,
        _ => Err(format!("there is no test {test}").into()),
    }
}

struct Client(Grpc<Channel>);

impl Client {
    async fn empty_unary(&mut self) -> Result<(), Failure> {
        self.unary::<(), ()>("EmptyCall", Request::new(())).await?;
        Ok(())
    }

    async fn large_unary(&mut self) -> Result<(), Failure> {
        let response = self.unary_call(Request::new(simple_request(271_828, 314_159))).await?;
        require(
            "bytes of the response",
            response.get_ref().payload.as_ref().map(size),
            Some(314_159),
        )
    }

    async fn client_streaming(&mut self) -> Result<(), Failure> {
        let requests = SIZES.map(|(size, _)| StreamingInputCallRequest { payload: zeros(size) });
        let path = self.ready(SERVICE, "StreamingInputCall").await?;
        let codec = ProstCodec::<_, StreamingInputCallResponse>::default();
        let requests = Request::new(tokio_stream::iter(requests));
        let response = self.0.client_streaming(requests, path, codec).await?;
        let sum = SIZES.map(|(size, _)| size).iter().sum();
        require("bytes of the requests", response.get_ref().aggregated_payload_size, sum)
    }

    async fn server_streaming(&mut self) -> Result<(), Failure> {
        let wanted = SIZES.map(|(_, size)| size);
        let parameters = wanted.map(|size| ResponseParameters { size });
        let request = StreamingOutputCallRequest {
            response_parameters: parameters.to_vec(),
            ..StreamingOutputCallRequest::default()
        };
        let path = self.ready(SERVICE, "StreamingOutputCall").await?;
        let codec = ProstCodec::<_, StreamingOutputCallResponse>::default();
        let response = self.0.server_streaming(Request::new(request), path, codec).await?;
        let (mut responses, mut sizes) = (response.into_inner(), Vec::new());
        while let Some(response) = responses.next().await {
            sizes.extend(response?.payload.as_ref().map(size));
        }
        require("bytes of the responses", sizes, wanted.to_vec())
    }

    async fn ping_pong(&mut self) -> Result<(), Failure> {
        let mut pings = SIZES.map(|(ping, pong)| (output_request(ping, pong), pong)).into_iter();
        let (first, mut wanted) = pings.next().ok_or("nothing to send")?;
        let (requests, mut responses) = self.open_duplex(first).await?;
        loop {
            let response = responses.message().await?.ok_or("too few responses")?;
            require("bytes of a response", response.payload.as_ref().map(size), Some(wanted))?;
            let Some((request, response_size)) = pings.next() else { break };
            requests.send(request).await?;
            wanted = response_size;
        }
        drop(requests);
        require("one response more", responses.message().await?, None)
    }

    async fn empty_stream(&mut self) -> Result<(), Failure> {
        let response = self.full_duplex_call(Request::new(tokio_stream::empty())).await?;
        let mut responses = response.into_inner();
        require("one response more", responses.message().await?, None)
    }

    async fn timeout_on_sleeping_server(&mut self) -> Result<(), Failure> {
        // A call before it, or it would be the connection that takes its time.
        self.empty_unary().await?;
        let (sender, receiver) = mpsc::channel(1);
        sender.send(output_request(27_182, None)).await?;
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.set_timeout(Duration::from_millis(1));
        let status = match self.full_duplex_call(request).await {
            Ok(response) => response.into_inner().message().await.err(),
            Err(status) => Some(status),
        };
        let code = status.map(|status| status.code());
        // tonic has its own name for it when its own clock is the first to notice.
        let wanted =
            if code == Some(Code::Cancelled) { code } else { Some(Code::DeadlineExceeded) };
        require("code", code, wanted)
    }

    async fn cancel_after_begin(&mut self) -> Result<(), Failure> {
        let path = self.ready(SERVICE, "StreamingInputCall").await?;
        let codec = ProstCodec::<StreamingInputCallRequest, StreamingInputCallResponse>::default();
        let requests = Request::new(tokio_stream::pending());
        let ended = timeout(A_WHILE, self.0.client_streaming(requests, path, codec)).await;
        require("the call ended by itself", ended.is_ok(), false)?;
        // The connection is as good as before.
        self.empty_unary().await
    }

    async fn cancel_after_first_response(&mut self) -> Result<(), Failure> {
        let first = output_request(27_182, 31_415);
        let (requests, mut responses) = self.open_duplex(first).await?;
        let response = responses.message().await?.ok_or("no response")?;
        require("bytes of the response", response.payload.as_ref().map(size), Some(31_415))?;
        drop((requests, responses));
        self.empty_unary().await
    }

    async fn status_code_and_message(&mut self, message: &str) -> Result<(), Failure> {
        let status = Some(EchoStatus { code: 2, message: message.to_owned() });
        let wanted = Some((Code::Unknown, message.to_owned()));
        let found = |status: Option<Status>| {
            status.map(|status| (status.code(), status.message().to_owned()))
        };

        let request = SimpleRequest { response_status: status.clone(), ..SimpleRequest::default() };
        let response = self.unary_call(Request::new(request)).await;
        require("status of a unary call", found(response.err()), wanted.clone())?;

        let request = StreamingOutputCallRequest {
            response_status: status,
            ..StreamingOutputCallRequest::default()
        };
        let requests = Request::new(tokio_stream::once(request));
        let status = match self.full_duplex_call(requests).await {
            Ok(response) => response.into_inner().message().await.err(),
            Err(status) => Some(status),
        };
        require("status of a stream", found(status), wanted)
    }

    async fn custom_metadata(&mut self) -> Result<(), Failure> {
        let mut request = Request::new(simple_request(1, 1));
        add_metadata(request.metadata_mut())?;
        // Headers and trailers of a unary call come together.
        let response = self.unary_call(request).await?;
        require_metadata(response.metadata(), true, true)?;

        let mut request = Request::new(tokio_stream::once(output_request(1, 1)));
        add_metadata(request.metadata_mut())?;
        let response = self.full_duplex_call(request).await?;
        require_metadata(response.metadata(), true, false)?;
        let mut responses = response.into_inner();
        while responses.message().await?.is_some() {}
        require_metadata(&responses.trailers().await?.unwrap_or_default(), false, true)
    }

    async fn unimplemented(&mut self, service: &str) -> Result<(), Failure> {
        let path = self.ready(service, "UnimplementedCall").await?;
        let codec = ProstCodec::<(), ()>::default();
        let status = self.0.unary(Request::new(()), path, codec).await.err();
        require("code", status.map(|status| status.code()), Some(Code::Unimplemented))
    }

    async fn unary_call(
        &mut self,
        request: Request<SimpleRequest>,
    ) -> Result<Response<SimpleResponse>, Status> {
        self.unary("UnaryCall", request).await
    }

    async fn unary<Q, A>(
        &mut self,
        method: &str,
        request: Request<Q>,
    ) -> Result<Response<A>, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = self.ready(SERVICE, method).await?;
        self.0.unary(request, path, ProstCodec::default()).await
    }

    /// With the first request: some servers send nothing, not even headers, before they have one.
    async fn open_duplex(&mut self, first: StreamingOutputCallRequest) -> Result<Duplex, Failure> {
        let (sender, receiver) = mpsc::channel(1);
        sender.send(first).await?;
        let response = self.full_duplex_call(Request::new(ReceiverStream::new(receiver))).await?;
        Ok((sender, response.into_inner()))
    }

    async fn full_duplex_call(
        &mut self,
        requests: Request<impl Stream<Item = StreamingOutputCallRequest> + Send + 'static>,
    ) -> Result<Response<Streaming<StreamingOutputCallResponse>>, Status> {
        let path = self.ready(SERVICE, "FullDuplexCall").await?;
        self.0.streaming(requests, path, ProstCodec::default()).await
    }

    async fn ready(&mut self, service: &str, method: &str) -> Result<PathAndQuery, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        PathAndQuery::from_str(&format!("/{service}/{method}"))
            .map_err(|error| Status::internal(error.to_string()))
    }
}

type Duplex = (mpsc::Sender<StreamingOutputCallRequest>, Streaming<StreamingOutputCallResponse>);

fn simple_request(request_size: i32, response_size: i32) -> SimpleRequest {
    SimpleRequest { response_size, payload: zeros(request_size), response_status: None }
}

fn output_request(
    request_size: i32,
    response_size: impl Into<Option<i32>>,
) -> StreamingOutputCallRequest {
    let wanted = response_size.into().map(|size| ResponseParameters { size });
    StreamingOutputCallRequest {
        response_parameters: wanted.into_iter().collect(),
        payload: zeros(request_size),
        response_status: None,
    }
}

fn zeros(size: i32) -> Option<Payload> {
    usize::try_from(size).ok().map(Payload::zeros)
}

fn size(payload: &Payload) -> i32 {
    payload.body.len().try_into().unwrap_or(i32::MAX)
}

const INITIAL: &str = "test_initial_metadata_value";
const TRAILING: &[u8] = &[0xab, 0xab, 0xab];

fn add_metadata(metadata: &mut MetadataMap) -> Result<(), Failure> {
    metadata.insert(ECHO_INITIAL, INITIAL.parse()?);
    metadata.insert_bin(ECHO_TRAILING, MetadataValue::from_bytes(TRAILING));
    Ok(())
}

fn require_metadata(found: &MetadataMap, initial: bool, trailing: bool) -> Result<(), Failure> {
    if initial {
        let found = found.get(ECHO_INITIAL).map(MetadataValue::as_bytes);
        require("initial metadata", found, Some(INITIAL.as_bytes()))?;
    }
    if trailing {
        let found = found.get_bin(ECHO_TRAILING).and_then(|value| value.to_bytes().ok());
        require("trailing metadata", found.as_deref(), Some(TRAILING))?;
    }
    Ok(())
}

#[allow(clippy::needless_pass_by_value)] // What is compared was made for that.
fn require<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Result<(), Failure> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}").into()) }
}
