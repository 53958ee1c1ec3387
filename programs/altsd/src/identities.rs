//! Certificates, keys and trust roots from files, and whether they have changed.

use core::{fmt, time::Duration};
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use alts_handshaker::{
    Failure, Handshaker,
    identity::{Identity, IdentityError, TrustRoots},
};

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Where an identity comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From files, which are watched.
    Files(IdentityFiles),
    /// Made by this process; it never changes.
    Fixed(Handshaker),
}

/// The files of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The chain, PEM, the end-entity certificate first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
    /// The authorities that peers are believed by, PEM.
    pub trust_roots: Vec<PathBuf>,
    /// Whether peers with a machine's certificate may claim the accounts on it.
    pub accept_machines: bool,
    /// Whether the key is used although others than its owner and group can read it.
    pub allow_readable_key: bool,
    /// Where it was written.
    pub place: String,
}

/// Why an identity cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// A file cannot be read.
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file is larger than any certificate.
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// Too many can read the private key.
    KeyPermissions {
        /// Which file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// What a file says cannot be used.
    Content {
        /// Which.
        path: PathBuf,
        /// Why.
        why: IdentityError,
    },
    /// Certificate, key and roots cannot be used together.
    Handshaker(Failure),
    /// The file's new certificate is for somebody whom the policy does not know.
    Policy(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, why } => write!(f, "{}: {why}", path.display()),
            Self::TooLarge { path } => {
                write!(f, "{}: larger than {MAX_FILE} bytes: is it PEM?", path.display())
            }
            Self::KeyPermissions { path, mode } => write!(
                f,
                "{}: others can read or change this private key (its mode is {mode:04o}): run \
                 chmod 0600 on it (0640 is fine too), or set allow_readable_key = true if they may",
                path.display()
            ),
            Self::Content { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Handshaker(why) => why.fmt(f),
            Self::Policy(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LoadError {}

/// Tells whether files have changed, without reading them: a private key is not read every few
/// seconds for nothing. Links are followed, so replacing one changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<Option<[i128; 5]>>);

impl IdentityFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.certificate, &self.key].into_iter().chain(&self.trust_roots).map(PathBuf::as_path)
    }

    /// What the files look like now.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let one = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            let nanoseconds = |seconds: i64, rest: i64| {
                i128::from(seconds).wrapping_mul(1_000_000_000).wrapping_add(rest.into())
            };
            Some([
                i128::from(metadata.dev()),
                i128::from(metadata.ino()),
                i128::from(metadata.size()),
                nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
                nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            ])
        };
        Fingerprint(self.paths().map(one).collect())
    }

    /// Reads them.
    ///
    /// # Errors
    ///
    /// Names the file and what to do.
    pub fn load(&self) -> Result<Handshaker, LoadError> {
        let content = |path: &Path| {
            let path = path.to_owned();
            move |why| LoadError::Content { path, why }
        };
        let certificate = read(&self.certificate, None)?;
        let key = read(&self.key, Some(self.allow_readable_key))?;
        let identity = Identity::from_pem(&certificate, &key).map_err(|why| match why {
            IdentityError::Key { .. }
            | IdentityError::KeyMismatch
            | IdentityError::Pem { what: "private key", .. }
            | IdentityError::Missing { what: "private key" } => content(&self.key)(why),
            _ => content(&self.certificate)(why),
        })?;
        let mut roots = Vec::new();
        for path in &self.trust_roots {
            let pem = read(path, None)?;
            // Each for itself, so that the error names the file.
            TrustRoots::from_pem(&pem).map_err(content(path))?;
            roots.extend_from_slice(&pem);
            roots.push(b'\n');
        }
        let first = self.trust_roots.first().unwrap_or(&self.certificate);
        let roots = TrustRoots::from_pem(&roots).map_err(content(first))?;
        Handshaker::builder(identity, roots)
            .accept_machines(self.accept_machines)
            .build()
            .map_err(LoadError::Handshaker)
    }
}

/// Reads a file, wiped when dropped. `private` says that it is a key, and whether it is used
/// although others can read it.
fn read(path: &Path, private: Option<bool>) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let failed = |why| LoadError::Read { path: path.to_owned(), why };
    let file = File::open(path).map_err(failed)?;
    // Of the open file, so that it cannot be another one than is read.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if private == Some(false) && mode & 0o037 != 0 {
        return Err(LoadError::KeyPermissions { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_FILE {
        return Err(LoadError::TooLarge { path: path.to_owned() });
    }
    // Room for all of it from the start: a growing vector would leave copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// How much time a certificate has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// More than the warning time.
    Good,
    /// Less than that.
    Ending(Duration),
    /// None.
    Expired,
}

impl Validity {
    /// Judges an end, as time since the UNIX epoch, by the time now.
    #[must_use]
    pub fn judge(expires: Duration, now: Duration, warning: Duration) -> Self {
        match expires.checked_sub(now) {
            None | Some(Duration::ZERO) => Self::Expired,
            Some(left) if left <= warning => Self::Ending(left),
            Some(_) => Self::Good,
        }
    }
}
