//! Whether the handshaker services are there: without them, nobody gets through.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use alts_handshaker::locator::Located;
use alts_serving::descriptors::is_exhausted;
use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, TE};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use crate::address::Address;
use crate::socket::Socket;

/// How often they are asked for.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long one may take to accept a connection, and how long for an answer on it.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known about the handshaker services in use.
#[derive(Clone, Debug)]
pub struct Handshakers {
    /// Those that are away, and why; none: they have not been asked for yet.
    away: watch::Receiver<Option<Vec<String>>>,
}

impl Handshakers {
    /// Those that are in use, and what has to run to know of them.
    pub fn watched(
        used: watch::Receiver<Vec<Located>>,
    ) -> (impl Future<Output = ()> + Send + 'static, Self) {
        let (sender, away) = watch::channel(None);
        (ask(used, sender), Self { away })
    }

    /// Whether all of them answer.
    ///
    /// # Errors
    /// Which ones do not.
    pub fn are_there(&self) -> Result<(), String> {
        match &*self.away.borrow() {
            None => Err("nothing is known about the handshakers yet".to_owned()),
            Some(away) if away.is_empty() => Ok(()),
            Some(away) => Err(format!("these handshakers are not there: {}", away.join(", "))),
        }
    }
}

/// Asks for them until nobody wants to know.
async fn ask(mut used: watch::Receiver<Vec<Located>>, away: watch::Sender<Option<Vec<String>>>) {
    let mut next = interval(INTERVAL);
    loop {
        tokio::select! {
            _ = next.tick() => {}
            changed = used.changed() => if changed.is_err() { return },
            () = away.closed() => return,
        }
        let all = used.borrow_and_update().clone();
        let mut lost = Vec::new();
        for one in all {
            if let Err(why) = look(&one).await {
                lost.push(format!("{} ({why})", one.locator()));
            }
        }
        lost.sort_unstable();
        away.send_replace(Some(lost));
    }
}

/// Connects to one, sees who listens, and asks how it is.
async fn look(handshaker: &Located) -> Result<(), String> {
    let locator = handshaker.locator();
    // One in this process is always there, but its certificate may have ended.
    let Some(address) = locator.address() else { return handshaker.check() };
    let address: Address = address.to_string().parse()?;
    let of_socket = |why: io::Error| {
        if is_exhausted(&why) {
            format!("nobody knows: this proxy or its machine has nothing left to ask it: {why}")
        } else {
            why.to_string()
        }
    };
    let socket = match timeout(PATIENCE, Socket::connect(&address)).await {
        Ok(connected) => connected.map_err(of_socket)?,
        Err(why) => return Err(why.to_string()),
    };
    match (locator.required_user().cloned(), &socket) {
        (None, _) => {}
        (Some(user), Socket::Unix(stream)) => {
            let uid = stream.peer_cred().map_err(|why| why.to_string())?.uid();
            let checked = tokio::task::spawn_blocking(move || user.check(uid));
            checked.await.map_err(|why| why.to_string())??;
        }
        (Some(_), Socket::Tcp(_)) => {
            return Err("over TCP nobody knows which user listens".to_owned());
        }
    }
    match timeout(PATIENCE, serves(socket)).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err("it says that it does not serve".to_owned()),
        Ok(Err(why)) => Err(format!("it does not speak HTTP/2: {why}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}

/// Asks a service over gRPC whether it serves. One that does not know the question has answered it.
async fn serves(socket: Socket) -> Result<bool, Box<dyn Error + Send + Sync>> {
    let io = TokioIo::new(socket);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let exchange = async {
        let request = Request::post("http://localhost/grpc.health.v1.Health/Check")
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers")
            .body(Full::new(Bytes::from_static(&NO_MESSAGE)))?;
        let response = sender.send_request(request).await?;
        let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await?.to_bytes();
        Ok(body.get(NO_MESSAGE.len()..).is_none_or(|status| matches!(status, [] | SERVING)))
    };
    tokio::select! {
        answer = exchange => answer,
        ended = connection => Err(ended.err().map_or_else(|| "it closed the connection".into(), Into::into)),
    }
}

/// An empty message of gRPC: no compression, no bytes. Health of the service as a whole.
const NO_MESSAGE: [u8; 5] = [0; 5];

/// The message `HealthCheckResponse` with `status = SERVING`.
const SERVING: &[u8] = &[0x08, 0x01];

/// More than any answer has.
const LARGEST_ANSWER: usize = 1024;
