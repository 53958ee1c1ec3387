//! Certificates, keys and trust roots from files, and handshakers that follow them when they change.
//!
//! Certificates of weeks or hours are renewed by something else: cert-manager, a SPIFFE helper, a
//! cron job. [`watch`] makes a [`Handshaker`] that becomes what its files say:
//!
//! ```no_run
//! # async fn follow() -> Result<(), Box<dyn std::error::Error>> {
//! use alts_handshaker::files::{self, IdentityFiles, RootFile};
//!
//! let roots = vec![RootFile::new("roots.pem")];
//! let watched = files::watch(IdentityFiles::new("web.pem", "web.key", roots), files::POLL)?;
//! let handshaker = watched.handshaker();
//! // … use it, and keep `watched` for as long: it ends when it is dropped.
//! if let Some(failing) = watched.refresh().await.failing {
//!     eprintln!("the old certificate stays in use: {}", failing.why);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is bad is never used: a certificate without its key, one that has expired, one that peers would
//! refuse. What was in use stays so, and the files are read again until they are good. So it does not
//! matter in which order files are written; a link that is moved from one directory to the next, as
//! Kubernetes does it, is fine too.
//!
//! A program with a reload of its own asks a [`Follower`] instead, as `altsd` does.

mod bundle;
mod error;
mod follow;
mod watched;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub use self::error::LoadError;
pub use self::follow::{Failing, Follower};
pub use self::watched::{Status, Watched, watch};
use crate::handshaker::{Builder, Handshaker};
use crate::identity::revocation::WithoutStatus;
use crate::identity::{
    AccountFrom, DenyList, Identity, IdentityError, Revocation, TrustRoots, Vouching,
};
use crate::naming::SecureNaming;

/// The largest file of certificates or keys that is read, in bytes.
pub const MAX_FILE: u64 = 1024 * 1024;

/// The largest file of revocation lists, in bytes.
pub const MAX_LISTS: u64 = 16 * 1024 * 1024;

/// How often files are looked at by programs that have not been told otherwise.
pub const POLL: Duration = Duration::from_secs(5);

/// The names of the files in [`IdentityFiles::in_directory`]: the chain, its key, and the authorities.
/// They are those of Kubernetes' TLS secrets and of cert-manager.
pub const NAMES: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];

/// How old a change has to be before the next one is sure to have another time stamp.
const SETTLED: Duration = Duration::from_millis(100);

/// The files of one identity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
}

/// What the handshakes of an identity keep to, whoever the peer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// What is refused whichever authority stands behind it.
    pub denied: DenyList,
    /// Which accounts may serve which target names, if that is said.
    pub naming: Option<SecureNaming>,
    /// Whether peers have to agree to X25519MLKEM768.
    pub require_post_quantum: bool,
}

impl Terms {
    /// Sets in a handshaker what is set here, except for the deny list, which belongs to its trust roots.
    #[must_use]
    pub fn apply(&self, builder: Builder) -> Builder {
        let builder = builder.require_post_quantum(self.require_post_quantum);
        match &self.naming {
            Some(naming) => builder.naming(naming.clone()),
            None => builder,
        }
    }
}

/// A file of authorities, and what they may vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RootFile {
    /// The file: PEM, or a SPIFFE bundle in JSON, which needs a `vouching` for the members of its trust
    /// domain.
    pub path: PathBuf,
    /// What each of them may vouch for.
    pub vouching: Vouching,
    /// The revocation lists of these authorities and of those below them, PEM.
    pub revocation_lists: Vec<PathBuf>,
    /// What becomes of certificates whose issuer has no list here.
    pub unlisted: WithoutStatus,
    /// What becomes of certificates whose issuer's list should have been replaced.
    pub expired: WithoutStatus,
}

impl RootFile {
    /// A file of authorities that may vouch for every service account and revoke nothing.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            vouching: Vouching::new(),
            revocation_lists: Vec::new(),
            unlisted: WithoutStatus::Refuse,
            expired: WithoutStatus::Refuse,
        }
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.path].into_iter().chain(&self.revocation_lists)
    }

    fn load(&self, contents: &mut Contents) -> Result<TrustRoots, LoadError> {
        let content = |path: &Path, why| LoadError::Content { path: path.to_owned(), why };
        let file = contents.read(&self.path, MAX_FILE, None)?;
        let read = match bundle::is_bundle(&file) {
            // Its authorities are the engine's, which may make up whatever it likes.
            true if !self.vouching.is_restricted() => Err(IdentityError::NoTrustDomain),
            true => bundle::read(&file),
            false => TrustRoots::from_pem(&file),
        };
        let roots = read.map_err(|why| content(&self.path, why))?.vouching(self.vouching.clone());
        let mut all: Option<Revocation> = None;
        for path in &self.revocation_lists {
            let lists = Revocation::from_pem(&contents.read(path, MAX_LISTS, None)?)
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

/// What files look like from outside. Whether they have changed shows without reading them: a private
/// key is not read every few seconds for nothing. Links are followed, so replacing one changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    files: Vec<Option<[i128; 5]>>,
    /// Whether the last change is so old that one more would show. Time stamps are coarse.
    settled: bool,
}

impl Fingerprint {
    fn is_of_the_same_files(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl IdentityFiles {
    /// A certificate, its key, and authorities.
    #[must_use]
    pub fn new(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        trust_roots: Vec<RootFile>,
    ) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            trust_roots,
            verified_by: Vec::new(),
            terms: Terms::default(),
            allow_readable_key: false,
        }
    }

    /// The files in a directory that are called [`NAMES`]. The authorities may vouch for every service
    /// account.
    #[must_use]
    pub fn in_directory(directory: &Path) -> Self {
        let [certificate, key, roots] = NAMES.map(|name| directory.join(name));
        Self::new(certificate, key, vec![RootFile::new(roots)])
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let roots = self.trust_roots.iter().chain(&self.verified_by).flat_map(RootFile::paths);
        [&self.certificate, &self.key].into_iter().chain(roots).map(PathBuf::as_path)
    }

    /// What the files look like now.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let recent = now.saturating_sub(SETTLED).as_nanos();
        let mut settled = true;
        let one = |path: &Path| {
            let metadata = fs::metadata(path).ok()?;
            let nanoseconds = |seconds: i64, rest: i64| {
                i128::from(seconds).wrapping_mul(1_000_000_000).wrapping_add(rest.into())
            };
            let changed = nanoseconds(metadata.ctime(), metadata.ctime_nsec());
            settled &= u128::try_from(changed).is_ok_and(|changed| changed < recent);
            Some([
                i128::from(metadata.dev()),
                i128::from(metadata.ino()),
                i128::from(metadata.size()),
                nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
                changed,
            ])
        };
        let files = self.paths().map(one).collect();
        Fingerprint { files, settled }
    }

    /// Reads them.
    ///
    /// # Errors
    /// Names the file and what to do.
    pub fn load(&self) -> Result<Handshaker, LoadError> {
        self.load_all().map(|(handshaker, _)| handshaker)
    }

    /// Reads them; returns the hash of everything that was read, too.
    fn load_all(&self) -> Result<(Handshaker, [u8; 32]), LoadError> {
        let mut contents = Contents(Sha256::new());
        let content = |path: &Path| {
            let path = path.to_owned();
            move |why| LoadError::Content { path, why }
        };
        let refused = |why| LoadError::Refused { path: self.certificate.clone(), why };
        let certificate = contents.read(&self.certificate, MAX_FILE, None)?;
        let key = contents.read(&self.key, MAX_FILE, Some(self.allow_readable_key))?;
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
        let roots = contents
            .roots(&self.trust_roots)?
            .ok_or(LoadError::NoRoots)?
            .denying(self.terms.denied.clone());
        let builder = self.terms.apply(Handshaker::builder(identity, roots));
        let handshaker = builder.build().map_err(refused)?;
        // As a peer will look at it: better now than in the first handshake.
        let verified_by = contents.roots(&self.verified_by)?;
        handshaker.check_certificate(verified_by.as_ref()).map_err(refused)?;
        Ok((handshaker, contents.0.finalize().into()))
    }

    /// Which kind of name is the account, as the authorities of this identity say.
    fn account_from(&self) -> Option<AccountFrom> {
        let own = if self.verified_by.is_empty() { &self.trust_roots } else { &self.verified_by };
        let kind = own.first()?.vouching.kind();
        own.iter().all(|root| root.vouching.kind() == kind).then_some(kind)?
    }
}

/// Everything that has been read, as a hash.
struct Contents(Sha256);

impl Contents {
    /// Reads authorities; `None` when there are no files.
    fn roots(&mut self, files: &[RootFile]) -> Result<Option<TrustRoots>, LoadError> {
        let mut all: Option<TrustRoots> = None;
        for file in files {
            let roots = file.load(self)?;
            all = Some(all.map_or_else(|| roots.clone(), |all| all.and(&roots)));
        }
        Ok(all)
    }

    /// Reads a file of at most so many bytes, wiped when dropped. `private` says that it is a key, and
    /// whether it is used although others can read it.
    fn read(
        &mut self,
        path: &Path,
        most: u64,
        private: Option<bool>,
    ) -> Result<Zeroizing<Vec<u8>>, LoadError> {
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
        self.0.update(bytes.len().to_le_bytes());
        self.0.update(&*bytes);
        Ok(bytes)
    }
}
