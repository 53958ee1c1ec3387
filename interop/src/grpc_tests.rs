//! gRPC's own interoperability tests: the service `grpc.testing.TestService`, and a client for each test.
//!
//! The names are those of gRPC's `interop-test-descriptions.md` and `messages.proto`; what the tests
//! here do not use is left out.

pub mod client;
pub mod server;

use bytes::Bytes;
use prost::Message;

/// The name of the service.
pub const SERVICE: &str = "grpc.testing.TestService";
/// What a client sends in it comes back in the headers.
pub const ECHO_INITIAL: &str = "x-grpc-test-echo-initial";
/// What a client sends in it comes back in the trailers.
pub const ECHO_TRAILING: &str = "x-grpc-test-echo-trailing-bin";

/// Bytes that only their number matters of.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Payload {
    /// The bytes.
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

impl Payload {
    /// `size` zeros.
    #[must_use]
    pub fn zeros(size: usize) -> Self {
        Self { body: vec![0; size].into() }
    }
}

/// The status that a call shall end with.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EchoStatus {
    /// gRPC's number of it.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// Its message.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// The request of `UnaryCall`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SimpleRequest {
    /// Bytes wanted in the response.
    #[prost(int32, tag = "2")]
    pub response_size: i32,
    /// Sent along.
    #[prost(message, optional, tag = "3")]
    pub payload: Option<Payload>,
    /// Instead of a response.
    #[prost(message, optional, tag = "7")]
    pub response_status: Option<EchoStatus>,
}

/// The response of `UnaryCall`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct SimpleResponse {
    /// As large as wanted.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// One request of `StreamingInputCall`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamingInputCallRequest {
    /// Sent along.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}

/// The response of `StreamingInputCall`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StreamingInputCallResponse {
    /// Bytes of all payloads together.
    #[prost(int32, tag = "1")]
    pub aggregated_payload_size: i32,
}

/// One response that is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ResponseParameters {
    /// Bytes wanted in it.
    #[prost(int32, tag = "1")]
    pub size: i32,
}

/// The request of `StreamingOutputCall`, and one of `FullDuplexCall`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamingOutputCallRequest {
    /// The responses that are wanted.
    #[prost(message, repeated, tag = "2")]
    pub response_parameters: Vec<ResponseParameters>,
    /// Sent along.
    #[prost(message, optional, tag = "3")]
    pub payload: Option<Payload>,
    /// Instead of responses.
    #[prost(message, optional, tag = "7")]
    pub response_status: Option<EchoStatus>,
}

/// One response of `StreamingOutputCall` and of `FullDuplexCall`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StreamingOutputCallResponse {
    /// As large as wanted.
    #[prost(message, optional, tag = "1")]
    pub payload: Option<Payload>,
}
