//! The test service over ALTS, or in the clear without a handshaker service, by tonic:
//! `--listen IP:PORT [--handshaker HOST:PORT] [--max-frame-size BYTES]`
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // The test waits for it, and shows it.

use alts_core::frame::FrameSize;
use alts_interop::arguments::{Arguments, Failure};
use alts_interop::service::TestService;
use tokio_alts::{AltsAcceptor, AltsIncoming, GrpcHandshaker, IncomingFailure, ServerConfig};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

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

    let Some(handshaker) = handshaker else {
        let incoming = TcpIncoming::bind(listen.parse()?)?.with_nodelay(Some(true));
        println!("listening on {listen}");
        return Ok(Server::builder().serve_with_incoming(TestService, incoming).await?);
    };
    let acceptor = AltsAcceptor::new(config.build()?, GrpcHandshaker::at(&handshaker)?);
    let incoming =
        AltsIncoming::bind(&listen, acceptor).await?.on_failure(|failure| match failure {
            IncomingFailure::Handshake(failure) => eprintln!("{failure}"),
            other => eprintln!("{other:?}"),
        });
    println!("listening on {listen}");
    Ok(Server::builder().serve_with_incoming(TestService, incoming).await?)
}
