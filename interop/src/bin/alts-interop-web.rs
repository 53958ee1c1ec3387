//! An HTTP/1.1 and HTTP/2 server over ALTS, or in the clear without a handshaker service, by axum:
//! `--listen IP:PORT [--handshaker HOST:PORT] [--max-frame-size BYTES]`
//!
//! `GET /data/SIZE` answers with that many bytes of data, `PUT /tally` says what has arrived of them,
//! `PUT /echo` answers with what it is sent, `GET /version` with HTTP's version, and
//! `GET /together/COUNT` when that many requests wait for it. `GET /peer` says what ALTS has proved, and
//! `GET /account` what a proxy says that it has proved.
//! As a handshaker service it takes calls, and never answers.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // The test waits for it, and shows it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use alts_core::frame::FrameSize;
use alts_interop::arguments::{Arguments, Failure};
use alts_interop::data::{Words, message};
use alts_interop::view::view;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::routing::{get, post, put};
use axum::serve::ListenerExt;
use axum::{Router, serve};
use http::{HeaderMap, Version};
use tokio::net::TcpListener;
use tokio::sync::Barrier;
use tokio_alts::{
    AltsAcceptor, AltsConnectInfo, AltsIncoming, GrpcHandshaker, IncomingFailure, ServerConfig,
};
use tokio_stream::StreamExt;

const MIB: usize = 1 << 20;

/// Where requests wait for each other, by their number.
type Meetings = Arc<Mutex<HashMap<usize, Arc<Barrier>>>>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::new(std::env::args().skip(1));
    let listen = arguments.required("--listen")?;
    let handshaker = arguments.option("--handshaker")?;
    let mut config = ServerConfig::builder().any_peer();
    if let Some(size) = arguments.option("--max-frame-size")? {
        config = config.max_frame_size(FrameSize::new(size.parse()?));
    }
    arguments.end()?;

    let routes = Router::new()
        .route("/data/{size}", get(data))
        .route("/tally", put(tally))
        .route("/echo", put(echo))
        .route("/version", get(version))
        .route("/together/{count}", get(together))
        .route("/account", get(account))
        .route("/grpc.gcp.HandshakerService/DoHandshake", post(pending::<()>))
        .with_state(Meetings::default());
    let Some(handshaker) = handshaker else {
        let listener = TcpListener::bind(&listen).await?.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                eprintln!("{error}");
            }
        });
        println!("listening on {listen}");
        return Ok(serve(listener, routes).await?);
    };
    let acceptor = AltsAcceptor::new(config.build()?, GrpcHandshaker::at(&handshaker)?);
    let incoming =
        AltsIncoming::bind(&listen, acceptor).await?.on_failure(|failure| match failure {
            IncomingFailure::Handshake(failure) => eprintln!("{failure}"),
            other => eprintln!("{other:?}"),
        });
    let routes = routes.route("/peer", get(peer));
    println!("listening on {listen}");
    Ok(serve(incoming, routes.into_make_service_with_connect_info::<AltsConnectInfo>()).await?)
}

async fn data(Path(size): Path<usize>) -> Body {
    let messages = (0u32..).zip((0..size).step_by(MIB));
    let messages = messages.map(move |(index, at)| message(index, MIB.min(size - at)));
    Body::from_stream(tokio_stream::iter(messages.map(Ok::<_, Infallible>)))
}

async fn tally(body: Body) -> String {
    let (mut stream, mut words) = (body.into_data_stream(), Words::default());
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => words.add(&chunk),
            Err(error) => return error.to_string(),
        }
    }
    words.to_json().to_string()
}

async fn echo(body: Body) -> Body {
    body
}

async fn version(version: Version) -> String {
    format!("{version:?}")
}

async fn together(State(meetings): State<Meetings>, Path(count): Path<usize>) -> &'static str {
    let barrier = {
        let mut meetings = meetings.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meetings.entry(count).or_insert_with(|| Arc::new(Barrier::new(count))))
    };
    barrier.wait().await;
    "together\n"
}

async fn account(headers: HeaderMap) -> String {
    let accounts = headers.get_all("x-alts-peer-service-account").iter();
    accounts.map(|account| account.to_str().unwrap_or("not text")).collect::<Vec<_>>().join(", ")
}

async fn peer(ConnectInfo(info): ConnectInfo<AltsConnectInfo>) -> String {
    view(info.context()).to_string()
}
