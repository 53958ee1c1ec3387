//! Certificates, keys and trust roots from files, and whether they have changed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use alts_handshaker::identity::revocation::WithoutStatus;
use alts_handshaker::identity::{
    AccountFrom, DenyList, Identity, IdentityError, Revocation, TrustRoots, Vouching,
};
use alts_handshaker::naming::SecureNaming;
use alts_handshaker::{Failure, Handshaker};
use zeroize::Zeroizing;

/// The largest file of certificates or keys that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The largest file of revocation lists, in bytes.
const MAX_LISTS: u64 = 16 * 1024 * 1024;

/// Where an identity comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From files, which are watched.
    Files(Box<IdentityFiles>),
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
    /// The authorities that peers' certificates must come from.
    pub trust_roots: Vec<RootFile>,
    /// The authorities through which peers believe this identity, if they are others.
    pub verified_by: Vec<RootFile>,
    /// What holds whichever authority stands behind a peer.
    pub terms: Terms,
    /// Whether the key is used although others than its owner and group can read it.
    pub allow_readable_key: bool,
    /// Where it was written.
    pub place: String,
}

/// What every handshake of the daemon's identities keeps to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// What is refused whichever authority stands behind it.
    pub denied: DenyList,
    /// Which accounts may serve which target names, if that is said.
    pub naming: Option<SecureNaming>,
    /// Whether peers have to agree to X25519MLKEM768.
    pub require_post_quantum: bool,
}

/// A file of authorities, and what they may vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootFile {
    /// The file, PEM.
    pub path: PathBuf,
    /// What each of them may vouch for.
    pub vouching: Vouching,
    /// The revocation lists of these authorities and of those below them, PEM.
    pub revocation_lists: Vec<PathBuf>,
    /// What becomes of certificates whose issuer has no list here.
    pub unlisted: WithoutStatus,
    /// What becomes of certificates whose issuer's list should have been replaced.
    pub expired: WithoutStatus,
    /// Where it was written.
    pub place: String,
}

impl RootFile {
    /// A file of authorities that may vouch for every service account and revoke nothing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, place: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            vouching: Vouching::new(),
            revocation_lists: Vec::new(),
            unlisted: WithoutStatus::Refuse,
            expired: WithoutStatus::Refuse,
            place: place.into(),
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.path].into_iter().chain(&self.revocation_lists)
    }

    fn load(&self) -> Result<TrustRoots, LoadError> {
        let content = |path: &Path, why| LoadError::Content { path: path.to_owned(), why };
        let roots = TrustRoots::from_pem(&read(&self.path, MAX_FILE, None)?)
            .map_err(|why| content(&self.path, why))?
            .vouching(self.vouching.clone());
        let mut all: Option<Revocation> = None;
        for path in &self.revocation_lists {
            let lists = Revocation::from_pem(&read(path, MAX_LISTS, None)?)
                .map_err(|why| content(path, why))?;
            all = Some(match all {
                None => lists.unlisted(self.unlisted).expired(self.expired),
                Some(all) => all.and(&lists),
            });
        }
        Ok(match all {
            None => roots,
            Some(all) => roots.revocation(&all),
        })
    }
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
    /// A file is larger than any of its kind.
    TooLarge {
        /// Which.
        path: PathBuf,
        /// How many bytes it may have.
        most: u64,
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
    /// Something with a place of its own in the configuration.
    At {
        /// Where it was written.
        place: String,
        /// What is wrong with it.
        why: Box<Self>,
    },
    /// Peers would refuse the certificate.
    Refused {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: Failure,
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
            Self::TooLarge { path, most } => {
                write!(f, "{}: larger than {most} bytes: is it PEM?", path.display())
            }
            Self::KeyPermissions { path, mode } => write!(
                f,
                "{}: others can read or change this private key (its mode is {mode:04o}): run \
                 chmod 0600 on it (0640 is fine too), or set allow_readable_key = true if they may",
                path.display()
            ),
            Self::Content { path, why } => write!(f, "{}: {why}", path.display()),
            Self::At { why, .. } => why.fmt(f),
            Self::Refused { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Handshaker(why) => why.fmt(f),
            Self::Policy(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for LoadError {}

impl LoadError {
    /// Where in the configuration it is, if that is not where the identity is.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        match self {
            Self::At { place, .. } => Some(place),
            _ => None,
        }
    }
}

/// Tells whether files have changed, without reading them: a private key is not read every few
/// seconds for nothing. Links are followed, so replacing one changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(Vec<Option<[i128; 5]>>);

impl IdentityFiles {
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let roots = self.trust_roots.iter().chain(&self.verified_by).flat_map(RootFile::paths);
        [&self.certificate, &self.key].into_iter().chain(roots).map(PathBuf::as_path)
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
    /// Names the file and what to do.
    pub fn load(&self) -> Result<Handshaker, LoadError> {
        let content = |path: &Path| {
            let path = path.to_owned();
            move |why| LoadError::Content { path, why }
        };
        let certificate = read(&self.certificate, MAX_FILE, None)?;
        let key = read(&self.key, MAX_FILE, Some(self.allow_readable_key))?;
        let identity = Identity::from_pem_by(&certificate, &key, self.account_from()).map_err(
            |why| match why {
                IdentityError::Key { .. }
                | IdentityError::EncryptedKey
                | IdentityError::KeyMismatch
                | IdentityError::Pem { what: "private key", .. }
                | IdentityError::Missing { what: "private key" } => content(&self.key)(why),
                _ => content(&self.certificate)(why),
            },
        )?;
        let roots = roots(&self.trust_roots)?
            .ok_or(LoadError::Policy("there are no trust roots".to_owned()))?
            .denying(self.terms.denied.clone());
        let mut builder = Handshaker::builder(identity, roots)
            .require_post_quantum(self.terms.require_post_quantum);
        if let Some(naming) = &self.terms.naming {
            builder = builder.naming(naming.clone());
        }
        let handshaker = builder.build().map_err(LoadError::Handshaker)?;
        // As a peer will look at it: better now than in the first handshake.
        handshaker
            .check_certificate(self::roots(&self.verified_by)?.as_ref())
            .map_err(|why| LoadError::Refused { path: self.certificate.clone(), why })?;
        Ok(handshaker)
    }

    /// Which kind of name is the account, as the authorities of this identity say.
    fn account_from(&self) -> Option<AccountFrom> {
        let own = if self.verified_by.is_empty() { &self.trust_roots } else { &self.verified_by };
        let kind = own.first()?.vouching.kind();
        own.iter().all(|root| root.vouching.kind() == kind).then_some(kind)?
    }
}

/// Reads authorities; `None` when there are no files.
fn roots(files: &[RootFile]) -> Result<Option<TrustRoots>, LoadError> {
    let mut all: Option<TrustRoots> = None;
    for file in files {
        let at = |why| LoadError::At { place: file.place.clone(), why: Box::new(why) };
        let roots = file.load().map_err(at)?;
        all = Some(all.map_or_else(|| roots.clone(), |all| all.and(&roots)));
    }
    Ok(all)
}

/// Reads a file of at most so many bytes, wiped when dropped. `private` says that it is a key, and whether it is used
/// although others can read it.
fn read(path: &Path, most: u64, private: Option<bool>) -> Result<Zeroizing<Vec<u8>>, LoadError> {
    let failed = |why| LoadError::Read { path: path.to_owned(), why };
    let file = File::open(path).map_err(failed)?;
    // Of the open file, so that it cannot be another one than is read.
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if private == Some(false) && mode & 0o037 != 0 {
        return Err(LoadError::KeyPermissions { path: path.to_owned(), mode });
    }
    if metadata.len() > most {
        return Err(LoadError::TooLarge { path: path.to_owned(), most });
    }
    // Room for all of it from the start: a growing vector would leave copies behind.
    let room = usize::try_from(metadata.len()).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
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
