//! SPIFFE bundles in files: the authorities of one trust domain, as its engine publishes them.

use serde::Deserialize;

use crate::identity::{IdentityError, TrustRoots};

/// The use of keys that certify workloads (SPIFFE Trust Domain and Bundle, section 4.2.2).
const WORKLOADS: &str = "x509-svid";

#[derive(Deserialize)]
struct Bundle {
    keys: Vec<Key>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default, rename = "use")]
    usage: String,
    #[serde(default)]
    x5c: Vec<String>,
}

/// Whether a file is a bundle: PEM is no JSON.
pub(super) fn is_bundle(content: &[u8]) -> bool {
    content.trim_ascii_start().starts_with(b"{")
}

/// Reads one.
pub(super) fn read(json: &[u8]) -> Result<TrustRoots, IdentityError> {
    let what = "SPIFFE bundle";
    let unreadable = |why: String| IdentityError::Pem { what, why };
    let bundle: Bundle =
        serde_json::from_slice(json).map_err(|error| unreadable(error.to_string()))?;
    let mut pem = String::new();
    // Others, which sign tokens, say nothing here.
    for key in bundle.keys.iter().filter(|key| key.usage == WORKLOADS) {
        let [certificate] = &*key.x5c else {
            let why = format!("an authority with {} certificates, and not with one", key.x5c.len());
            return Err(unreadable(why));
        };
        // What stands in JSON is the middle of PEM.
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        pem.push_str(certificate.trim());
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    if pem.is_empty() {
        return Err(IdentityError::Missing { what: "authority for workloads" });
    }
    TrustRoots::from_pem(pem.as_bytes())
}
