//! Where identities come from, where that was written, and how much time certificates have left.

use std::path::{Path, PathBuf};
use std::time::Duration;

use alts_handshaker::Handshaker;
use alts_handshaker::files::{IdentityFiles, LoadError};
use alts_serving::settings_error::SettingsError;

/// Where an identity comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From files, which are watched.
    Files(Box<Placed>),
    /// Made by this process; it never changes.
    Fixed(Handshaker),
}

/// The files of one identity, and where in the configuration they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The files.
    pub files: IdentityFiles,
    /// Where the identity was written.
    pub place: String,
    /// Where its files of trust roots were written.
    pub roots: Vec<(PathBuf, String)>,
}

impl Placed {
    /// Where a file was written.
    #[must_use]
    pub fn place_of(&self, path: &Path) -> &str {
        let files = self.files.trust_roots.iter().chain(&self.files.verified_by);
        let file = files
            .into_iter()
            .find(|file| file.path == path || file.revocation_lists.iter().any(|list| list == path))
            .map_or(path, |file| &file.path);
        let found = self.roots.iter().find(|(root, _)| root == file);
        found.map_or(&self.place, |(_, place)| place)
    }

    /// Says where it was written that something cannot be loaded.
    #[must_use]
    pub fn error(&self, why: &LoadError) -> SettingsError {
        let place = why.path().map_or(&*self.place, |path| self.place_of(path));
        SettingsError::new(place, sentence(why))
    }
}

/// Why files cannot be used, and which setting would change that.
#[must_use]
pub fn sentence(why: &LoadError) -> String {
    match why {
        LoadError::KeyPermissions { .. } => {
            format!("{why}, or set allow_readable_key = true if they may")
        }
        _ => why.to_string(),
    }
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
