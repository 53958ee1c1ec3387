//! What the daemon asks of TLS.

use crate::common::Start;
use crate::support::{Authority, Caller, Directory, Running, altsd, channel, with_itself};

/// The first message of a client that has not heard of ML-KEM: X25519 (29), and one of each of the rest.
fn classical_hello() -> Vec<u8> {
    let extension = |kind: u8, body: &[u8]| {
        let length = u8::try_from(body.len()).unwrap();
        [&[0, kind, 0, length], body].concat()
    };
    let extensions = [
        extension(43, &[2, 3, 4]),
        extension(13, &[0, 2, 4, 3]),
        extension(10, &[0, 2, 0, 29]),
        // The base point is a point of the curve.
        extension(51, &[&[0, 36, 0, 29, 0, 32, 9][..], &[0; 31]].concat()),
        extension(16, b"\0\x08\x07altsd/1"),
    ]
    .concat();
    let length = u8::try_from(extensions.len()).unwrap();
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0, 0, length], &extensions].concat();
    let length = u8::try_from(body.len()).unwrap();
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat();
    let length = u32::try_from(record.len() + 4).unwrap();
    [&length.to_le_bytes()[..], &CLIENT_INIT, &record].concat()
}

const CLIENT_INIT: [u8; 4] = [1, 1, 0, 0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ml_kem_can_be_required() {
    for (more, code) in [("", 0), ("[tls]\nrequire_post_quantum = true\n", 9)] {
        let (directory, authority) = (Directory::new(), Authority::new());
        let config = directory.simple(&authority, "\"anyone\"", more);
        let mut running = Running::start(&config);
        with_itself(&directory.socket()).await;
        running.audit(&[("side", "server"), ("key_exchange", "X25519MLKEM768")]);

        let channel = channel(&directory.socket()).await;
        let first = Start::default().server(&classical_hello());
        let (_server, said) = Caller::call(&channel, first).await.unwrap();
        assert_eq!(said.code, code, "{}", said.details);
        let words = "did not agree to the key exchange X25519MLKEM768, which this side requires";
        assert_eq!(said.details.contains(words), code != 0, "{}", said.details);
    }
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"anyone\"", "[tls]\npost_quantum = true\n");
    let output = altsd().args(["check-config", "--config"]).arg(&path).output().unwrap();
    assert!(!output.status.success(), "a setting that there is not");
}
