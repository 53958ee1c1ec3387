//! A handshaker service that can be made to misbehave, and other helpers.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use alts_core::msg::{HandshakerReq, HandshakerResp, HandshakerStatus, List, Request};
use alts_core::wire::Message;
use alts_handshaker::Handshaker;
use alts_handshaker::dev::Authority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsStream, BoxFuture, ClientConfig, HandshakerCall,
    HandshakerService, ServerConfig, ServiceError, ServiceMessage,
};

pub(crate) const CLIENT: &str = "client@dev.test";
pub(crate) const SERVER: &str = "server@dev.test";
/// What scripted services call themselves.
pub(crate) const ADDRESS: &str = "scripted.test:1";

/// A whole first frame, with nothing in it that anybody could read.
pub(crate) const FIRST: &[u8] = b"\x08\0\0\0\x01\x01\0\0what";

/// Honest services for both sides.
pub(crate) fn services() -> (Handshaker, Handshaker) {
    let authority = Authority::new().unwrap();
    (authority.handshaker(CLIENT).unwrap(), authority.handshaker(SERVER).unwrap())
}

pub(crate) fn connector(service: impl HandshakerService) -> AltsConnector {
    AltsConnector::new(ClientConfig::builder().expect_peer(SERVER).build().unwrap(), service)
}

pub(crate) fn acceptor(service: impl HandshakerService) -> AltsAcceptor {
    AltsAcceptor::new(ServerConfig::builder().any_peer().build().unwrap(), service)
}

/// What a service does with one request instead of what is right.
pub(crate) enum Act {
    /// Nothing else: the honest answer.
    Honest,
    /// Never answers.
    Silent,
    /// The honest answer, this much later.
    Late(Duration),
    /// Ends the call.
    End,
    /// Fails the call.
    Fail(&'static str),
    /// Answers the honest answer, changed.
    Change(fn(&mut HandshakerResp<'_>)),
    /// Is asked something else, and answers that honestly.
    Ask(Box<dyn Fn(&mut HandshakerReq<'_>) + Send>),
    /// Answers these bytes.
    Answer(Vec<u8>),
}

/// An honest service, with an attacker between it and the caller.
#[derive(Clone)]
pub(crate) struct Scripted {
    honest: Handshaker,
    script: Arc<dyn Fn(usize) -> Act + Send + Sync>,
    /// Calls that are open.
    pub(crate) open: Arc<AtomicUsize>,
    /// Calls that were ever opened.
    pub(crate) opened: Arc<AtomicUsize>,
}

impl Scripted {
    /// `script` is asked with the number of the request in its call, from 0.
    pub(crate) fn new(
        honest: Handshaker,
        script: impl Fn(usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let script = Arc::new(script);
        Self { honest, script, open: Arc::default(), opened: Arc::default() }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

impl HandshakerService for Scripted {
    fn open(&self) -> Box<dyn HandshakerCall> {
        self.open.fetch_add(1, Ordering::SeqCst);
        self.opened.fetch_add(1, Ordering::SeqCst);
        let honest = self.honest.open();
        Box::new(ScriptedCall { of: self.clone(), honest, requests: 0 })
    }

    fn address(&self) -> &str {
        ADDRESS
    }
}

struct ScriptedCall {
    of: Scripted,
    honest: Box<dyn HandshakerCall>,
    requests: usize,
}

impl Drop for ScriptedCall {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl HandshakerCall for ScriptedCall {
    fn exchange(
        &mut self,
        request: ServiceMessage,
    ) -> BoxFuture<'_, Result<Option<ServiceMessage>, ServiceError>> {
        let act = (self.of.script)(self.requests);
        self.requests += 1;
        Box::pin(async move {
            match act {
                Act::Honest => self.honest.exchange(request).await,
                Act::Late(delay) => {
                    tokio::time::sleep(delay).await;
                    self.honest.exchange(request).await
                }
                Act::Silent => std::future::pending().await,
                Act::End => Ok(None),
                Act::Fail(message) => Err(ServiceError::new(ADDRESS, message)),
                Act::Answer(bytes) => Ok(Some(bytes.into())),
                Act::Change(change) => {
                    let answer = self.honest.exchange(request).await?.unwrap();
                    let mut answer = HandshakerResp::decode(&answer).unwrap();
                    change(&mut answer);
                    Ok(Some(encode(&answer).into()))
                }
                Act::Ask(change) => {
                    let mut request = HandshakerReq::decode(&request).unwrap();
                    change(&mut request);
                    self.honest.exchange(encode(&request).into()).await
                }
            }
        })
    }
}

/// A service that never says anything.
pub(crate) fn silent() -> Scripted {
    Scripted::new(services().0, |_| Act::Silent)
}

pub(crate) fn encode<'a>(message: &impl Message<'a>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.encode(&mut bytes).unwrap();
    bytes
}

/// A refusal, with words for the peer.
pub(crate) fn refuse(response: &mut HandshakerResp<'_>) {
    response.status = Some(HandshakerStatus { code: 7, details: "policy says no" });
    response.out_frames = b"ALERT";
}

/// Forgets whom the client expects.
pub(crate) fn expect_anybody(request: &mut HandshakerReq<'_>) {
    if let Some(Request::ClientStart(start)) = &mut request.request {
        assert_eq!(start.target_identities.len(), 1);
        start.target_identities = List::new();
    }
}

/// Both ends of a connection, talked over.
pub(crate) async fn talk<A, B>(client: &mut AltsStream<A>, server: &mut AltsStream<B>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut heard = [0; 5];
    client.write_all(b"hello").await.unwrap();
    client.flush().await.unwrap();
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hello");
    server.write_all(b"world").await.unwrap();
    server.flush().await.unwrap();
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"world");
}

/// An I/O object that counts the bytes that were read from it.
pub(crate) struct Tally<IO> {
    pub(crate) io: IO,
    pub(crate) read: usize,
}

impl<IO: AsyncRead + Unpin> AsyncRead for Tally<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        self.read += buf.filled().len() - before;
        poll
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Tally<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Waits until `condition` holds; fails after 10 seconds.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to that");
}
