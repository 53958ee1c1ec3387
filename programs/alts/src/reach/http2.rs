//! HTTP/2 over an established connection: pings, and one small call that any gRPC server answers.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{Ping, PingPong};
use http::{Method, Request, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

/// The method that is called. A server without a health service answers that there is no such
/// method, which is an answer all the same.
const PATH: &str = "/grpc.health.v1.Health/Check";
/// A method that no server has.
const DISCARDED: &str = "/alts.ping/Discarded";
/// Bytes of a body that are handed over at once.
const CHUNK: usize = 64 * 1024;
/// An empty message, as gRPC frames it.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// What a server says to a small call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub http_status: u16,
    /// The gRPC status, if it is a gRPC answer.
    pub grpc_status: Option<u32>,
    /// What the server says to it, without anything that a terminal would obey.
    pub message: String,
    /// How long it took, until the last byte.
    pub took: Duration,
}

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Http2 {
    requests: SendRequest<Bytes>,
    pings: PingPong,
    deadline: Duration,
    /// The task that reads and writes, until its end was reported.
    driver: Option<JoinHandle<Result<(), h2::Error>>>,
}

impl Http2 {
    /// Begins HTTP/2 on a connection, and waits for the answer to a first ping: until then,
    /// nobody knows what the server speaks. Each later exchange may take `deadline`, too.
    ///
    /// # Errors
    /// When the server does not answer in HTTP/2, or not in time.
    pub async fn start<IO>(io: IO, deadline: Duration) -> io::Result<Self>
    where
        IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, mut connection) =
            within(deadline, client::handshake(io)).await.and_then(|made| made.map_err(said))?;
        let pings = connection
            .ping_pong()
            .ok_or_else(|| io::Error::other("the pings of the connection are taken"))?;
        let driver = Some(tokio::spawn(connection));
        let mut http2 = Self { requests, pings, deadline, driver };
        http2.ping().await?;
        Ok(http2)
    }

    /// Sends a PING frame and waits for its acknowledgement; says how long that took.
    ///
    /// # Errors
    /// When the connection ends, or the deadline passes.
    pub async fn ping(&mut self) -> io::Result<Duration> {
        let began = Instant::now();
        let pong = within(self.deadline, self.pings.ping(Ping::opaque())).await;
        match pong.and_then(|pong| pong.map_err(said)) {
            Ok(_) => Ok(began.elapsed()),
            Err(error) => Err(self.why(error).await),
        }
    }

    /// Calls `grpc.health.v1.Health/Check`.
    ///
    /// # Errors
    /// When the connection ends, or the deadline passes.
    pub async fn call(&mut self, authority: &str) -> io::Result<Answer> {
        let answer = within(self.deadline, self.exchange(authority)).await;
        match answer.and_then(|answer| answer) {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.why(error).await),
        }
    }

    async fn exchange(&self, authority: &str) -> io::Result<Answer> {
        let request = request(authority, PATH)?;
        let mut requests = self.requests.clone().ready().await.map_err(said)?;
        let began = Instant::now();
        let (response, mut body) = requests.send_request(request, false).map_err(said)?;
        // A server that refuses the method may have reset the stream before the message.
        let _ = body.send_data(Bytes::from_static(EMPTY_MESSAGE), true);
        let (head, mut body) = response.await.map_err(said)?.into_parts();
        while let Some(data) = body.data().await {
            let read = data.map_err(said)?.len();
            body.flow_control().release_capacity(read).map_err(said)?;
        }
        let trailers = body.trailers().await.map_err(said)?.unwrap_or_default();
        let took = began.elapsed();
        let field = |name| {
            let value = trailers.get(name).or_else(|| head.headers.get(name));
            value.and_then(|value| value.to_str().ok()).unwrap_or_default()
        };
        let grpc_status = field("grpc-status").parse().ok();
        // Visible ASCII, percent-encoded: nothing in it moves a cursor.
        let message = field("grpc-message").replace("%20", " ").chars().take(256).collect();
        Ok(Answer { http_status: head.status.as_u16(), grpc_status, message, took })
    }

    /// Sends the bodies of that many requests at once to a method that does not exist, each until the
    /// server has refused it, and begins again until `end`.
    ///
    /// # Errors
    /// When the connection ends, or the server takes nothing and answers nothing in time.
    pub async fn discard(
        &mut self,
        authority: &str,
        requests: usize,
        end: Instant,
    ) -> io::Result<()> {
        let bodies: Vec<_> =
            (0..requests).map(|_| self.discarded(authority.to_owned(), end)).collect();
        let mut tasks = JoinSet::new();
        for body in bodies {
            tasks.spawn(body);
        }
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended.map_err(io::Error::other).and_then(|ended| ended) {
                return Err(self.why(error).await);
            }
        }
        Ok(())
    }

    /// Sends the bodies of requests, one after the other, until `end`.
    fn discarded(
        &self,
        authority: String,
        end: Instant,
    ) -> impl Future<Output = io::Result<()>> + Send + use<> {
        let (mut requests, deadline) = (self.requests.clone(), self.deadline);
        async move {
            let chunk = Bytes::from(vec![0; CHUNK]);
            while Instant::now() < end {
                let request = request(&authority, DISCARDED)?;
                let ready = within(deadline, requests.ready()).await?;
                requests = ready.map_err(said)?;
                let (mut response, mut body) =
                    requests.send_request(request, false).map_err(said)?;
                while Instant::now() < end {
                    body.reserve_capacity(CHUNK);
                    let room = within(deadline, async {
                        tokio::select! {
                            answer = &mut response => answer.map(|_| None),
                            room = poll_fn(|context| body.poll_capacity(context)) => {
                                room.transpose()
                            }
                        }
                    });
                    // An error is the server's word for that it does not want the rest.
                    let Ok(Some(room)) = room.await? else { break };
                    if body.send_data(chunk.slice(..room.min(CHUNK)), false).is_err() {
                        break;
                    }
                }
            }
            Ok(())
        }
    }

    /// What has ended the connection, if it has ended: that says more than what followed from it.
    async fn why(&mut self, error: io::Error) -> io::Error {
        let Some(driver) = &mut self.driver else { return error };
        // The driver ends when the connection does, with or right behind the error of an exchange.
        let Ok(ended) = timeout(Duration::from_millis(100), driver).await else { return error };
        self.driver = None;
        match ended {
            Ok(Err(cause)) => said(cause),
            _ => error,
        }
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        if let Some(driver) = &self.driver {
            driver.abort();
        }
    }
}

/// The head of a gRPC call.
fn request(authority: &str, path: &str) -> io::Result<Request<()>> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("http://{authority}{path}"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(())
        .map_err(io::Error::other)
}

async fn within<T>(deadline: Duration, work: impl Future<Output = T>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer before the deadline");
    timeout(deadline, work).await.map_err(|_| late())
}

/// The words of an HTTP/2 error, or the error of the connection that led to it.
fn said(error: h2::Error) -> io::Error {
    if error.is_io() {
        return error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into());
    }
    io::Error::other(error)
}
