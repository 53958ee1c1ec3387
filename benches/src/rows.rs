//! What is compared: each module adds its rows.

mod growth;
mod handshakes;
mod idle;
mod memory;
mod peers;
mod proxy;
mod records;
mod rpc;
mod socket;

pub use self::idle::child;
pub use self::memory::in_turn;
use crate::Outcome;
use crate::measure::{Effort, Row};

/// A group of rows that is measured together.
pub struct Group {
    /// The beginning of its rows' names.
    pub name: &'static str,
    run: fn(&Run<'_>) -> Outcome<()>,
}

/// All groups, in the order in which they are measured.
pub const GROUPS: [Group; 9] = [
    Group { name: "record", run: records::run },
    Group { name: "memory-stream", run: memory::run },
    Group { name: "tcp", run: socket::run },
    Group { name: "handshake", run: handshakes::run },
    Group { name: "idle", run: idle::run },
    Group { name: "tonic", run: rpc::run },
    Group { name: "growth", run: growth::run },
    Group { name: "peer", run: peers::run },
    Group { name: "proxy", run: proxy::run },
];

/// One run of the comparison.
pub struct Run<'a> {
    /// How long it takes.
    pub effort: Effort,
    /// Rows whose names do not begin with this are left out.
    pub only: &'a str,
    /// What becomes of each row.
    pub report: &'a dyn Fn(&Row),
    /// What becomes of the absolute figures behind the rows.
    pub note: &'a dyn Fn(&str),
}

impl Run<'_> {
    /// Measures all groups that have rows to be measured.
    ///
    /// # Errors
    /// Those of the connections.
    pub fn all(&self) -> Outcome<()> {
        GROUPS
            .iter()
            .filter(|group| group.name.starts_with(self.only) || self.only.starts_with(group.name))
            .try_for_each(|group| (group.run)(self))
    }

    /// Whether a row is asked for.
    fn wants(&self, name: &str) -> bool {
        name.starts_with(self.only)
    }
}

/// A runtime of one thread.
///
/// # Errors
/// When the system refuses.
pub fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
