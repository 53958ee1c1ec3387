//! Bytes over ALTS on a TCP connection, with the handshaker in this process.
//!
//! A raw stream has no closing message: here each side says how many bytes follow, so that nobody
//! relies on the end of the stream.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;

use alts_handshaker::dev::Authority;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, ServerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let authority = Authority::new()?;
    let config = ServerConfig::builder().expect_peer("client@dev.test").build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker("server@dev.test")?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        let (io, _) = listener.accept().await?;
        let mut stream = acceptor.accept(io).await?;
        let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut bytes).await?;
        println!(
            "server: {} says {:?}",
            stream.context().peer_service_account(),
            String::from_utf8_lossy(&bytes)
        );
        stream.shutdown().await?;
        Ok::<_, std::io::Error>(bytes)
    });

    let config = ClientConfig::builder().expect_peer("server@dev.test").build()?;
    let connector = AltsConnector::new(config, authority.handshaker("client@dev.test")?);
    let mut stream = connector.connect(TcpStream::connect(address).await?).await?;
    println!("client: connected to {}", stream.context().peer_service_account());
    let message = b"hello over ALTS";
    stream.write_u16(u16::try_from(message.len())?).await?;
    stream.write_all(message).await?;
    stream.flush().await?;
    if server.await?? == message { Ok(()) } else { Err("something else arrived".into()) }
}
