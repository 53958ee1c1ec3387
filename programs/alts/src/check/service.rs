//! The handshaker service by itself: where it is, and whether it answers a start message.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use alts_core::handshake::{ClientConfig, ExpectedPeer, HandshakeErrorKind, REQUEST_OVERHEAD};
use alts_core::{ClientHandshake, StatusCode};
use alts_handshaker::locator::Locator;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_alts::error::Foreign;
use tokio_alts::{HandshakerService, ServiceError};

use super::report::{Facts, Said};
use crate::diagnosis::{Fault, Problem};
use crate::handshaker;
use crate::reach::{Destination, Resolved};

/// The gRPC status codes that say something about a service.
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;

/// A handshaker service that works.
pub(super) type Service = Arc<dyn HandshakerService>;

/// Where the service is; `None` for one in this process.
pub(super) fn place(handshaker: &Locator) -> Option<Destination> {
    let address = handshaker.address()?;
    Some(Destination::of_handshaker(address, handshaker.to_string()))
}

/// Sends a client's start message, and checks that there is an answer that makes sense.
pub(super) async fn ask(
    handshaker: &Locator,
    deadline: Duration,
) -> Result<Said<Service>, Problem> {
    let service = handshaker::service(handshaker)?;
    let tried = format!("to begin a handshake with the handshaker service {handshaker}");
    let defect = |got: String| {
        Problem::new(Fault::Local, tried.as_str(), got, "report this as a defect of this program")
    };
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut machine = ClientHandshake::client(&config, Duration::ZERO)
        .map_err(|error| defect(error.to_string()))?;
    let mut request = vec![0; REQUEST_OVERHEAD];
    let length = machine
        .request(&[], &mut request, Duration::ZERO)
        .map_err(|error| defect(error.to_string()))?;
    request.truncate(length);

    impostor(handshaker, &tried, deadline).await?;
    let mut call = service.open();
    let answer = match timeout(deadline, call.exchange(request.into())).await {
        Err(_) => {
            return Err(Problem::new(
                Fault::Handshaker,
                tried,
                "it accepts connections, and did not answer before the deadline",
                "it hangs, or is not a handshaker service: look at its log; --deadline waits longer",
            ));
        }
        Ok(Err(error)) => return Err(not_answered(handshaker, tried, &error, deadline).await),
        Ok(Ok(None)) => {
            return Err(Problem::new(
                Fault::Handshaker,
                tried,
                "it ended the call with OK, and without an answer",
                "this is not a handshaker service, or is a broken one: name the address of another",
            ));
        }
        Ok(Ok(Some(answer))) => answer,
    };
    let mut answer = answer;
    match machine.response(&mut answer, Duration::ZERO).map_err(|error| error.kind()) {
        Ok(_) => {
            let detail = "it begins a handshake".to_owned();
            Ok((service, (detail, Facts::new())))
        }
        Err(HandshakeErrorKind::Refused { code }) => {
            let details = machine.details();
            let said = if details.is_empty() { "without a reason" } else { details };
            Err(refused(tried, code, format!("status {}: {said}", StatusCode(code))))
        }
        Err(kind) => Err(Problem::new(
            Fault::Handshaker,
            tried,
            kind.to_string(),
            "its answer breaks the protocol: name the address of another handshaker service, or \
             report it to those who make this one",
        )),
    }
}

/// Whether the user who is required listens there.
async fn impostor(handshaker: &Locator, tried: &str, deadline: Duration) -> Result<(), Problem> {
    let (Some(user), Some(place)) = (handshaker.required_user(), place(handshaker)) else {
        return Ok(());
    };
    let Resolved::Unix(path) = place.resolve(deadline).await? else { return Ok(()) };
    // What else may be wrong with the socket, the call that follows finds.
    let Ok(Ok(stream)) = timeout(deadline, UnixStream::connect(path)).await else { return Ok(()) };
    let checked = match stream.peer_cred() {
        Ok(listener) => {
            let (user, uid) = (user.clone(), listener.uid());
            let checked = tokio::task::spawn_blocking(move || user.check(uid)).await;
            checked.unwrap_or_else(|error| Err(error.to_string()))
        }
        Err(why) => Err(format!("the kernel does not say who listens: {why}")),
    };
    checked.map_err(|got| {
        let remedy = "another program has taken the address of the handshaker service: find out which \
                      (ss -xlp), or name the user that the service runs as with --require-user";
        Problem::new(Fault::Handshaker, tried, got, remedy)
    })
}

/// The service has answered that it will not.
fn refused(tried: String, code: u32, got: String) -> Problem {
    let remedy = match code {
        PERMISSION_DENIED => {
            "its policy gives this user no account: add a rule (altsd: [[policy]] with this user \
             among the callers), or run as a user who has one"
        }
        RESOURCE_EXHAUSTED => {
            "a limit of the service was reached: try again, or raise it (altsd: [limits])"
        }
        _ => "the log of the handshaker service says more",
    };
    Problem::new(Fault::Handshaker, tried, got, remedy)
}

/// The call has failed.
async fn not_answered(
    handshaker: &Locator,
    tried: String,
    error: &ServiceError,
    deadline: Duration,
) -> Problem {
    let got = match error.source() {
        Some(source) => format!("{}: {source}", error.message()),
        None => error.message().to_owned(),
    };
    match error.code() {
        Some(UNIMPLEMENTED) => Problem::new(
            Fault::Handshaker,
            tried,
            format!("a gRPC or HTTP/2 server that is not a handshaker service ({got})"),
            "name the address of a handshaker service: this one belongs to something else",
        ),
        Some(code @ (PERMISSION_DENIED | RESOURCE_EXHAUSTED)) => {
            refused(tried, code, error.message().to_owned())
        }
        _ => match foreign(handshaker, deadline).await {
            Some(Foreign::Http2) => Problem::new(
                Fault::Handshaker,
                tried,
                got,
                "it speaks HTTP/2, and the call fails: its log says why, if it is a handshaker \
                 service at all",
            ),
            Some(foreign) => Problem::new(
                Fault::Handshaker,
                tried,
                format!("{foreign} ({got})"),
                format!(
                    "{}: name the address of a handshaker service, which speaks gRPC without TLS",
                    foreign.port()
                ),
            ),
            None => Problem::new(
                Fault::Handshaker,
                tried,
                format!("no gRPC ({got})"),
                "what listens there is not a handshaker service, or has just gone: name another \
                 address, or look at its log",
            ),
        },
    }
}

/// What listens there instead of a handshaker service.
async fn foreign(handshaker: &Locator, deadline: Duration) -> Option<Foreign> {
    let place = place(handshaker)?;
    let resolved = place.resolve(deadline).await.ok()?;
    place.probe(&resolved, deadline).await
}
