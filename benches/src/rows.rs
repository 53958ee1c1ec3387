//! What is compared: each module adds its rows.

mod calls;
mod first_byte;
mod growth;
mod handshakes;
mod idle;
mod memory;
mod peers;
mod proxy;
mod records;
mod rpc;
mod run;
mod socket;
mod storm;

pub use self::idle::child;
pub use self::memory::in_turn;
pub use self::run::Run;
use crate::Outcome;

/// A group of rows that is measured together.
pub struct Group {
    /// The beginning of its rows' names.
    pub name: &'static str,
    run: fn(&Run<'_>) -> Outcome<()>,
}

/// All groups, in the order in which they are measured.
pub const GROUPS: [Group; 12] = [
    Group { name: "record", run: records::run },
    Group { name: "memory-stream", run: memory::run },
    Group { name: "tcp", run: socket::run },
    Group { name: "handshake", run: handshakes::run },
    Group { name: "first-byte", run: first_byte::run },
    Group { name: "storm", run: storm::run },
    Group { name: "idle", run: idle::run },
    Group { name: "tonic", run: rpc::run },
    Group { name: "growth", run: growth::run },
    Group { name: "peer", run: peers::run },
    Group { name: "call", run: calls::run },
    Group { name: "proxy", run: proxy::run },
];

/// Measures all groups that have rows to be measured.
///
/// # Errors
/// Those of the connections.
pub fn all(run: &Run<'_>) -> Outcome<()> {
    GROUPS
        .iter()
        .filter(|group| group.name.starts_with(run.only) || run.only.starts_with(group.name))
        .try_for_each(|group| (group.run)(run))
}
