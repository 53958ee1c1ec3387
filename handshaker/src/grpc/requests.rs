//! The requests of one RPC, whose sizes are judged before they are read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http_body::Body as _;
use tonic::Status;
use tonic::body::Body;

/// A flag (compressed or not) and the length, big-endian.
const HEADER: usize = 5;

/// The messages of a request's body.
pub(super) struct Requests {
    body: Body,
    buffer: BytesMut,
    /// The length of the message that is being read, once it has been allowed.
    length: Option<usize>,
}

impl Requests {
    pub(super) fn new(body: Body) -> Self {
        Self { body, buffer: BytesMut::new(), length: None }
    }

    /// The next message. `allow` is asked about each length before more than the one frame with it
    /// is kept.
    pub(super) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        mut allow: impl FnMut(usize) -> Result<(), Status>,
    ) -> Poll<Option<Result<Bytes, Status>>> {
        loop {
            if self.length.is_none()
                && let Some((header, _)) = self.buffer.split_first_chunk::<HEADER>()
            {
                let [flag, length @ ..] = *header;
                if flag != 0 {
                    let refusal = Status::unimplemented("compressed messages are not taken here");
                    return Poll::Ready(Some(Err(refusal)));
                }
                let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                if let Err(refusal) = allow(length) {
                    return Poll::Ready(Some(Err(refusal)));
                }
                self.buffer.advance(HEADER);
                self.length = Some(length);
            }
            if let Some(length) = self.length.filter(|length| self.buffer.len() >= *length) {
                self.length = None;
                return Poll::Ready(Some(Ok(self.buffer.split_to(length).freeze())));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None if self.buffer.is_empty() && self.length.is_none() => {
                    return Poll::Ready(None);
                }
                None => {
                    let broken = Status::invalid_argument("the request ends inside a message");
                    return Poll::Ready(Some(Err(broken)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::task::Waker;

    use super::*;

    /// Reads all messages of a body in one frame, none longer than `limit`.
    fn read(bytes: &'static [u8], limit: usize) -> Result<Vec<Bytes>, Status> {
        let frame = http_body::Frame::data(Bytes::from_static(bytes));
        let body = http_body_util::StreamBody::new(tokio_stream::once(Ok::<_, Infallible>(frame)));
        let mut requests = Requests::new(Body::new(body));
        let mut context = Context::from_waker(Waker::noop());
        let mut found = Vec::new();
        loop {
            let allow =
                |length| if length > limit { Err(Status::out_of_range("")) } else { Ok(()) };
            match requests.poll_next(&mut context, allow) {
                Poll::Ready(Some(message)) => found.push(message?),
                Poll::Ready(None) => return Ok(found),
                Poll::Pending => panic!("all of it is there"),
            }
        }
    }

    #[test]
    fn messages_are_told_apart_and_long_ones_not_read() {
        use tonic::Code;
        let good = read(b"\0\0\0\0\x02ab\0\0\0\0\0\0\0\0\0\x01c", 2).unwrap();
        assert_eq!(good, [&b"ab"[..], b"", b"c"]);
        assert!(read(b"", 0).unwrap().is_empty());
        for (bytes, code) in [
            (&b"\0\0\0\0\x03abc"[..], Code::OutOfRange),
            (b"\0\xFF\xFF\xFF\xFF", Code::OutOfRange),
            (b"\0\0\0\0\x01a\0\0\0\0\x03", Code::OutOfRange),
            (b"\x01\0\0\0\x01a", Code::Unimplemented),
            (b"\0\0\0", Code::InvalidArgument),
            (b"\0\0\0\0\x02a", Code::InvalidArgument),
        ] {
            assert_eq!(read(bytes, 2).unwrap_err().code(), code, "{bytes:?}");
        }
    }
}
