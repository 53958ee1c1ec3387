//! Handshaker services behind gRPC at UNIX sockets, as a machine has them.

use alts_handshaker::Handshaker;
use alts_handshaker::grpc::{AnyCaller, HandshakerServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use crate::Outcome;

/// Serves `handshaker` on the runtime that is entered, and returns its address for clients. `name` is
/// one that no other service of this process has.
///
/// # Errors
/// Those of the socket.
pub fn serve(handshaker: Handshaker, name: &str) -> Outcome<String> {
    let file = format!("alts-benches-{}-{name}.sock", std::process::id());
    let path = std::env::temp_dir().join(file);
    drop(std::fs::remove_file(&path));
    let connections = UnixListenerStream::new(UnixListener::bind(&path)?);
    let server = tonic::transport::Server::builder()
        .add_service(HandshakerServer::new(AnyCaller(handshaker)))
        .serve_with_incoming(connections);
    tokio::spawn(server);
    Ok(format!("unix:{}", path.display()))
}
