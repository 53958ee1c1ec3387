//! A target that sends back what it receives.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};
use tokio_alts::AltsStream;

use super::report::Throughput;
use crate::reach::Watched;

/// Bytes that are written at once when the throughput is measured.
const CHUNK: usize = 128 * 1024;

/// A connection on which everything comes back.
pub(super) struct Echo {
    stream: AltsStream<Watched>,
    deadline: Duration,
}

impl Echo {
    pub(super) const fn new(stream: AltsStream<Watched>, deadline: Duration) -> Self {
        Self { stream, deadline }
    }

    /// Sends a message and waits until its last byte is back.
    pub(super) async fn message(&mut self, size: usize) -> io::Result<Duration> {
        let message = pattern(size);
        let mut back = vec![0; size];
        let began = Instant::now();
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        // Both at once: a message may be larger than what the two ends hold.
        let exchange = async {
            tokio::try_join!(
                async {
                    writer.write_all(&message).await?;
                    writer.flush().await
                },
                async { reader.read_exact(&mut back).await.map(drop) },
            )
        };
        timeout(self.deadline, exchange).await.map_err(|_| late())??;
        let took = began.elapsed();
        if back == message { Ok(took) } else { Err(not_an_echo()) }
    }

    /// Writes for that long, reads until all is back, and says how much that was.
    pub(super) async fn throughput(self, time: Duration) -> io::Result<Throughput> {
        let deadline = self.deadline;
        let (mut reader, mut writer) = tokio::io::split(self.stream);
        let chunk: Arc<[u8]> = pattern(CHUNK).into();
        let began = Instant::now();
        let written = tokio::spawn(async move {
            let mut written = 0u64;
            while began.elapsed() < time {
                writer.write_all(&chunk).await?;
                written = written.saturating_add(chunk.len() as u64);
            }
            writer.flush().await?;
            writer.shutdown().await?;
            Ok::<_, io::Error>(written)
        });
        let mut read = vec![0; CHUNK];
        let mut bytes = 0u64;
        loop {
            let count = timeout(deadline, reader.read(&mut read)).await.map_err(|_| late())??;
            if count == 0 {
                break;
            }
            bytes = bytes.saturating_add(count as u64);
        }
        let took = began.elapsed();
        let written = written.await.map_err(io::Error::other)??;
        if bytes == written {
            Ok(Throughput::new("echo", bytes, took))
        } else {
            Err(io::Error::other(format!("{written} bytes were sent, and {bytes} came back")))
        }
    }
}

fn pattern(size: usize) -> Vec<u8> {
    (0..=u8::MAX).cycle().take(size).collect()
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "what was sent did not come back before the deadline")
}

fn not_an_echo() -> io::Error {
    io::Error::other("the bytes that came back differ from those sent: the target does not echo")
}
