//! A handshake of the service with itself, in both roles, over a pipe in memory.

use std::error::Error as _;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsStream, ClientConfig, Error, ErrorKind, ServerConfig,
};

use super::report::{Facts, Said};
use super::service::Service;
use crate::diagnosis::{Fault, Problem};

/// Room of the pipe in each direction: a whole flight of handshake messages.
const PIPE: usize = 64 * 1024;
/// What each end writes to the other.
const WORDS: &[u8] = b"one record";

/// Both ends of a connection.
pub(super) struct Pair {
    client: AltsStream<DuplexStream>,
    server: AltsStream<DuplexStream>,
}

/// Makes a handshake whose both ends use `service`.
pub(super) async fn handshake(service: Service, deadline: Duration) -> Result<Said<Pair>, Problem> {
    let address = service.address().to_owned();
    let tried = format!("a handshake of the handshaker service ({address}) with itself");
    let defect = |error: tokio_alts::ConfigError| {
        let remedy = "report this as a defect of this program";
        Problem::new(Fault::Local, tried.as_str(), error.to_string(), remedy)
    };
    let client = ClientConfig::builder().any_peer().deadline(deadline).build().map_err(defect)?;
    let server = ServerConfig::builder().any_peer().deadline(deadline).build().map_err(defect)?;
    let connector = AltsConnector::new(client, service.clone());
    let acceptor = AltsAcceptor::new(server, service);
    let (near, far) = duplex(PIPE);
    // The end that fails drops its half of the pipe, so that the other one does not wait for it.
    let (client, server) =
        tokio::join!(async { connector.connect(near).await.map_err(Error::from) }, async {
            acceptor.accept(far).await.map_err(Error::from)
        },);
    let (client, server) = match (client, server) {
        (Ok(client), Ok(server)) => (client, server),
        (Err(client), Err(server)) => {
            // The other one only reports that its peer is gone.
            let telling = if client.fault() == tokio_alts::Fault::Peer { &server } else { &client };
            return Err(explain(tried, telling));
        }
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => return Err(explain(tried, &error)),
    };
    let seen = [
        client.context().local_service_account(),
        server.context().peer_service_account(),
        server.context().local_service_account(),
        client.context().peer_service_account(),
    ];
    let [own_client, seen_client, own_server, seen_server] = seen;
    if own_client != seen_client || own_server != seen_server {
        return Err(Problem::new(
            Fault::Handshaker,
            tried,
            format!(
                "accounts that do not fit: the client is {own_client} and was seen as \
                 {seen_client}, the server is {own_server} and was seen as {seen_server}"
            ),
            "this service contradicts itself: do not use it, and report it to those who make it",
        ));
    }
    let detail = if own_client == own_server {
        format!("we are {own_client}")
    } else {
        format!("we are {own_client} as client, {own_server} as server")
    };
    let facts = Facts::from([
        ("client_account", own_client.into()),
        ("server_account", own_server.into()),
        ("record_protocol", client.context().record_protocol().name().into()),
    ]);
    Ok((Pair { client, server }, (detail, facts)))
}

/// Sends one record each way.
pub(super) async fn records(pair: Pair, deadline: Duration) -> Result<Said<()>, Problem> {
    let Pair { mut client, mut server } = pair;
    let exchange = async {
        pass(&mut client, &mut server).await?;
        pass(&mut server, &mut client).await
    };
    let outcome = match timeout(deadline, exchange).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("nothing before the deadline".to_owned()),
    };
    outcome.map_err(|got| {
        Problem::new(
            Fault::Handshaker,
            "to send one record each way over the connection with itself",
            got,
            "the two ends were not given the same key: report it to those who make this \
             handshaker service",
        )
    })?;
    Ok(((), ("client to server, server to client".to_owned(), Facts::new())))
}

async fn pass(
    from: &mut AltsStream<DuplexStream>,
    to: &mut AltsStream<DuplexStream>,
) -> std::io::Result<()> {
    from.write_all(WORDS).await?;
    from.flush().await?;
    let mut read = vec![0; WORDS.len()];
    to.read_exact(&mut read).await?;
    if read == WORDS { Ok(()) } else { Err(std::io::Error::other("other bytes than were sent")) }
}

fn explain(tried: String, error: &Error) -> Problem {
    let got = match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let remedy = match error.kind() {
        ErrorKind::TimedOut { .. } => {
            "the service hangs in the middle of a handshake: look at its load and its log; \
             --deadline waits longer"
        }
        _ if error.service_details().contains("machine") => {
            "a machine's certificate is believed only where an authority may vouch for machines: if \
             this machine's peers say so, so should it (altsd: machines of its trust_roots)"
        }
        _ => {
            "look at the identity of the service, its trust roots and its dates: it does not \
             believe itself (altsd check-config, and its log)"
        }
    };
    Problem::new(Fault::Handshaker, tried, got, remedy)
}
