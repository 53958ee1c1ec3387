//! One operation of a client over ALTS, or in the clear without a handshaker service, by tonic.
//!
//! `--target IP:PORT [--handshaker HOST:PORT] [--expect ACCOUNT]… [--deadline SECONDS]
//! [--max-frame-size BYTES] OPERATION [ARGUMENT]…`
//!
//! Prints one line of JSON: the status, what the operation yielded, and what ALTS proved about the
//! server. `interop/README.md` describes operations and output.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)] // It is the program's output.

use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alts_core::frame::FrameSize;
use alts_interop::arguments::{Arguments, Failure};
use alts_interop::data::{Tally, message};
use alts_interop::view::view;
use alts_interop::{SERVICE, grpc_tests};
use bytes::Bytes;
use http::Uri;
use http::uri::PathAndQuery;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout};
use tokio_alts::{AltsConnector, AltsHttpConnector, ClientConfig, Error, GrpcHandshaker, RawCodec};
use tokio_stream::{Stream, StreamExt};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tower::service_fn;
use tower_service::Service;

/// What the connection has proved, once there is one.
type View = Arc<Mutex<Option<Value>>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::new(std::env::args().skip(1));
    let target = arguments.required("--target")?;
    let deadline = arguments.option("--deadline")?.map_or(Ok(60), |text| text.parse())?;
    let endpoint = Endpoint::from_shared(format!("http://{target}"))?;
    let seen = View::default();
    let connector = match arguments.option("--handshaker")? {
        Some(handshaker) => Some(connector(&handshaker, &mut arguments)?),
        None => None,
    };
    let connect = || match &connector {
        Some(connector) => over_alts(&endpoint, connector.clone(), &seen),
        None => Client::new(endpoint.connect_lazy()),
    };

    let words = arguments.rest();
    let report = timeout(Duration::from_secs(deadline), operation(&connect, &words))
        .await
        .unwrap_or_else(|_| Ok(Err(Status::deadline_exceeded("the operation's time is over"))))?;
    let mut report = match report {
        Ok(answer) => json!({"status": "OK", "answer": answer}),
        Err(status) => json!({"status": name(&status), "details": details(&status)}),
    };
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let (Some(report), Some(view)) = (report.as_object_mut(), seen) {
        report.insert("view".to_owned(), view);
    }
    println!("{report}");
    Ok(())
}

fn connector(handshaker: &str, arguments: &mut Arguments) -> Result<AltsHttpConnector, Failure> {
    let handshaker = GrpcHandshaker::at(handshaker)?;
    let expected = arguments.options("--expect")?;
    let mut config = ClientConfig::builder();
    config = if expected.is_empty() {
        config.any_peer()
    } else {
        config.expected_service_accounts(expected)
    };
    if let Some(size) = arguments.option("--max-frame-size")? {
        config = config.max_frame_size(FrameSize::new(size.parse()?));
    }
    Ok(AltsHttpConnector::new(AltsConnector::new(config.build()?, handshaker)))
}

fn over_alts(endpoint: &Endpoint, connector: AltsHttpConnector, seen: &View) -> Client {
    let seen = Arc::clone(seen);
    let connector = service_fn(move |uri: Uri| {
        let (mut connector, seen) = (connector.clone(), Arc::clone(&seen));
        async move {
            let stream = connector.call(uri).await?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = Some(view(stream.context()));
            drop(seen);
            Ok::<_, Error>(stream)
        }
    });
    Client::new(endpoint.connect_with_connector_lazy(connector))
}

/// Does what the command line says. The outer error is about the command line.
async fn operation(
    connect: &impl Fn() -> Client,
    words: &[String],
) -> Result<Result<Value, Status>, Failure> {
    let mut client = connect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Ok(match *words {
        ["echo", size] => client.echo(size.parse()?).await,
        ["echo-stream", messages, size] => {
            client.echo_stream(messages.parse()?, size.parse()?).await
        }
        ["download", messages, size] => client.download(messages.parse()?, size.parse()?).await,
        ["upload", messages, size] => client.upload(messages.parse()?, size.parse()?).await,
        ["connections", count] => connections(connect, count.parse()?).await,
        ["rate", each_second, seconds] => {
            Ok(rate(connect, each_second.parse()?, seconds.parse()?).await)
        }
        ["peer"] => client.peer().await,
        ["restricted", account] => client.restricted(account).await,
        ["grpc-test", test] => {
            grpc_tests::client::run(client.0, test).await?;
            Ok(json!({}))
        }
        _ => return Err("no such operation, or not its arguments".into()),
    })
}

/// A call on each of that many new connections, all at once.
async fn connections(connect: &impl Fn() -> Client, count: usize) -> Result<Value, Status> {
    let clients: Vec<Client> = (0..count).map(|_| connect()).collect();
    let mut echoes = JoinSet::new();
    for client in &clients {
        let mut client = Client(client.0.clone());
        echoes.spawn(async move { client.echo(100).await });
    }
    let mut intact = 0;
    while let Some(echo) = echoes.join_next().await {
        let echo = echo.map_err(|error| Status::internal(error.to_string()))??;
        intact += usize::from(echo == json!({"intact": true}));
    }
    Ok(json!({"intact": intact}))
}

/// So many calls each second, each on a new connection, for that many seconds: none waits for another.
async fn rate(connect: &impl Fn() -> Client, each_second: u32, seconds: u32) -> Value {
    let mut calls = JoinSet::new();
    let mut tick = interval(Duration::from_secs(1) / each_second.max(1));
    for _ in 0..each_second.saturating_mul(seconds) {
        tick.tick().await;
        let mut client = connect();
        calls.spawn(async move {
            let began = Instant::now();
            (client.echo(100).await, began.elapsed())
        });
    }
    let (mut count, mut failed, mut slowest, mut why) = (0, 0, Duration::ZERO, None);
    while let Some(done) = calls.join_next().await {
        count += 1;
        let said = done.map_err(|error| error.to_string());
        let said = said.and_then(|(echo, time)| {
            slowest = slowest.max(time);
            echo.map_err(|status| details(&status))
        });
        if said.as_ref() != Ok(&json!({"intact": true})) {
            failed += 1;
            why = why.or(said.err());
        }
    }
    json!({"calls": count, "failed": failed, "slowest_ms": slowest.as_millis(), "why": why})
}

struct Client(Grpc<Channel>);

impl Client {
    fn new(channel: Channel) -> Self {
        let grpc = Grpc::new(channel)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        Self(grpc)
    }

    async fn echo(&mut self, size: usize) -> Result<Value, Status> {
        let sent = message(0, size);
        let received = self.unary("Echo", sent.clone()).await?;
        Ok(json!({"intact": received == sent}))
    }

    async fn echo_stream(&mut self, messages: u32, size: usize) -> Result<Value, Status> {
        let path = self.ready("EchoStream").await?;
        let requests = Request::new(stream(messages, size));
        received(self.0.streaming(requests, path, RawCodec::<Bytes>::default()).await?.into_inner())
            .await
    }

    async fn download(&mut self, messages: u32, size: usize) -> Result<Value, Status> {
        let path = self.ready("Download").await?;
        let order = Bytes::from(json!({"messages": messages, "size": size}).to_string());
        let answer = self
            .0
            .server_streaming(Request::new(order), path, RawCodec::<Bytes>::default())
            .await?;
        received(answer.into_inner()).await
    }

    async fn upload(&mut self, messages: u32, size: usize) -> Result<Value, Status> {
        let path = self.ready("Upload").await?;
        let requests = Request::new(stream(messages, size));
        json(
            &self
                .0
                .client_streaming(requests, path, RawCodec::<Bytes>::default())
                .await?
                .into_inner(),
        )
    }

    async fn peer(&mut self) -> Result<Value, Status> {
        json(&self.unary("Peer", Bytes::new()).await?)
    }

    async fn restricted(&mut self, account: &str) -> Result<Value, Status> {
        self.unary("Restricted", account.to_owned().into()).await?;
        Ok(json!({}))
    }

    async fn unary(&mut self, method: &str, message: Bytes) -> Result<Bytes, Status> {
        let path = self.ready(method).await?;
        Ok(self
            .0
            .unary(Request::new(message), path, RawCodec::<Bytes>::default())
            .await?
            .into_inner())
    }

    async fn ready(&mut self, method: &str) -> Result<PathAndQuery, Status> {
        self.0.ready().await.map_err(|error| Status::from_error(error.into()))?;
        PathAndQuery::from_str(&format!("/{SERVICE}/{method}"))
            .map_err(|error| Status::internal(error.to_string()))
    }
}

fn stream(messages: u32, size: usize) -> impl Stream<Item = Bytes> {
    tokio_stream::iter(0..messages).map(move |index| message(index, size))
}

async fn received(mut stream: Streaming<Bytes>) -> Result<Value, Status> {
    let mut tally = Tally::default();
    while let Some(message) = stream.next().await {
        tally.add(&message?);
    }
    Ok(tally.to_json())
}

fn json(answer: &[u8]) -> Result<Value, Status> {
    serde_json::from_slice(answer).map_err(|error| Status::internal(error.to_string()))
}

/// The code's name, as gRPC writes it.
fn name(status: &Status) -> String {
    let mut name = String::new();
    for letter in format!("{:?}", status.code()).chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_uppercase());
    }
    name
}

/// The message, and what has led to it.
fn details(status: &Status) -> String {
    let mut details = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let text = error.to_string();
        if !details.contains(&text) {
            details = format!("{details}: {text}");
        }
        source = error.source();
    }
    details
}
