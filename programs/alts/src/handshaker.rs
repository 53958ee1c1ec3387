//! The handshaker service of a command: the one that was named or, on Google Cloud, Google's.

use std::sync::Arc;

use alts_handshaker::locator::{Development, Locator, RequiredUser};
use tokio_alts::{HandshakerService, platform};

use crate::diagnosis::{Fault, Problem};

/// The one that was named or, on Google Cloud, Google's.
///
/// # Errors
/// When it is to be Google's, and this is not Google Cloud; or when nobody can say which user listens
/// there, and one is required.
pub fn or_default(
    named: Option<Locator>,
    required: Option<RequiredUser>,
) -> Result<Locator, Problem> {
    if let (Some(named), Some(user)) = (&named, required) {
        return named.clone().of_user(Some(user)).map_err(|why| {
            Problem::new(
                Fault::Local,
                format!("to use the handshaker service {named} with --require-user"),
                why,
                "leave out --require-user, or name the UNIX socket of the handshaker service",
            )
        });
    }
    let tried = match named {
        Some(Locator::Google) => "to use Google's handshaker service",
        None => "to use Google's handshaker service, because no other was named",
        Some(other) => return Ok(other),
    };
    platform::check().map(|()| Locator::Google).map_err(|error| {
        Problem::new(
            Fault::Local,
            tried,
            error.to_string(),
            "name a handshaker service with --handshaker: the address that altsd listens on, \
             files:DIRECTORY for certificates of your own, or dev:ACCOUNT for a first try in this process (such as dev:me@dev.test)",
        )
    })
}

/// The service at `locator`. Nothing connects yet.
///
/// # Errors
/// As [`Locator::service`].
pub fn service(locator: &Locator) -> Result<Arc<dyn HandshakerService>, Problem> {
    locator.service(&Development::default()).map_err(|error| {
        Problem::new(
            Fault::Local,
            format!("to use the handshaker service {locator}"),
            error.to_string(),
            "name another one with --handshaker",
        )
    })
}
