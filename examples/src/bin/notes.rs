//! A tonic service as most are written: a `.proto` file, generated code, and a rule for who may do what.
#![expect(clippy::print_stdout, reason = "a program that is there to be looked at")]

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use alts_handshaker::dev::Authority;
use tokio_alts::{
    AltsAcceptor, AltsConnector, AltsHttpConnector, AltsIncoming, AltsRequest, ClientConfig,
    RequireServiceAccounts, ServerConfig, StatusCode,
};
use tokio_stream::StreamExt as _;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};

use self::pb::notes_client::NotesClient;
use self::pb::notes_server::{Notes, NotesServer};
use self::pb::{AddRequest, AddResponse, ListRequest, Note};

/// What `build.rs` has generated.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::pedantic,
    reason = "generated"
)]
mod pb {
    tonic::include_proto!("notes.v1");
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SERVER: &str = "notes@dev.test";
const WRITER: &str = "writer@dev.test";
const READER: &str = "reader@dev.test";
const STRANGER: &str = "stranger@dev.test";

/// The service. It holds no accounts and checks no tokens: the connection says who is calling.
#[derive(Default)]
struct Board {
    notes: Mutex<Vec<Note>>,
}

#[tonic::async_trait]
impl Notes for Board {
    async fn add(&self, request: Request<AddRequest>) -> Result<Response<AddResponse>, Status> {
        let context = request.alts_context().ok_or(Status::unauthenticated("not over ALTS"))?;
        context.authorize(&[WRITER]).map_err(|_| Status::permission_denied("for writers only"))?;
        let author = context.peer_service_account().to_owned();
        let note = Note { text: request.into_inner().text, author };
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.push(note);
        let count = u32::try_from(notes.len()).map_err(|_| Status::resource_exhausted("full"))?;
        Ok(Response::new(AddResponse { count }))
    }

    type ListStream = tokio_stream::Iter<std::vec::IntoIter<Result<Note, Status>>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        // The layer has admitted the caller.
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let notes: Vec<_> = notes.into_iter().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(notes)))
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let authority = Authority::new()?;

    // The server. The layer refuses all calls of accounts that are not on its list.
    let config = ServerConfig::builder().any_peer().build()?;
    let acceptor = AltsAcceptor::new(config, authority.handshaker(SERVER)?);
    let incoming = AltsIncoming::bind("127.0.0.1:0", acceptor).await?;
    let address = incoming.local_addr().ok_or("not TCP")?;
    let server = Server::builder()
        .layer(RequireServiceAccounts::new([READER, WRITER]))
        .add_service(NotesServer::new(Board::default()));
    tokio::spawn(server.serve_with_incoming(incoming));

    // Three clients, each over a connection of its own.
    let connect = async |account: &str| -> Outcome<_> {
        let config = ClientConfig::builder().expect_peer(SERVER).build()?;
        let connector = AltsConnector::new(config, authority.handshaker(account)?);
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
        let channel = endpoint.connect_with_connector(AltsHttpConnector::new(connector)).await?;
        Ok(NotesClient::new(channel))
    };
    let add = || AddRequest { text: "the door is open".to_owned() };

    let count = connect(WRITER).await?.add(add()).await?.into_inner().count;
    println!("writer: added, {count} note");

    let mut reader = connect(READER).await?;
    let refused = reader.add(add()).await.err().ok_or("a reader has written")?;
    println!("reader: add: {}: {}", StatusCode(refused.code() as u32), refused.message());
    let mut notes = reader.list(ListRequest {}).await?.into_inner();
    let note = notes.next().await.ok_or("no note")??;
    println!("reader: {:?}, by {}", note.text, note.author);

    let mut stranger = connect(STRANGER).await?;
    let hidden = stranger.list(ListRequest {}).await.err().ok_or("a stranger has read")?;
    println!("stranger: list: {}: {}", StatusCode(hidden.code() as u32), hidden.message());

    let denied = [refused.code(), hidden.code()] == [Code::PermissionDenied; 2];
    match (denied, note.author == WRITER, notes.next().await) {
        (true, true, None) => Ok(()),
        _ => Err("somebody got what they should not, or did not get what they should".into()),
    }
}
