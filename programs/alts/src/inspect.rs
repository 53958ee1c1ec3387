//! `alts inspect`: what is in a captured stream.

mod frames;
mod handshake;
mod input;
mod key;
mod opening;
mod packet;
mod pcap;
mod report;
mod stop;
mod tcp;
#[cfg(test)]
mod tests;
mod window;

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alts_core::Side;
use alts_core::key::RecordProtocol;

use self::input::{Source, Streams};
use self::key::{Key, KeyArgument};
use self::opening::Opening;
use self::report::{Event, Report};
use self::stop::Stop;
use self::window::Window;
use crate::diagnosis::{Fault, Problem, UNWRITTEN};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(after_help = STATUSES, after_long_help = format!("{FORMATS}\n\n{STATUSES}\n\n{EXAMPLES}"))]
pub struct Arguments {
    /// What the client sent, as raw bytes; or a capture of tcpdump (pcap, pcapng) with one TCP
    /// connection in it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What the server sent, as raw bytes.
    #[arg(long, value_name = "FILE")]
    pub to_client: Option<PathBuf>,
    /// In a capture with several connections, only read those from or to this port; given twice, the
    /// one between the two ports.
    #[arg(long, value_name = "PORT")]
    pub port: Vec<u16>,
    /// The connection's `key_data`, in hexadecimal, or `@FILE` with the same or with its bytes.
    /// Anyone who can list processes can see the command line, so a file is better.
    #[arg(long, value_name = "HEX|@FILE")]
    pub key_data: Option<KeyArgument>,
    /// The record protocol that the key is for.
    #[arg(long, value_name = "NAME", value_parser = protocol, default_value = "ALTSRP_GCM_AES128_REKEY")]
    pub protocol: RecordProtocol,
    /// Print a line for each frame.
    #[arg(long)]
    pub frames: bool,
    /// Write the decrypted data to `to_server` and `to_client` in this directory, up to the first
    /// frame that fails. For a single raw file, `-` writes to standard output, and the report then
    /// goes to standard error.
    #[arg(long, value_name = "DIRECTORY", requires = "key_data")]
    pub dump: Option<PathBuf>,
    /// Print one JSON object per line instead of text.
    #[arg(long)]
    pub json: bool,
}

const STATUSES: &str = "Exit status:
  0  nothing is wrong with the streams
  1  the report could not be written
  2  the command line is wrong
  3  a file or the key cannot be used, or the capture is incomplete
  5  a stream fails: cut off, damaged, replayed, or not ALTS";

const FORMATS: &str = "A direction is its handshake messages and then frames. Messages of altsd have names; those of
other handshaker services are unknown bytes up to the first frame. The key changes every 65536 frames
(`rekey`). With a key, each frame is opened, and one that does not open is tried at the positions of
its neighbours, which distinguishes a replay from damage.

With --json, each line is an object with `event`, and usually `direction` (to_server or to_client) and
`offset` (bytes from the beginning of the direction):
  note       text
  message    direction, offset, bytes, type, name (null if unknown), text
  unknown    direction, offset, bytes, text
  frame      direction, offset, frame (from 0), bytes, payload   (only with --frames)
  rekey      direction, offset, frame
  fault      direction, offset, frame, kind, text
  incomplete direction, offset, text: the capture lacks a part of the stream, which may be good
  summary    direction, bytes, handshake_bytes, frames, empty, payload_bytes, payload_min, payload_max,
             rekeys, opened (null without a key), faults, incomplete
  end        ok, exit_status
Kinds of faults: header, truncated, replayed, missing, late, reflected, damaged, wrong_key,
wrong_protocol, no_alts.";

const EXAMPLES: &str = "Examples:
  tcpdump -i any -s 0 -w capture.pcap tcp port 9000
  alts inspect capture.pcap --key-data @key.hex
  alts inspect to_server.bin --to-client to_client.bin --frames";

fn protocol(name: &str) -> Result<RecordProtocol, String> {
    RecordProtocol::from_name(name).ok_or_else(|| {
        let names: Vec<_> = RecordProtocol::ALL.iter().map(|protocol| protocol.name()).collect();
        format!("{name:?} is not a record protocol: write {}", names.join(", "))
    })
}

/// Runs it, and returns the program's status.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    let dump_out = arguments.dump.as_deref() == Some(Path::new("-"));
    let out: Box<dyn Write> =
        if dump_out { Box::new(io::stderr()) } else { Box::new(io::stdout().lock()) };
    let mut report = Report::new(io::BufWriter::new(out), arguments.json, arguments.frames);
    let status = match inspect(arguments, &mut report) {
        Ok(()) => report.status(),
        Err(Stop::Unusable(problem)) => {
            eprintln!("alts inspect: cannot go on\n{problem}");
            Some(problem.fault)
        }
        Err(Stop::Unwritten(error)) => {
            eprintln!("alts inspect: cannot write the report: {error}");
            return UNWRITTEN.into();
        }
    };
    let number = status.map_or(0, Fault::exit_status);
    match report.end(number) {
        Ok(()) => number.into(),
        Err(_) => UNWRITTEN.into(),
    }
}

/// Reads the streams, and reports what is in them.
fn inspect<W: Write>(arguments: Arguments, report: &mut Report<W>) -> Result<(), Stop> {
    let Arguments { file, to_client, port, key_data, protocol, dump, .. } = arguments;
    let key = match key_data {
        None => None,
        Some(argument) => Some(Key::read(&argument, protocol)?),
    };
    let Streams { to_server, to_client, notes } = input::open(&file, to_client.as_deref(), port)?;
    for text in notes {
        report.tell(&Event::Note { text }).map_err(Stop::Unwritten)?;
    }
    let mut dumps = Dumps::new(dump.as_deref(), to_client.is_none())?;
    for (source, writer) in [(Some(to_server), Side::Client), (to_client, Side::Server)] {
        let Some(Source { path, lacks, read }) = source else { continue };
        let opening = match &key {
            None => None,
            Some(key) => Some(Opening::new(key, writer)?),
        };
        let dump = dumps.of(writer)?;
        let outcome = frames::direction(Window::new(read, lacks), writer, opening, dump, report);
        outcome.map_err(|failed| match failed {
            frames::Failed::Read(error) => Stop::file(&path, &error),
            frames::Failed::Write(error) => Stop::Unwritten(error),
        })?;
    }
    Ok(())
}

/// Where opened payloads go.
enum Dumps {
    None,
    Output,
    Directory(PathBuf),
}

impl Dumps {
    fn new(place: Option<&Path>, one_direction: bool) -> Result<Self, Problem> {
        match place {
            None => Ok(Self::None),
            Some(path) if path == Path::new("-") => {
                if one_direction {
                    return Ok(Self::Output);
                }
                Err(Problem::new(
                    Fault::Local,
                    "to write what was opened to the standard output",
                    "two directions, which would be mixed there",
                    "name a directory (--dump DIRECTORY), or only one raw file",
                ))
            }
            Some(path) => {
                fs::create_dir_all(path).map_err(|error| unwritable(path, &error))?;
                Ok(Self::Directory(path.to_owned()))
            }
        }
    }

    /// Where that of one direction goes.
    fn of(&mut self, writer: Side) -> Result<Box<dyn Write>, Problem> {
        match self {
            Self::None => Ok(Box::new(io::sink())),
            Self::Output => Ok(Box::new(io::stdout().lock())),
            Self::Directory(directory) => {
                let path = directory.join(report::direction(writer));
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                // What was said over the connection is for the user who opens it.
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let file = options.open(&path).map_err(|error| unwritable(&path, &error))?;
                Ok(Box::new(io::BufWriter::new(file)))
            }
        }
    }
}

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        Fault::Local,
        format!("to make {}", path.display()),
        error.to_string(),
        "name a directory (--dump) that can be written to and has no such file yet",
    )
}
