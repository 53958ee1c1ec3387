//! Files that are read again when they have changed.

use std::time::SystemTime;

use super::{Fingerprint, IdentityFiles, LoadError};
use crate::handshaker::Handshaker;

/// How often files are read at once when they change while they are read.
const ATTEMPTS: u32 = 3;

/// The files of an identity, and what was made of them the last time. It reads them when it is asked,
/// and does nothing by itself.
#[derive(Debug)]
pub struct Follower {
    files: IdentityFiles,
    /// What they looked like just before they were read the last time.
    seen: Fingerprint,
    /// The hash of what is in use.
    used: [u8; 32],
    loaded: SystemTime,
    failing: Option<Failing>,
}

/// Why what the files say now is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failing {
    /// Since when.
    pub since: SystemTime,
    /// Which file it is, and what is wrong with it.
    pub why: String,
}

impl Follower {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// As [`IdentityFiles::load`].
    pub fn new(files: IdentityFiles) -> Result<(Self, Handshaker), LoadError> {
        let (seen, loaded) = read(&files);
        let (handshaker, used) = loaded?;
        let new = Self { files, seen, used, loaded: SystemTime::now(), failing: None };
        Ok((new, handshaker))
    }

    /// The files.
    #[must_use]
    pub const fn files(&self) -> &IdentityFiles {
        &self.files
    }

    /// When the files said for the first time what is in use.
    #[must_use]
    pub const fn loaded(&self) -> SystemTime {
        self.loaded
    }

    /// Why what the files say now is not used; `None` when it is.
    #[must_use]
    pub const fn failing(&self) -> Option<&Failing> {
        self.failing.as_ref()
    }

    /// Looks at the files, and reads them if they have changed or were bad the last time. Returns a
    /// new handshaker if there is something new in them. It blocks while it reads.
    ///
    /// With `anyway`, they are read even if nothing has changed, and what is in them is used again.
    ///
    /// `adopt` sees what is new before anybody else and can refuse it. A file's content is used as it
    /// is at one time: one that changes while it is read is read again.
    ///
    /// # Errors
    /// What is wrong with the files. What persists is reported once, and after that only `anyway`; it
    /// can be seen in [`failing`](Self::failing) all the time.
    pub fn look(
        &mut self,
        anyway: bool,
        adopt: impl FnOnce(&Handshaker) -> Result<(), String>,
    ) -> Result<Option<Handshaker>, LoadError> {
        if !anyway && self.failing.is_none() && self.files.fingerprint() == self.seen {
            return Ok(None);
        }
        let (seen, loaded) = read(&self.files);
        self.seen = seen;
        let outcome = loaded.and_then(|(new, hash)| {
            if !anyway && self.failing.is_none() && hash == self.used {
                return Ok(None);
            }
            adopt(&new)
                .map_err(|why| LoadError::Unfit { path: self.files.certificate.clone(), why })?;
            Ok(Some((new, hash)))
        });
        match outcome {
            Ok(None) => Ok(None),
            Ok(Some((new, hash))) => {
                self.failing = None;
                if hash != self.used {
                    self.used = hash;
                    self.loaded = SystemTime::now();
                }
                Ok(Some(new))
            }
            Err(error) => {
                let why = error.to_string();
                let known = self.failing.as_ref();
                let news = known.is_none_or(|known| known.why != why);
                let since = known.map_or_else(SystemTime::now, |known| known.since);
                self.failing = Some(Failing { since, why });
                if news || anyway { Err(error) } else { Ok(None) }
            }
        }
    }
}

/// Reads files, a few times if they change meanwhile; returns what they looked like before, too.
fn read(files: &IdentityFiles) -> (Fingerprint, Result<(Handshaker, [u8; 32]), LoadError>) {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let seen = files.fingerprint();
        let loaded = files.load_all();
        if attempts >= ATTEMPTS || seen.is_of_the_same_files(&files.fingerprint()) {
            return (seen, loaded);
        }
    }
}
