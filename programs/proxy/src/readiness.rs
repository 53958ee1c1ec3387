//! Whether the handshaker services are there: without them, nobody gets through.

use std::future::Future;
use std::time::Duration;
use std::{fmt, io};

use alts_handshaker::locator::Locator;
use alts_serving::descriptors::is_exhausted;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use crate::address::Address;
use crate::socket::Socket;

/// How often they are asked for.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long one may take to accept a connection.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known about the handshaker services in use.
#[derive(Clone, Debug)]
pub struct Handshakers {
    /// Those that are away, and why; none: they have not been asked for yet.
    away: watch::Receiver<Option<Vec<String>>>,
}

impl Handshakers {
    /// Those that are in use, and what has to run to know of them.
    pub fn watched(
        used: watch::Receiver<Vec<Locator>>,
    ) -> (impl Future<Output = ()> + Send + 'static, Self) {
        let (sender, away) = watch::channel(None);
        (ask(used, sender), Self { away })
    }

    /// Whether all of them accept connections.
    ///
    /// # Errors
    /// Which ones do not.
    pub fn are_there(&self) -> Result<(), String> {
        match &*self.away.borrow() {
            None => Err("nothing is known about the handshakers yet".to_owned()),
            Some(away) if away.is_empty() => Ok(()),
            Some(away) => Err(format!("these handshakers are not there: {}", away.join(", "))),
        }
    }
}

/// Asks for them until nobody wants to know.
async fn ask(mut used: watch::Receiver<Vec<Locator>>, away: watch::Sender<Option<Vec<String>>>) {
    let mut next = interval(INTERVAL);
    loop {
        tokio::select! {
            _ = next.tick() => {}
            changed = used.changed() => if changed.is_err() { return },
            () = away.closed() => return,
        }
        let locators = used.borrow_and_update().clone();
        let mut lost = Vec::new();
        for locator in locators {
            if let Err(why) = connect(&locator).await {
                lost.push(format!("{locator} ({why})"));
            }
        }
        lost.sort_unstable();
        away.send_replace(Some(lost));
    }
}

/// Connects to one, and sees who listens; what it says of itself is for handshakes.
async fn connect(locator: &Locator) -> Result<(), String> {
    // One in this process is always there.
    let Some(address) = locator.address() else { return Ok(()) };
    let address: Address = address.to_string().parse()?;
    let failed = |why: &dyn fmt::Display| why.to_string();
    let of_socket = |why: io::Error| {
        if is_exhausted(&why) {
            format!("nobody knows: this proxy or its machine has nothing left to ask it: {why}")
        } else {
            failed(&why)
        }
    };
    let socket = match timeout(PATIENCE, Socket::connect(&address)).await {
        Ok(connected) => connected.map_err(of_socket)?,
        Err(why) => return Err(failed(&why)),
    };
    match (locator.required_user().cloned(), socket) {
        (None, _) => Ok(()),
        (Some(user), Socket::Unix(stream)) => {
            let uid = stream.peer_cred().map_err(|why| failed(&why))?.uid();
            let checked = tokio::task::spawn_blocking(move || user.check(uid));
            checked.await.map_err(|why| failed(&why))?
        }
        (Some(_), Socket::Tcp(_)) => Err("over TCP nobody knows which user listens".to_owned()),
    }
}
