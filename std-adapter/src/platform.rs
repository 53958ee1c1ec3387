//! Whether this machine belongs to Google Cloud: a policy that programs switch on.

use std::path::Path;
use std::{fmt, fs};

/// Where the firmware says what machine this is.
const PRODUCT_NAME: &str = "/sys/class/dmi/id/product_name";
/// What it says on Google Cloud.
const GOOGLE: [&str; 2] = ["Google", "Google Compute Engine"];

/// Whether this machine says that it belongs to Google Cloud. A hint, not a proof: the
/// machine's owner can make it say so.
#[must_use]
pub fn is_google_cloud() -> bool {
    names_google(Path::new(PRODUCT_NAME))
}

/// Refuses to go on when this is not a Google Cloud machine: elsewhere, nothing guarantees what
/// answers at the address of Google's handshaker service.
///
/// # Errors
/// [`PlatformError`] when [`is_google_cloud`] says no.
pub fn check() -> Result<(), PlatformError> {
    if is_google_cloud() { Ok(()) } else { Err(PlatformError::default()) }
}

fn names_google(product_name: &Path) -> bool {
    fs::read_to_string(product_name).is_ok_and(|name| GOOGLE.contains(&name.trim()))
}

/// This machine does not belong to Google Cloud.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlatformError;

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this is not Google Cloud ({PRODUCT_NAME} does not say so), and there is no \
             handshaker service of Google's here: name the address of another one"
        )
    }
}

/// The sentence: what a program prints whose `main` returns it.
impl fmt::Debug for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for PlatformError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_name_decides() {
        let file = std::env::temp_dir().join(format!("alts-product-name-{}", std::process::id()));
        for (name, google) in [
            ("Google\n", true),
            ("Google Compute Engine\n", true),
            ("Google Compute Engine 2\n", false),
            ("google\n", false),
            ("\n", false),
        ] {
            fs::write(&file, name).unwrap();
            assert_eq!(names_google(&file), google, "{name:?}");
        }
        fs::remove_file(&file).unwrap();
        assert!(!names_google(&file));
        assert_eq!(check().is_ok(), is_google_cloud());
    }
}
