//! `alts ping`: latency and throughput of a connection.

mod echo;
mod latency;
mod progress;
mod report;
mod upload;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use alts_handshaker::locator::{Locator, RequiredUser};
use tokio::signal::ctrl_c;
use tokio::time::Instant;
use tokio_alts::{AltsStream, HandshakerService};

use self::echo::Echo;
use self::progress::Progress;
use self::report::{Mode, Report};
use crate::diagnosis::{EXIT_STATUSES, Fault, Problem, UNWRITTEN};
use crate::handshaker;
use crate::reach::http2::Http2;
use crate::reach::refusal::{admitted, refusal};
use crate::reach::{Destination, Resolved, Watched, expect, span};

/// The command line.
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXIT_STATUSES,
    after_long_help = format!("{FIGURES}\n\n{EXIT_STATUSES}\n\n{EXAMPLES}")
)]
pub struct Arguments {
    /// The target: `host:port`, `unix:/path` or `unix-abstract:name`.
    #[arg(value_name = "TARGET")]
    pub target: Destination,
    /// The handshaker service: an address (`host:port`, `unix:/path`, `unix-abstract:name`),
    /// `google`, or in this process: `files:DIRECTORY` or `files:CERTIFICATE,KEY,ROOTS` with
    /// certificates of your own, `dev:ACCOUNT` with throw-away ones. Default: `google` on Google Cloud.
    #[arg(long, value_name = "HANDSHAKER")]
    pub handshaker: Option<Locator>,
    /// The user (a name or a number) that has to listen at the handshaker's UNIX socket: anyone can take a
    /// socket that is free.
    #[arg(long, value_name = "USER", requires = "handshaker")]
    pub require_user: Option<RequiredUser>,
    /// A service account that the target may have. Can be given more than once.
    #[arg(long = "expect-peer", value_name = "ACCOUNT", required_unless_present = "any_peer")]
    pub expect_peer: Vec<String>,
    /// Accept any service account of the target.
    #[arg(long, conflicts_with = "expect_peer")]
    pub any_peer: bool,
    /// Number of rounds.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: u32,
    /// Pause between two rounds.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "200ms")]
    pub interval: Duration,
    /// Measure with a target that sends back what it receives, such as `alts proxy` in front of an
    /// echo server.
    #[arg(long)]
    pub echo: bool,
    /// Size of the message that is sent back.
    #[arg(long, value_name = "BYTES", default_value_t = 64, requires = "echo", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub size: u32,
    /// Also measure the throughput, for this long.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub throughput: Option<Duration>,
    /// Time limit for each step.
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "10s")]
    pub deadline: Duration,
    /// Print a JSON document instead of text.
    #[arg(long)]
    pub json: bool,
}

const FIGURES: &str = "What the figures mean:
  handshake   from the first handshake byte to the result, the handshaker services of both sides included;
              the TCP connection before it is `connect`.
  HTTP/2 ping a PING frame and its acknowledgement: the network and the server's transport.
  gRPC call   a call of grpc.health.v1.Health/Check, whatever its status is: the server's dispatch, too.
              Each round is a call and then a ping: servers close connections that send only pings.
              It is an HTTP call if the answer is not gRPC.
  echo        a message of --size bytes, until its last byte is back.
  throughput  with --echo: payload bytes that came back, divided by the time.
              Without: bytes on the wire (TCP payload) of requests to a method that is not there, which
              the server reads and throws away, until it acknowledges a last PING behind them. Its
              flow control window bounds that: it says what one connection takes at least, and it
              costs the server one failed call per window. Behind a proxy it is the proxy's figure.
Where the target does not speak HTTP/2, each round is a connection and a handshake of its own.

With --json, the output is one object:
  {\"target\": TEXT, \"ok\": BOOL, \"exit_status\": N, \"problem\": null | {\"fault\", \"tried\", \"got\", \"remedy\"},
   \"peer_account\": TEXT, \"local_account\": TEXT, \"connect_ms\": N, \"handshake_ms\": N,
   \"mode\": \"http2\" | \"echo\" | \"handshake\",
   \"latencies\": [{\"what\": \"http2_ping\" | \"grpc_call\" | \"http_call\" | \"echo\" | \"connect\" | \"handshake\", \"count\": N,
                  \"min_ms\": N, \"p50_ms\": N, \"p90_ms\": N, \"p99_ms\": N, \"max_ms\": N}],
   \"throughput\": null | {\"what\": \"echo\" | \"upload\", \"bytes\": N, \"seconds\": N, \"bytes_per_second\": N},
   \"not_measured\": [TEXT]}";

const EXAMPLES: &str = "Examples:
  alts ping --handshaker unix:/run/altsd.sock backend:9000 --expect-peer backend@prod.example
  alts ping --handshaker 127.0.0.1:8080 localhost:7 --any-peer --echo --size 1024 --throughput 5s";

/// Runs it, and returns the program's status.
#[must_use]
pub fn main(arguments: Arguments) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("alts ping: cannot start: {error}");
            return Fault::Local.exit_status().into();
        }
    };
    let json = arguments.json;
    let mut report = Report::new(arguments.target.to_string());
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = ping(arguments, &mut report) => Some(outcome),
            // What was measured until then is reported.
            _ = ctrl_c() => None,
        }
    });
    let outcome = outcome.unwrap_or_else(|| report.interrupted());
    // A name service that does not answer must not keep the process alive.
    runtime.shutdown_background();
    let status = report.end(outcome);
    let written = if json { report.json(io::stdout()) } else { report.text(io::stdout()) };
    match written {
        Ok(()) => status.into(),
        Err(error) => {
            eprintln!("alts ping: cannot write the report: {error}");
            UNWRITTEN.into()
        }
    }
}

/// Whom to connect to, and with what.
struct Course {
    target: Destination,
    resolved: Resolved,
    service: Arc<dyn HandshakerService>,
    expected: Vec<String>,
    deadline: Duration,
}

/// How often to measure.
#[derive(Clone, Copy)]
struct Plan {
    count: u32,
    interval: Duration,
}

/// How long it took to connect.
struct Taken {
    connect: Duration,
    handshake: Duration,
}

impl Course {
    /// A connection to the expected peer.
    async fn connection(&self) -> Result<(AltsStream<Watched>, Taken), Problem> {
        let began = Instant::now();
        let (io, _) = self.target.connect(&self.resolved, self.deadline).await?;
        let connect = began.elapsed();
        let began = Instant::now();
        let (resolved, service) = (&self.resolved, Arc::clone(&self.service));
        let stream = self.target.handshake(resolved, io, service, self.deadline).await?;
        let handshake = began.elapsed();
        expect(&self.target, stream.context(), &self.expected)?;
        Ok((stream, Taken { connect, handshake }))
    }

    /// The connection has failed in the middle of a measurement.
    fn broken(&self, what: &str, error: &io::Error) -> Problem {
        Problem::new(
            Fault::Peer,
            format!("{what} over the connection to {}", self.target),
            error.to_string(),
            "the peer's log says why it has ended or does not answer: it may limit how often it is \
             called; --interval makes that less often, --deadline waits longer",
        )
    }
}

/// Measures, and writes into the report as it goes.
async fn ping(arguments: Arguments, report: &mut Report) -> Result<(), Problem> {
    let handshaker = handshaker::or_default(arguments.handshaker, arguments.require_user)?;
    let service = handshaker::service(&handshaker)?;
    let Arguments { target, expect_peer: expected, deadline, count, interval, .. } = arguments;
    let resolved = target.resolve(deadline).await?;
    let course = Course { target, resolved, service, expected, deadline };
    let plan = Plan { count, interval };
    let (stream, taken) = course.connection().await?;
    report.connected(stream.context(), taken.connect, taken.handshake);
    if arguments.echo {
        report.mode = Some(Mode::Echo);
        let echo = Echo::new(stream, deadline);
        let size = arguments.size as usize;
        return echoes(&course, plan, echo, size, arguments.throughput, report).await;
    }
    let sent = stream.get_ref().sent();
    let own = stream.context().local_service_account().to_owned();
    let stream = admitted(&course.target, &own, stream).await?;
    match Http2::start(stream, deadline).await {
        Ok(http2) => {
            report.mode = Some(Mode::Http2);
            let upload = arguments.throughput.map(|time| (time, &sent));
            calls(&course, plan, &own, http2, upload, report).await
        }
        Err(error) => {
            report.mode = Some(Mode::Handshake);
            report.not_measured.push(format!(
                "round trips over the connection: the target does not answer in HTTP/2 ({error}); \
                 --echo measures one that sends back what it receives"
            ));
            if arguments.throughput.is_some() {
                report.not_measured.push("throughput: for the same reason".to_owned());
            }
            handshakes(&course, plan, report).await
        }
    }
}

/// Rounds of a message that comes back, and the throughput if it is asked for.
async fn echoes(
    course: &Course,
    plan: Plan,
    mut echo: Echo,
    size: usize,
    throughput: Option<Duration>,
    report: &mut Report,
) -> Result<(), Problem> {
    let outcome = rounds(plan, async || {
        let took = echo.message(size).await?;
        report.add("echo", took);
        Ok(())
    });
    outcome.await.map_err(|error| course.broken("messages that come back", &error))?;
    if let Some(time) = throughput {
        let measured = echo.throughput(time).await;
        let measured = measured.map_err(|error| course.broken("a stream that comes back", &error));
        report.throughput = Some(measured?);
    }
    Ok(())
}

/// Rounds of a call and a ping, and the throughput if it is asked for.
async fn calls(
    course: &Course,
    plan: Plan,
    own: &str,
    mut http2: Http2,
    upload: Option<(Duration, &upload::Counter)>,
    report: &mut Report,
) -> Result<(), Problem> {
    let authority = course.target.authority();
    let broken = |error: io::Error| course.broken("calls and pings", &error);
    let outcome = rounds(plan, async || {
        // Servers of C core 1.85 and grpc-go 1.85 end a connection with "too_many_pings" at the
        // fourth ping in a row; a call in between makes them forgive the one before.
        let answer = http2.call(authority).await.map_err(broken)?;
        // Nobody wants to know how fast a server refuses.
        if let Some(problem) = refusal(&course.target, own, &answer) {
            return Err(problem);
        }
        let kind = if answer.grpc_status.is_some() { "grpc_call" } else { "http_call" };
        report.add(kind, answer.took);
        report.add("http2_ping", http2.ping().await.map_err(broken)?);
        Ok(())
    });
    outcome.await?;
    if let Some((time, sent)) = upload {
        let measured = upload::measure(&mut http2, authority, time, sent).await;
        report.throughput = Some(measured.map_err(|error| course.broken("an upload", &error))?);
    }
    Ok(())
}

/// Rounds of a connection and a handshake.
async fn handshakes(course: &Course, plan: Plan, report: &mut Report) -> Result<(), Problem> {
    let outcome = rounds(plan, async || {
        let (_, taken) = course.connection().await?;
        report.add("connect", taken.connect);
        report.add("handshake", taken.handshake);
        Ok(())
    });
    outcome.await
}

async fn rounds<E>(plan: Plan, mut round: impl AsyncFnMut() -> Result<(), E>) -> Result<(), E> {
    let mut progress = Progress::new(plan.count);
    for done in 1..=plan.count {
        round().await?;
        progress.show(done);
        if done < plan.count {
            tokio::time::sleep(plan.interval).await;
        }
    }
    Ok(())
}
