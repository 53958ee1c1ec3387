//! Service accounts: what one may look like, and patterns for several of them.
//!
//! A service account is 1 to 256 bytes of printable ASCII without the space, in one of two forms: an
//! e-mail name, `web@prod.example`, or a URI, `spiffe://prod.example/web`. Accounts are compared byte
//! by byte: nothing is folded or normalised.
//!
//! # Patterns
//!
//! ```text
//! pattern                       matches
//! *                             every account
//! web@prod.example              that account
//! *@prod.example                every user of that domain
//! web@*.prod.example            that user, of every domain below it, at any depth
//! *@*.prod.example              every user of every domain below it
//! spiffe://prod.example/web     that URI
//! spiffe://prod.example/ns/*    every URI below that path, at any depth
//! ```
//!
//! A star may stand nowhere else, and a text without one is an account, whatever its form. An e-mail name has exactly one `@` and no colon, and a URI begins
//! with a scheme and a colon. No account can be both, so a pattern of one form never matches an
//! account of the other; only `*` matches both.
//!
//! What a pattern with a star matches is narrower than what its bytes might suggest: the user and each
//! label that a star stands for are not empty, and the path that one stands for has no part that is empty,
//! `.` or `..`, which would lead out of it again in a program that resolves it.

use core::fmt;
use core::str::FromStr;

use crate::error::debug_is_the_sentence;

/// The longest service account, in bytes.
pub const MAX_ACCOUNT: usize = 256;

/// What is wrong with the form of a service account.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccountError {
    /// It is empty.
    Empty,
    /// It has more than [`MAX_ACCOUNT`] bytes.
    TooLong,
    /// It has characters other than printable ASCII.
    Character,
}

impl AccountError {
    /// The sentence for it, about an "it".
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Empty => "it is empty",
            Self::TooLong => "it has more than 256 bytes",
            Self::Character => "it has characters other than printable ASCII",
        }
    }
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a service account: {}", self.why())
    }
}

debug_is_the_sentence!(AccountError);

impl core::error::Error for AccountError {}

/// Whether a service account has an acceptable form.
///
/// # Errors
/// When it is empty, too long, or has characters other than printable ASCII.
pub fn check_account(account: &str) -> Result<(), AccountError> {
    if account.is_empty() {
        Err(AccountError::Empty)
    } else if account.len() > MAX_ACCOUNT {
        Err(AccountError::TooLong)
    } else if !account.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(AccountError::Character)
    } else {
        Ok(())
    }
}

/// Whether a name begins with a scheme and a colon, as every URI does.
#[must_use]
pub fn is_uri(name: &str) -> bool {
    halves(name, b':').is_some_and(|(scheme, rest)| {
        !rest.is_empty()
            && scheme.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
    })
}

/// Whether a name has the form of an e-mail name: one `@`, something on both sides, and no colon.
#[must_use]
pub fn is_email(name: &str) -> bool {
    halves(name, b'@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !has(host, b'@') && !has(name, b':')
    })
}

/// Which service accounts: one of them, or several, by the grammar of this [module](self).
///
/// The text is borrowed (`&str`) or owned, as the caller wants it.
///
/// ```
/// use alts_core::account::AccountPattern;
///
/// let pattern = AccountPattern::new("web@*.prod.example")?;
/// assert!(pattern.matches("web@eu.prod.example"));
/// assert!(!pattern.matches("web@prod.example"));
/// # Ok::<(), alts_core::account::PatternError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AccountPattern<S = &'static str> {
    text: S,
    exact: bool,
}

impl<S: AsRef<str>> AccountPattern<S> {
    /// Takes a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when it does not follow the grammar: such a pattern is never read as
    /// an account, so that nobody writes a star that matches nothing.
    pub fn new(text: S) -> Result<Self, PatternError> {
        let exact = !has(text.as_ref(), b'*');
        if is_pattern(text.as_ref()) { Ok(Self { text, exact }) } else { Err(PatternError) }
    }

    /// The pattern that matches this account and no other, even if there is a star in it.
    pub const fn exact(account: S) -> Self {
        Self { text: account, exact: true }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        self.text.as_ref()
    }

    /// Whether it is one account, not several.
    pub fn is_exact(&self) -> bool {
        self.exact
    }

    /// The same with its text borrowed.
    pub fn borrowed(&self) -> AccountPattern<&str> {
        AccountPattern { text: self.as_str(), exact: self.exact }
    }

    /// Whether it matches an account. What has not the form of an account is never matched.
    pub fn matches(&self, account: &str) -> bool {
        let pattern = self.as_str();
        if check_account(account).is_err() {
            return false;
        }
        if self.exact {
            return pattern == account;
        }
        if pattern == "*" {
            return true;
        }
        if let Some(base) = pattern.strip_suffix("/*") {
            let path = account.strip_prefix(base).and_then(|rest| rest.strip_prefix('/'));
            return path.is_some_and(|path| {
                parts(path, b'/').all(|part| !matches!(part, b"" | b"." | b".."))
            });
        }
        match (halves(pattern, b'@'), halves(account, b'@')) {
            (Some((wanted, domain)), Some((user, host))) => {
                is_email(account) && (wanted == "*" || wanted == user) && is_below(domain, host)
            }
            _ => false,
        }
    }
}

impl<S: AsRef<str>> AsRef<str> for AccountPattern<S> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<S: AsRef<str> + for<'a> From<&'a str>> FromStr for AccountPattern<S> {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        Self::new(text.into())
    }
}

impl<S: AsRef<str>> fmt::Display for AccountPattern<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that is no pattern for service accounts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PatternError;

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no pattern for service accounts: write web@prod.example, *@prod.example, \
             web@*.prod.example, spiffe://prod.example/web, spiffe://prod.example/ns/* or *",
        )
    }
}

debug_is_the_sentence!(PatternError);

impl core::error::Error for PatternError {}

/// Whether a host has this name, or one below it when the pattern begins with a star and a dot.
#[must_use]
pub fn is_below(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        None => pattern == host,
        Some(domain) => host
            .strip_suffix(domain)
            .and_then(|rest| rest.strip_suffix('.'))
            .is_some_and(|labels| parts(labels, b'.').all(|label| !label.is_empty())),
    }
}

fn is_pattern(text: &str) -> bool {
    if check_account(text).is_err() {
        return false;
    }
    if !has(text, b'*') || text == "*" {
        return true;
    }
    if let Some(base) = text.strip_suffix("/*") {
        // A star needs something before it: `spiffe:/*` would be for whom?
        return !has(base, b'*') && !base.ends_with('/') && is_uri(base);
    }
    halves(text, b'@').is_some_and(|(user, domain)| {
        let host = domain.strip_prefix("*.").unwrap_or(domain);
        is_email(text)
            && !has(host, b'*')
            && parts(host, b'.').all(|label| !label.is_empty())
            && (user == "*" || !has(user, b'*'))
    })
}

// The searches of `str` for a character may panic as far as a linker can see. Accounts are ASCII, and these
// cannot.

fn has(text: &str, wanted: u8) -> bool {
    text.bytes().any(|byte| byte == wanted)
}

/// What is before and behind the first of these bytes.
fn halves(text: &str, at: u8) -> Option<(&str, &str)> {
    let position = text.bytes().position(|byte| byte == at)?;
    text.get(..position).zip(text.get(position.saturating_add(1)..))
}

fn parts(text: &str, at: u8) -> impl Iterator<Item = &[u8]> {
    text.as_bytes().split(move |&byte| byte == at)
}
