//! ALTS over the sockets of smol: futures-io streams and an executor that is not tokio's.
//!
//! `tokio_util::compat` turns a futures-io stream into tokio's traits, and the ALTS stream back again.
//! A handshake has deadlines, and they are tokio's timers: a runtime has to be entered that has only
//! its clock. One worker of its own turns the clock; a current-thread runtime would not, because nobody
//! blocks on it. An established stream needs no runtime.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use alts_handshaker::dev::Authority;
use async_io::Async;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use tokio::runtime;
use tokio_alts::{AltsAcceptor, AltsConnector, ClientConfig, ErrorKind, ServerConfig};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let clock = runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?;
    let _entered = clock.enter();

    let authority = Authority::new()?;
    let config = ServerConfig::builder()
        .expect_peer("client@dev.test")
        .deadline(Duration::from_millis(500))
        .build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker("server@dev.test")?);
    let config = ClientConfig::builder().expect_peer("server@dev.test").build()?;
    let connector = AltsConnector::new(config, authority.handshaker("client@dev.test")?);

    async_io::block_on(async {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
        let address = listener.get_ref().local_addr()?;
        future::try_zip(serve(&listener, &acceptor), call(connector, address)).await?;
        silence(&listener, &acceptor, address).await
    })
}

async fn serve(listener: &Async<TcpListener>, acceptor: &AltsAcceptor) -> Outcome<()> {
    let (socket, _) = listener.accept().await?;
    let stream = acceptor.accept(socket.compat()).await?;
    println!("server: {} calls", stream.context().peer_service_account());
    let mut stream = stream.compat();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await?;
    stream.write_all(&bytes).await?;
    stream.close().await?;
    Ok(())
}

async fn call(connector: AltsConnector, address: std::net::SocketAddr) -> Outcome<()> {
    let socket = Async::<TcpStream>::connect(address).await?;
    let mut stream = connector.connect(socket.compat()).await?.compat();
    stream.write_all(b"hello").await?;
    stream.flush().await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    println!("client: the answer is {:?}", String::from_utf8_lossy(&answer));
    if &answer == b"hello" { Ok(()) } else { Err("something else came back".into()) }
}

/// A client that says nothing: the deadline ends its handshake, so the clock does go.
async fn silence(
    listener: &Async<TcpListener>,
    acceptor: &AltsAcceptor,
    address: std::net::SocketAddr,
) -> Outcome<()> {
    let _silent = Async::<TcpStream>::connect(address).await?;
    let (socket, _) = listener.accept().await?;
    match acceptor.accept(socket.compat()).await {
        Err(failure) if matches!(failure.error().kind(), ErrorKind::TimedOut { .. }) => {
            println!("server: a silent client has had its time");
            Ok(())
        }
        Err(failure) => Err(failure.into_error().into()),
        Ok(_) => Err("a silent client was accepted".into()),
    }
}
