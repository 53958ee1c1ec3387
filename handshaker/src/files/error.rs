//! Why an identity cannot be loaded from its files.

use std::path::{Path, PathBuf};
use std::{fmt, io};

use crate::failure::Failure;
use crate::identity::IdentityError;

/// Why an identity cannot be loaded from its files: which file, and what is wrong with it.
#[non_exhaustive]
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
    /// Peers would refuse the certificate, or TLS cannot be configured with it.
    Refused {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: Failure,
    },
    /// The new certificate is good, but not for what the old one was used for.
    Unfit {
        /// Its file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// No file of trust roots was named.
    NoRoots,
    /// There is nothing to watch the files with.
    Watching(io::Error),
}

impl LoadError {
    /// The file that is to blame.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::TooLarge { path, .. }
            | Self::KeyPermissions { path, .. }
            | Self::Content { path, .. }
            | Self::Refused { path, .. }
            | Self::Unfit { path, .. } => Some(path),
            Self::NoRoots | Self::Watching(_) => None,
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = self.path() {
            write!(f, "{}: ", path.display())?;
        }
        match self {
            Self::Read { why, .. } => why.fmt(f),
            Self::TooLarge { most, .. } => write!(f, "larger than {most} bytes: is it PEM?"),
            Self::KeyPermissions { mode, .. } => write!(
                f,
                "others can read or change this private key (its mode is {mode:04o}): run chmod 0600 \
                 on it (0640 is fine too)"
            ),
            Self::Content { why, .. } => why.fmt(f),
            Self::Refused { why, .. } => why.fmt(f),
            Self::Unfit { why, .. } => f.write_str(why),
            Self::NoRoots => f.write_str("there are no trust roots"),
            Self::Watching(why) => write!(f, "the files cannot be watched: {why}"),
        }
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for LoadError {}
