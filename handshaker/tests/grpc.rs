//! The service behind gRPC: the RPC ends with OK right after the result, and limits hold.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

#[path = "common/parties.rs"]
mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use alts_core::msg::HandshakerResp;
use alts_core::wire::Message as _;
use alts_handshaker::dev::Authority;
use alts_handshaker::grpc::{Admission, AnyCaller, HandshakerServer, METHOD};
use alts_handshaker::{Call, Handshaker, Limits};
use bytes::Bytes;
use common::{CLIENT, SERVER, Start, next};
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_alts::RawCodec;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Status, Streaming};

async fn serve<A: Admission>(service: HandshakerServer<A>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Server::builder().serve_with_incoming(service, TcpIncoming::from(listener)));
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn service(account: &str, authority: &Authority) -> Channel {
    serve(HandshakerServer::new(AnyCaller(authority.handshaker(account).unwrap()))).await
}

/// A caller like C core: it never closes its half of the stream by itself.
struct Caller {
    requests: mpsc::Sender<Bytes>,
    responses: Streaming<Bytes>,
}

impl Caller {
    async fn call(channel: &Channel, first: Vec<u8>) -> Result<Self, Status> {
        Self::call_path(channel, first, METHOD).await
    }

    async fn call_path(
        channel: &Channel,
        first: Vec<u8>,
        path: &'static str,
    ) -> Result<Self, Status> {
        let mut grpc = Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let (requests, receiver) = mpsc::channel(1);
        requests.send(Bytes::from(first)).await.unwrap();
        let stream = Request::new(ReceiverStream::new(receiver));
        let path = PathAndQuery::from_static(path);
        let responses =
            grpc.streaming(stream, path, RawCodec::<Bytes>::default()).await?.into_inner();
        Ok(Self { requests, responses })
    }

    async fn response(&mut self) -> Result<Bytes, Status> {
        let response = timeout(Duration::from_secs(10), self.responses.message()).await.unwrap();
        response.map(|message| message.expect("a response"))
    }

    async fn ask(&mut self, request: Vec<u8>) -> Bytes {
        self.requests.send(Bytes::from(request)).await.unwrap();
        self.response().await.unwrap()
    }

    /// The RPC ends now, by itself, with OK.
    async fn assert_ended(&mut self) {
        let end = timeout(Duration::from_secs(10), self.responses.message()).await;
        assert!(end.expect("the RPC has to end").expect("with OK").is_none());
    }

    /// The RPC ends now, by itself, with the same code and words as its last response.
    async fn assert_failed(&mut self, response: &Bytes) {
        let end = timeout(Duration::from_secs(10), self.responses.message()).await;
        let end = end.expect("the RPC has to end").expect_err("with the failure");
        let (code, details) = status(response);
        assert_eq!((end.code() as u32, end.message()), (code, &*details));
    }
}

fn out_frames(response: &Bytes) -> Vec<u8> {
    let response = HandshakerResp::decode(response).unwrap();
    assert_eq!(response.status.unwrap().code, 0);
    response.out_frames.to_vec()
}

fn status(response: &Bytes) -> (u32, String) {
    let status = HandshakerResp::decode(response).unwrap().status.unwrap();
    (status.code, status.details.to_owned())
}

#[tokio::test]
async fn two_services_shake_hands_and_end_the_calls() {
    let authority = Authority::new().unwrap();
    let (client, server) = (service(CLIENT, &authority).await, service(SERVER, &authority).await);
    let mut client = Caller::call(&client, Start::default().client()).await.unwrap();
    let hello = out_frames(&client.response().await.unwrap());
    let mut server = Caller::call(&server, Start::default().server(&hello)).await.unwrap();
    let init = out_frames(&server.response().await.unwrap());
    let parameters = out_frames(&client.ask(next(&init)).await);
    let choice = out_frames(&server.ask(next(&parameters)).await);
    let of_client = client.ask(next(&choice)).await;
    client.assert_ended().await;
    let mut finished = out_frames(&of_client);
    let length = finished.len();
    finished.extend_from_slice(b"records");
    let of_server = server.ask(next(&finished)).await;
    server.assert_ended().await;

    let of_client = HandshakerResp::decode(&of_client).unwrap().result.unwrap();
    let of_server = HandshakerResp::decode(&of_server).unwrap();
    assert_eq!(usize::try_from(of_server.bytes_consumed).unwrap(), length);
    let of_server = of_server.result.unwrap();
    assert_eq!(of_client.key_data.expose(), of_server.key_data.expose());
    assert_eq!(of_client.peer_identity.unwrap().service_account(), Some(SERVER));
    assert_eq!(of_server.peer_identity.unwrap().service_account(), Some(CLIENT));
}

#[tokio::test]
async fn an_error_is_a_response_and_then_the_end() {
    let channel = service(CLIENT, &Authority::new().unwrap()).await;
    let start = Start { record: vec![], ..Start::default() };
    let mut caller = Caller::call(&channel, start.client()).await.unwrap();
    let response = caller.response().await.unwrap();
    let (code, details) = status(&response);
    assert_eq!(code, alts_handshaker::Code::InvalidArgument.number());
    assert!(details.contains("no record protocol"), "{details}");
    caller.assert_failed(&response).await;

    let mut caller = Caller::call(&channel, b"\xFF\xFF".to_vec()).await.unwrap();
    let response = caller.response().await.unwrap();
    assert_eq!(status(&response).0, 3);
    caller.assert_failed(&response).await;
}

/// A caller like grpc-go: it looks only at the status of the first response, and asks again.
#[tokio::test]
async fn a_caller_that_goes_on_after_a_failure_is_answered_with_it() {
    let channel = service(CLIENT, &Authority::new().unwrap()).await;
    let mut caller = Caller::call(&channel, Start::default().client()).await.unwrap();
    caller.response().await.unwrap();
    let response = caller.ask(next(b"\x08\0\0\0\x01\x01\0\0\n no records")).await;
    assert_ne!(status(&response).0, 0);
    caller.requests.send(Bytes::from(next(b"anything"))).await.unwrap();
    caller.assert_failed(&response).await;
}

#[tokio::test]
async fn nothing_large_is_read_before_a_start_message() {
    let channel = service(SERVER, &Authority::new().unwrap()).await;
    for (length, code) in [(70_000, Some(Code::OutOfRange)), (60_000, None)] {
        let result = match Caller::call(&channel, Start::default().server(&vec![0; length])).await {
            Ok(mut caller) => caller.response().await,
            Err(status) => Err(status),
        };
        assert_eq!(result.err().map(|status| status.code()), code, "{length}");
    }
    // Afterwards a request may be as large as the limits say.
    let mut caller = Caller::call(&channel, Start::default().server(&[])).await.unwrap();
    caller.response().await.unwrap();
    assert_ne!(status(&caller.ask(next(&vec![0; 1_000_000])).await).0, 0);
}

#[tokio::test]
async fn a_silent_peer_is_given_up() {
    let limits = Limits::default().with_deadline(Duration::from_millis(200));
    let builder = Authority::new().unwrap().builder(SERVER).unwrap();
    let channel =
        serve(HandshakerServer::new(AnyCaller(builder.limits(limits).build().unwrap()))).await;
    let mut caller = Caller::call(&channel, Start::default().server(&[])).await.unwrap();
    assert_eq!(status(&caller.response().await.unwrap()).0, 0);
    let response = caller.response().await.unwrap();
    assert_eq!(status(&response).0, alts_handshaker::Code::DeadlineExceeded.number());
    assert_eq!(HandshakerResp::decode(&response).unwrap().out_frames.len(), 12, "an alert");
    caller.assert_failed(&response).await;
}

#[tokio::test]
async fn handshakes_at_once_are_limited_and_slots_come_back() {
    let handshaker = Authority::new().unwrap().handshaker(CLIENT).unwrap();
    let channel = serve(HandshakerServer::with_concurrency(AnyCaller(handshaker), 2)).await;
    let mut one = Caller::call(&channel, Start::default().client()).await.unwrap();
    one.response().await.unwrap();
    let mut two = Caller::call(&channel, Start::default().client()).await.unwrap();
    two.response().await.unwrap();
    let refused = Caller::call(&channel, Start::default().client()).await;
    assert_eq!(refused.err().expect("refused").code(), Code::ResourceExhausted);
    // One caller goes away without a word.
    drop(one);
    let mut attempts = 0;
    let mut again = loop {
        match Caller::call(&channel, Start::default().client()).await {
            Ok(caller) => break caller,
            Err(status) => assert_eq!(status.code(), Code::ResourceExhausted),
        }
        attempts += 1;
        assert!(attempts < 500, "the slot never came back");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    again.response().await.unwrap();
}

#[tokio::test]
async fn large_requests_are_not_read() {
    let handshaker = Authority::new().unwrap().handshaker(SERVER).unwrap();
    let channel = serve(HandshakerServer::new(AnyCaller(handshaker)).request_bytes(1000)).await;
    let start = Start::default().server(&[0; 2000]);
    let result = match Caller::call(&channel, start).await {
        Ok(mut caller) => caller.response().await,
        Err(status) => Err(status),
    };
    assert_eq!(result.unwrap_err().code(), Code::OutOfRange);
}

#[tokio::test]
async fn other_methods_are_not_there() {
    let channel = service(CLIENT, &Authority::new().unwrap()).await;
    let path = "/grpc.gcp.HandshakerService/Other";
    let refused = Caller::call_path(&channel, Start::default().client(), path).await;
    assert_eq!(refused.err().expect("refused").code(), Code::Unimplemented);
}

/// A policy: callers are known by their addresses, and each gets its own accounts.
struct Policy {
    machine: Handshaker,
    log: Arc<Mutex<Vec<String>>>,
}

impl Admission for Policy {
    type Caller = String;

    fn admit(
        &self,
        extensions: &http::Extensions,
        now: Duration,
    ) -> Result<(Call, String), Status> {
        let info = extensions.get::<TcpConnectInfo>().expect("tonic tells who is calling");
        let caller = info.remote_addr().unwrap().ip().to_string();
        if self.log.lock().unwrap().len() > 1 {
            return Err(Status::permission_denied("not you"));
        }
        let call = self.machine.begin_for(["alice@one.test"], now).unwrap();
        Ok((call, caller))
    }

    fn ended(&self, caller: String, call: &Call, _duration: Duration) {
        let outcome = match call.result() {
            None => "given up".to_owned(),
            Some(Ok(outcome)) => outcome.peer_account().to_owned(),
            Some(Err(failure)) => failure.to_string(),
        };
        self.log.lock().unwrap().push(format!("{caller}: {outcome}"));
    }
}

#[tokio::test]
async fn a_policy_admits_refuses_and_hears_of_the_end() {
    let authority = Authority::new().unwrap();
    let machine = authority.machine_builder("one.test").unwrap().build().unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let channel = serve(HandshakerServer::new(Policy { machine, log: Arc::clone(&log) })).await;
    let start = Start { local: vec!["root@one.test"], ..Start::default() };
    let mut caller = Caller::call(&channel, start.client()).await.unwrap();
    let response = caller.response().await.unwrap();
    assert_eq!(status(&response).0, 7);
    caller.assert_failed(&response).await;
    let mut caller = Caller::call(&channel, Start::default().client()).await.unwrap();
    caller.response().await.unwrap();
    drop(caller);
    while log.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = Caller::call(&channel, Start::default().client()).await;
    assert_eq!(refused.err().expect("refused").code(), Code::PermissionDenied);
    let log = log.lock().unwrap();
    assert!(
        log[0].starts_with("127.0.0.1: the caller asked for the local identity \"root@one.test\"")
    );
    assert_eq!(log[1], "127.0.0.1: given up");
}
