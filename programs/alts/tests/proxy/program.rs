//! The program: its configuration, what it says, and its signals.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use alts_proxy::config::Config;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::{
    Directory, PATIENCE, chain, closed_port, connect, echo, echo_server, name_of,
};

fn alts() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alts"));
    command.env_clear().stdin(Stdio::null()).arg("proxy");
    command
}

/// What the program says and how it ends, when it is not to go on.
pub fn outcome(arguments: &[&str]) -> (Output, String) {
    let output = alts().args(arguments).output().unwrap();
    let text = [&*output.stdout, &*output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    (output, text)
}

/// The program at work; it is killed when the test is over.
pub struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    pub fn start(arguments: &[&str]) -> Self {
        Self::spawn(alts(), arguments)
    }

    /// With limits as `ulimit` takes them.
    pub fn limited(limits: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("bash");
        let script = format!("ulimit {limits} && exec \"$@\"");
        command.env_clear().stdin(Stdio::null()).args(["-c", &script, "bash"]);
        command.args([env!("CARGO_BIN_EXE_alts"), "proxy"]);
        Self::spawn(command, arguments)
    }

    fn spawn(mut command: Command, arguments: &[&str]) -> Self {
        command.args(["--log-format", "json"]).args(arguments).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stderr, log) = (child.stderr.take().unwrap(), Arc::clone(&lines));
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                log.lock().unwrap().push(line.unwrap());
            }
        });
        Self { child, lines }
    }

    /// Waits for a line of the log with that message and these fields.
    pub async fn line(&self, message: &str, fields: &[(&str, &str)]) -> Value {
        let begun = Instant::now();
        loop {
            let lines = self.lines.lock().unwrap().clone();
            for line in &lines {
                let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
                let found = &line["fields"];
                if found["message"] == message
                    && fields.iter().all(|(key, value)| found[key] == *value)
                {
                    return line;
                }
            }
            assert!(begun.elapsed() < PATIENCE, "no {message:?} with {fields:?}: {lines:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many lines of the log have this text.
    pub fn said(&self, text: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub async fn address(&self, listener: &str) -> std::net::SocketAddr {
        let line = self.line("listening", &[("listener", listener)]).await;
        line["fields"]["address"].as_str().unwrap().parse().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    pub async fn end(&mut self) -> std::process::ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_threads_as_it_is_told() {
    let (server, _echo) = echo_server("echo").await;
    let to = server.to_string();
    for count in ["1", "5"] {
        let arguments = ["--listen", "127.0.0.1:0", "--to", &to, "--threads", count];
        let running = Running::start(&arguments);
        let at = running.address("127.0.0.1:0").await;
        echo(&mut connect(at).await, "hello").await;
        let threads = fs::read_dir(format!("/proc/{}/task", running.child.id())).unwrap().count();
        // The first one waits for signals, and one writes the log.
        assert_eq!(threads, 2 + count.parse::<usize>().unwrap());
    }
    let (output, text) = outcome(&["--listen", "127.0.0.1:0", "--to", &to, "--threads", "0"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_flags_alone() {
    let (server, _echo) = echo_server("echo").await;
    let to = server.to_string();
    let mut running = Running::start(&["--listen", "127.0.0.1:0", "--to", &to]);
    let at = running.address("127.0.0.1:0").await;
    let mut open = connect(at).await;
    echo(&mut open, "hello").await;
    running.signal(Signal::SIGTERM);
    running.line("stopping", &[]).await;
    echo(&mut open, "there is time").await;
    drop(open);
    let audit = running.line("connection", &[("outcome", "finished")]).await;
    assert_eq!(audit["target"], "alts::audit");
    assert_eq!(audit["fields"]["upstream_address"], to);
    assert_eq!(audit["fields"]["received"], 18);
    assert_eq!(audit["fields"]["sent"], 18);
    assert!(running.end().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_in_one_process_with_audit_and_access_lines() {
    let origin = crate::origin::Origin::start().await;
    let directory = Directory::new();
    let inner = closed_port().await;
    let text = chain(origin.address, inner, "level = \"http\"");
    let path = directory.config(&text);
    let mut running = Running::start(&["--config", path.to_str().unwrap()]);
    let outer = running.address("outer").await;
    running.address("inner").await;
    let mut client = crate::origin::http1(connect(outer).await).await;
    let response = client.send_request(crate::origin::get("/a?token=x")).await.unwrap();
    assert!(crate::origin::text(response).await.contains("client@dev.test"));
    let access = running.line("request", &[("listener", "inner")]).await;
    assert_eq!(access["target"], "alts::access");
    let fields = &access["fields"];
    assert_eq!(fields["peer"], "client@dev.test");
    assert_eq!((&fields["method"], &fields["path"]), (&"GET".into(), &"/a".into()), "no query");
    assert_eq!(fields["status"], 200);
    assert!(fields["sent"].as_u64().unwrap() > 0);
    drop(client);
    running.line("connection", &[("listener", "outer"), ("outcome", "finished")]).await;
    running.signal(Signal::SIGINT);
    assert!(running.end().await.success());
    running.line("connection", &[("listener", "inner"), ("peer", "client@dev.test")]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_reads_the_file_again() {
    let (first, _first) = echo_server("first").await;
    let (second, _second) = echo_server("second").await;
    let directory = Directory::new();
    let text = format!(
        "[[listen]]\nname = \"a\"\ntcp = \"127.0.0.1:0\"\nupstream = \"u\"\n\
         [[upstream]]\nname = \"u\"\naddresses = [\"{first}\"]\n"
    );
    let path = directory.config(&text);
    let running = Running::start(&["--config", path.to_str().unwrap()]);
    let at = running.address("a").await;
    let mut open = connect(at).await;
    echo(&mut open, "before").await;
    directory.config("listen = 5");
    running.signal(Signal::SIGHUP);
    running.line("the new configuration is bad: the old one stays in use", &[]).await;
    assert_eq!(name_of(at).await, "first");
    directory.config(&text.replace(&first.to_string(), &second.to_string()));
    running.signal(Signal::SIGHUP);
    running.line("reloaded", &[]).await;
    assert_eq!(name_of(at).await, "second");
    echo(&mut open, "after").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_with_the_grace_whatever_is_silent() {
    // As the kubelet waits, with a second for what is left to do.
    assert!(Config::GRACE + Duration::from_secs(2) < Duration::from_secs(30));
    let (server, _echo) = echo_server("echo").await;
    let origin = crate::origin::Origin::start().await;
    let directory = Directory::new();
    let path = directory.config(&format!(
        "[[listen]]\nname = \"a\"\ntcp = \"127.0.0.1:0\"\nupstream = \"u\"\n\
         [[upstream]]\nname = \"u\"\naddresses = [\"{server}\"]\n\
         [[listen]]\nname = \"w\"\ntcp = \"127.0.0.1:0\"\nupstream = \"web\"\nlevel = \"http\"\n\
         [[upstream]]\nname = \"web\"\naddresses = [\"{}\"]\n[shutdown]\ngrace = \"2s\"\n",
        origin.address
    ));
    let mut running = Running::start(&["--config", path.to_str().unwrap()]);
    // A tunnel that was used, one that never was, a WebSocket, and a request without an answer.
    let mut used = connect(running.address("a").await).await;
    echo(&mut used, "hello").await;
    let unused = connect(running.address("a").await).await;
    let web = running.address("w").await;
    let mut websocket = crate::origin::http1(connect(web).await).await;
    let mut request = crate::origin::get("/upgrade");
    request.headers_mut().insert("connection", "upgrade".parse().unwrap());
    request.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    let upgraded = websocket.send_request(request).await.unwrap();
    let mut waiting = crate::origin::http1(connect(web).await).await;
    let waiting = tokio::spawn(waiting.send_request(crate::origin::get("/silent")));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    running.signal(Signal::SIGTERM);
    assert!(running.end().await.success());
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(1500) && took < Duration::from_secs(5), "{took:?}");
    drop((used, unused, upgraded, waiting));
}

#[test]
fn flags_that_leave_something_open_are_refused() {
    for (arguments, wanted) in [
        (&["--listen", "127.0.0.1:0"][..], "where to? Give --to or --to-alts"),
        (&["--to", "127.0.0.1:1"], "--listen <ADDRESS>"),
        (&["--listen", "127.0.0.1:0", "--to-alts", "x:1"], "--expect-peer ACCOUNT, or --any-peer"),
        (&["--listen-alts", "127.0.0.1:0", "--to", "x:1"], "--allow-peer ACCOUNT, or --allow-any"),
        (&["--listen", "127.0.0.1:0", "--to", "x"], "write host:port"),
        (
            &["--listen", "127.0.0.1:0", "--to-alts", "x:1", "--any-peer", "--max-frame-size", "1"],
            "between 16384 and 1048576",
        ),
        (
            &[
                "--listen",
                "127.0.0.1:0",
                "--to-alts",
                "x:1",
                "--any-peer",
                "--handshaker",
                "dev:a@real.com",
            ],
            "could be real",
        ),
    ] {
        let (output, text) = outcome(arguments);
        assert!(!output.status.success() && text.contains(wanted), "{arguments:?}: {text}");
    }
}

#[test]
fn check_says_what_would_be_done_and_what_is_wrong() {
    let directory = Directory::new();
    let good = "[[listen]]\nname = \"a\"\ntcp = \"0.0.0.0:0\"\nlevel = \"http\"\nupstream = \"u\"\n\
                [[upstream]]\nname = \"u\"\naddresses = [\"x.test:1\"]\nsecurity = \"alts\"\n\
                handshaker = \"dev:a@dev.test\"\nexpect = [\"b@dev.test\"]\n";
    let path = directory.config(good);
    let check = |path: &Path| outcome(&["--check", "--config", path.to_str().unwrap()]);
    let (output, text) = check(&path);
    assert!(output.status.success(), "{text}");
    for wanted in [
        "listener  a (0.0.0.0:0), plain; http to u",
        "upstream  u (x.test:1), ALTS by dev:a@dev.test, expects b@dev.test",
        "warning   listener a (0.0.0.0:0) is plain and can be reached from other machines",
        "good",
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    for (from, to, wanted) in [
        ("level = \"http\"", "levle = \"http\"", "unknown field `levle`"),
        (
            "upstream = \"u\"",
            "upstream = \"v\"",
            "line 1, [[listen]]: there is no [[upstream]] called \"v\"",
        ),
        ("expect = [\"b@dev.test\"]", "", "line 6, [[upstream]]: who may it be? Give expect"),
        ("\"dev:a@dev.test\"", "\"google\"", "line 6, [[upstream]]: handshaker google"),
        ("tcp = \"0.0.0.0:0\"", "", "line 1, [[listen]]: give exactly one of tcp and unix"),
        ("level = \"http\"", "allow = [\"x@y.test\"]", "allow is only for security = \"alts\""),
        ("security = \"alts\"", "security = \"tls\"", "unknown variant `tls`"),
        ("\"x.test:1\"", "\"x.test\"", "write host:port"),
        ("expect = [\"b@dev.test\"]", "expect = []", "[[upstream]]: no expected service account"),
        (
            "upstream = \"u\"",
            "upstream = \"u\"\n[[listen.route]]\nprefix = \"/a\"\nallow = [\"x@y.test\"]",
            "clients of a plain listener have none",
        ),
    ] {
        let (output, text) = check(&directory.config(&good.replace(from, to)));
        assert!(!output.status.success() && text.contains(wanted), "no {wanted:?} in {text}");
        assert!(text.contains("proxy.toml"), "{text}");
    }
    let (output, text) = check(&PathBuf::from("/nonexistent/proxy.toml"));
    assert!(!output.status.success() && text.contains("/nonexistent/proxy.toml"), "{text}");
}

#[test]
fn the_example_has_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy/alts-proxy.example.toml");
    let text = fs::read_to_string(&path).unwrap();
    let config = Config::parse(&text, &path).unwrap();
    assert!(config.listeners.len() > 1 && config.upstreams.len() > 1);
    // What is written as a comment may be used as it stands there.
    let keys = |line: &str| {
        line.trim_start()
            .strip_prefix("# ")
            .filter(|rest| {
                rest.split_once(" = ").is_some_and(|(key, _)| {
                    !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                })
            })
            .map(ToOwned::to_owned)
    };
    let all: Vec<_> =
        text.lines().map(|line| keys(line).unwrap_or_else(|| line.to_owned())).collect();
    let commented = text.lines().filter(|line| keys(line).is_some()).count();
    assert!(commented > 0);
    Config::parse(&all.join("\n"), &path).unwrap();
    // Every key that the reader knows is there.
    let source = include_str!("../../../proxy/src/config/file.rs").to_owned()
        + include_str!("../../../proxy/src/config.rs")
        + include_str!("../../../serving/src/settings.rs");
    for name in [
        "RawListen",
        "RawRoute",
        "RawUpstream",
        "RawShutdown",
        "Limits",
        "MetricsSettings",
        "LogSettings",
    ] {
        let (_, fields) = source.split_once(&format!("struct {name} {{\n")).unwrap();
        let (fields, _) = fields.split_once("\n}").unwrap();
        for line in fields.lines() {
            let line = line.trim().trim_start_matches("pub ");
            if line.starts_with(['#', '/']) {
                continue;
            }
            let key = line.split(':').next().unwrap();
            let table =
                if key == "route" { "[[listen.route]]".to_owned() } else { format!("{key} = ") };
            assert!(text.contains(&table), "{name}: no {table} in the example");
        }
    }
}
