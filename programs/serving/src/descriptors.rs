//! File descriptors: as many as the limits on connections ask for, and some to spare.

use std::io;
use std::os::unix::net::UnixDatagram;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How many are kept for what is not a connection: listeners, files that are read again, the log,
/// metrics, look-ups.
pub const RESERVE: usize = 128;

/// Whether an error says that this process or its machine has nothing left for another connection:
/// not the fault of the other end.
#[must_use]
pub fn is_exhausted(error: &io::Error) -> bool {
    use nix::errno::Errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let code = error.raw_os_error();
    [EMFILE, ENFILE, ENOBUFS, ENOMEM].into_iter().any(|one| code == Some(one as i32))
}

/// How many a look-up of a name may take at once, and some to spare.
const OF_A_LOOKUP: usize = 4;

/// Why a look-up of a name failed: for want of descriptors it says only that it failed, so whether
/// there are any is tried out.
#[must_use]
pub fn of_lookup(error: io::Error) -> io::Error {
    let tried: io::Result<Vec<_>> = (0..OF_A_LOOKUP).map(|_| UnixDatagram::unbound()).collect();
    match tried {
        Err(lack) if is_exhausted(&lack) => lack,
        _ => error,
    }
}

/// Makes room for this many connections and the reserve, by raising the process' own limit if need
/// be.
///
/// # Errors
/// When the system does not allow as many; says what to do.
pub fn require(connections: usize) -> Result<(), String> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|why| format!("the limit on file descriptors cannot be read: {why}"))?;
    match judge(connections, soft, hard)? {
        None => Ok(()),
        Some(wanted) => setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
            .map_err(|why| format!("the limit on file descriptors cannot be raised: {why}")),
    }
}

/// What the soft limit has to be raised to, if it has to be.
fn judge(connections: usize, soft: u64, hard: u64) -> Result<Option<u64>, String> {
    let wanted = u64::try_from(connections.saturating_add(RESERVE)).unwrap_or(u64::MAX);
    if soft >= wanted {
        return Ok(None);
    }
    if hard >= wanted {
        return Ok(Some(wanted));
    }
    Err(format!(
        "{connections} connections take {wanted} file descriptors with a reserve of {RESERVE}, and \
         this process may have {hard} (RLIMIT_NOFILE): allow it more (systemd: LimitNOFILE=), or \
         fewer connections"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_raised_or_refused() {
        assert_eq!(judge(896, 1024, 4096), Ok(None));
        assert_eq!(judge(897, 1024, 4096), Ok(Some(1025)));
        assert_eq!(judge(4096, 1024, 524_288), Ok(Some(4224)));
        let refused = judge(4096, 1024, 4096).unwrap_err();
        assert!(refused.contains("4224") && refused.contains("LimitNOFILE"), "{refused}");
        assert!(judge(usize::MAX, 1024, 4096).is_err());
    }
}
