//! A listener on the wire: a TCP proxy that keeps all bytes that go through it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of one direction of one connection.
type Recording = Arc<Mutex<Vec<u8>>>;

/// A proxy to one address, and what it has heard.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    address: SocketAddr,
    recordings: Arc<Mutex<Vec<Recording>>>,
}

impl Wire {
    /// Listens on a free port of the loopback device, in front of `server`.
    pub(crate) async fn in_front_of(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let wire = Self { address: listener.local_addr()?, recordings: Arc::default() };
        let listening = wire.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if let Ok(server) = TcpStream::connect(server).await {
                    let (client_read, client_write) = split(client);
                    let (server_read, server_write) = split(server);
                    tokio::spawn(forward(client_read, server_write, listening.recording()));
                    tokio::spawn(forward(server_read, client_write, listening.recording()));
                }
            }
        });
        Ok(wire)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many bytes went through.
    pub(crate) fn heard(&self) -> usize {
        self.each(<[u8]>::len)
    }

    /// How many of them are text that should not be seen.
    pub(crate) fn in_the_clear(&self, texts: &[&str]) -> usize {
        self.each(|bytes| texts.iter().map(|text| count(bytes, text.as_bytes())).sum())
    }

    fn recording(&self) -> Recording {
        let recording = Recording::default();
        let mut recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        recordings.push(Arc::clone(&recording));
        recording
    }

    fn each(&self, question: impl Fn(&[u8]) -> usize) -> usize {
        let recordings = self.recordings.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = |recording: &Recording| {
            question(&recording.lock().unwrap_or_else(PoisonError::into_inner))
        };
        recordings.iter().map(answer).sum()
    }
}

/// How many of `bytes` are in copies of `text`.
fn count(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).filter(|window| *window == text).count() * text.len()
}

async fn forward<R, W>(mut from: R, mut to: W, recording: Recording) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await?;
        let Some(read @ [_, ..]) = bytes.get(..read) else {
            return to.shutdown().await;
        };
        recording.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(read);
        to.write_all(read).await?;
    }
}
