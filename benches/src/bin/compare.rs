//! The comparison: one line of tab-separated values for each row.
//!
//! `compare [--quick] [--only NAME] [--plot FILE]`: rows whose names begin with `NAME`; with
//! `--plot`, only the plot. Figures behind the ratios go to the standard error stream.
#![forbid(unsafe_code)]
#![expect(clippy::cast_precision_loss, reason = "figures of a few digits are printed")]
#![expect(clippy::print_stdout, reason = "what the program is there for")]

use std::cell::{Cell, OnceCell, RefCell};
use std::process::ExitCode;

use alts_benches::Outcome;
use alts_benches::aead::{Batch, Raw, Records, batch_len};
use alts_benches::measure::{Effort, timed};
use alts_benches::peer::{Peer, serve_handshaker};
use alts_benches::pipe::pipe;
use alts_benches::plot::{Line, svg};
use alts_benches::rows::{self, Run};
use alts_benches::runtime::runtime;
use alts_benches::security::{Alts, Security};
use alts_core::aead::RustCrypto;
use tokio_alts::StreamOptions;
use tokio_alts::aead::AwsLc;

const USAGE: &str = "usage: compare [--quick] [--only NAME] [--plot FILE]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let Some(bytes) = rows::child(&arguments)? {
        println!("{bytes}");
        return Ok(());
    }
    let (mut effort, mut only, mut plot) = (Effort::FULL, String::new(), None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        match &*argument {
            "--quick" => effort = Effort::QUICK,
            "--only" => only = arguments.next().ok_or(USAGE)?,
            "--plot" => plot = Some(arguments.next().ok_or(USAGE)?),
            _ => return Err(USAGE.into()),
        }
    }
    if let Some(file) = plot {
        std::fs::write(file, svg("Throughput over frame size", &lines(effort)?))?;
        return Ok(());
    }
    println!("name\tmedian ratio\tlowest\thighest\tgoal\tmet|short");
    let rows = Cell::new(0);
    let report = |row: &alts_benches::measure::Row| {
        rows.set(rows.get() + 1);
        println!("{row}");
    };
    let note = |text: &str| eprintln!("{text}");
    rows::all(&Run {
        effort,
        only: &only,
        report: &report,
        note: &note,
        peers_service: OnceCell::new(),
    })?;
    if rows.get() == 0 { Err(format!("no row begins with {only:?}").into()) } else { Ok(()) }
}

/// Throughput over frame size: of sealing and opening, for each provider and the AEAD below it, and of
/// messages through whole connections in memory, ours and grpc-go's.
fn lines(effort: Effort) -> Outcome<Vec<Line>> {
    type Make = fn(usize) -> Outcome<Box<dyn Batch>>;
    let kinds: [(&str, Make); 4] = [
        ("aws-lc-rs alone", |size| Ok(Box::new(Raw::aws_lc(size)?))),
        ("ALTS over aws-lc-rs", |size| Ok(Box::new(Records::<AwsLc>::new(size)?))),
        ("RustCrypto alone", |size| Ok(Box::new(Raw::rustcrypto(size)))),
        ("ALTS over RustCrypto", |size| Ok(Box::new(Records::<RustCrypto>::new(size)?))),
    ];
    let mut lines = Vec::new();
    for (name, make) in kinds {
        lines.push(line(effort, &format!("{name}, seal + open"), |size| {
            let mut batch = make(size)?;
            let mut work = move || timed(|| batch.seal().and_then(|()| batch.open()));
            work()?;
            Ok((size * batch_len(size), Box::new(work)))
        })?);
    }
    let runtime = runtime()?;
    let alts = Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?));
    let runtime = &runtime;
    lines.push(line(effort, "tokio-alts, a connection in memory", |size| {
        let mut ends = runtime.block_on(alts.both(pipe()))?;
        let count = messages(size);
        Ok((size * count, Box::new(move || rows::in_turn(runtime, &mut ends, size, count))))
    })?);
    match serve_handshaker().and_then(|()| Peer::start("grpc-go")) {
        Ok(peer) => {
            let peer = RefCell::new(peer);
            let peer = &peer;
            lines.push(line(effort, "grpc-go, a connection in memory", |size| {
                let count = messages(size);
                let work = move || peer.borrow_mut().ask("record", size, count);
                Ok((size * count, Box::new(work)))
            })?);
        }
        Err(why) => eprintln!("skipped: grpc-go: {why}"),
    }
    Ok(lines)
}

/// Messages of `size` bytes that take long enough to be measured.
const fn messages(size: usize) -> usize {
    (4 << 20) / (size + 1024) + 1
}

/// A number of bytes, and work that carries them and returns its CPU time in seconds.
type Work<'a> = (usize, Box<dyn FnMut() -> Outcome<f64> + 'a>);

/// The best throughput at each size.
fn line<'a>(
    effort: Effort,
    name: &str,
    mut make: impl FnMut(usize) -> Outcome<Work<'a>>,
) -> Outcome<Line> {
    let mut points = Vec::new();
    for power in 6..=17 {
        let size = 1 << power;
        let (bytes, mut work) = make(size)?;
        let (mut best, mut spent) = (f64::MAX, 0.0);
        while spent < 2.0 * effort.slice.as_secs_f64() {
            let time = work()?;
            (best, spent) = (best.min(time), spent + time);
        }
        points.push((size as f64, bytes as f64 / best / 1e6));
    }
    Ok(Line { name: name.to_owned(), points })
}
