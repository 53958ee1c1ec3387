//! Whether keys are gone when they have been used: from the values that held them, and from the
//! stack of the calls that worked with them.
//!
//! Everything is done twice, with two keys and otherwise the same: a byte of memory that differs
//! afterwards says something about the key, in whatever form. So nothing has to be known of how a
//! cipher expands its key. As a control, the same memory has to differ before the values are dropped.
#![allow(clippy::unwrap_used, reason = "a proof that fails may panic")]

use std::arch::asm;
use std::collections::HashSet;
use std::hint::black_box;
use std::mem::MaybeUninit;
use std::process::ExitCode;

use alts_core::aead::{Aead, RustCrypto};
use alts_core::frame::FrameSize;
use alts_core::handshake::{ClientConfig, ExpectedPeer};
use alts_core::key::{RecordKey, RecordProtocol};
use alts_core::record::{Opener, Sealer};
use alts_core::{Established, Session, Side};
use secrets::{NOW, client_before_result, result_message};

type KeyData = [u8; 44];
const KEYS: [KeyData; 2] = [key_data(0x3c), key_data(0x95)];
/// Bytes of the stack on which the calls are made.
const STACK: usize = 256 * 1024;

fn main() -> ExitCode {
    let mut proof = Proof { wrong: 0, stack: vec![0; STACK] };
    println!("values, after they were dropped: bytes that depend on the key (and before)");
    for &protocol in RecordProtocol::ALL {
        println!(" {protocol}");
        proof.value("RecordKey", |key| record_key(protocol, key));
        proof.value("Sealer, with its key schedule", |key| sealer(protocol, key));
        proof.value("Opener, with its key schedule", |key| opener(protocol, key));
    }
    println!(" all of them");
    proof.value("RustCrypto, AES and GHASH", |key| {
        RustCrypto::new(key.first_chunk().unwrap()).unwrap()
    });
    proof.value("Established", established);
    proof.value("Session", |key| Session::<RustCrypto>::new(established(key)).unwrap());
    proof.messages();

    println!("the stack of a call, after it has returned: bytes that depend on the key");
    for &protocol in RecordProtocol::ALL {
        println!(" {protocol}");
        proof.call(
            "Sealer::new",
            false,
            |key| record_key(protocol, key),
            |key| {
                let sealer = Sealer::<RustCrypto>::new(Side::Client, key, FrameSize::DEFAULT);
                black_box(sealer.is_ok());
            },
        );
        proof.call(
            "Opener::new",
            false,
            |key| record_key(protocol, key),
            |key| {
                black_box(Opener::<RustCrypto>::new(Side::Client, key).is_ok());
            },
        );
    }
    println!(" ALTSRP_GCM_AES128_REKEY");
    let protocol = RecordProtocol::AesGcm128Rekey;
    let at_the_end = |key: &KeyData| {
        let mut sealer = sealer(protocol, key);
        sealer.set_position(Some(0xffff));
        black_box(sealer.seal(b"payload", &mut [0; 64]).is_ok());
        sealer
    };
    proof.call("the change of keys, and a record sealed", true, at_the_end, |sealer| {
        black_box(sealer.seal(b"payload", &mut [0; 64]).is_ok());
    });
    proof.call(
        "a record sealed",
        true,
        |key| sealer(protocol, key),
        |sealer| {
            black_box(sealer.seal(b"payload", &mut [0; 64]).is_ok());
        },
    );
    let sealed = |key: &KeyData| {
        let mut wire = [0; 64];
        let sealed = sealer(protocol, key).seal(b"payload", &mut wire).unwrap();
        let opener = Opener::<RustCrypto>::new(Side::Server, &record_key(protocol, key)).unwrap();
        (opener, wire, sealed.written)
    };
    proof.call("a record opened", true, sealed, |(opener, wire, len)| {
        black_box(opener.open(wire.get(..*len).unwrap(), &mut [0; 64]).is_ok());
    });
    proof.call(
        "Session::new",
        false,
        |key| Some(established(key)),
        |established| {
            black_box(established.take().map(Session::<RustCrypto>::new).is_some());
        },
    );
    proof.control();
    ExitCode::from(u8::from(proof.wrong > 0))
}

/// Key data in which no byte looks like its neighbours.
const fn key_data(seed: u8) -> KeyData {
    let (mut data, mut at, mut byte) = ([0; 44], 0, seed);
    while at < data.len() {
        byte = byte.wrapping_mul(29).wrapping_add(seed);
        #[expect(clippy::indexing_slicing, reason = "at is below the length")]
        let place = &mut data[at];
        *place = byte;
        at += 1;
    }
    data
}

fn record_key(protocol: RecordProtocol, key: &KeyData) -> RecordKey {
    RecordKey::new(protocol, key).unwrap()
}

fn sealer(protocol: RecordProtocol, key: &KeyData) -> Sealer<RustCrypto> {
    Sealer::new(Side::Client, &record_key(protocol, key), FrameSize::DEFAULT).unwrap()
}

fn opener(protocol: RecordProtocol, key: &KeyData) -> Opener<RustCrypto> {
    Opener::new(Side::Client, &record_key(protocol, key)).unwrap()
}

fn established(key: &KeyData) -> Established {
    let config = ClientConfig::new(ExpectedPeer::Any);
    let mut client = client_before_result(&config);
    let (mut message, _) = result_message(key);
    let _ = client.response(&mut message, NOW).unwrap();
    client.sent(NOW);
    client.established().unwrap()
}

struct Proof {
    wrong: u32,
    stack: Vec<u8>,
}

impl Proof {
    /// Makes a value of each key at the same place, and drops it there.
    fn value<T>(&mut self, name: &str, make: impl Fn(&KeyData) -> T) {
        let mut place = Box::new(MaybeUninit::<T>::zeroed());
        let looks = KEYS.map(|key| {
            // Made on a clean stack: values have gaps, into which a move may copy what was there.
            *place = MaybeUninit::zeroed();
            self.stack.fill(0xa5);
            on_stack(&mut self.stack, &mut || {
                place.write(make(&key));
            });
            let before = look(&mut place);
            // SAFETY: it was written above, and is not used again.
            unsafe { place.assume_init_drop() };
            (before, look(&mut place))
        });
        let [(before, after), (other_before, other_after)] = looks;
        let found = different(&after, &other_after);
        self.judge(name, found, Some(different(&before, &other_before)), found);
    }

    /// The service's message after the machine has read it.
    fn messages(&mut self) {
        let looks = KEYS.map(|key| {
            let config = ClientConfig::new(ExpectedPeer::Any);
            let mut client = client_before_result(&config);
            let (mut message, _) = result_message(&key);
            let before = message.clone();
            let _ = client.response(&mut message, NOW).unwrap();
            (before, message)
        });
        let [(before, after), (other_before, other_after)] = looks;
        let (before, found) = (different(&before, &other_before), different(&after, &other_after));
        self.judge("the response in the caller's buffer", found, Some(before), found);
    }

    /// Makes the same call with each key on an empty stack, on something that was made elsewhere.
    /// Nothing of the key may be left, or, if `derived`, no 8 bytes of what `make` has made.
    fn call<T>(
        &mut self,
        name: &str,
        derived: bool,
        make: impl Fn(&KeyData) -> T,
        work: impl Fn(&mut T),
    ) {
        let mut place = Box::new(MaybeUninit::uninit());
        let mut looks = KEYS.map(|_| (vec![], vec![]));
        // A loop of which the compiler knows nothing, so that it does not make two calls of it.
        for (key, look) in black_box(KEYS.as_slice()).iter().zip(black_box(&mut looks)) {
            *look = self.look_at_call(*key, &mut place, &make, &work);
        }
        let [(value, one), (other_value, other)] = looks;
        let used = one.iter().position(|byte| *byte != 0xa5).map_or(0, |first| STACK - first);
        let found = different(&one, &other);
        let name = format!("{name} ({used} bytes of stack)");
        if std::env::args().any(|argument| argument == "-v") {
            for (at, (a, b)) in one.chunks(8).zip(other.chunks(8)).enumerate() {
                if a != b {
                    println!("    {:6} below the top: {a:02x?} {b:02x?}", STACK - at * 8);
                }
            }
        }
        if derived {
            let pieces = pieces_of(&value, &other_value, &one);
            self.judge(
                &format!("{name}, in which are {pieces} pieces of keys"),
                pieces,
                None,
                found,
            );
        } else {
            self.judge(&name, found, None, found);
        }
    }

    /// A call that wipes nothing leaves something: the comparison can fail.
    fn control(&mut self) {
        let mut place = Box::new(MaybeUninit::uninit());
        let set_up = |key: &mut KeyData| {
            black_box(RustCrypto::new(key.first_chunk().unwrap()).is_ok());
        };
        let looks = KEYS.map(|key| self.look_at_call(key, &mut place, &|key| *key, &set_up));
        let [(_, one), (_, other)] = looks;
        let found = different(&one, &other);
        self.judge(
            "RustCrypto::new alone, which wipes no stack: the control",
            0,
            Some(found),
            found,
        );
    }

    /// What the value and the stack are after the call. Never inlined, so that the two
    /// calls that are compared are made from the same place.
    #[inline(never)]
    fn look_at_call<T>(
        &mut self,
        key: KeyData,
        place: &mut MaybeUninit<T>,
        make: &dyn Fn(&KeyData) -> T,
        work: &dyn Fn(&mut T),
    ) -> (Vec<u8>, Vec<u8>) {
        *place = MaybeUninit::zeroed();
        self.stack.fill(0xa5);
        on_stack(&mut self.stack, &mut || {
            place.write(make(&key));
        });
        self.stack.fill(0xa5);
        // SAFETY: it was written above.
        on_stack(&mut self.stack, &mut || work(unsafe { place.assume_init_mut() }));
        let value = look(place);
        // SAFETY: as above, and not used again.
        unsafe { place.assume_init_drop() };
        (value, self.stack.clone())
    }

    /// Nothing may be `wrong`, and something must be there for the control.
    fn judge(&mut self, name: &str, wrong: usize, control: Option<usize>, found: usize) {
        let right = wrong == 0 && control != Some(0);
        self.wrong += u32::from(!right);
        let before = control.map_or(String::new(), |before| format!(" ({before})"));
        println!("  {found:4}{before}  {name}{}", if right { "" } else { "  WRONG" });
    }
}

/// The bytes of a value, whatever they are.
fn look<T>(place: &mut MaybeUninit<T>) -> Vec<u8> {
    let bytes = black_box(place.as_mut_ptr()).cast::<u8>();
    // SAFETY: within the value's place, which was zeroed before the value was written; volatile,
    // so that nothing is assumed of what is there.
    (0..size_of::<T>()).map(|at| unsafe { bytes.add(at).read_volatile() }).collect()
}

fn different(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).filter(|(one, other)| one != other).count()
}

/// How many 8 bytes of a value that depend on the key, but for the mask of the nonces, stand on a
/// stack.
fn pieces_of(value: &[u8], other: &[u8], stack: &[u8]) -> usize {
    let mask = key_mask();
    let standing: HashSet<&[u8]> = stack.windows(8).collect();
    let depends = |(one, other): &(&[u8], &[u8])| one.iter().zip(*other).all(|(a, b)| a != b);
    let windows = value.windows(8).zip(other.windows(8)).filter(depends);
    windows.filter(|(piece, _)| standing.contains(piece) && !mask.contains(piece)).count()
}

/// The pieces of the mask of the nonces: nonces are no secrets.
fn key_mask() -> HashSet<&'static [u8]> {
    const MASK: KeyData = key_data(0x3c);
    MASK.get(32..).unwrap().windows(8).collect()
}

/// Runs `work` on another stack.
fn on_stack<F: FnMut()>(stack: &mut [u8], work: &mut F) {
    extern "C" fn run<F: FnMut()>(work: &mut F) {
        work();
    }
    let top = stack.as_mut_ptr_range().end.addr() & !63;
    // SAFETY: the stack is large enough and nobody else uses it; `run` takes one pointer, keeps the
    // registers that the convention says, and does not unwind: panics abort. Those registers are
    // kept on the old stack, and cleared, since their content is the compiler's.
    unsafe {
        asm!(
            "push rbx",
            "push rbp",
            "mov r12, rsp",
            "mov rsp, rax",
            "xor ebx, ebx",
            "xor ebp, ebp",
            "xor r13d, r13d",
            "xor r14d, r14d",
            "xor r15d, r15d",
            "call rdx",
            "mov rsp, r12",
            "pop rbp",
            "pop rbx",
            in("rax") top,
            in("rdx") run::<F> as extern "C" fn(&mut F),
            in("rdi") work,
            out("r12") _,
            out("r13") _,
            out("r14") _,
            out("r15") _,
            clobber_abi("C"),
        );
    }
}
