//! Files of UNIX sockets: their modes, who owns them, and that two programs do not share one.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::{self};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use serde::Deserialize;

/// The permissions of a socket file: who may connect has the right to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Mode(pub u32);

impl Default for Mode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl TryFrom<String> for Mode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("{text:?} is not a file mode: write it in octal, like \"0660\"")),
        }
    }
}

/// The file of a UNIX socket: removed at the end, if it is still the same.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
    /// Held as long as the socket is in use, so that two daemons do not take it from each other.
    _lock: File,
}

impl SocketFile {
    /// Listens at `path`, where there may be a socket that nobody listens on. The file has its
    /// permissions, owner and group from the beginning.
    ///
    /// # Errors
    /// What is in the way, and what to do.
    pub fn open(
        path: &Path,
        mode: Mode,
        owner: Option<u32>,
        group: Option<u32>,
    ) -> Result<(unix::net::UnixListener, Self), String> {
        let lock = open_lock(path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err("another daemon listens there: stop it first".to_owned());
            }
            Err(TryLockError::Error(why)) => return Err(format!("cannot lock it: {why}")),
        }
        require_free(path)?;
        // Made under another name and put in place when it is ready: nobody can connect to it with
        // the wrong permissions, and one that was left behind is replaced in one step.
        let new = beside(path, &format!(".{}.new", std::process::id()))
            .ok_or("the path has no file name")?;
        let _ = fs::remove_file(&new);
        let listener = unix::net::UnixListener::bind(&new)
            .map_err(|why| format!("cannot listen (is the directory there?): {why}"))?;
        let given = if owner.is_none() && group.is_none() {
            Ok(())
        } else {
            unix::fs::lchown(&new, owner, group)
        };
        let prepared = given
            .and_then(|()| fs::set_permissions(&new, Permissions::from_mode(mode.0)))
            .and_then(|()| fs::rename(&new, path))
            .and_then(|()| fs::symlink_metadata(path));
        match prepared {
            Ok(metadata) => {
                let inode = (metadata.dev(), metadata.ino());
                Ok((listener, Self { path: path.to_owned(), inode, _lock: lock }))
            }
            Err(why) => {
                let _ = fs::remove_file(&new);
                Err(format!("cannot set owner and mode: {why}"))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let same = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if same {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the file that two daemons would both have to lock. Only its owner can open it: a lock that
/// anybody could hold would be a way to keep the daemon from starting.
fn open_lock(path: &Path) -> Result<File, String> {
    let place = beside(path, ".lock").ok_or("the path has no file name")?;
    let failed = |why: io::Error| format!("cannot open {}: {why}", place.display());
    let open = |path: &Path, new: bool| {
        File::options()
            .create(true)
            .create_new(new)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(path)
    };
    let lock = open(&place, false).map_err(failed)?;
    let metadata = lock.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.uid() != geteuid().as_raw() {
        return Err(format!(
            "{} belongs to uid {}: somebody else can write to this directory, or another user has \
             run the daemon here. Remove it",
            place.display(),
            metadata.uid()
        ));
    }
    if metadata.mode().trailing_zeros() >= 6 {
        // None of the six bits of group and others.
        return Ok(lock);
    }
    // Others could open this one, and may hold its lock for ever: it gives way to a new one.
    let new = beside(path, &format!(".{}.lock", std::process::id()))
        .ok_or("the path has no file name")?;
    let _ = fs::remove_file(&new);
    let lock = open(&new, true).map_err(failed)?;
    fs::rename(&new, &place).map_err(failed)?;
    Ok(lock)
}

/// `.name.suffix` in the same directory.
fn beside(path: &Path, suffix: &str) -> Option<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name()?);
    name.push(suffix);
    Some(path.with_file_name(name))
}

/// Whether nothing is there but, at most, a socket that nobody listens on.
fn require_free(path: &Path) -> Result<(), String> {
    match fs::symlink_metadata(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why.to_string()),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            Err("something else has that name, and it is not a socket: move it away".to_owned())
        }
        Ok(_) => match unix::net::UnixStream::connect(path) {
            Ok(_) => Err("another process listens there: stop it first".to_owned()),
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(why) => {
                Err(format!("there is a socket, and it is not known whether it is in use: {why}"))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("alts-serving-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn a_lock_that_somebody_else_could_hold_is_not_obeyed() {
        let directory = directory("lock");
        let socket = directory.join("s.sock");
        // As an older version left it, and held by somebody who could read it.
        let place = directory.join(".s.sock.lock");
        fs::write(&place, "").unwrap();
        for mode in [0o644, 0o604, 0o640, 0o666] {
            fs::set_permissions(&place, Permissions::from_mode(mode)).unwrap();
            let held = File::open(&place).unwrap();
            held.lock().unwrap();
            let opened = SocketFile::open(&socket, Mode(0o666), None, None);
            assert!(opened.is_ok(), "{mode:o}: {:?}", opened.err());
            assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o600);
            let second = SocketFile::open(&socket, Mode(0o666), None, None);
            assert!(second.unwrap_err().contains("another daemon"));
            drop(opened);
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_lock_that_is_something_else_is_refused() {
        let directory = directory("link");
        let socket = directory.join("s.sock");
        unix::fs::symlink(directory.join("elsewhere"), directory.join(".s.sock.lock")).unwrap();
        assert!(SocketFile::open(&socket, Mode(0o666), None, None).is_err());
        assert!(!directory.join("elsewhere").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
