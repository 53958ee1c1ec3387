//! hyper's traits do what tokio's do.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;

use alts_core::Side;
use hyper::rt::{Read, ReadBuf, Write};

use crate::wire::*;

#[tokio::test]
async fn hyper_reads_payloads_in_pieces_and_an_end() {
    let wire = Wire::receiving(&frames(Side::Server, &[b"hello", b"", b"world"]).concat());
    wire.state().ended = true;
    let mut stream = stream(Side::Client, wire);
    for expected in ["hel", "lo", "wor", "ld", ""] {
        let mut space = [0; 3];
        let mut buf = ReadBuf::new(&mut space);
        poll_fn(|cx| Read::poll_read(Pin::new(&mut stream), cx, buf.unfilled())).await.unwrap();
        assert_eq!(buf.filled(), expected.as_bytes());
    }
}

#[tokio::test]
async fn hyper_writes_vectors_and_shuts_down() {
    let wire = Wire::default();
    let mut stream = stream(Side::Client, wire.clone());
    assert!(Write::is_write_vectored(&stream));
    let slices = [IoSlice::new(b"hello "), IoSlice::new(b"world")];
    let mut stream = Pin::new(&mut stream);
    let count = poll_fn(|cx| Write::poll_write_vectored(stream.as_mut(), cx, &slices)).await;
    assert_eq!(count.unwrap(), 11);
    let count = poll_fn(|cx| Write::poll_write(stream.as_mut(), cx, b"!")).await;
    assert_eq!(count.unwrap(), 1);
    poll_fn(|cx| Write::poll_flush(stream.as_mut(), cx)).await.unwrap();
    poll_fn(|cx| Write::poll_shutdown(stream.as_mut(), cx)).await.unwrap();
    let sent = payloads(Side::Client, wire.state().outbound.clone());
    assert_eq!(sent, [&b"hello world"[..], b"!"]);
    assert_eq!(wire.state().shutdown_calls, 1);
}
