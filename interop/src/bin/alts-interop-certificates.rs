//! Files for the handshaker daemon: `alts-interop-certificates DIRECTORY ACCOUNT…`
//!
//! Makes a throw-away authority, `roots.pem`, and of it for each account a certificate and a key,
//! `ACCOUNT.pem` and `ACCOUNT.key`. The authority's own key is gone with this program.
#![forbid(unsafe_code)]

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use alts_interop::arguments::Failure;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("expected DIRECTORY ACCOUNT…")?;
    let directory = Path::new(&directory);
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;

    let mut params = named("interoperability tests: a throw-away authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate()?;
    write(&directory.join("roots.pem"), &params.self_signed(&key)?.pem())?;
    let authority = Issuer::new(params, key);

    for account in arguments {
        let mut params = named("interoperability tests");
        params.subject_alt_names = vec![SanType::Rfc822Name(account.as_str().try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?;
        write(&directory.join(format!("{account}.pem")), &certificate.pem())?;
        write(&directory.join(format!("{account}.key")), &key.serialize_pem())?;
    }
    Ok(())
}

/// Valid for a long time: nothing keeps what these certificates vouch for.
fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Readable by nobody else, as the daemon wants it.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    Ok(options.open(path)?.write_all(text.as_bytes())?)
}
