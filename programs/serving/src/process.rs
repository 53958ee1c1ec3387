//! The process at the other end of a UNIX socket, asked again who it is.
//!
//! The kernel keeps the user that a process had when it connected. A process that gives up its
//! rights afterwards, as many services that begin as root do, would keep root's account on that
//! connection. Where the kernel lets us hold on to the process itself (`SO_PEERPIDFD`, Linux 6.5),
//! its user can be asked for at any time.
//!
//! What this cannot see: a process that has ended, whose connection others may have inherited, and
//! a process in a PID namespace that does not show here.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerPidfd;

/// A process, told apart from a later one of the same number by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pid: u32,
    started: u64,
}

impl Process {
    /// The process that connected this socket, if the kernel says and it is still there.
    #[must_use]
    pub fn behind(socket: &impl AsFd) -> Option<Self> {
        let pidfd = getsockopt(socket, PeerPidfd).ok()?;
        let number = || {
            let info =
                fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
            // -1 for a process that has ended, 0 for one of another namespace.
            field(&info, "Pid:")?.parse().ok().filter(|&pid| pid > 0)
        };
        let pid = number()?;
        let started = started(pid)?;
        // It was there all the time, so what was read in between is about it.
        (number()? == pid).then_some(Self { pid, started })
    }

    /// The process that has a number now, if `uid` is its user: of a kernel that does not let us hold on to
    /// a process, its word of who connected. A process of the same user that got the number in between is
    /// taken for the one that connected.
    #[must_use]
    pub fn numbered(pid: i32, uid: u32) -> Option<Self> {
        let pid = u32::try_from(pid).ok().filter(|&pid| pid > 0)?;
        let process = Self { pid, started: started(pid)? };
        (process.user()? == uid).then_some(process)
    }

    /// The process that has a number now.
    pub(crate) fn now(pid: u32) -> Option<Self> {
        Some(Self { pid, started: started(pid)? })
    }

    /// Its number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is still there, and the number its own.
    #[must_use]
    pub fn is_there(&self) -> bool {
        started(self.pid) == Some(self.started)
    }

    /// Its effective user now, if it is still there.
    #[must_use]
    pub fn user(&self) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let user = effective_user(&status)?;
        (started(self.pid)? == self.started).then_some(user)
    }
}

/// The first word of a line that begins with a name.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_ascii_whitespace().next()
}

/// `Uid:` has the real, the effective, the saved and the file system's user.
fn effective_user(status: &str) -> Option<u32> {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// When a process started, in ticks since the machine did.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses, in which there may be anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_other_end_is_found_and_asked() {
        let (one, _other) = UnixStream::pair().unwrap();
        let Some(process) = Process::behind(&one) else {
            eprintln!("this kernel has no SO_PEERPIDFD: nothing is tested");
            return;
        };
        assert_eq!(process.pid, std::process::id());
        assert_eq!(process.user(), Some(nix::unistd::geteuid().as_raw()));
        let later = Process { started: process.started + 1, ..process };
        assert_eq!(later.user(), None, "another process of that number");
        assert!(process.is_there() && !later.is_there());
    }

    #[test]
    fn a_number_stands_for_a_process_of_its_user() {
        let (pid, uid) = (std::process::id().cast_signed(), nix::unistd::geteuid().as_raw());
        let process = Process::numbered(pid, uid).unwrap();
        assert!(process.is_there());
        assert_eq!(Process::numbered(pid, uid + 1), None);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Process::numbered(child.id().cast_signed(), uid).unwrap();
        assert!(other.is_there() && other != process);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!other.is_there());
        assert_eq!(Process::numbered(-1, uid), None);
    }

    #[test]
    fn the_effective_user_counts() {
        assert_eq!(effective_user("Name:\tx\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"), Some(2));
        assert_eq!(effective_user("Name:\tx\n"), None);
    }
}
