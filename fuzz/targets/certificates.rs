//! Certificates: any bytes, as DER and as PEM, are read or refused; whoever is read out of one may use
//! its own name and no other.
#![no_main]

use alts_handshaker::identity::{Identity, Subject, TrustRoots, check_account};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(subject) = Subject::of_certificate(input) {
        match &subject {
            Subject::ServiceAccount(account) => {
                assert_eq!(check_account(account), Ok(()));
                assert!(subject.vouches_for(account));
                // The accounts of machines' users are not those of a service, nor its domain's.
                for other in [format!("x@{account}"), format!("{account}x"), String::new()] {
                    assert!(!subject.vouches_for(&other), "{account:?}: {other:?}");
                }
            }
            Subject::Machine(machine) => {
                assert!(subject.vouches_for(&format!("x@{machine}")));
                for other in [machine.clone(), format!("x@y.{machine}"), format!("x@y@{machine}")] {
                    assert!(!subject.vouches_for(&other), "{machine:?}: {other:?}");
                }
            }
        }
    }
    let _ = TrustRoots::from_der(vec![input.to_vec()]);
    let _ = Identity::from_der(vec![input.to_vec()], input);
    if input.starts_with(b"-----") {
        let _ = TrustRoots::from_pem(input);
        let _ = Identity::from_pem(input, input);
    }
});
