//! Child processes: this test program again, with a single test to run.
//!
//! Such a test is ignored, and does nothing unless its first line of input says what to do.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use alts_handshaker::dev::Authority;
use alts_handshaker::grpc::{AnyCaller, HandshakerServer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// A child that is killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
}

/// Runs `test` in its own process, after the shell has done `first`.
pub(crate) fn spawn(test: &str, instruction: &str, first: &str) -> Process {
    let mut child = Command::new("sh")
        .args(["-c", &format!("{first}; exec \"$0\" \"$@\"")])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", test, "--nocapture", "--test-threads", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe stays open for as long as the child should live.
    let mut input = child.stdin.as_ref().unwrap();
    writeln!(input, "{instruction}").unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    Process { child, lines }
}

impl Process {
    /// Waits for the line that starts with `prefix`, and returns what follows.
    pub(crate) fn line(&self, prefix: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(60)).unwrap();
            // The test program's own output has no end of line before this one.
            if let Some((_, rest)) = line.split_once(prefix) {
                return rest.trim().to_owned();
            }
        }
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn succeeded(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first line of input.
pub(crate) fn instruction() -> Option<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    let line = line.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[test]
#[ignore = "a child process of other tests: a handshaker service"]
fn handshaker() {
    let Some(path) = instruction() else { return };
    // It ends with its parent.
    std::thread::spawn(|| {
        let _ = std::io::stdin().lock().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let handshaker = Authority::new().unwrap().handshaker("both@dev.test").unwrap();
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        println!("READY");
        let service = HandshakerServer::with_concurrency(AnyCaller(handshaker), 4096);
        let incoming = UnixListenerStream::new(listener);
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
}
