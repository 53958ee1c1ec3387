//! Chains of two proxies in their own processes, an HTTP server behind them and a client before.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::Outcome;

/// What starts a proxy.
const START: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proxy");
/// How long a proxy may take to serve, with the time to build or install it.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long a response may take.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// What threads here read or write at once, in bytes.
const CHUNK: usize = 256 << 10;

/// Plain connections → one proxy → ALTS → another proxy → plain connections; both end with this value.
pub struct Chain {
    processes: [Child; 2],
    entry: SocketAddr,
}

impl Chain {
    /// Starts both and waits until they serve. `name` and `level` are as `benches/proxy` has them.
    ///
    /// # Errors
    /// Why the proxy is not available here.
    pub fn start(
        name: &str,
        level: &str,
        handshaker: SocketAddr,
        origin: SocketAddr,
    ) -> Outcome<Self> {
        let (hop, entry) = (free_address()?, free_address()?);
        let start = |listen: SocketAddr, target: SocketAddr, mode: &str| {
            let addresses = [handshaker, listen, target].map(|address| address.to_string());
            Command::new(START)
                .args([name, level])
                .args(addresses)
                .arg(mode)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .map_err(|error| format!("{START}: {error}"))
        };
        let processes = [start(hop, origin, "terminate")?, start(entry, hop, "originate")?];
        let mut chain = Self { processes, entry };
        let give_up = Instant::now() + PATIENCE;
        while chain.client().and_then(|mut client| client.get("/100")).is_err() {
            for process in &mut chain.processes {
                if let Some(status) = process.try_wait()? {
                    return Err(format!("{START} {name} {level} …: {status}").into());
                }
            }
            if Instant::now() > give_up {
                return Err(format!("{name} does not serve").into());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(chain)
    }

    /// A new connection to the entry of the chain.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn client(&self) -> Outcome<Client> {
        Client::connect(self.entry)
    }

    /// CPU time that both proxies have taken so far, all their threads together, in seconds.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn cpu_time(&self) -> Outcome<f64> {
        let mut nanoseconds = 0.0;
        for process in &self.processes {
            for thread in fs::read_dir(format!("/proc/{}/task", process.id()))? {
                let line = fs::read_to_string(thread?.path().join("schedstat"))?;
                let time = line.split_whitespace().next().ok_or("schedstat is empty")?;
                nanoseconds += time.parse::<f64>()?;
            }
        }
        Ok(nanoseconds / 1e9)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// An address that was free a moment ago.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An HTTP/1.1 client with one connection, on which it asks again and again.
pub struct Client {
    stream: BufReader<TcpStream>,
    sink: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::with_capacity(CHUNK, stream), sink: vec![0; CHUNK] })
    }

    /// How long a response may take.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn patience(&self, timeout: Duration) -> Outcome<()> {
        Ok(self.stream.get_ref().set_read_timeout(Some(timeout))?)
    }

    /// The bytes of the body at `path`.
    ///
    /// # Errors
    /// When the response does not report success, or does not come.
    pub fn get(&mut self, path: &str) -> Outcome<usize> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: origin\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let (mut length, mut first) = (None, String::new());
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let line = line.trim_end();
            if first.is_empty() {
                line.clone_into(&mut first);
            }
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = Some(value.trim().parse::<usize>()?);
            }
        }
        let length = length.ok_or("a response without a length")?;
        let mut left = length;
        while left > 0 {
            let room = left.min(self.sink.len());
            let read = self.stream.read(self.sink.get_mut(..room).unwrap_or_default())?;
            if read == 0 {
                return Err("the body ends early".into());
            }
            left -= read;
        }
        if first.contains(" 200 ") { Ok(length) } else { Err(first.into()) }
    }
}

/// An HTTP/1.1 server that answers `/SIZE` with that many bytes; it serves as long as the process lives.
///
/// # Errors
/// Those of the socket.
pub fn serve_origin() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || answer(connection));
        }
    });
    Ok(address)
}

fn answer(connection: TcpStream) -> Outcome<()> {
    connection.set_nodelay(true)?;
    let mut output = connection.try_clone()?;
    let mut input = BufReader::new(connection);
    let body = vec![5; CHUNK];
    loop {
        let mut size = None;
        loop {
            let mut line = String::new();
            if input.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(path) = line.strip_prefix("GET /") {
                let (path, _) = path.split_once(' ').ok_or("half a request")?;
                size = Some(path.parse::<usize>()?);
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut left = size.ok_or("a request for nothing")?;
        let mut message = format!("HTTP/1.1 200 OK\r\ncontent-length: {left}\r\n\r\n").into_bytes();
        // A small body goes out with its head.
        let small = left.min(1024);
        message.extend(body.iter().take(small));
        output.write_all(&message)?;
        left -= small;
        while left > 0 {
            let part = body.get(..left.min(CHUNK)).unwrap_or_default();
            output.write_all(part)?;
            left -= part.len();
        }
    }
}

/// A handshaker service that can be made to say nothing: what is asked and answered goes through here.
pub struct Valve {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
}

impl Valve {
    /// In front of the service at `service`, open; it lives as long as the process.
    ///
    /// # Errors
    /// Those of the socket.
    pub fn before(service: SocketAddr) -> Outcome<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let valve = Self { address: listener.local_addr()?, closed: Arc::default() };
        let closed = Arc::clone(&valve.closed);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(service) else { continue };
                let (Ok(near_too), Ok(far_too)) = (near.try_clone(), far.try_clone()) else {
                    continue;
                };
                for (from, to) in [(near, far), (far_too, near_too)] {
                    let closed = Arc::clone(&closed);
                    thread::spawn(move || carry(from, to, &closed));
                }
            }
        });
        Ok(valve)
    }

    /// Where the service seems to be.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on lets nothing through, or everything again.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, closed: &AtomicBool) -> Outcome<()> {
    to.set_nodelay(true)?;
    let mut bytes = vec![0; CHUNK];
    loop {
        let read = from.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        while closed.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(1));
        }
        to.write_all(bytes.get(..read).unwrap_or_default())?;
    }
}
