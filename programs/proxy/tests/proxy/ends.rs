//! Connections that come of age, certificates that end, and rules that change under connections.

use std::net::SocketAddr;
use std::sync::Arc;

use std::time::{Duration, Instant};

use alts_handshaker::dev::Authority;
use alts_handshaker::locator::Development;
use alts_proxy::Proxy;
use alts_proxy::config::Config;
use h2::Reason;
use http::{StatusCode, header};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::origin::{Body, Origin, get, get2, http1, http2, text};
use crate::support::{
    Directory, World, address, chain, closed_port, connect, echo, echo_server, metric, read_all,
    soon, until,
};

const HTTP: &str = "level = \"http\"";

/// A plain listener in front of a plain server.
fn plain(server: SocketAddr, of_listener: &str, of_upstream: &str) -> String {
    format!(
        "[[listen]]\nname = \"plain\"\ntcp = \"127.0.0.1:0\"\nupstream = \"up\"\n{of_listener}\n\
         [[upstream]]\nname = \"up\"\naddresses = [\"{server}\"]\n{of_upstream}\n"
    )
}

/// A listener for two clients by ALTS, in front of a plain server.
fn allowing(allow: &str, server: SocketAddr, more: &str) -> String {
    format!(
        "[[listen]]\nname = \"alts\"\ntcp = \"127.0.0.1:0\"\nupstream = \"up\"\n\
         security = \"alts\"\nhandshaker = \"dev:server@dev.test\"\nallow = [{allow}]\n{more}\n\
         [[upstream]]\nname = \"up\"\naddresses = [\"{server}\"]\n"
    )
}

const BOTH: &str = "\"a@dev.test\", \"b@dev.test\"";

fn ended(proxy: &Proxy, listener: &str, outcome: &str) -> f64 {
    let of = format!("listener=\"{listener}\",outcome=\"{outcome}\"");
    metric(proxy, &format!("alts_proxy_connections_total{{{of}}}"))
}

/// Waits until a connection takes no more requests; says for how long.
async fn goaway(sender: &mut SendRequest<Body>) -> Duration {
    let began = Instant::now();
    until(async || sender.is_closed() || sender.ready().await.is_err()).await;
    began.elapsed()
}

/// Whether a request has met a GOAWAY, and so was not looked at.
fn is_untouched(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<h2::Error>());
    cause.is_some_and(|it| {
        it.is_remote() && it.is_go_away() && it.reason() == Some(Reason::NO_ERROR)
    })
}

/// Calls over one HTTP/2 connection after the other until then; returns how many calls and connections.
async fn call(address: SocketAddr, until: Instant) -> (usize, usize) {
    let (mut calls, mut connections) = (0, 0);
    let mut unsent = None;
    while Instant::now() < until {
        let mut sender = http2(connect(address).await).await;
        connections += 1;
        while Instant::now() < until && sender.ready().await.is_ok() {
            let request = unsent.take().unwrap_or_else(|| get2("/"));
            match soon(sender.try_send_request(request)).await {
                Ok(response) => {
                    assert_eq!(response.status(), StatusCode::OK, "call {calls}");
                    assert!(text(response).await.starts_with("GET "));
                    calls += 1;
                }
                // What was not sent goes over the next connection.
                Err(mut error) => {
                    unsent = error.take_message();
                    assert!(unsent.is_some() || is_untouched(error.error()), "call {calls}");
                }
            }
        }
    }
    (calls, connections)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_while_connections_on_both_sides_come_of_age() {
    for protocol in ["http2", "http1"] {
        let world = World::new();
        let origin = Origin::start().await;
        let inner = closed_port().await;
        let more = format!("{HTTP}\nmax_connection_age = \"400ms\"");
        let name = "name = \"alts\"\n";
        let of_upstream =
            format!("{name}protocol = \"{protocol}\"\nmax_connection_age = \"150ms\"\n");
        let text = chain(origin.address, inner, &more)
            .replace(&format!("[[upstream]]\n{name}"), &format!("[[upstream]]\n{of_upstream}"));
        let proxy = world.proxy(&text).await;
        let outer = address(&proxy, "outer").await;
        let end = Instant::now() + Duration::from_secs(3);
        let mut callers = JoinSet::new();
        for _ in 0..6 {
            callers.spawn(call(outer, end));
        }
        let (mut calls, mut connections) = (0, 0);
        for (some, of) in callers.join_all().await {
            (calls, connections) = (calls + some, connections + of);
        }
        assert!((6 * 5..=6 * 10).contains(&connections), "{connections}");
        assert!(calls > 300, "{calls}");
        let connects = "alts_proxy_upstream_connects_total{outcome=\"success\",upstream=\"alts\"}";
        assert!(metric(&proxy, connects) >= 12.0, "{}", metric(&proxy, connects));
        until(async || ended(&proxy, "outer", "max_age") >= 24.0).await;
    }
}

#[tokio::test]
async fn http2_is_asked_to_end_at_its_age_and_cut_at_the_end_of_the_grace() {
    let world = World::new();
    let origin = Origin::start().await;
    let more = format!("{HTTP}\nmax_connection_age = \"1s\"\nmax_connection_age_grace = \"1s\"");
    let proxy = world.proxy(&plain(origin.address, &more, "")).await;
    let at = address(&proxy, "plain").await;
    let mut senders = Vec::new();
    for _ in 0..6 {
        senders.push((Instant::now(), http2(connect(at).await).await));
    }
    let mut ages = JoinSet::new();
    for (began, mut sender) in senders {
        ages.spawn(async move {
            // It is still under way when the grace is over.
            let silent = tokio::spawn(sender.send_request(get2("/silent")));
            tokio::time::sleep(Duration::from_millis(1300).saturating_sub(began.elapsed())).await;
            // GOAWAY has come: the next request is not sent any more.
            let mut refused = soon(sender.try_send_request(get2("/"))).await.unwrap_err();
            assert!(refused.take_message().is_some() && !silent.is_finished());
            assert!(soon(silent).await.unwrap().is_err());
            began.elapsed()
        });
    }
    for over in ages.join_all().await {
        let bounds = Duration::from_millis(1880)..Duration::from_millis(3500);
        assert!(bounds.contains(&over), "{over:?}");
    }
    until(async || ended(&proxy, "plain", "max_age") > 5.5).await;
    let cut = "alts_proxy_requests_broken_total{listener=\"plain\",reason=\"cut\"}";
    until(async || metric(&proxy, cut) > 5.5).await;
}

#[tokio::test]
async fn http1_is_closed_behind_its_next_answer() {
    let world = World::new();
    let origin = Origin::start().await;
    let proxy = world
        .proxy(&plain(origin.address, &format!("{HTTP}\nmax_connection_age = \"500ms\""), ""))
        .await;
    let at = address(&proxy, "plain").await;
    let mut busy = connect(at).await;
    let began = Instant::now();
    busy.write_all(b"POST /collect HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(800)).await;
    busy.write_all(b"lo").await.unwrap();
    let answer = String::from_utf8(read_all(&mut busy).await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n5"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let mut often = http1(connect(at).await).await;
    let began_often = Instant::now();
    while often.ready().await.is_ok() {
        match soon(often.try_send_request(get("/"))).await {
            Ok(response) => assert!(text(response).await.starts_with("GET")),
            Err(mut error) => assert!(error.take_message().is_some(), "nothing is lost"),
        }
    }
    let age = began_often.elapsed();
    assert!(age > Duration::from_millis(440) && age < Duration::from_secs(2), "{age:?}");
    assert!(began.elapsed() < Duration::from_secs(8));
    let mut idle = connect(at).await;
    assert_eq!(soon(idle.read(&mut [0])).await.unwrap(), 0, "an idle one is closed");
    until(async || ended(&proxy, "plain", "max_age") > 2.5).await;
}

#[tokio::test]
async fn bytes_and_what_was_upgraded_are_cut_at_the_end_of_the_grace() {
    let world = World::new();
    let age = "max_connection_age = \"500ms\"\nmax_connection_age_grace = \"500ms\"";
    // The age of either side counts.
    for (of_listener, of_upstream) in [(age, ""), ("", age)] {
        let (server, _echo) = echo_server("echo").await;
        let proxy = world.proxy(&plain(server, of_listener, of_upstream)).await;
        let mut client = connect(address(&proxy, "plain").await).await;
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(800) {
            echo(&mut client, "in the grace as well").await;
        }
        assert!(matches!(soon(client.read(&mut [0])).await, Ok(0) | Err(_)));
        assert!(began.elapsed() >= Duration::from_millis(940), "{:?}", began.elapsed());
        until(async || ended(&proxy, "plain", "max_age") > 0.5).await;

        let origin = Origin::start().await;
        let more = format!("{HTTP}\n{of_listener}");
        let proxy = world.proxy(&plain(origin.address, &more, of_upstream)).await;
        let mut client = http1(connect(address(&proxy, "plain").await).await).await;
        let began = Instant::now();
        let mut request = get("/upgrade");
        request.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
        request.headers_mut().insert(header::UPGRADE, "websocket".parse().unwrap());
        let mut response = soon(client.send_request(request)).await.unwrap();
        let upgraded = soon(hyper::upgrade::on(&mut response)).await.unwrap();
        let mut stream = TokioIo::new(upgraded);
        while began.elapsed() < Duration::from_millis(800) {
            stream.write_all(b"hello").await.unwrap();
            let mut text = [0; 5];
            soon(stream.read_exact(&mut text)).await.unwrap();
            assert_eq!(&text, b"olleh");
        }
        assert!(matches!(soon(stream.read(&mut [0])).await, Ok(0) | Err(_)));
        assert!(began.elapsed() >= Duration::from_millis(940), "{:?}", began.elapsed());
        let age = if of_upstream.is_empty() { "max_age" } else { "finished" };
        until(async || ended(&proxy, "plain", age) > 0.5).await;
    }
}

#[tokio::test]
async fn connections_end_with_certificates() {
    for (of_listener, of_upstream) in [(true, false), (false, true)] {
        let authority = Authority::new().unwrap().lifetime(Duration::from_secs(4));
        let development = Arc::new(Development::of(authority));
        let world = World { development, directory: Directory::new() };
        let (server, _echo) = echo_server("echo").await;
        let inner = closed_port().await;
        let key = "close_at_certificate_end = true\nmax_connection_age_grace = \"100ms\"\n";
        let with = |text: &str, after: &str, wanted: bool| {
            if wanted { text.replace(after, &format!("{after}{key}")) } else { text.to_owned() }
        };
        let text = chain(server, inner, "");
        let text = with(&text, "allow = [\"client@dev.test\"]\n", of_listener);
        let text = with(&text, "expect = [\"server@dev.test\"]\n", of_upstream);
        let began = Instant::now();
        let proxy = world.proxy(&text).await;
        let mut client = connect(address(&proxy, "outer").await).await;
        echo(&mut client, "before").await;
        assert!(matches!(soon(client.read(&mut [0])).await, Ok(0) | Err(_)));
        let age = began.elapsed();
        assert!(age > Duration::from_millis(2500) && age < Duration::from_secs(6), "{age:?}");
        let listener = if of_listener { "inner" } else { "outer" };
        let of = async |why: &str| ended(&proxy, listener, why);
        until(async || of("peer_certificate_end").await + of("local_certificate_end").await > 0.5)
            .await;
    }
}

#[tokio::test]
async fn a_reload_asks_those_to_end_whom_it_no_longer_admits_and_nobody_else() {
    let world = World::new();
    let origin = Origin::start().await;
    let more = format!("{HTTP}\nmax_connection_age_grace = \"500ms\"");
    let proxy = world.proxy(&allowing(BOTH, origin.address, &more)).await;
    let at = address(&proxy, "alts").await;
    let mut a = http2(world.connect("a@dev.test", "server@dev.test", at).await).await;
    let mut b = http2(world.connect("b@dev.test", "server@dev.test", at).await).await;
    for sender in [&mut a, &mut b] {
        assert_eq!(soon(sender.send_request(get2("/"))).await.unwrap().status(), StatusCode::OK);
    }
    // One call of each is under way.
    let (silent_a, silent_b) = (a.send_request(get2("/silent")), b.send_request(get2("/silent")));
    let silent_a = tokio::spawn(silent_a);
    let silent_b = tokio::spawn(silent_b);
    tokio::time::sleep(Duration::from_millis(100)).await;
    // What changes nothing for anybody.
    world.directory.config(&allowing(
        "\"*@dev.test\"",
        origin.address,
        &format!("{more}\nidle = \"2h\""),
    ));
    assert!(proxy.reload().await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!a.is_closed() && b.ready().await.is_ok());

    world.directory.config(&allowing("\"a@dev.test\"", origin.address, &more));
    let began = Instant::now();
    assert!(proxy.reload().await);
    assert!(soon(silent_b).await.unwrap().is_err());
    let over = began.elapsed();
    assert!(over >= Duration::from_millis(480) && over < Duration::from_secs(3), "{over:?}");
    assert!(goaway(&mut b).await < Duration::from_secs(1));
    until(async || ended(&proxy, "alts", "rules") > 0.5).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(soon(a.send_request(get2("/"))).await.unwrap().status(), StatusCode::OK);
    assert!(!silent_a.is_finished(), "it is left alone");
    assert!(ended(&proxy, "alts", "rules") < 1.5);
    silent_a.abort();
}

#[tokio::test]
async fn a_reload_cuts_bytes_of_those_whom_it_no_longer_admits_behind_a_grace() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let more = "max_connection_age_grace = \"400ms\"";
    let proxy = world.proxy(&allowing(BOTH, server, more)).await;
    let at = address(&proxy, "alts").await;
    let mut a = world.connect("a@dev.test", "server@dev.test", at).await;
    let mut b = world.connect("b@dev.test", "server@dev.test", at).await;
    echo(&mut a, "before").await;
    echo(&mut b, "before").await;
    world.directory.config(&allowing("\"a@dev.test\"", server, more));
    assert!(proxy.reload().await);
    echo(&mut b, "in the grace").await;
    assert!(matches!(soon(b.read(&mut [0])).await, Ok(0) | Err(_)));
    until(async || ended(&proxy, "alts", "rules") > 0.5).await;
    echo(&mut a, "still there").await;
}

#[tokio::test]
async fn a_reload_asks_those_to_end_who_may_no_longer_call_a_path() {
    let world = World::new();
    let origin = Origin::start().await;
    let routes = |admins: &str| {
        let route = |prefix: &str, allow: &str| {
            format!("[[listen.route]]\nprefix = \"{prefix}\"\nallow = [{allow}]\n")
        };
        let more = [HTTP, "\n", &route("/", BOTH), &route("/admin", admins)].concat();
        allowing(BOTH, origin.address, &more)
    };
    let proxy = world.proxy(&routes(BOTH)).await;
    let at = address(&proxy, "alts").await;
    let mut a = http2(world.connect("a@dev.test", "server@dev.test", at).await).await;
    let mut b = http2(world.connect("b@dev.test", "server@dev.test", at).await).await;
    for sender in [&mut a, &mut b] {
        let admin = soon(sender.send_request(get2("/admin"))).await.unwrap();
        assert_eq!(admin.status(), StatusCode::OK);
    }
    world.directory.config(&routes("\"a@dev.test\""));
    assert!(proxy.reload().await);
    goaway(&mut b).await;
    assert_eq!(soon(a.send_request(get2("/admin"))).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn requests_of_old_connections_go_to_expected_servers_only() {
    let world = World::new();
    let origin = Origin::start().await;
    let inner = closed_port().await;
    let text = chain(origin.address, inner, HTTP);
    let expecting = |account: &str| {
        text.replace(
            "expect = [\"server@dev.test\"]",
            &format!("expect = [\"{account}\"]\nmax_connection_age_grace = \"300ms\""),
        )
    };
    let proxy = world.proxy(&expecting("server@dev.test")).await;
    let mut client = http2(connect(address(&proxy, "outer").await).await).await;
    let status = async |client: &mut SendRequest<Body>, path: &str| {
        soon(client.send_request(get2(path))).await.unwrap().status()
    };
    assert_eq!(status(&mut client, "/").await, StatusCode::OK);
    let silent = tokio::spawn(client.send_request(get2("/silent")));
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.directory.config(&expecting("other@dev.test"));
    assert!(proxy.reload().await);
    assert_eq!(status(&mut client, "/").await, StatusCode::SERVICE_UNAVAILABLE);
    // What was under way has the grace.
    assert_eq!(soon(silent).await.unwrap().unwrap().status(), StatusCode::BAD_GATEWAY);
    world.directory.config(&expecting("*@dev.test"));
    assert!(proxy.reload().await);
    assert_eq!(status(&mut client, "/").await, StatusCode::OK, "and the client's own goes on");
}

#[tokio::test]
async fn bytes_to_servers_that_are_no_longer_expected_are_cut_behind_a_grace() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let inner = closed_port().await;
    let text = chain(server, inner, "max_connection_age_grace = \"300ms\"");
    let proxy = world.proxy(&text).await;
    let mut client = connect(address(&proxy, "outer").await).await;
    echo(&mut client, "before").await;
    world.directory.config(&text.replace("expect = [\"server@", "expect = [\"other@"));
    assert!(proxy.reload().await);
    echo(&mut client, "in the grace").await;
    assert!(matches!(soon(client.read(&mut [0])).await, Ok(0) | Err(_)));
    until(async || ended(&proxy, "outer", "rules") > 0.5).await;
}

#[tokio::test]
async fn users_of_this_machine_who_are_no_longer_callers_are_asked_to_end() {
    let world = World::new();
    let (server, _echo) = echo_server("echo").await;
    let more =
        |callers: &str| format!("callers = [\"{callers}\"]\nmax_connection_age_grace = \"300ms\"");
    let proxy = world.proxy(&plain(server, &more("anyone"), "")).await;
    let mut client = connect(address(&proxy, "plain").await).await;
    echo(&mut client, "before").await;
    let own = format!("uid:{}", nix_uid());
    world.directory.config(&plain(server, &more(&own), ""));
    assert!(proxy.reload().await);
    tokio::time::sleep(Duration::from_millis(600)).await;
    echo(&mut client, "still a caller").await;
    world.directory.config(&plain(server, &more("uid:12345"), ""));
    assert!(proxy.reload().await);
    assert!(matches!(soon(client.read(&mut [0])).await, Ok(0) | Err(_)));
    until(async || ended(&proxy, "plain", "rules") > 0.5).await;
}

/// The user of this process.
fn nix_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let server = "127.0.0.1:1".parse().unwrap();
    let error = |of_listener: &str, of_upstream: &str| {
        let text = plain(server, of_listener, of_upstream);
        Config::parse(&text, std::path::Path::new("p.toml")).map(drop).map_err(|it| it.to_string())
    };
    assert_eq!(error("max_connection_age = \"1h\"", "max_connection_age_grace = \"1s\""), Ok(()));
    let key = "close_at_certificate_end = true";
    for error in [error(key, ""), error("", key)] {
        assert!(error.is_err_and(|error| error.contains("close_at_certificate_end is only for")));
    }
}
