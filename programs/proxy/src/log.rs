//! The targets of the log's lines.

use alts_serving::log::{Level, Program};

/// The target of the audit lines: one for each connection, at every level of the log.
pub const AUDIT: &str = "alts::audit";
/// The target of the access log: one line for each HTTP request, at level INFO.
pub const ACCESS: &str = "alts::access";

/// The program whose log it is.
pub const PROGRAM: Program = Program {
    name: "alts",
    audit: AUDIT,
    // Its lines about handshakes that failed.
    repeated: &[("tokio_alts", Level::Error)],
    dropped: "alts_proxy_log_lines_dropped_total",
};
