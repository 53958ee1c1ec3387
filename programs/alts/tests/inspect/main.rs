//! `alts inspect` on sessions with the stock implementations, whole and broken.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that meets one of these fails, as it should"
)]

mod capture;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// One recorded connection.
struct Session {
    name: String,
    key_data: String,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    handshake_to_server: usize,
    payload_to_server: usize,
    payload_to_client: usize,
}

fn sessions() -> Vec<Session> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors/transcripts.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let text = |case: &Value, name: &str| case[name].as_str().unwrap().to_owned();
    let session = |case: &Value| Session {
        name: format!("{} {}", text(case, "peer"), text(case, "peer_side")),
        key_data: text(case, "key_data"),
        to_server: bytes(&text(case, "to_server")),
        to_client: bytes(&text(case, "to_client")),
        handshake_to_server: usize::try_from(case["handshake_to_server"].as_u64().unwrap())
            .unwrap(),
        payload_to_server: text(case, "payload_to_server").len() / 2,
        payload_to_client: text(case, "payload_to_client").len() / 2,
    };
    file["cases"].as_array().unwrap().iter().map(session).collect()
}

fn bytes(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// A directory with files, removed at the end.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("inspect-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(&self, name: &str, content: &[u8]) -> String {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ran {
    status: i32,
    out: Vec<u8>,
    err: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        let lines = self.text().lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|event| event["event"] == kind).collect()
    }

    fn summaries(&self) -> (Value, Value) {
        let mut all = self.events("summary");
        let last = all.pop().expect("a summary");
        (all.pop().unwrap_or_default(), last)
    }

    /// The one fault that there is.
    #[track_caller]
    fn fault(&self) -> Value {
        let faults = self.events("fault");
        assert_eq!(faults.len(), 1, "{}", self.text());
        assert_eq!(self.status, 5);
        faults[0].clone()
    }
}

fn inspect(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alts"));
    let output = command.env_clear().arg("inspect").args(arguments).output().unwrap();
    Ran {
        status: output.status.code().unwrap(),
        out: output.stdout,
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The frames of a stream, behind its handshake.
fn frames(stream: &[u8], handshake: usize) -> Vec<Vec<u8>> {
    let (mut frames, mut rest) = (Vec::new(), &stream[handshake..]);
    while let Some(length) = rest.first_chunk() {
        let end = u32::from_le_bytes(*length) as usize + 4;
        frames.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    frames
}

/// A session whose frames to the server were changed, opened with its key.
fn changed(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Ran {
    let session = sessions().swap_remove(2);
    let mut all = frames(&session.to_server, session.handshake_to_server);
    assert!(all.len() >= 4, "a session of several frames");
    change(&mut all);
    let stream = [&session.to_server[..session.handshake_to_server], &all.concat()].concat();
    let files = Files::new();
    inspect(&[&files.with("a", &stream), "--json", "--key-data", &session.key_data])
}

#[test]
fn sessions_with_every_peer_open_to_their_last_byte() {
    let files = Files::new();
    let sessions = sessions();
    assert_eq!(sessions.len(), 8);
    for session in sessions {
        let dump = files.0.join(&session.name);
        let ran = inspect(&[
            &files.with("to_server", &session.to_server),
            "--to-client",
            &files.with("to_client", &session.to_client),
            "--key-data",
            &format!("@{}", files.with("key", session.key_data.as_bytes())),
            "--dump",
            dump.to_str().unwrap(),
            "--json",
            "--frames",
        ]);
        assert_eq!(ran.status, 0, "{}: {}", session.name, ran.text());
        let names: Vec<_> =
            ran.events("message").iter().map(|event| event["name"].clone()).collect();
        let expected =
            ["ClientInit", "ClientParameters", "ClientFinished", "ServerInit", "ServerParameters"];
        assert_eq!(names, expected);
        let (to_server, to_client) = ran.summaries();
        for (summary, stream, payload) in [
            (&to_server, &session.to_server, session.payload_to_server),
            (&to_client, &session.to_client, session.payload_to_client),
        ] {
            assert_eq!(summary["bytes"], stream.len());
            assert_eq!(summary["payload_bytes"], payload);
            assert_eq!(summary["opened"], summary["frames"]);
            assert_eq!(summary["faults"], 0);
        }
        let frames = to_server["frames"].as_u64().unwrap() + to_client["frames"].as_u64().unwrap();
        assert_eq!(ran.events("frame").len() as u64, frames);
        assert_eq!(fs::read(dump.join("to_server")).unwrap().len(), session.payload_to_server);
        let mode = fs::metadata(dump.join("to_server")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "only for the user who opened it");
        assert_eq!(fs::read(dump.join("to_client")).unwrap().len(), session.payload_to_client);
        assert!(fs::read(dump.join("to_server")).unwrap().starts_with(b"PRI * HTTP/2.0"));
        assert!(
            !ran.text().contains(session.key_data.get(..16).unwrap()),
            "the key is never shown"
        );
    }
}

#[test]
fn without_a_key_there_are_messages_frames_and_sizes() {
    let session = sessions().swap_remove(0);
    let files = Files::new();
    let ran = inspect(&[&files.with("a", &session.to_server)]);
    assert_eq!(ran.status, 0);
    for words in ["handshake: ClientInit (altsd)", "nothing is wrong", "changes of key"] {
        assert!(ran.text().contains(words), "{}", ran.text());
    }
    assert!(!ran.text().contains("opened"), "{}", ran.text());
}

#[test]
fn a_capture_is_taken_apart() {
    for session in sessions().iter().take(2) {
        for format in capture::FORMATS {
            let files = Files::new();
            let file = capture::write(format, &session.to_server, &session.to_client);
            let name = files.with("capture", &file);
            let ran = inspect(&[&name, "--json", "--key-data", &session.key_data]);
            assert_eq!(ran.status, 0, "{format:?}: {}{}", ran.text(), ran.err);
            let (to_server, to_client) = ran.summaries();
            assert_eq!(to_server["bytes"], session.to_server.len());
            assert_eq!(to_client["bytes"], session.to_client.len());
            assert_eq!(to_server["opened"], to_server["frames"]);
            assert_eq!(to_client["opened"], to_client["frames"]);
            let refused = inspect(&[&name, "--to-client", &name]);
            assert_eq!(refused.status, 3);
            assert!(refused.err.contains("leave --to-client away"), "{}", refused.err);
            let other = inspect(&[&name, "--port", "1"]);
            assert_eq!(other.status, 3);
            assert!(other.err.contains("no TCP connection"), "{}", other.err);
        }
    }
}

#[test]
fn a_capture_can_come_from_a_pipe() {
    let session = sessions().swap_remove(0);
    let file = capture::write(capture::FORMATS[0], &session.to_server, &session.to_client);
    let mut command = Command::new(env!("CARGO_BIN_EXE_alts"));
    command.args(["inspect", "/dev/stdin", "--json", "--key-data", &session.key_data]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Less than a pipe holds.
    child.stdin.take().unwrap().write_all(&file).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn two_connections_in_a_capture_are_not_mixed() {
    let session = sessions().swap_remove(0);
    let files = Files::new();
    let file = capture::two(&session.to_server, &session.to_client);
    let name = files.with("capture", &file);
    let ran = inspect(&[&name]);
    assert_eq!(ran.status, 3);
    assert!(ran.err.contains("several: ") && ran.err.contains("--port"), "{}", ran.err);
    let port = capture::SECOND_PORT.to_string();
    let ran = inspect(&[&name, "--port", &port, "--key-data", &session.key_data]);
    assert_eq!(ran.status, 0, "{}", ran.text());
    // The port that both have does not distinguish them, and is not asked for again by itself.
    let ran = inspect(&[&name, "--port", "40000"]);
    assert_eq!(ran.status, 3);
    let words = format!(
        "name the two ports of one: --port 40000 --port 9000, or --port 40000 --port {port}\n"
    );
    assert!(ran.err.contains(&words), "{}", ran.err);
    for ports in [["40000", "9000"], ["9000", "40000"], ["40000", &port]] {
        let ports = ["--port", ports[0], "--port", ports[1]];
        let ran = inspect(&[&[&*name, "--key-data", &session.key_data], &ports[..]].concat());
        assert_eq!(ran.status, 0, "{}{}", ran.text(), ran.err);
    }
    let ran = inspect(&[&name, "--port", "9000", "--port", &port]);
    assert_eq!(ran.status, 3);
    assert!(ran.err.contains("no TCP connection between the ports 9000 and 9001"), "{}", ran.err);
}

#[test]
fn connections_with_the_same_ports_are_not_asked_for_by_port() {
    let session = sessions().swap_remove(0);
    let files = Files::new();
    let name = files.with("capture", &capture::alike(&session.to_server, &session.to_client));
    for ports in [&[][..], &["--port", "9000"], &["--port", "9000", "--port", "40000"]] {
        let ran = inspect(&[&[&*name], ports].concat());
        assert_eq!(ran.status, 3);
        assert!(!ran.err.contains("--port"), "{}", ran.err);
        let filter = "'host 10.9.0.1 and host 10.9.0.2 and port 40000 and port 9000'";
        assert!(ran.err.contains(filter), "{}", ran.err);
    }
}

#[test]
fn the_stream_is_not_blamed_for_what_its_capture_lacks() {
    use capture::Harm;
    let session = sessions().swap_remove(0);
    let files = Files::new();
    let (to_server, to_client) = (&session.to_server, &session.to_client);
    let cut = &to_server[..to_server.len() - 10];
    for (name, stream, harm, status) in [
        ("closed", to_server, Harm::Nothing, 0),
        ("open between frames", to_server, Harm::StillOpen, 0),
        ("open in a frame", &cut.to_owned(), Harm::StillOpen, 3),
        ("begun late", to_server, Harm::Beginning, 3),
        ("a gap", to_server, Harm::Middle, 3),
        ("a gap at the end", to_server, Harm::End, 3),
        // Here, it is the stream.
        ("cut and closed", &cut.to_owned(), Harm::Nothing, 5),
    ] {
        let file = files.with("capture", &capture::harmed(stream, to_client, harm));
        let ran = inspect(&[&file, "--json", "--key-data", &session.key_data]);
        assert_eq!(ran.status, status, "{name}: {}{}", ran.text(), ran.err);
        assert_eq!(ran.events("fault").len(), usize::from(status == 5), "{name}: {}", ran.text());
        assert_eq!(ran.events("incomplete").len(), usize::from(status == 3), "{name}");
        let summaries = ran.events("summary");
        assert_eq!(summaries[0]["incomplete"], status == 3, "{name}");
        let ran = inspect(&[&file, "--key-data", &session.key_data]);
        let words = ran.text().contains("nothing is wrong as far as it was captured");
        assert_eq!(words, status == 3, "{name}: {}", ran.text());
    }
}

#[test]
fn a_frame_that_came_twice() {
    let ran = changed(|frames| frames.insert(3, frames[1].clone()));
    let fault = ran.fault();
    assert_eq!((&fault["kind"], &fault["frame"]), (&"replayed".into(), &3.into()));
    let text = fault["text"].as_str().unwrap();
    assert!(text.contains("frame 3 is frame 1 again"), "{text}");
    let (_, summary) = ran.summaries();
    assert_eq!(
        summary["opened"].as_u64().unwrap() + 1,
        summary["frames"].as_u64().unwrap(),
        "those behind it open"
    );
}

#[test]
fn a_frame_that_was_lost() {
    let ran = changed(|frames| drop(frames.remove(1)));
    let fault = ran.fault();
    assert_eq!((&fault["kind"], &fault["frame"]), (&"missing".into(), &1.into()));
    assert!(fault["text"].as_str().unwrap().contains("frame 1 is missing here"), "{fault}");
}

#[test]
fn frames_in_another_order() {
    let ran = changed(|frames| frames.swap(1, 2));
    let faults = ran.events("fault");
    let kinds: Vec<_> = faults.iter().map(|fault| fault["kind"].as_str().unwrap()).collect();
    assert_eq!((kinds.as_slice(), ran.status), (&["missing", "late"][..], 5));
}

#[test]
fn a_bit_that_was_flipped() {
    for place in [8, 12] {
        let ran = changed(|frames| frames[1][place] ^= 0x10);
        let fault = ran.fault();
        assert_eq!((&fault["kind"], &fault["frame"]), (&"damaged".into(), &1.into()));
        assert!(fault["text"].as_str().unwrap().contains("the next one opens"), "{fault}");
    }
    // In the last frame there is no next one, in the first no one before.
    let ran = changed(|frames| *frames.last_mut().unwrap().last_mut().unwrap() ^= 1);
    assert!(ran.fault()["text"].as_str().unwrap().contains("it is the last one"));
    let ran = changed(|frames| frames[0][9] ^= 1);
    assert_eq!(ran.fault()["kind"], "damaged");
}

#[test]
fn headers_that_were_changed() {
    let ran = changed(|frames| frames[1][7] = 1);
    let faults = ran.events("fault");
    assert_eq!((&faults[0]["kind"], &faults[0]["frame"]), (&"header".into(), &1.into()));
    assert!(faults[0]["text"].as_str().unwrap().contains("message type 0x1000006 is not 6"));
    // Behind it, the frames are found again, and one of them was skipped.
    assert_eq!(faults[1]["kind"], "missing");
    let ran = changed(|frames| frames[1][2] = 0xff);
    assert!(
        ran.events("fault")[0]["text"].as_str().unwrap().contains("is not within 20..=1048576")
    );
}

#[test]
fn a_stream_that_was_cut() {
    let ran = changed(|frames| {
        let last = frames.last_mut().unwrap();
        last.truncate(last.len() - 1);
    });
    let fault = ran.fault();
    assert_eq!(fault["kind"], "truncated");
    assert!(fault["text"].as_str().unwrap().contains("at least 1 are missing"), "{fault}");
    let session = sessions().swap_remove(0);
    let files = Files::new();
    let ran = inspect(&[&files.with("a", &session.to_server[..100]), "--json"]);
    assert_eq!(ran.fault()["kind"], "truncated");
    assert!(ran.text().contains("inside the handshake message ClientInit"), "{}", ran.text());
}

#[test]
fn frames_of_the_other_direction() {
    let session = sessions().swap_remove(0);
    let files = Files::new();
    // The two files were exchanged.
    let ran =
        inspect(&[&files.with("a", &session.to_client), "--json", "--key-data", &session.key_data]);
    assert_eq!(ran.status, 5);
    let faults = ran.events("fault");
    assert!(faults.iter().all(|fault| fault["kind"] == "reflected"), "{}", ran.text());
    assert!(faults[0]["text"].as_str().unwrap().contains("the two directions were exchanged"));
}

#[test]
fn keys_that_do_not_fit() {
    let files = Files::new();
    let all = sessions();
    let name = files.with("a", &all[0].to_server);
    let ran = inspect(&[&name, "--json", "--key-data", &all[1].key_data]);
    let fault = ran.fault();
    assert_eq!(fault["kind"], "wrong_key");
    assert!(fault["text"].as_str().unwrap().contains("the key of another connection"), "{fault}");
    let arguments = ["--json", "--key-data", &all[0].key_data, "--protocol", "ALTSRP_GCM_AES128"];
    let ran = inspect(&[&[name.as_str()], &arguments[..]].concat());
    let fault = &ran.events("fault")[0];
    assert_eq!(fault["kind"], "wrong_protocol");
    assert!(fault["text"].as_str().unwrap().contains("say --protocol ALTSRP_GCM_AES128_REKEY"));
    for key in ["00", "secret-secret", "@/nowhere"] {
        let ran = inspect(&[&name, "--key-data", key]);
        assert_eq!(ran.status, 3, "{}", ran.err);
        assert!(ran.err.contains("44 bytes of key_data"), "{}", ran.err);
        assert!(!ran.err.contains("secret"), "{}", ran.err);
    }
}

#[test]
fn what_is_no_alts_is_said_to_be_none() {
    let files = Files::new();
    let ran = inspect(&[&files.with("a", b"HTTP/1.1 200 OK\r\n\r\nhello"), "--json"]);
    let fault = ran.fault();
    assert_eq!(fault["kind"], "no_alts");
    assert!(fault["text"].as_str().unwrap().contains("HTTP/1.1 200 OK"), "{fault}");
    let ran = inspect(&["/nowhere/at/all"]);
    assert_eq!(ran.status, 3);
    assert!(ran.err.contains("check the name"), "{}", ran.err);
    assert!(!ran.err.contains("pcap"), "repair tools do not make files: {}", ran.err);
    assert_eq!(inspect(&[]).status, 2);
    assert_eq!(inspect(&["a", "--protocol", "TLS"]).status, 2);
    let help = inspect(&["--help"]);
    assert!(help.text().contains("Kinds of faults"), "{}", help.text());
}

#[test]
fn handshakes_of_other_services_are_unknown_bytes() {
    let session = sessions().swap_remove(0);
    let records = &session.to_server[session.handshake_to_server..];
    let files = Files::new();
    let key = ["--json", "--key-data", &session.key_data];
    // Bytes of any kind, and messages in the usual frame with a type that altsd does not have.
    let stream = [&[0xa5; 777][..], records].concat();
    let ran = inspect(&[&[files.with("a", &stream).as_str()], &key[..]].concat());
    assert_eq!(ran.status, 0, "{}", ran.text());
    assert_eq!(ran.events("unknown")[0]["bytes"], 777);
    let message = b"\x08\0\0\0\x02\0\0\0abcd";
    let stream = [&message[..], &message[..], records].concat();
    let ran = inspect(&[&[files.with("b", &stream).as_str()], &key[..]].concat());
    assert_eq!(ran.status, 0, "{}", ran.text());
    let messages = ran.events("message");
    assert_eq!((messages.len(), &messages[1]["type"]), (2, &2.into()));
    assert_eq!(messages[1]["name"], Value::Null);
}

#[test]
fn one_direction_can_go_to_the_standard_output() {
    let session = sessions().swap_remove(0);
    let files = Files::new();
    let name = files.with("a", &session.to_server);
    let ran = inspect(&[&name, "--key-data", &session.key_data, "--dump", "-"]);
    assert_eq!((ran.status, ran.out.len()), (0, session.payload_to_server), "{}", ran.err);
    assert!(ran.err.contains("nothing is wrong"), "{}", ran.err);
    let ran =
        inspect(&[&name, "--to-client", &name, "--key-data", &session.key_data, "--dump", "-"]);
    assert_eq!(ran.status, 3);
    assert!(ran.err.contains("two directions"), "{}", ran.err);
}
