//! A codec that passes messages through unchanged: bytes in, bytes out.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use zeroize::Zeroizing;

use crate::service::ServiceMessage;

/// gRPC messages as they are, for programs that make and read their bytes themselves.
///
/// `M` is [`Bytes`], which copies nothing, or [`ServiceMessage`], which wipes itself.
#[derive(Debug)]
pub struct RawCodec<M = Bytes>(PhantomData<fn() -> M>);

impl<M> Default for RawCodec<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M> Clone for RawCodec<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for RawCodec<M> {}

/// What both are.
macro_rules! codec {
    ($message:ty, $decode:expr) => {
        impl Codec for RawCodec<$message> {
            type Encode = $message;
            type Decode = $message;
            type Encoder = Self;
            type Decoder = Self;

            fn encoder(&mut self) -> Self {
                *self
            }

            fn decoder(&mut self) -> Self {
                *self
            }
        }

        impl Encoder for RawCodec<$message> {
            type Item = $message;
            type Error = Status;

            fn encode(&mut self, message: $message, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
                out.reserve(message.len());
                out.put_slice(&message);
                Ok(())
            }
        }

        impl Decoder for RawCodec<$message> {
            type Item = $message;
            type Error = Status;

            fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<$message>, Status> {
                Ok(Some($decode(bytes)))
            }
        }
    };
}

codec!(Bytes, |bytes: &mut DecodeBuf<'_>| bytes.copy_to_bytes(bytes.remaining()));
codec!(ServiceMessage, |bytes: &mut DecodeBuf<'_>| {
    let mut message = Zeroizing::new(vec![0; bytes.remaining()]);
    bytes.copy_to_slice(&mut message);
    message
});
