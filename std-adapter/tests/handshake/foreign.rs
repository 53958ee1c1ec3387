//! Peers that speak another protocol are named, and the service is not asked.

use alts_core::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio_alts::error::Foreign;
use tokio_alts::{Error, ErrorKind};

use crate::support::*;

/// What a server says of a client whose first bytes are these.
async fn of_a_client(first: &'static [u8]) -> Error {
    let service = Scripted::new(services().1, |_| Act::Honest);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    far.write_all(first).await.unwrap();
    let (near, _) = listener.accept().await.unwrap();
    let error = acceptor(service.clone()).accept(near).await.err().unwrap().into_error();
    assert_eq!(service.opened(), 0, "{error}");
    error
}

/// What a client says of a server that answers with these bytes.
async fn of_a_server(answer: &'static [u8]) -> Error {
    let service = Scripted::new(services().0, |_| Act::Honest);
    let (near, mut far) = duplex(64 * 1024);
    let answering = tokio::spawn(async move {
        let _ = far.read(&mut [0; 4096]).await.unwrap();
        far.write_all(answer).await.unwrap();
        far
    });
    let connecting = connector(service);
    let error = connecting.connect_to("peer.test:443", near).await.err().unwrap().into_error();
    drop(answering.await.unwrap());
    error
}

fn check(error: &Error, is: &Foreign, begin: &str, says: &str) {
    assert!(matches!(error.kind(), ErrorKind::Foreign(foreign) if foreign == is), "{error}");
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(error.to_string(), format!("{begin}: peer: does not speak ALTS: it sent {says}"));
}

#[tokio::test]
async fn a_client_of_another_protocol_is_named() {
    for (first, is, says) in [
        (
            &b"\x16\x03\x01\x00\xf4\x01\x00\x00\xf0\x03\x03what follows in a ClientHello"[..],
            Foreign::Tls,
            "a TLS handshake message",
        ),
        (b"\x15\x03\x03\x00\x02\x02\x28", Foreign::TlsAlert(40), "a TLS alert (40)"),
        (
            b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
            Foreign::Http1Request("GET /healthz HTTP/1.1".to_owned()),
            "an HTTP/1 request: \"GET /healthz HTTP/1.1\"",
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            Foreign::Http2,
            "HTTP/2 frames without encryption",
        ),
    ] {
        let begin = "server handshake failed, start of the handshake";
        check(&of_a_client(first).await, &is, begin, says);
    }
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named() {
    for (answer, is, says) in [
        (&b"\x15\x03\x03\x00\x02\x02\x46"[..], Foreign::TlsAlert(70), "a TLS alert (70)"),
        (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", Foreign::Tls, "a TLS handshake message"),
        (
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
            Foreign::Http1("HTTP/1.1 400 Bad Request".to_owned()),
            "an HTTP/1 response: \"HTTP/1.1 400 Bad Request\"",
        ),
        // What a gRPC server without encryption says first.
        (
            b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0\x40\0",
            Foreign::Http2,
            "HTTP/2 frames without encryption",
        ),
    ] {
        let begin = "client handshake with peer.test:443 failed, exchange of handshake messages";
        check(&of_a_server(answer).await, &is, begin, says);
    }
}

#[tokio::test]
async fn words_that_could_be_anything_are_for_the_service_to_judge() {
    let service = Scripted::new(services().1, |_| Act::Change(refuse));
    let (near, mut far) = duplex(64);
    far.write_all(b"ClientInit").await.unwrap();
    let error = acceptor(service.clone()).accept(near).await.err().unwrap().into_error();
    assert_eq!((error.fault(), service.opened()), (Fault::HandshakerService, 1), "{error}");
}
