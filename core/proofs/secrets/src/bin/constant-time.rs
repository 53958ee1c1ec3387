//! Whether time depends on secrets: keys, tags and tokens are "undefined" for valgrind's memcheck,
//! which reports every branch and every address that depends on something undefined.
//!
//! For each case it is known how often that may be: never, or once where the verdict over a tag, which
//! the peer learns anyway, decides what happens next. `constant-time control` compares in the
//! forbidden way, and succeeds if that is reported.
#![allow(clippy::unwrap_used, reason = "a proof that fails may panic")]
#![allow(clippy::similar_names, reason = "sealer and sealed are different enough")]

use std::arch::asm;
use std::hint::black_box;
use std::process::ExitCode;

use alts_core::Side;
use alts_core::aead::{Aead, AeadError, RustCrypto, Text};
use alts_core::frame::FrameSize;
use alts_core::handshake::{ClientConfig, ExpectedPeer};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::msg::HandshakerReq;
use alts_core::record::{Opener, Sealer};
use alts_core::wire::{Message, Secret, SecretText};
use alts_core::{ClientHandshake, Session};
use secrets::{NOW, client_before_result, result_message};

const KEY_DATA: [u8; 44] = [0x3c; 44];

fn main() -> ExitCode {
    if request(Request::RunningOnValgrind, 0, 0) == 0 {
        eprintln!("run this under valgrind");
        return ExitCode::from(2);
    }
    if std::env::args().nth(1).as_deref() == Some("control") {
        return control();
    }
    let mut cases = Cases { wrong: 0 };
    for &protocol in RecordProtocol::ALL {
        println!("{protocol}");
        records(&mut cases, protocol);
    }
    println!("comparisons and messages");
    comparisons(&mut cases);
    messages(&mut cases);
    ExitCode::from(u8::from(cases.wrong > 0))
}

fn records(cases: &mut Cases, protocol: RecordProtocol) {
    let secret = Secrets::of(KEY_DATA);
    let key = cases.expect(0, "RecordKey::new", || RecordKey::new(protocol, &secret.0)).unwrap();
    let sealer = || Sealer::<Judged>::new(Side::Client, &key, FrameSize::DEFAULT).unwrap();
    let opener = || Opener::<Judged>::new(Side::Server, &key).unwrap();
    let mut sealing = cases.expect(0, "Sealer::new: rekeying, AES and GHASH keys", sealer);
    let mut opening = cases.expect(0, "Opener::new", opener);

    let payload = Secrets::of([0x55; 1000]);
    let mut wire = vec![0; 2000];
    let mut plaintext = vec![0; 1000];
    let sealed = cases
        .expect(0, "seal, of a secret payload", || sealing.seal(&payload.0, &mut wire).unwrap());
    wire.truncate(sealed.written);
    // What is on the wire is public.
    defined(&mut wire);
    let opened =
        cases.expect(1, "open, the tag is right", || opening.open(&wire, &mut plaintext).unwrap());
    assert_eq!(opened.written, 1000);

    let mut frame = vec![0; 100];
    let len = cases.expect(0, "seal_in_place", || sealing.seal_in_place(&mut frame, 50).unwrap());
    frame.truncate(len);
    defined(&mut frame);
    let _ = cases.expect(1, "open_in_place, the tag is right", || {
        opening.open_in_place(&mut frame).unwrap()
    });

    sealing.set_position(Some(0x1_0000));
    opening.set_position(Some(0x1_0000));
    let mut next = vec![0; 100];
    let sealed = cases.expect(0, "seal, with the first frame of a new key", || {
        sealing.seal(b"next", &mut next).unwrap()
    });
    next.truncate(sealed.written);
    defined(&mut next);
    let right = next.clone();
    for (name, at) in [
        ("open, the first byte of the tag is wrong", right.len() - 16),
        ("open, the last byte of the tag is wrong", right.len() - 1),
    ] {
        let mut opening = opener();
        opening.set_position(Some(0x1_0000));
        let mut wrong = right.clone();
        *wrong.get_mut(at).unwrap() ^= 1;
        cases.expect(1, name, || opening.open(&wrong, &mut plaintext).unwrap_err());
    }
    cases.expect(0, "drop", || drop((sealing, opening, key)));
}

fn comparisons(cases: &mut Cases) {
    let ours = Secrets::of([7; 44]);
    for (name, at) in [
        ("Secret == Secret, the first byte differs", 0),
        ("Secret == Secret, the last byte differs", 43),
        ("Secret == Secret, no byte differs", 44),
    ] {
        let mut theirs = [7; 44];
        if let Some(byte) = theirs.get_mut(at) {
            *byte = 8;
        }
        let theirs = Secrets::of(theirs);
        let mut same = cases.expect(0, name, || Secret::new(&ours.0) == Secret::new(&theirs.0));
        public(&mut same);
        assert_eq!(same, at == 44);
    }
    let (mut left, mut right) = (String::from("a token"), String::from("a tokem"));
    // SAFETY: marking bytes for valgrind changes none of them.
    undefined(unsafe { left.as_bytes_mut() });
    // SAFETY: as above.
    undefined(unsafe { right.as_bytes_mut() });
    let mut same = cases.expect(0, "SecretText == SecretText", || {
        SecretText::new(&left) == SecretText::new(&right)
    });
    public(&mut same);
    assert!(!same);
}

fn messages(cases: &mut Cases) {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = client_before_result(&config);
    let (mut message, at) = result_message(&KEY_DATA);
    undefined(message.get_mut(at..at + KEY_DATA.len()).unwrap());
    cases.expect(0, "Handshake::response, with key data", || {
        let _ = client.response(&mut message, NOW).unwrap();
    });
    client.sent(NOW);
    let established = client.established().unwrap();
    cases.expect(0, "Session::new", || Session::<Judged>::new(established).unwrap());

    let mut token = String::from("a token of some length");
    // SAFETY: marking bytes for valgrind changes none of them.
    undefined(unsafe { token.as_bytes_mut() });
    let access_token = SecretText::new(&token);
    let config = ClientConfig::new(ExpectedPeer::Any).with_access_token(access_token);
    let mut client = ClientHandshake::client(&config, NOW).unwrap();
    let mut request = [0; 512];
    let len = cases.expect(0, "Handshake::request, with a token", || {
        client.request(&[], &mut request, NOW).unwrap()
    });
    let request = request.get(..len).unwrap();
    // Text is checked to be UTF-8: that takes a time that depends on where it is not ASCII.
    cases.expect_some("HandshakerReq::decode, with a token (UTF-8 is checked)", || {
        black_box(HandshakerReq::decode(request).is_ok());
    });
}

/// The provider, whose verdict over a tag is public once it is there.
struct Judged(RustCrypto);

impl Aead for Judged {
    fn new(key: &[u8; 16]) -> Result<Self, AeadError> {
        RustCrypto::new(key).map(Self)
    }

    fn seal(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        text: Text<'_>,
        tag: &mut [u8; 16],
    ) -> Result<(), AeadError> {
        self.0.seal(nonce, aad, text, tag)
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        text: Text<'_>,
        tag: &[u8; 16],
    ) -> Result<(), AeadError> {
        let mut right = self.0.open(nonce, aad, text, tag).is_ok();
        public(&mut right);
        if right { Ok(()) } else { Err(AeadError) }
    }
}

/// A comparison that stops at the first difference has to be reported.
fn control() -> ExitCode {
    let (ours, theirs) = (Secrets::of([7; 16]), Secrets::of([7; 16]));
    let before = errors();
    let same =
        ours.0.iter().zip(theirs.0.iter()).all(|(our, their)| black_box(our) == black_box(their));
    black_box(same);
    let reported = errors() - before;
    println!("an early-exit comparison of 16 bytes: reported {reported} times");
    ExitCode::from(u8::from(reported < 16))
}

struct Cases {
    wrong: u32,
}

impl Cases {
    /// Runs `work`, in which at most `allowed` branches may depend on a secret.
    fn expect<T>(&mut self, allowed: usize, name: &str, work: impl FnOnce() -> T) -> T {
        let (value, found) = counted(work);
        let verdict = if found == allowed { "" } else { "  WRONG" };
        self.wrong += u32::from(found != allowed);
        let verdicts = if allowed == 1 { " (the verdict)" } else { "" };
        println!("  {found} of {allowed}{verdicts}  {name}{verdict}");
        value
    }

    /// Runs `work`, which is known to depend on a secret.
    fn expect_some(&mut self, name: &str, work: impl FnOnce()) {
        let ((), found) = counted(work);
        self.wrong += u32::from(found == 0);
        println!("  {found}, as documented  {name}");
    }
}

fn counted<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = errors();
    let value = black_box(work());
    (value, errors() - before)
}

/// Bytes that valgrind takes for undefined.
struct Secrets(Box<[u8]>);

impl Secrets {
    fn of<const N: usize>(bytes: [u8; N]) -> Self {
        let mut bytes: Box<[u8]> = Box::new(bytes);
        undefined(&mut bytes);
        Self(black_box(bytes))
    }
}

/// The client requests of `valgrind/valgrind.h` and `memcheck.h` that are used here.
#[derive(Clone, Copy)]
#[repr(usize)]
enum Request {
    RunningOnValgrind = 0x1001,
    CountErrors = 0x1201,
    MakeUndefined = 0x4d43_0001,
    MakeDefined = 0x4d43_0002,
}

fn undefined(bytes: &mut [u8]) {
    request(Request::MakeUndefined, bytes.as_mut_ptr().addr(), bytes.len());
}

fn defined(bytes: &mut [u8]) {
    request(Request::MakeDefined, bytes.as_mut_ptr().addr(), bytes.len());
}

/// Lets the outcome of a comparison be known.
fn public(outcome: &mut bool) {
    request(Request::MakeDefined, (&raw mut *outcome).addr(), 1);
    black_box(outcome);
}

fn errors() -> usize {
    request(Request::CountErrors, 0, 0)
}

fn request(request: Request, first: usize, second: usize) -> usize {
    let block = [request as usize, first, second, 0, 0, 0];
    let mut result = 0_usize;
    // SAFETY: on a processor the rotations add up to whole turns and the exchange does nothing;
    // valgrind knows the sequence, reads the block, and puts its answer into rdx.
    unsafe {
        asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") &raw const block, inout("rdx") result, in("rdi") 0,
        );
    }
    result
}
