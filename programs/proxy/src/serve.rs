//! Serves one connection of a client: the handshake, admission, and bytes or HTTP.

use std::future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use alts_serving::life::Alive;
use alts_serving::limits::{Key, Slot};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_alts::{AltsAcceptor, AltsStream, HandshakeFailure};

use crate::client::Client;
use crate::config::{Level, Security};
use crate::listener::Listener;
use crate::outcome::Outcome;
use crate::relay::{End, Traffic, relay};
use crate::socket::{Socket, Stream};
use crate::term::Term;
use crate::{callers, http, proxy_protocol};

/// How long a client may take for its handshake, or for its first byte, when the proxy is to end.
const LEAVING: Duration = Duration::from_secs(1);

/// Serves a connection to its end.
///
/// It is served with what `listener` is; `rules` is what that becomes.
pub async fn serve(
    listener: Arc<Listener>,
    rules: watch::Receiver<Arc<Listener>>,
    socket: Socket,
    slots: [Slot; 2],
    mut alive: Alive,
) {
    let client = Arc::new(Client::new(
        &listener.settings.name,
        listener.upstream.name(),
        socket.remote_addr().zip(socket.local_addr()),
        &listener.metrics,
        slots,
    ));
    let outcome = tokio::select! {
        // Carrying comes first: it ends the connection in its own way.
        biased;
        outcome = carry(&client, &listener, rules, socket, alive.clone()) => outcome,
        () = alive.over() => Outcome::Cut,
    };
    client.audit(&outcome, &listener.refusals);
}

async fn carry(
    client: &Arc<Client>,
    listener: &Arc<Listener>,
    rules: watch::Receiver<Arc<Listener>>,
    socket: Socket,
    alive: Alive,
) -> Outcome {
    if let Some(allowed) = &listener.settings.callers
        && let Err(why) = callers::admit(client, allowed, &listener.lookups, &socket).await
    {
        return Outcome::Refused(why);
    }
    let stream = match &listener.acceptor {
        None => Stream::plain(socket, listener.limits.buffer_bytes),
        Some(acceptor) => match accept(acceptor, socket, alive.clone()).await {
            None => return Outcome::Cut,
            Some(Ok(stream)) => Stream::Alts(Box::new(stream)),
            Some(Err(failure)) => {
                let account = failure.error().peer_service_account();
                if !account.is_empty() {
                    client.set_account(account);
                }
                return Outcome::Handshake(failure.error().to_string());
            }
        },
    };
    if let (Some(context), Security::Alts(alts)) = (stream.context(), &listener.settings.security) {
        let account = context.peer_service_account();
        client.set_account(account);
        if let Err(full) = client.count_for(&Key::Account(account.into())) {
            return Outcome::Refused(format!(
                "{}: the account has too many connections",
                full.name()
            ));
        }
        if !alts.peers.contains(account) {
            return Outcome::Refused(format!("the listener allows {}", alts.peers));
        }
    }
    let term = Term::new(client, listener, rules, stream.context().map(Arc::as_ref));
    match listener.settings.level {
        Level::Bytes => bytes(client, listener, stream, term, alive).await,
        Level::Http => http::serve(client, listener, stream, term, alive).await,
    }
}

/// Makes a handshake. Once the proxy is about to end, a client has only [`LEAVING`] to finish it.
async fn accept(
    acceptor: &AltsAcceptor,
    socket: Socket,
    mut alive: Alive,
) -> Option<Result<AltsStream<Socket>, HandshakeFailure<Socket>>> {
    tokio::select! {
        accepted = acceptor.accept(socket) => Some(accepted),
        () = async {
            alive.draining().await;
            sleep(LEAVING).await;
        } => None,
    }
}

/// Carries a connection as it is.
async fn bytes(
    client: &Client,
    listener: &Listener,
    mut stream: Stream,
    term: Term,
    alive: Alive,
) -> Outcome {
    let Listener { upstream, settings, .. } = listener;
    let (mut server, address) = match upstream.connect().await {
        Ok(connected) => connected,
        Err(error) => {
            stream.break_off();
            return Outcome::Upstream(error.to_string());
        }
    };
    client.set_upstream_address(address);
    if upstream.settings().send_proxy_protocol {
        let header = proxy_protocol::header(client.addresses, client.account());
        if let Err(error) = greet(&mut server, &header).await {
            stream.break_off();
            return Outcome::Upstream(error.to_string());
        }
    }
    // That it is due, nobody can be told: it has its grace to end by itself.
    let term = term.and_to(server.context());
    let end = tokio::select! {
        end = relay(&mut stream, &mut server, &client.traffic, settings.idle) => match end {
            End::Finished => return Outcome::Finished,
            End::Idle => Outcome::Idle,
            End::Client(error) => Outcome::ClientError(error.to_string()),
            End::Upstream(error) => Outcome::UpstreamError(error.to_string()),
        },
        why = term.over() => Outcome::Due { why, is_cut: true },
        () = time_to_go(&client.traffic, &alive) => Outcome::Cut,
    };
    stream.break_off();
    server.break_off();
    end
}

/// Waits until everything is to end; if neither side has said anything, only for [`LEAVING`] from when
/// the proxy is about to end. Whether anything else may be cut, only those who speak it know.
async fn time_to_go(traffic: &Traffic, alive: &Alive) {
    let (mut draining, mut over) = (alive.clone(), alive.clone());
    let unused = async {
        draining.draining().await;
        sleep(LEAVING).await;
        if traffic.moved() > 0 {
            future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = unused => {}
        () = over.over() => {}
    }
}

async fn greet(server: &mut Stream, header: &[u8]) -> io::Result<()> {
    server.write_all(header).await?;
    server.flush().await
}
