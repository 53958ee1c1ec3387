//! Every error of this crate, as a program prints it that ends with one.

use std::collections::BTreeSet;
use std::path::Path;

use tokio::io::duplex;
use tokio_alts::platform::PlatformError;
use tokio_alts::{
    Address, AltsConnector, ClientConfig, Error, ErrorKind, GrpcHandshaker, ServiceError,
};

use crate::sentences::{errors, sentence};

#[tokio::test]
async fn debug_of_every_error_is_its_sentence() {
    let config = ClientConfig::builder().any_peer().build().unwrap();
    let nobody = GrpcHandshaker::at("unix:/nonexistent/handshaker").unwrap();
    let (near, _far) = duplex(64);
    let failure = AltsConnector::new(config, nobody).connect(near).await.err().unwrap();
    assert!(matches!(failure.error().kind(), ErrorKind::Service(_)));
    let told = [
        sentence("localhost".parse::<Address>().unwrap_err()),
        sentence(ClientConfig::builder().build().unwrap_err()),
        sentence(PlatformError::default()),
        sentence(ServiceError::new("unix:/run/a.sock", "not there")),
        sentence(&failure),
        sentence::<Error>(failure.into_error()),
    ];
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    assert_eq!(BTreeSet::from(told), errors(&sources));
}
