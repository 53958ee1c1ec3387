//! A relay of bytes, ALTS on one of its sides.
//!
//! `--listen IP:PORT --target IP:PORT --handshaker HOST:PORT [--expect ACCOUNT]…
//! [--max-frame-size BYTES] [--deadline SECONDS] originate|terminate`
//!
//! `originate` takes plain connections and makes ALTS ones to the target; `terminate` is the other
//! way round. Peers other than those expected are refused, if any are expected.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // The test waits for it, and shows it.

use std::time::Duration;

use alts_core::frame::FrameSize;
use alts_interop::arguments::{Arguments, Failure};
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsIncoming, AltsStream, ClientConfig, GrpcHandshaker,
    IncomingFailure, ServerConfig,
};
use tokio_stream::StreamExt;

/// What it holds of each direction. It has the size of the largest frames, so that there are some.
const BUFFER: usize = 1 << 20;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = Arguments::new(std::env::args().skip(1));
    let (listen, target) = (arguments.required("--listen")?, arguments.required("--target")?);
    let handshaker = GrpcHandshaker::at(&arguments.required("--handshaker")?)?;
    let expected = arguments.options("--expect")?;
    let frame_size = match arguments.option("--max-frame-size")? {
        Some(size) => FrameSize::new(size.parse()?),
        None => FrameSize::DEFAULT,
    };
    let deadline = arguments.option("--deadline")?.map_or(Ok(20), |text| text.parse())?;
    let deadline = Duration::from_secs(deadline);

    let words = arguments.rest();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["originate"] => {
            let config = ClientConfig::builder().max_frame_size(frame_size).deadline(deadline);
            let config = if expected.is_empty() {
                config.any_peer()
            } else {
                config.expected_service_accounts(expected)
            };
            originate(&listen, target, AltsConnector::new(config.build()?, handshaker)).await
        }
        ["terminate"] => {
            let config = ServerConfig::builder().max_frame_size(frame_size).deadline(deadline);
            let acceptor = AltsAcceptor::new(config.build()?, handshaker);
            terminate(&listen, target, acceptor, expected).await
        }
        _ => Err("expected originate or terminate".into()),
    }
}

async fn originate(listen: &str, target: String, connector: AltsConnector) -> Result<(), Failure> {
    let listener = TcpListener::bind(listen).await?;
    println!("listening on {listen}");
    loop {
        let (mut plain, _) = listener.accept().await?;
        plain.set_nodelay(true)?;
        let (target, connector) = (target.clone(), connector.clone());
        report(async move {
            let tcp = TcpStream::connect(&target).await?;
            tcp.set_nodelay(true)?;
            let sealed = connector.connect_to(&target, tcp).await.map_err(|f| f.to_string())?;
            relay(&mut plain, sealed).await
        });
    }
}

async fn terminate(
    listen: &str,
    target: String,
    acceptor: AltsAcceptor,
    expected: Vec<String>,
) -> Result<(), Failure> {
    let mut incoming =
        AltsIncoming::bind(listen, acceptor).await?.on_failure(|failure| match failure {
            IncomingFailure::Handshake(failure) => eprintln!("{failure}"),
            other => eprintln!("{other:?}"),
        });
    println!("listening on {listen}");
    while let Some(sealed) = incoming.next().await {
        let (sealed, target, expected) = (sealed?, target.clone(), expected.clone());
        report(async move {
            if !expected.is_empty() {
                sealed.context().authorize(&expected)?;
            }
            let mut plain = TcpStream::connect(&target).await?;
            plain.set_nodelay(true)?;
            relay(&mut plain, sealed).await
        });
    }
    Ok(())
}

async fn relay(plain: &mut TcpStream, mut sealed: AltsStream<TcpStream>) -> Result<(), Failure> {
    copy_bidirectional_with_sizes(plain, &mut sealed, BUFFER, BUFFER).await?;
    Ok(())
}

/// Runs one connection's work, and prints why it failed.
fn report(connection: impl Future<Output = Result<(), Failure>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("{error}");
        }
    });
}
