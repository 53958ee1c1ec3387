//! Files of UNIX sockets: their modes, who owns them, and that two programs do not share one.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io,
    os::unix::{
        self,
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

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
            _ => Err(format!("{text:?} is no mode of a file: write it in octal, like \"0660\"")),
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
    ///
    /// What is in the way, and what to do.
    pub fn open(
        path: &Path,
        mode: Mode,
        owner: Option<u32>,
        group: Option<u32>,
    ) -> Result<(unix::net::UnixListener, Self), String> {
        let lock = beside(path, ".lock").ok_or("the path has no file name")?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock)
            .map_err(|why| format!("cannot open {}: {why}", lock.display()))?;
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
            Err("there is something else of that name, which is no socket: move it away".to_owned())
        }
        Ok(_) => match unix::net::UnixStream::connect(path) {
            Ok(_) => Err("another process listens there: stop it first".to_owned()),
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            Err(why) => {
                Err(format!("there is a socket, and whether it is in use cannot be told: {why}"))
            }
        },
    }
}
