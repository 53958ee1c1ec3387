//! Whose log it is: the targets of the daemon's lines.

use alts_serving::log::{Level, Program};

/// The target of the audit lines.
pub const AUDIT: &str = "altsd::audit";

/// The daemon.
pub const PROGRAM: Program = Program {
    name: "altsd",
    audit: AUDIT,
    repeated: &[("alts_handshaker::grpc", Level::Warn)],
    dropped: "altsd_log_lines_dropped_total",
};
