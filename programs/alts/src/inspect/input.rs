//! The files: raw bytes of each direction, or a capture of packets.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use super::stop::Stop;
use super::tcp::CapturedStream;
use super::window::Lacks;
use super::{packet, pcap, tcp};
use crate::diagnosis::{Fault, Problem};

/// One direction, and the file that it comes from.
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) lacks: Lacks,
    pub(super) read: Box<dyn Read>,
}

/// Both directions, as far as there are both.
pub(super) struct Streams {
    pub(super) to_server: Source,
    pub(super) to_client: Option<Source>,
    pub(super) notes: Vec<String>,
}

/// Opens the files.
pub(super) fn open(
    file: &Path,
    to_client: Option<&Path>,
    ports: Vec<u16>,
) -> Result<Streams, Stop> {
    let failed = |error: io::Error| Stop::file(file, &error);
    let mut first = File::open(file).map_err(failed)?;
    // It may be a pipe: what was read cannot be read again.
    let mut magic = Vec::with_capacity(4);
    (&mut first).take(4).read_to_end(&mut magic).map_err(failed)?;
    let capture = pcap::is_magic(&magic);
    let first = Cursor::new(magic).chain(first);
    if capture {
        if let Some(other) = to_client {
            return Err(Problem::new(
                Fault::Local,
                format!("to read {} as what the server sent", other.display()),
                format!("{} is a capture, which has both directions", file.display()),
                "leave --to-client away",
            )
            .into());
        }
        return captured(file, first, ports);
    }
    let to_client = match to_client {
        None => None,
        Some(path) => {
            let read = File::open(path).map_err(|error| Stop::file(path, &error))?;
            Some(Source { path: path.to_owned(), lacks: Lacks::default(), read: Box::new(read) })
        }
    };
    let lacks = Lacks::default();
    let to_server = Source { path: file.to_owned(), lacks, read: Box::new(first) };
    Ok(Streams { to_server, to_client, notes: Vec::new() })
}

/// The one connection of a capture.
fn captured(path: &Path, file: impl Read, ports: Vec<u16>) -> Result<Streams, Stop> {
    let failed = |error: io::Error| Stop::file(path, &error);
    let mut connections = tcp::Connections::new(ports);
    let mut packets = pcap::Packets::new(BufReader::new(file)).map_err(failed)?;
    while let Some(captured) = packets.next().map_err(failed)? {
        if let Some(segment) = packet::segment(captured.link, &captured.data) {
            connections.take(&segment);
        }
    }
    let cut = packets.cut();
    let mut connection = connections.only().map_err(|(got, remedy)| {
        let tried = format!("to find one TCP connection in {}", path.display());
        Stop::Unusable(Problem::new(Fault::Local, tried, got, remedy))
    })?;
    if cut {
        connection.notes.push(
            "the last packet of the capture is cut off: tcpdump was stopped in the middle of it"
                .to_owned(),
        );
    }
    let source = |stream: CapturedStream| Source {
        path: path.to_owned(),
        lacks: stream.lacks,
        read: Box::new(Cursor::new(stream.data)),
    };
    Ok(Streams {
        to_server: source(connection.to_server),
        to_client: Some(source(connection.to_client)),
        notes: connection.notes,
    })
}
