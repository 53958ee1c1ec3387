//! What both sides know of each other once the handshake is done, and which peers are admitted.

use core::fmt;
use core::time::Duration;

use heapless::{String, Vec};

use crate::account::{AccountPattern, MAX_ACCOUNT};
use crate::error::debug_is_the_sentence;
use crate::key::{RecordProtocol, SecurityLevel};
use crate::msg::{HandshakerResult, Identity, Map, RpcProtocolVersions, capacity};
use crate::wire::{DecodeError, EncodeError, Message, Refusal};

/// The name of an application protocol, in bytes.
const APPLICATION_PROTOCOL: usize = 64;
/// A service account, in bytes.
const SERVICE_ACCOUNT: usize = MAX_ACCOUNT;
/// The names and values of all attributes together, in bytes.
const ATTRIBUTES: usize = 1024;

/// The peer's attribute that says when the peer's certificate ends: `docs/PROTOCOL.md`, "The ends of
/// certificates".
pub const PEER_CERTIFICATE_END: &str = "altsd.peer_certificate_end";
/// The peer's attribute that says when this side's own certificate ends.
pub const LOCAL_CERTIFICATE_END: &str = "altsd.local_certificate_end";
/// The latest end that a certificate can have, 9999-12-31 23:59:59 UTC, in seconds of UNIX time.
pub const LATEST_CERTIFICATE_END: u64 = 253_402_300_799;

/// What the handshake has proved: the message of `altscontext.proto`, in its own memory (less
/// than 1.7 KB).
///
/// It has room for an application protocol of 64 bytes, two service accounts of 256 bytes each, and
/// up to 8 attributes of the peer whose names and values are no longer than 1 KiB together.
///
/// Nothing in it is secret.
#[derive(Clone)]
pub struct AltsContext {
    record_protocol: RecordProtocol,
    peer_rpc_versions: Option<RpcProtocolVersions>,
    texts: Texts,
}

impl AltsContext {
    /// The context that follows from the handshaker service's result. The record protocol is the
    /// one that the caller has recognised in it. Text that the result does not have, such as the
    /// account of an identity of another kind, is empty.
    ///
    /// # Errors
    /// [`DecodeError`] when a text or the attributes are longer than their place, or an attribute for
    /// the end of a certificate is no such time: it names the context's field.
    pub fn from_result(
        result: &HandshakerResult<'_>,
        record_protocol: RecordProtocol,
    ) -> Result<Self, DecodeError> {
        let (peer, local) = (result.peer_identity.as_ref(), result.local_identity.as_ref());
        Self::from_view(&view::AltsContext {
            application_protocol: result.application_protocol,
            record_protocol: record_protocol.name(),
            security_level: record_protocol.security_level() as i32,
            peer_service_account: peer.and_then(Identity::service_account).unwrap_or_default(),
            local_service_account: local.and_then(Identity::service_account).unwrap_or_default(),
            peer_rpc_versions: result.peer_rpc_versions,
            peer_attributes: peer.map(|identity| identity.attributes.clone()).unwrap_or_default(),
        })
    }

    /// Reads a serialized `grpc.gcp.AltsContext`, such as other implementations hand to their
    /// applications.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not such a message, when a text is longer than its place,
    /// when the record protocol is not one of [`RecordProtocol`], when an attribute for the end of a
    /// certificate is no such time, or when the security level is below what the record protocol gives. (A level above that is corrected: some
    /// implementations claim privacy whatever the record protocol.)
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::from_view(&view::AltsContext::decode(bytes)?)
    }

    /// How many bytes [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.view().encoded_len()
    }

    /// Writes the context as a `grpc.gcp.AltsContext` at the start of `out` and returns its length
    /// in bytes.
    ///
    /// # Errors
    /// [`EncodeError`] when `out` is too short.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        self.view().encode(out)
    }

    /// The application protocol that both sides have agreed upon, such as `grpc`.
    #[must_use]
    pub fn application_protocol(&self) -> &str {
        self.texts.nth(Texts::APPLICATION_PROTOCOL)
    }

    /// The record protocol that both sides have agreed upon.
    #[must_use]
    pub const fn record_protocol(&self) -> RecordProtocol {
        self.record_protocol
    }

    /// How the channel's bytes are protected: what the record protocol gives.
    #[must_use]
    pub fn security_level(&self) -> SecurityLevel {
        self.record_protocol.security_level()
    }

    /// The account that the peer has proved to be.
    #[must_use]
    pub fn peer_service_account(&self) -> &str {
        self.texts.nth(Texts::PEER_ACCOUNT)
    }

    /// The account that this side has proved to be.
    #[must_use]
    pub fn local_service_account(&self) -> &str {
        self.texts.nth(Texts::LOCAL_ACCOUNT)
    }

    /// The RPC protocol versions that the peer speaks.
    #[must_use]
    pub fn peer_rpc_versions(&self) -> RpcProtocolVersions {
        self.peer_rpc_versions.unwrap_or_default()
    }

    /// Names and values of what else is known about the peer.
    pub fn peer_attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let names = (Texts::ATTRIBUTES..self.texts.count()).step_by(2);
        names.map(|name| (self.texts.nth(name), self.texts.nth(name.saturating_add(1))))
    }

    /// When the peer's certificate ends, in UNIX time; `None` if the handshaker service does not say.
    /// `altsd` and `alts_handshaker` do: the earliest end in the peer's chain counts.
    #[must_use]
    pub fn peer_certificate_end(&self) -> Option<Duration> {
        self.end(PEER_CERTIFICATE_END)
    }

    /// When this side's own certificate ends, in UNIX time; `None` if the handshaker service does not
    /// say.
    #[must_use]
    pub fn local_certificate_end(&self) -> Option<Duration> {
        self.end(LOCAL_CERTIFICATE_END)
    }

    fn end(&self, wanted: &str) -> Option<Duration> {
        self.peer_attributes().find(|(name, _)| *name == wanted).and_then(|(_, text)| time(text))
    }

    /// Checks that the peer is one of `accounts`, compared byte by byte. An empty list admits
    /// nobody, and a peer without an account is never admitted. A star has no meaning here:
    /// [`authorize_matching`](Self::authorize_matching) takes patterns.
    ///
    /// # Errors
    /// [`Unauthorized`] if it is none of them.
    pub fn authorize<S: AsRef<str>>(&self, accounts: &[S]) -> Result<(), Unauthorized> {
        let peer = self.peer_service_account();
        let admitted = accounts.iter().any(|account| account.as_ref() == peer);
        if admitted && !peer.is_empty() { Ok(()) } else { Err(Unauthorized) }
    }

    /// Checks that the peer is one of those that the patterns match. An empty list admits nobody,
    /// and a peer without an account is never admitted.
    ///
    /// # Errors
    /// [`Unauthorized`] if none of them matches it.
    pub fn authorize_matching<S: AsRef<str>>(
        &self,
        patterns: &[AccountPattern<S>],
    ) -> Result<(), Unauthorized> {
        let peer = self.peer_service_account();
        let admitted = patterns.iter().any(|pattern| pattern.matches(peer));
        if admitted { Ok(()) } else { Err(Unauthorized) }
    }

    fn from_view(view: &view::AltsContext<'_>) -> Result<Self, DecodeError> {
        let record_protocol = RecordProtocol::from_name(view.record_protocol)
            .ok_or(refuse("record_protocol", Refusal::Value))?;
        if view.security_level < record_protocol.security_level() as i32 {
            return Err(refuse("security_level", Refusal::Value));
        }
        let mut texts = Texts::default();
        let single = [
            ("application_protocol", view.application_protocol, APPLICATION_PROTOCOL),
            ("peer_service_account", view.peer_service_account, SERVICE_ACCOUNT),
            ("local_service_account", view.local_service_account, SERVICE_ACCOUNT),
        ];
        for (field, text, capacity) in single {
            let mut place = capacity;
            texts.push(text, &mut place).ok_or(refuse(field, Refusal::TooLong { capacity }))?;
        }
        let mut place = ATTRIBUTES;
        for text in view.peer_attributes.iter().flat_map(|(name, value)| [name, value]) {
            let too_long = refuse("peer_attributes", Refusal::TooLong { capacity: ATTRIBUTES });
            texts.push(text, &mut place).ok_or(too_long)?;
        }
        let is_end = |name: &str| [PEER_CERTIFICATE_END, LOCAL_CERTIFICATE_END].contains(&name);
        let mut attributes = view.peer_attributes.iter();
        if attributes.any(|(name, text)| is_end(name) && time(text).is_none()) {
            return Err(refuse("peer_attributes", Refusal::Value));
        }
        Ok(Self { record_protocol, peer_rpc_versions: view.peer_rpc_versions, texts })
    }

    fn view(&self) -> view::AltsContext<'_> {
        let mut peer_attributes = Map::new();
        for (name, value) in self.peer_attributes() {
            // It holds as many as its source does.
            let _ = peer_attributes.insert(name, value);
        }
        view::AltsContext {
            application_protocol: self.application_protocol(),
            record_protocol: self.record_protocol.name(),
            security_level: self.security_level() as i32,
            peer_service_account: self.peer_service_account(),
            local_service_account: self.local_service_account(),
            peer_rpc_versions: self.peer_rpc_versions,
            peer_attributes,
        }
    }
}

impl PartialEq for AltsContext {
    /// Attributes have no order.
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Eq for AltsContext {}

impl fmt::Debug for AltsContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}

/// A context's texts in one piece of memory, one behind the other: separate memory for each
/// would be three times as large, and empty for the most part.
#[derive(Clone, Default)]
struct Texts {
    all: String<{ APPLICATION_PROTOCOL + 2 * SERVICE_ACCOUNT + ATTRIBUTES }>,
    /// Where each one ends.
    ends: Vec<u16, { Texts::ATTRIBUTES + 2 * capacity::ATTRIBUTES }>,
}

impl Texts {
    const APPLICATION_PROTOCOL: usize = 0;
    const PEER_ACCOUNT: usize = 1;
    const LOCAL_ACCOUNT: usize = 2;
    /// Names and values in turn, up to the last text.
    const ATTRIBUTES: usize = 3;

    /// Adds a text that takes its bytes from `place`; `None` when there are not enough.
    fn push(&mut self, text: &str, place: &mut usize) -> Option<()> {
        *place = place.checked_sub(text.len())?;
        self.all.push_str(text).ok()?;
        self.ends.push(u16::try_from(self.all.len()).ok()?).ok()
    }

    fn nth(&self, number: usize) -> &str {
        let end = |number: usize| self.ends.get(number).map_or(0, |end| usize::from(*end));
        let start = number.checked_sub(1).map_or(0, end);
        self.all.get(start..end(number)).unwrap_or_default()
    }

    fn count(&self) -> usize {
        self.ends.len()
    }
}

/// The time in an attribute: seconds of UNIX time in decimal digits, without a sign or leading zeros.
fn time(text: &str) -> Option<Duration> {
    let is_canonical = !text.is_empty() && (text == "0" || !text.starts_with('0'));
    let seconds = text.bytes().try_fold(0_u64, |before, byte| {
        let digit = char::from(byte).to_digit(10)?;
        let seconds = before.checked_mul(10)?.checked_add(digit.into())?;
        (seconds <= LATEST_CERTIFICATE_END).then_some(seconds)
    });
    seconds.filter(|_| is_canonical).map(Duration::from_secs)
}

fn refuse(field: &'static str, refusal: Refusal) -> DecodeError {
    DecodeError::new(<view::AltsContext<'_> as Message>::NAME, Some(field), refusal)
}

/// The peer is none of the accounts that were expected.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unauthorized;

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the peer's service account is not among those that are admitted")
    }
}

impl core::error::Error for Unauthorized {}

debug_is_the_sentence!(Unauthorized);

/// The context on the wire.
mod view {
    use crate::msg::{Map, RpcProtocolVersions, capacity};
    use crate::wire::message;

    message! {
        /// The message of `altscontext.proto`.
        pub(super) struct AltsContext<'a> {
            1 => application_protocol: &'a str,
            2 => record_protocol: &'a str,
            3 => security_level: i32,
            4 => peer_service_account: &'a str,
            5 => local_service_account: &'a str,
            6 => peer_rpc_versions: Option<RpcProtocolVersions>,
            7 => peer_attributes: Map<&'a str, &'a str, { capacity::ATTRIBUTES }>,
        }
    }
}
