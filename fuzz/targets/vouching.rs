//! What authorities may vouch for: a certificate that is good has one name, which the authority's
//! patterns are for, and no name of a user on a machine.
#![no_main]

use std::sync::OnceLock;

use alts_handshaker::Handshaker;
use alts_handshaker::identity::vouching::{MachinePattern, VouchedAccounts};
use alts_handshaker::identity::{AccountFrom, Identity, Subject, TrustRoots, Vouching};
use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Which kind of name, and the name.
    names: Vec<(u8, &'a str)>,
    accounts: Option<Vec<&'a str>>,
    machines: Vec<&'a str>,
    account_from: Option<bool>,
}

/// Keys and the authority are the same for all inputs.
struct Fixed {
    issuer: Issuer<'static, KeyPair>,
    roots: TrustRoots,
    key: KeyPair,
}

fn fixed() -> &'static Fixed {
    static FIXED: OnceLock<Fixed> = OnceLock::new();
    FIXED.get_or_init(|| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        let roots = TrustRoots::from_der(vec![root]).unwrap();
        Fixed { issuer: Issuer::new(params, key), roots, key: KeyPair::generate().unwrap() }
    })
}

fuzz_target!(|input: Input| {
    let Fixed { issuer, roots, key } = fixed();
    let mut params = CertificateParams::default();
    for (kind, name) in input.names.iter().take(4) {
        let Ok(text) = (*name).try_into() else { continue };
        params.subject_alt_names.push(match kind % 3 {
            0 => SanType::Rfc822Name(text),
            1 => SanType::URI(text),
            _ => SanType::DnsName(text),
        });
    }
    let Ok(certificate) = params.signed_by(key, issuer) else { return };
    let chain = vec![certificate.der().to_vec()];
    let Ok(identity) = Identity::from_der(chain, &key.serialize_der()) else { return };

    let accounts: Option<Vec<VouchedAccounts>> =
        input.accounts.map(|all| all.iter().filter_map(|one| one.parse().ok()).collect());
    let machines: Vec<MachinePattern> =
        input.machines.iter().filter_map(|one| one.parse().ok()).collect();
    let mut vouching = Vouching::new().machines(machines.clone());
    if let Some(accounts) = &accounts {
        vouching = vouching.accounts(accounts.clone());
    }
    if let Some(email) = input.account_from {
        vouching = vouching.account_from(if email { AccountFrom::Email } else { AccountFrom::Uri });
    }
    let subject = identity.subject().clone();
    let handshaker = Handshaker::builder(identity, roots.clone()).build().unwrap();
    if handshaker.check_certificate(Some(&roots.clone().vouching(vouching))).is_err() {
        return;
    }
    match subject {
        Subject::ServiceAccount(account) => {
            let is_uri = account.contains(':');
            assert!(input.account_from.is_none_or(|email| email != is_uri), "{account}");
            if let Some(patterns) = accounts {
                let fits = |one: &VouchedAccounts| is_for(&one.to_string(), &account);
                assert!(patterns.iter().any(fits), "{account} is none of {patterns:?}");
            }
            if let Some((_, host)) = account.split_once('@').filter(|_| !is_uri) {
                let of = machines.iter().find(|one| is_below(&one.to_string(), host));
                assert!(of.is_none(), "{account} is a user on {of:?}");
            }
        }
        Subject::Machine(machine) => {
            let fits = |one: &MachinePattern| is_below(&one.to_string(), &machine);
            assert!(machines.is_empty() || machines.iter().any(fits), "{machine}");
        }
    }
});

/// Part by part, where the library compares from the ends: labels, and segments.
fn is_for(pattern: &str, account: &str) -> bool {
    if pattern == "*" || pattern == account {
        return true;
    }
    if pattern.contains(':') || account.contains(':') {
        let (wanted, found): (Vec<_>, Vec<_>) =
            (pattern.split('/').collect(), account.split('/').collect());
        let Some(("*", wanted)) = wanted.split_last().map(|(last, rest)| (*last, rest)) else {
            return false;
        };
        return found.len() > wanted.len()
            && found.iter().zip(wanted).all(|(one, other)| one == other)
            && found[wanted.len()..].iter().all(|part| !["", ".", ".."].contains(part));
    }
    let (Some((user, domain)), Some((own, host))) =
        (pattern.split_once('@'), account.split_once('@'))
    else {
        return false;
    };
    (user == "*" || user == own) && is_below(domain, host)
}

fn is_below(pattern: &str, host: &str) -> bool {
    let (wanted, found): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    match wanted.split_first() {
        Some((&"*", below)) => found.len() > below.len() && found.ends_with(below),
        _ => wanted == found,
    }
}
