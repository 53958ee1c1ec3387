//! `alts check`: whether ALTS works here.

mod itself;
mod report;
mod service;
mod target;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alts_handshaker::locator::{Locator, RequiredUser};
use tokio::time::Instant;
use tokio_alts::platform;

use self::report::{Facts, Report, Said, Step, Stop};
use crate::diagnosis::{EXIT_STATUSES, Fault, Problem, UNWRITTEN};
use crate::handshaker;
use crate::reach::{Deadline, Destination, span};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXIT_STATUSES,
    after_long_help = format!("{JSON}\n\n{EXIT_STATUSES}\n\n{EXAMPLES}")
)]
pub struct Arguments {
    /// The target: `host:port`, `unix:/path` or `unix-abstract:name`. Without one, only this
    /// machine's side is checked.
    #[arg(value_name = "TARGET")]
    pub target: Option<Destination>,
    /// The handshaker service: an address (`host:port`, `unix:/path`, `unix-abstract:name`),
    /// `google`, or in this process: `files:DIRECTORY` or `files:CERTIFICATE,KEY,ROOTS` with
    /// certificates of your own, `dev:ACCOUNT` with throw-away ones. Default: `google` on Google Cloud.
    #[arg(long, value_name = "HANDSHAKER")]
    pub handshaker: Option<Locator>,
    /// The user (a name or a number) that has to listen at the handshaker's UNIX socket: anyone can take a
    /// socket that is free.
    #[arg(long, value_name = "USER", requires = "handshaker")]
    pub require_user: Option<RequiredUser>,
    /// A service account that the target may have. Can be given more than once. Without it, any
    /// account will do.
    #[arg(long = "expect-peer", value_name = "ACCOUNT", requires = "target")]
    pub expect_peer: Vec<String>,
    /// Time limit for all steps together. Finding out why one failed may take three seconds more.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "10s")]
    pub deadline: Duration,
    /// Print one JSON object per line instead of text.
    #[arg(long)]
    pub json: bool,
}

const JSON: &str = "With --json, each line is an object:
  {\"step\": NAME, \"ok\": true, \"milliseconds\": N, \"detail\": TEXT, \"facts\": {NAME: VALUE}}
  {\"step\": NAME, \"ok\": false, \"milliseconds\": N, \"problem\":
   {\"fault\": \"local\" | \"handshaker\" | \"peer\" | \"network\" | \"refusal\", \"tried\": TEXT, \"got\": TEXT, \"remedy\": TEXT}}
  {\"step\": \"end\", \"ok\": BOOL, \"exit_status\": N}
The steps, in this order: platform, handshaker_address, handshaker_connect, handshaker_answer,
handshake_with_itself, records, target_name, target_connect, target_handshake, target_account,
target_http2. A handshaker in this process has no address and no connection. After the
first step that fails, only `end` follows. Names stay; texts may change.";

const EXAMPLES: &str = "Examples:
  alts check --handshaker unix:/run/altsd.sock
  alts check --handshaker 127.0.0.1:8080 backend:9000 --expect-peer backend@prod.example";

/// Runs it, and returns the program's status.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("alts check: cannot start: {error}");
            return Fault::Local.exit_status().into();
        }
    };
    let mut report = Report::new(io::stdout(), arguments.json);
    let outcome = runtime.block_on(check(arguments, &mut report));
    // A name service that does not answer must not keep the process alive.
    runtime.shutdown_background();
    let ended = match outcome {
        Ok(()) => report.end(None),
        Err(Stop::Failed(fault)) => report.end(Some(fault)),
        Err(Stop::Unwritten(error)) => Err(error),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("alts check: cannot write the report: {error}");
        UNWRITTEN.into()
    })
}

/// Goes through the steps until one fails.
async fn check<W: io::Write>(arguments: Arguments, report: &mut Report<W>) -> Result<(), Stop> {
    let Arguments { target, handshaker, require_user, expect_peer, deadline, json: _ } = arguments;
    let deadline = Deadline::after(deadline);
    let began = Instant::now();
    let handshaker = report.tell(Step::Platform, began, platform(handshaker, require_user))?;
    if let Some(place) = service::place(&handshaker) {
        let began = Instant::now();
        let resolved = place.resolve(deadline.left()).await.map(|resolved| {
            let detail = format!("{place}: {resolved}");
            (resolved, (detail, Facts::new()))
        });
        let resolved = report.tell(Step::HandshakerAddress, began, resolved)?;
        let began = Instant::now();
        let connected = place.connect(&resolved, deadline.left()).await;
        let connected = connected.map(|(_, at)| ((), (at, Facts::new())));
        report.tell(Step::HandshakerConnect, began, connected)?;
    }
    let began = Instant::now();
    let answered = service::ask(&handshaker, deadline.left()).await;
    let service = report.tell(Step::HandshakerAnswer, began, answered)?;
    let began = Instant::now();
    let pair = itself::handshake(Arc::clone(&service), deadline.left()).await;
    let pair = report.tell(Step::HandshakeWithItself, began, pair)?;
    let began = Instant::now();
    let exchanged = itself::records(pair, deadline.left()).await;
    report.tell(Step::Records, began, exchanged)?;
    match target {
        None => Ok(()),
        Some(target) => target::check(&target, service, &expect_peer, deadline, report).await,
    }
}

/// The handshaker service to use on this platform.
fn platform(
    named: Option<Locator>,
    required: Option<RequiredUser>,
) -> Result<Said<Locator>, Problem> {
    let handshaker = handshaker::or_default(named, required)?;
    let google = platform::is_google_cloud();
    let detail = if google { "Google Cloud" } else { "not Google Cloud" };
    let facts = Facts::from([
        ("google_cloud", google.into()),
        ("handshaker", handshaker.to_string().into()),
    ]);
    Ok((handshaker, (detail.to_owned(), facts)))
}
