//! The files of an identity as a locator names them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::files::{IdentityFiles, NAMES, RootFile};

/// The files of an identity: a directory with [`NAMES`], or the three files one by one.
///
/// The authorities may vouch for every service account, and revoke nothing: whoever needs more gives
/// the files to `altsd`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IdentityPaths {
    /// A directory with [`NAMES`].
    Directory(PathBuf),
    /// Each file by itself.
    Each {
        /// The chain, the end-entity certificate first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
        /// The authorities that peers' certificates must come from.
        roots: PathBuf,
    },
}

impl IdentityPaths {
    pub(super) fn with_paths(self, change: impl Fn(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::Directory(path) => Self::Directory(change(path)),
            Self::Each { certificate, key, roots } => Self::Each {
                certificate: change(certificate),
                key: change(key),
                roots: change(roots),
            },
        }
    }

    /// What is to be loaded.
    #[must_use]
    pub fn files(&self) -> IdentityFiles {
        match self {
            Self::Directory(path) => IdentityFiles::in_directory(path),
            Self::Each { certificate, key, roots } => {
                IdentityFiles::new(certificate, key, vec![RootFile::new(roots)])
            }
        }
    }
}

impl FromStr for IdentityPaths {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains(char::is_control) {
            return Err("a path has an invisible character".to_owned());
        }
        let [certificate, key, roots] = NAMES;
        let paths: Vec<_> = text.split(',').collect();
        if paths.contains(&"") {
            return Err(format!(
                "a path is empty: write files:DIRECTORY, which has {certificate}, {key} and {roots}, \
                 or files:CERTIFICATE,KEY,ROOTS"
            ));
        }
        match *paths {
            [path] => Ok(Self::Directory(path.into())),
            [certificate, key, roots] => Ok(Self::Each {
                certificate: certificate.into(),
                key: key.into(),
                roots: roots.into(),
            }),
            _ => Err(format!(
                "{} paths: write one directory, or certificate, key and trust roots with commas \
                 between them",
                paths.len()
            )),
        }
    }
}

impl fmt::Display for IdentityPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Each { certificate, key, roots } => {
                write!(f, "{},{},{}", certificate.display(), key.display(), roots.display())
            }
        }
    }
}
