//! Memory of idle connections: how much more many of them take in a process than plain ones.

use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_alts::StreamOptions;

use super::run::Run;
use crate::Outcome;
use crate::measure::{Goal, Row};
use crate::runtime::runtime;
use crate::security::{Alts, Security, Stream, Tls};
use crate::tcp::tokio_pair;

/// The argument that makes the program a child process, which measures itself.
const CHILD: &str = "--idle-child";
/// What each connection has carried in each direction before it is idle.
pub(super) const MESSAGE: usize = 64 << 10;
/// Ends in one process: as many as a busy server has. Here each connection has two of them.
const MANY: usize = 10_000;

pub(super) fn run(run: &Run<'_>) -> Outcome<()> {
    let rounds = run.effort.rounds.min(3);
    beside_tls(run, "idle-memory", run.effort.connections, rounds)?;
    beside_tls(run, &format!("idle-memory-{MANY}"), MANY / 2, 1)
}

fn beside_tls(run: &Run<'_>, name: &str, count: usize, rounds: usize) -> Outcome<()> {
    if !run.wants(name) {
        return Ok(());
    }
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let [plain, alts, tls] = ["plain", "alts", "tls"].map(|what| in_child(what, count));
        let (plain, alts, tls) = (plain?, alts?, tls?);
        (run.note)(&format!(
            "{name}: an end of {count} idle connections takes {:.0} bytes beside {:.0}; the socket's {plain:.0} are left out",
            alts - plain,
            tls - plain,
        ));
        ratios.push((alts - plain) / (tls - plain));
    }
    (run.report)(&Row::new(name, Goal::AtMost(0.25), ratios));
    Ok(())
}

/// Memory of one end of one of `count` idle connections over ALTS, without the socket's.
pub(super) fn of_alts(count: usize) -> Outcome<f64> {
    Ok(in_child("alts", count)? - in_child("plain", count)?)
}

/// Memory of one end of a connection, measured by a process of its own.
fn in_child(what: &str, count: usize) -> Outcome<f64> {
    let count = count.to_string();
    let output = Command::new(std::env::current_exe()?).args([CHILD, what, &count]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// What the child does: the bytes of memory that one end of an idle connection takes, if
/// `arguments` ask for that.
///
/// # Errors
/// Those of the connections.
pub fn child(arguments: &[String]) -> Outcome<Option<f64>> {
    let [mark, what, count] = arguments else { return Ok(None) };
    if mark != CHILD {
        return Ok(None);
    }
    let security = match &**what {
        "alts" => Security::Alts(Box::new(Alts::in_process(StreamOptions::new())?)),
        "tls" => Security::Tls(Tls::new()?),
        _ => Security::Plain,
    };
    raise_descriptor_limit()?;
    runtime()?.block_on(idle(&security, count.parse()?)).map(Some)
}

/// Each end is a descriptor: as many as the system lets this process have.
pub(super) fn raise_descriptor_limit() -> Outcome<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

async fn idle(security: &Security, count: usize) -> Outcome<f64> {
    let mut connections = Vec::with_capacity(count + WARM_UP);
    let mut before = 0;
    for number in 0..count + WARM_UP {
        if number == WARM_UP {
            before = resident()?;
        }
        let (mut client, mut server) = security.both(tokio_pair()?).await?;
        let (message, mut arrived) = (vec![5; MESSAGE], vec![0; MESSAGE]);
        carry(&mut client, &mut server, &message, &mut arrived).await?;
        carry(&mut server, &mut client, &message, &mut arrived).await?;
        for end in [&mut client, &mut server] {
            // Nothing will come: the end is polled as a server would poll it, and then is idle.
            tokio::select! {
                biased;
                read = end.read(&mut arrived) => drop(read?),
                () = std::future::ready(()) => {}
            }
        }
        connections.push((client, server));
    }
    let bytes = resident()?.saturating_sub(before) as f64;
    drop(connections);
    Ok(bytes / (2 * count) as f64)
}

async fn carry(
    from: &mut Stream,
    to: &mut Stream,
    message: &[u8],
    arrived: &mut [u8],
) -> Outcome<()> {
    from.write_all(message).await?;
    from.flush().await?;
    to.read_exact(arrived).await?;
    Ok(())
}

/// Connections that are there before the first measurement: whatever is made only once has been made.
const WARM_UP: usize = 200;

/// Bytes of memory in use by this process.
fn resident() -> Outcome<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("no figure")?.parse()?;
    Ok(pages * 4096)
}
