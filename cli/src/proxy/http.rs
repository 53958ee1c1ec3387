//! HTTP.

pub mod path;

use std::sync::Arc;

use super::{
    connection::{Connection, Outcome},
    life::Alive,
    socket::Stream,
};

/// Serves.
pub async fn serve(_connection: &Arc<Connection>, _client: Stream, _alive: Alive) -> Outcome {
    Outcome::FINISHED
}
