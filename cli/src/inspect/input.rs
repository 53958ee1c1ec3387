//! The files: raw bytes of each direction, or a capture of packets.

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read, Seek as _},
    path::{Path, PathBuf},
};

use super::{Stop, packet, pcap, tcp};
use crate::diagnosis::{Culprit, Problem};

/// One direction, and the file that it comes from.
pub(super) struct Source {
    pub(super) path: PathBuf,
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
    port: Option<u16>,
) -> Result<Streams, Stop> {
    let first = open_one(file)?;
    if is_capture(&first).map_err(|error| Stop::file(file, &error))? {
        if let Some(other) = to_client {
            return Err(Problem::new(
                Culprit::Local,
                format!("to read {} as what the server sent", other.display()),
                format!("{} is a capture, which has both directions", file.display()),
                "leave --to-client away",
            )
            .into());
        }
        return captured(file, first, port);
    }
    let source = |path: &Path, file: File| Source { path: path.to_owned(), read: Box::new(file) };
    let to_client = match to_client {
        None => None,
        Some(path) => Some(source(path, open_one(path)?)),
    };
    Ok(Streams { to_server: source(file, first), to_client, notes: Vec::new() })
}

fn open_one(path: &Path) -> Result<File, Stop> {
    File::open(path).map_err(|error| Stop::file(path, &error))
}

/// Whether the file begins as a capture does.
fn is_capture(mut file: &File) -> io::Result<bool> {
    let mut magic = Vec::with_capacity(4);
    file.take(4).read_to_end(&mut magic)?;
    file.rewind()?;
    Ok(pcap::is_magic(&magic))
}

/// The one connection of a capture.
fn captured(path: &Path, file: File, port: Option<u16>) -> Result<Streams, Stop> {
    let failed = |error: io::Error| Stop::file(path, &error);
    let mut connections = tcp::Connections::new(port);
    let mut packets = pcap::Packets::new(BufReader::new(file)).map_err(failed)?;
    while let Some(captured) = packets.next().map_err(failed)? {
        if let Some(segment) = packet::segment(captured.link, &captured.data) {
            connections.take(&segment);
        }
    }
    let cut = packets.cut();
    let mut connection = connections.only().map_err(|got| {
        Stop::Unusable(Problem::new(
            Culprit::Local,
            format!("to find one TCP connection in {}", path.display()),
            got,
            "name its port (--port), or capture it alone (tcpdump -s 0 tcp port PORT and host HOST)",
        ))
    })?;
    if cut {
        connection.notes.push(
            "the last packet of the capture is cut off: tcpdump was stopped in the middle of it"
                .to_owned(),
        );
    }
    let source = |bytes| Source { path: path.to_owned(), read: Box::new(Cursor::new(bytes)) };
    Ok(Streams {
        to_server: source(connection.to_server),
        to_client: Some(source(connection.to_client)),
        notes: connection.notes,
    })
}
