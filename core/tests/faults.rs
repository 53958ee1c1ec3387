//! Handshakes and sessions over a network that delays, splits, merges, cuts, corrupts, reorders and
//! duplicates: either every byte arrives in order, or an error is reported.
#![allow(clippy::pedantic, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]
#![allow(clippy::print_stdout, reason = "figures")]

#[path = "support/random.rs"]
mod random;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use alts_core::aead::{Aead, AeadError, RustCrypto, Text};
use alts_core::frame::FrameSize;
use alts_core::handshake::{
    ClientConfig, ExpectedPeer, Handshake, HandshakeError, HandshakeErrorKind, Offer,
    REQUEST_OVERHEAD, Role, ServerConfig, Want,
};
use alts_core::msg::*;
use alts_core::record::{InPlace, Next, RecordError};
use alts_core::wire::{Message, Secret};
use alts_core::{ClientHandshake, ServerHandshake, Session, Side};
use random::{Fault, Meddler, Random, each_seed};
use sha2::{Digest, Sha256};

/// Bytes under way in each direction: more than that is not written.
const WINDOW: usize = 64 * 1024;
/// What a side may hold of what it received: the largest frame there can be, and one window.
const MOST_HELD: usize = (1 << 20) + 4 + WINDOW;
const DEADLINE: Duration = Duration::from_secs(10);

// --- the network ---

struct Direction {
    meddler: Meddler,
    segments: VecDeque<(Duration, Vec<u8>)>,
    under_way: usize,
    /// The longest delay of a segment, in milliseconds, and its length.
    delay: usize,
    split: usize,
    closed: bool,
}

impl Direction {
    fn new(random: &mut Random, fault: Fault) -> Self {
        let after = random.length(40_000);
        Self {
            meddler: Meddler::new(fault, after),
            segments: VecDeque::new(),
            under_way: 0,
            delay: random.pick(&[1, 10, 500]),
            split: random.pick(&[1 << 20, 1500, 100]),
            closed: false,
        }
    }

    fn push(&mut self, segment: Vec<u8>, random: &mut Random, now: Duration) {
        if self.closed {
            return;
        }
        let delay = Duration::from_millis(random.within(0..self.delay) as u64);
        let last = self.segments.back().map_or(Duration::ZERO, |(at, _)| *at);
        self.under_way += segment.len();
        self.segments.push_back((last.max(now + delay), segment));
    }

    fn close(&mut self, random: &mut Random, now: Duration) {
        if let Some(held) = self.meddler.end() {
            self.push(held, random, now);
        }
        self.closed = true;
    }

    /// Whether nothing will come any more.
    fn at_end(&self) -> bool {
        !self.meddler.silent && self.meddler.ended && self.segments.is_empty()
    }

    fn receive(&mut self, now: Duration) -> Option<Vec<u8>> {
        if self.segments.front()?.0 > now {
            return None;
        }
        let (_, segment) = self.segments.pop_front()?;
        self.under_way -= segment.len();
        Some(segment)
    }
}

/// Sends over `onward`; what is reflected comes back on `backward`.
fn send(
    bytes: &[u8],
    onward: &mut Direction,
    backward: &mut Direction,
    random: &mut Random,
    now: Duration,
) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = random.within(1..onward.split.min(rest.len()) + 1);
        let (segment, behind) = rest.split_at(len);
        rest = behind;
        let (on, back) = onward.meddler.pass(segment.to_vec(), random);
        for segment in on {
            onward.push(segment, random, now);
        }
        if let Some(segment) = back {
            backward.push(segment, random, now);
        }
    }
}

// --- the handshaker service: a toy whose keys depend on every byte of both messages ---

const HELLO: usize = 36;

struct Toy {
    side: Side,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

impl Toy {
    fn new(side: Side, random: &mut Random) -> Self {
        let magic = if side == Side::Client { b"CHLO" } else { b"SHLO" };
        Self { side, ours: [&magic[..], &random.bytes(32)].concat(), theirs: Vec::new() }
    }

    fn answer(&mut self, request: &[u8]) -> Vec<u8> {
        let request = HandshakerReq::decode(request).unwrap();
        let in_bytes = match request.request.as_ref().unwrap() {
            Request::ClientStart(_) => return self.respond(0, true, false),
            Request::ServerStart(start) => start.in_bytes,
            Request::Next(next) => next.in_bytes,
            other => panic!("{other:?}"),
        };
        let used = in_bytes.len().min(HELLO - self.theirs.len());
        self.theirs.extend(&in_bytes[..used]);
        let done = self.theirs.len() == HELLO;
        self.respond(used, done && self.side == Side::Server, done)
    }

    fn respond(&self, used: usize, speak: bool, done: bool) -> Vec<u8> {
        let magic: &[u8] = if self.side == Side::Client { b"SHLO" } else { b"CHLO" };
        let refused = done && !self.theirs.starts_with(magic);
        let versions = RpcProtocolVersions::new(RpcVersion::new(2, 1), RpcVersion::new(2, 1));
        let (client, server) = match self.side {
            Side::Client => (&self.ours, &self.theirs),
            Side::Server => (&self.theirs, &self.ours),
        };
        let digest = Sha256::digest([&client[..], server].concat());
        let key = [&digest[..], &digest[..12]].concat();
        let result = HandshakerResult {
            application_protocol: "grpc",
            record_protocol: "ALTSRP_GCM_AES128_REKEY",
            key_data: Secret::new(&key),
            peer_identity: Some(Identity::from_service_account("peer@example.com")),
            local_identity: Some(Identity::from_service_account("local@example.com")),
            peer_rpc_versions: Some(versions),
            max_frame_size: 1 << 20,
            ..HandshakerResult::default()
        };
        let response = HandshakerResp {
            out_frames: match (refused, speak) {
                (true, _) => b"ALERT",
                (false, true) => &self.ours,
                (false, false) => b"",
            },
            bytes_consumed: used as u32,
            result: (done && !refused).then_some(result),
            status: Some(HandshakerStatus { code: 3 * u32::from(refused), details: "" }),
        };
        let mut bytes = vec![0; response.encoded_len()];
        response.encode(&mut bytes).unwrap();
        bytes
    }
}

// --- one side ---

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Everything has arrived.
    Complete,
    Handshake(HandshakeError),
    Record(RecordError),
    /// The end came between two records, earlier than the application knows it to be.
    Short,
    /// What came out is not what was sent.
    WrongByte,
}

enum Stage<'c, R, A> {
    Handshake(Box<Handshake<R>>, Toy, std::marker::PhantomData<&'c ()>),
    Session(Box<Session<A>>),
}

struct Party<'c, R, A> {
    stage: Option<Stage<'c, R, A>>,
    inbox: Vec<u8>,
    /// Bytes of the inbox that the service or the record layer has seen.
    seen: usize,
    to_send: Vec<u8>,
    sent: usize,
    to_receive: Vec<u8>,
    received: usize,
    end: Option<End>,
    most_held: usize,
}

impl<'c, R: Role, A: Aead> Party<'c, R, A> {
    fn new(machine: Handshake<R>, toy: Toy, to_send: Vec<u8>, to_receive: Vec<u8>) -> Self {
        let stage = Some(Stage::Handshake(Box::new(machine), toy, std::marker::PhantomData));
        let (inbox, seen, sent, received, end) = (Vec::new(), 0, 0, 0, None);
        Self { stage, inbox, seen, to_send, sent, to_receive, received, end, most_held: 0 }
    }

    /// Does what can be done now; whether there was anything.
    fn step(
        &mut self,
        from: &mut Direction,
        to: &mut Direction,
        random: &mut Random,
        now: Duration,
    ) -> bool {
        if self.end.is_some() && (self.sent == self.to_send.len() || to.closed) {
            // As a connection that was closed: what still comes is not read.
            return from.receive(now).is_some();
        }
        let mut progress = false;
        // Not everything that is there is read at once, and not in the pieces in which it came.
        while let Some(segment) = from.receive(now) {
            self.inbox.extend(segment);
            progress = true;
            if random.once_in(3) {
                break;
            }
        }
        self.most_held = self.most_held.max(self.inbox.len());
        let outcome = match self.stage.take().unwrap() {
            Stage::Handshake(machine, toy, _) => {
                self.shake_hands(machine, toy, from, to, random, now, &mut progress)
            }
            Stage::Session(session) => self.talk(session, from, to, random, now, &mut progress),
        };
        match outcome {
            Ok(stage) => self.stage = Some(stage),
            Err(end) => {
                self.end = Some(end);
                to.close(random, now);
                progress = true;
            }
        }
        progress
    }

    #[allow(clippy::too_many_arguments)]
    fn shake_hands(
        &mut self,
        mut machine: Box<Handshake<R>>,
        mut toy: Toy,
        from: &mut Direction,
        to: &mut Direction,
        random: &mut Random,
        now: Duration,
        progress: &mut bool,
    ) -> Result<Stage<'c, R, A>, End> {
        loop {
            match machine.want(now).map_err(End::Handshake)? {
                Want::Established => {
                    let established = machine.established().map_err(End::Handshake)?;
                    *progress = true;
                    self.seen = 0;
                    return Ok(Stage::Session(Box::new(Session::new(established).unwrap())));
                }
                Want::PeerBytes if self.inbox.len() == self.seen => {
                    if from.at_end() {
                        return Err(End::Handshake(machine.peer_closed()));
                    }
                    return Ok(Stage::Handshake(machine, toy, std::marker::PhantomData));
                }
                Want::Send | Want::Alert | Want::Response => unreachable!("done at once, below"),
                Want::Request | Want::PeerBytes => {
                    *progress = true;
                    let mut request = vec![0; self.inbox.len() + REQUEST_OVERHEAD];
                    let asked =
                        machine.request(&self.inbox, &mut request, now).map_err(End::Handshake)?;
                    let mut answer = toy.answer(&request[..asked]);
                    let told = machine.response(&mut answer, now).map_err(End::Handshake)?;
                    self.inbox.drain(..told.consumed);
                    self.seen = self.inbox.len();
                    if !told.to_peer.is_empty() {
                        send(&answer[told.to_peer], to, from, random, now);
                        machine.sent(now);
                    }
                }
            }
        }
    }

    fn talk(
        &mut self,
        mut session: Box<Session<A>>,
        from: &mut Direction,
        to: &mut Direction,
        random: &mut Random,
        now: Duration,
        progress: &mut bool,
    ) -> Result<Stage<'c, R, A>, End> {
        if self.sent < self.to_send.len() && to.under_way < WINDOW {
            let len = random.within(1..20_000).min(self.to_send.len() - self.sent);
            let mut out = vec![0; random.within(100..30_000)];
            let plaintext = &self.to_send[self.sent..self.sent + len];
            let sealed = session.sealer.seal(plaintext, &mut out).map_err(End::Record)?;
            self.sent += sealed.consumed;
            send(&out[..sealed.written], to, from, random, now);
            *progress = true;
        }
        if self.sent == self.to_send.len() && !to.closed {
            to.close(random, now);
            *progress = true;
        }
        let mut room = vec![0; random.within(1..40_000)];
        loop {
            let (consumed, payload) = if random.once_in(2) {
                let opened = session.opener.open(&self.inbox, &mut room).map_err(End::Record)?;
                if let Next::Room { payload } = opened.next {
                    room.resize(payload.max(room.len()), 0);
                    *progress = true;
                }
                let again = matches!(opened.next, Next::Room { .. } | Next::Again);
                if opened.consumed == 0 && again {
                    continue;
                }
                (opened.consumed, room[..opened.written].to_vec())
            } else {
                match session.opener.open_in_place(&mut self.inbox).map_err(End::Record)? {
                    InPlace::Frame { payload, consumed } => {
                        (consumed, self.inbox[payload].to_vec())
                    }
                    InPlace::Input { .. } => (0, Vec::new()),
                }
            };
            // The claim itself: whatever comes out is what was sent, in its order.
            let expected = self.to_receive.get(self.received..self.received + payload.len());
            if expected != Some(&payload[..]) {
                return Err(End::WrongByte);
            }
            self.received += payload.len();
            self.inbox.drain(..consumed);
            if consumed == 0 {
                break;
            }
            *progress = true;
        }
        if self.end.is_none() && from.at_end() {
            session.opener.finish(&self.inbox).map_err(End::Record)?;
            let complete = self.received == self.to_receive.len();
            let end = if complete { End::Complete } else { End::Short };
            if self.sent < self.to_send.len() && complete {
                // It goes on writing, and waits for nothing more.
                self.end = Some(end);
                *progress = true;
            } else {
                return Err(end);
            }
        }
        Ok(Stage::Session(session))
    }
}

// --- schedules ---

#[derive(Default)]
struct Tally {
    schedules: u64,
    bytes: usize,
    most_held: usize,
    longest: Duration,
    ends: BTreeMap<(Fault, &'static str), u64>,
}

impl Tally {
    fn of(&self, fault: Fault, end: &'static str) -> u64 {
        self.ends.get(&(fault, end)).copied().unwrap_or(0)
    }
}

/// Runs one schedule; whether a wrong byte came out.
fn schedule<A: Aead>(seed: u64, tally: &mut Tally) -> bool {
    let random = &mut Random::new(seed);
    let faults = [Fault::Nothing, random.pick(&Fault::ALL)];
    let faults = if random.once_in(2) { [faults[1], faults[0]] } else { faults };
    let [mut to_server, mut to_client] = faults.map(|fault| Direction::new(random, fault));
    let (up, down) = (1 + random.length(60_000), 1 + random.length(60_000));
    let (up, down) = (random.bytes(up), random.bytes(down));
    let offer = Offer::new().with_max_frame_size(random.pick(&[FrameSize::MIN, FrameSize::MAX]));
    let config = ClientConfig::new(ExpectedPeer::Accounts(&["peer@example.com"]))
        .with_offer(offer)
        .with_timeout(DEADLINE);
    let machine = ClientHandshake::client(&config, Duration::ZERO).unwrap();
    let toy = Toy::new(Side::Client, random);
    let mut client = Party::<_, A>::new(machine, toy, up.clone(), down.clone());
    let config = ServerConfig::new().with_timeout(DEADLINE);
    let machine = ServerHandshake::server(&config, Duration::ZERO).unwrap();
    let mut server = Party::<_, A>::new(machine, Toy::new(Side::Server, random), down, up);

    let mut now = Duration::ZERO;
    let stalled = faults.contains(&Fault::Stall);
    for steps in 0.. {
        assert!(steps < 200_000, "it never ends");
        let one = client.step(&mut to_client, &mut to_server, random, now);
        let other = server.step(&mut to_server, &mut to_client, random, now);
        if client.end.is_some() && server.end.is_some() {
            break;
        }
        if one || other {
            continue;
        }
        let next = [&to_server, &to_client]
            .into_iter()
            .filter_map(|direction| direction.segments.front().map(|(at, _)| *at))
            .min();
        match next {
            Some(at) => now = now.max(at),
            // Nothing is under way. Handshakes have a deadline.
            None if now < DEADLINE => now = DEADLINE,
            None => {
                let waits = |direction: &Direction| direction.meddler.silent;
                assert!(
                    stalled && (waits(&to_server) || waits(&to_client)),
                    "somebody waits for what cannot come: {:?} {:?}",
                    client.end,
                    server.end
                );
                break;
            }
        }
    }
    let happened = [&to_client, &to_server].map(|direction| direction.meddler.happened());
    for (end, fault) in [client.end, server.end].into_iter().zip(happened) {
        if happened == [Fault::Nothing; 2] {
            assert_eq!(end, Some(End::Complete), "nothing was done to it");
        }
        if let Some(End::Handshake(error)) = end {
            let timed_out = matches!(error.kind(), HandshakeErrorKind::TimedOut { .. });
            assert!(timed_out || now <= DEADLINE + Duration::from_secs(60));
        }
        let end = match end {
            Some(End::Complete) => "complete",
            Some(End::Handshake(_)) => "handshake refused",
            Some(End::Record(_)) => "record refused",
            Some(End::Short) => "cut noticed",
            Some(End::WrongByte) => "a wrong byte was handed out",
            None => "left to the application's deadline",
        };
        *tally.ends.entry((fault, end)).or_default() += 1;
    }
    tally.schedules += 1;
    tally.bytes += client.received + server.received;
    tally.most_held = tally.most_held.max(client.most_held).max(server.most_held);
    tally.longest = tally.longest.max(now);
    [client.end, server.end].contains(&Some(End::WrongByte))
}

/// Accepts every tag and encrypts nothing.
struct Gullible;

impl Aead for Gullible {
    fn new(_: &[u8; 16]) -> Result<Self, AeadError> {
        Ok(Self)
    }

    fn seal(
        &self,
        _: &[u8; 12],
        _: &[u8],
        text: Text<'_>,
        tag: &mut [u8; 16],
    ) -> Result<(), AeadError> {
        *tag = [0; 16];
        text.into_place().map(drop)
    }

    fn open(&self, _: &[u8; 12], _: &[u8], text: Text<'_>, _: &[u8; 16]) -> Result<(), AeadError> {
        text.into_place().map(drop)
    }
}

fn schedules(count: u64) {
    let began = std::time::Instant::now();
    let mut tally = Tally::default();
    each_seed(0..count, |seed| {
        assert!(!schedule::<RustCrypto>(seed, &mut tally), "a wrong byte was handed out");
    });
    println!(
        "core: {} schedules in {:.1} s: {} bytes arrived, none wrong; at most {} KiB held, {:.1} s \
         of virtual time",
        tally.schedules,
        began.elapsed().as_secs_f32(),
        tally.bytes,
        tally.most_held / 1024,
        tally.longest.as_secs_f32(),
    );
    for ((fault, end), count) in &tally.ends {
        println!("  reading behind {fault:?}: {end}: {count}");
    }
    assert!(tally.most_held <= MOST_HELD);
    if tally.schedules < count {
        return;
    }
    // The network does what it says, or all of this shows nothing.
    for fault in [Fault::Corrupt, Fault::Drop, Fault::Duplicate, Fault::Insert] {
        assert_eq!(tally.of(fault, "complete"), 0, "{fault:?}");
        assert!(tally.of(fault, "record refused") > 0, "{fault:?}");
    }
    for (fault, end) in [
        (Fault::Cut, "handshake refused"),
        (Fault::Cut, "record refused"),
        (Fault::Cut, "cut noticed"),
        (Fault::Reorder, "record refused"),
        (Fault::Stall, "handshake refused"),
        // What was reflected comes back to the sender, whose other direction was not touched.
        (Fault::Nothing, "record refused"),
    ] {
        assert!(tally.of(fault, end) > 0, "{fault:?} {end}");
    }
}

/// The control: with a cipher that checks nothing, wrong bytes come out and are found.
#[test]
fn without_tags_wrong_bytes_are_found() {
    let mut tally = Tally::default();
    let wrong = (0..1_000).filter(|seed| schedule::<Gullible>(*seed, &mut tally)).count();
    println!("control: wrong bytes in {wrong} of 1000 schedules");
    assert!(wrong > 100, "{wrong}");
}

#[test]
fn some_schedules() {
    schedules(5_000);
}

#[test]
#[ignore = "70,000 of 100,000: tokio-alts has the rest"]
fn all_schedules() {
    schedules(70_000);
}
