//! The handshaker service behind gRPC, in a program of one's own: on a UNIX socket, with a policy.
//!
//! The daemon `altsd` is this with files, limits and audit lines.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use alts_handshaker::dev::Authority;
use alts_handshaker::grpc::{Admission, HandshakerServer};
use alts_handshaker::{Call, Handshaker};
use http::Extensions;
use tokio::net::UnixListener;
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, GrpcHandshaker, ServerConfig};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Status;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;

/// Gives its identity to one user, whom the kernel knows.
struct OneUser {
    uid: u32,
    handshaker: Handshaker,
}

impl Admission for OneUser {
    type Caller = ();

    fn admit(&self, extensions: &Extensions, now: Duration) -> Result<(Call, ()), Status> {
        let caller = extensions.get::<UdsConnectInfo>().and_then(|info| info.peer_cred);
        match caller {
            Some(caller) if caller.uid() == self.uid => Ok((self.handshaker.begin(now), ())),
            _ => Err(Status::permission_denied("this service is for somebody else")),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let authority = Authority::new()?;
    let own = nix::unistd::geteuid().as_raw();
    let directory = std::env::temp_dir().join(format!("alts-handshaker-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let outcome = async {
        let open = serve(&directory.join("open.sock"), own, authority.handshaker("a@dev.test")?)?;
        let shut = serve(
            &directory.join("shut.sock"),
            own.wrapping_add(1),
            authority.handshaker("b@dev.test")?,
        )?;
        println!("for this user: {}", with_itself(&open).await?);
        match with_itself(&shut).await {
            Err(error) => println!("for another user: {error}"),
            Ok(account) => return Err(format!("another user's identity is {account}").into()),
        }
        Ok(())
    }
    .await;
    std::fs::remove_dir_all(&directory)?;
    outcome
}

/// Serves on a socket; returns its address.
fn serve(path: &Path, uid: u32, handshaker: Handshaker) -> Result<String, std::io::Error> {
    let connections = UnixListenerStream::new(UnixListener::bind(path)?);
    let service = HandshakerServer::new(OneUser { uid, handshaker });
    tokio::spawn(Server::builder().serve_with_incoming(service, connections));
    Ok(format!("unix:{}", path.display()))
}

/// A handshake through a service, with itself; returns whom it vouches for.
async fn with_itself(address: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let client = ClientConfig::builder().any_peer().build()?;
    let connector = AltsConnector::new(client, GrpcHandshaker::at(address)?);
    let server = ServerConfig::builder().any_peer().build()?;
    let acceptor = AltsAcceptor::new(server, GrpcHandshaker::at(address)?);
    let (near, far) = tokio::io::duplex(4096);
    let (client, _) = tokio::try_join!(connector.connect(near), acceptor.accept(far))?;
    Ok(client.context().peer_service_account().to_owned())
}
