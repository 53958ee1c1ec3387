//! Identities from a SPIFFE agent, which is one of the tests: who gets which, and what becomes of them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "these are tests")]

#[path = "support/agent.rs"]
mod agent;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent::{Domain, Said, TestAgent};
use alts_core::msg::{
    HandshakeProtocol, HandshakerReq, NextHandshakeMessageReq, Request, ServerHandshakeParameters,
    StartClientHandshakeReq, StartServerHandshakeReq,
};
use alts_handshaker::identity::DenyList;
use alts_handshaker::spiffe::{
    Agent, Broker, Pinned, Settings, SharedSettings, Source, State, Subscription, Workload,
};
use alts_handshaker::{Call, Handshaker};

const LONG: Duration = Duration::from_secs(20);

fn socket(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("alts-spiffe-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn accounts(state: &State) -> Vec<String> {
    let account = |own: &Handshaker| own.subject().default_account().unwrap().to_owned();
    state.handshakers().iter().map(account).collect()
}

/// Waits until something holds, or panics with what does instead.
async fn until(subscription: &Subscription, what: impl Fn(&State) -> bool) -> State {
    let waited = tokio::time::timeout(LONG, subscription.wait_for(&what)).await;
    waited.ok().filter(&what).unwrap_or_else(|| {
        panic!("still {:?}: {:?}", accounts(&subscription.state()), subscription.state())
    })
}

async fn of(source: Source, settings: Settings) -> (Subscription, State) {
    let subscription = Subscription::begin(source, settings);
    let state = subscription.settled(LONG).await;
    (subscription, state)
}

/// The agent's broker endpoint, at which this is expected.
fn broker(test: &TestAgent, id: &str) -> Broker {
    let workload_api = Agent::at(&test.address()).unwrap();
    Broker::at(&test.broker_address(), &workload_api, id.parse().unwrap()).unwrap()
}

const AGENT: &str = "spiffe://prod.example/spire/agent/*";

fn always(pid: i32) -> Pinned {
    Pinned::new(pid, || true)
}

/// A handshake in memory: who the peers are for each other, or what went wrong.
fn shake(client: &Handshaker, server: &Handshaker) -> Result<(String, String), String> {
    fn ask(call: &mut Call, request: Request<'_>) -> Vec<u8> {
        let request = HandshakerReq { request: Some(request) };
        call.handle_message(&request, Duration::ZERO).out_frames().to_vec()
    }
    fn next(in_bytes: &[u8]) -> Request<'_> {
        Request::Next(NextHandshakeMessageReq { in_bytes, network_latency_ms: 0 })
    }
    let protocols = ["ALTSRP_GCM_AES128_REKEY"];
    let start = StartClientHandshakeReq {
        handshake_security_protocol: HandshakeProtocol::ALTS,
        application_protocols: ["grpc"].into(),
        record_protocols: protocols.into(),
        ..Default::default()
    };
    let parameters =
        ServerHandshakeParameters { record_protocols: protocols.into(), ..Default::default() };
    let server_start = StartServerHandshakeReq {
        application_protocols: ["grpc"].into(),
        handshake_parameters: [(HandshakeProtocol::ALTS, parameters)].into(),
        ..Default::default()
    };
    let (mut client, mut server) = (client.begin(Duration::ZERO), server.begin(Duration::ZERO));
    let mut to_server = ask(&mut client, Request::ClientStart(start));
    ask(&mut server, Request::ServerStart(server_start));
    while !(server.is_finished() || to_server.is_empty()) {
        let to_client = ask(&mut server, next(&to_server));
        to_server =
            if to_client.is_empty() { Vec::new() } else { ask(&mut client, next(&to_client)) };
    }
    let mut results = [client.result(), server.result()].into_iter().flatten();
    let failed = results.find_map(|result| result.as_ref().err());
    if let Some(failure) = failed {
        return Err(failure.to_string());
    }
    let account = |call: &Call| call.result().unwrap().as_ref().unwrap().peer_account().to_owned();
    Ok((account(&client), account(&server)))
}

#[tokio::test]
async fn each_process_gets_its_own_identity_by_each_protocol() {
    let domain = Domain::new("prod.example");
    let named = |name: &str| vec![domain.issue(&format!("spiffe://prod.example/{name}"))];
    let said = Said::new(&[&domain]).with(7, named("web")).with(8, named("db"));
    let test = TestAgent::with_broker(&socket("each"), said, &domain);
    let agent = Agent::at(&test.address()).unwrap();
    let brokered = broker(&test, AGENT);

    for (source, expected) in [
        (agent.delegated(Workload::Process(always(7))), "spiffe://prod.example/web"),
        (agent.delegated(Workload::Process(always(8))), "spiffe://prod.example/db"),
        (brokered.process(always(7)), "spiffe://prod.example/web"),
        (brokered.process(always(8)), "spiffe://prod.example/db"),
    ] {
        let (_kept, state) = of(source, Settings::new()).await;
        assert_eq!(accounts(&state), [expected]);
        assert_eq!(state.problem(), None);
    }
    // A stranger, and this process, have none.
    for source in [agent.delegated(Workload::Process(always(9))), brokered.process(always(9))] {
        let (_kept, state) = of(source, Settings::new()).await;
        assert!(state.handshakers().is_empty());
        assert!(state.problem().unwrap().contains("refuses"), "{:?}", state.problem());
    }
    test.change(|said| {
        said.svids.insert(0, named("any"));
        said.own.clear();
    });
    let (_kept, state) = of(agent.workload(), Settings::new()).await;
    assert_eq!(accounts(&state), ["spiffe://prod.example/any"]);
    let selectors = vec![("unix".to_owned(), "uid:1".to_owned())];
    let (_kept, state) = of(agent.delegated(Workload::Selectors(selectors)), Settings::new()).await;
    assert_eq!(accounts(&state), ["spiffe://prod.example/any"]);
    assert!(test.asked().contains(&"delegated unix:uid:1 0".to_owned()), "{:?}", test.asked());
}

#[tokio::test]
async fn a_new_identity_is_used_by_the_next_handshake_and_an_authority_that_is_gone_by_none() {
    let (old, new) = (Domain::new("prod.example"), Domain::new("prod.example"));
    let (web, db) = ("spiffe://prod.example/web", "spiffe://prod.example/db");
    let said = |domain: &Domain, bundles: &[&Domain]| {
        let mut said = Said::new(&[domain]);
        let all = bundles.iter().flat_map(|one| one.certificate.clone()).collect();
        said.bundles.insert("prod.example".to_owned(), all);
        said.with(1, vec![domain.issue(web)]).with(2, vec![domain.issue(db)])
    };
    let test = TestAgent::start(&socket("rotation"), said(&old, &[&old]));
    let agent = Agent::at(&test.address()).unwrap();
    let (client, _) = of(agent.delegated(Workload::Process(always(1))), Settings::new()).await;
    let (server, _) = of(agent.delegated(Workload::Process(always(2))), Settings::new()).await;
    let before = client.state().handshakers()[0].clone();
    let shake_now = || shake(&client.state().handshakers()[0], &server.state().handshakers()[0]);
    assert_eq!(shake_now(), Ok((db.to_owned(), web.to_owned())));

    // The new authority is prepared, then used, and the old one revoked.
    test.says(said(&old, &[&old, &new]));
    test.says(said(&new, &[&old, &new]));
    for subscription in [&client, &server] {
        until(subscription, |state| {
            state.problem().is_none() && shake(&before, &state.handshakers()[0]).is_err()
        })
        .await;
    }
    assert_eq!(shake_now(), Ok((db.to_owned(), web.to_owned())));
    test.says(said(&new, &[&new]));
    until(&server, |state| shake(&before, &state.handshakers()[0]).is_err()).await;
    assert_eq!(shake_now(), Ok((db.to_owned(), web.to_owned())));
    let why = shake(&before, &server.state().handshakers()[0]).unwrap_err();
    assert!(why.contains("certificate"), "{why}");
}

#[tokio::test]
async fn while_the_agent_is_away_what_is_valid_goes_on_and_when_it_is_back_it_is_asked() {
    let domain = Domain::new("prod.example");
    let said = |name: &str| {
        let svid = domain.issue(&format!("spiffe://prod.example/{name}"));
        Said::new(&[&domain]).with(1, vec![svid])
    };
    let mut test = TestAgent::start(&socket("away"), said("one"));
    let agent = Agent::at(&test.address()).unwrap();
    let (subscription, _) =
        of(agent.delegated(Workload::Process(always(1))), Settings::new()).await;
    test.stop();
    let state = until(&subscription, |state| state.problem().is_some()).await;
    assert_eq!(accounts(&state), ["spiffe://prod.example/one"]);
    assert!(state.problem().unwrap().contains("cannot be asked"), "{:?}", state.problem());

    // It knows nobody at first: that is not believed at once.
    let nobody = Said::new(&[&domain]);
    test.says(nobody);
    test.restart();
    let state = until(&subscription, |state| {
        state.problem().is_some_and(|why| why.contains("knows no identity so far"))
    })
    .await;
    assert_eq!(accounts(&state), ["spiffe://prod.example/one"]);
    test.says(said("two"));
    let state = until(&subscription, |state| state.problem().is_none()).await;
    assert_eq!(accounts(&state), ["spiffe://prod.example/two"]);

    // An agent that was there all the time is believed.
    let began = Instant::now();
    test.says(Said::new(&[&domain]));
    until(&subscription, |state| state.handshakers().is_empty()).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_refusal_after_an_absence_is_believed_in_the_end() {
    let domain = Domain::new("prod.example");
    let svid = vec![domain.issue("spiffe://prod.example/one")];
    let mut test =
        TestAgent::with_broker(&socket("believed"), Said::new(&[&domain]).with(1, svid), &domain);
    let agent = Agent::at(&test.address()).unwrap();
    let brokered = broker(&test, AGENT);
    for source in [agent.delegated(Workload::Process(always(1))), brokered.process(always(1))] {
        let (subscription, _) = of(source, Settings::new()).await;
        let before = subscription.state();
        test.stop();
        let svids = std::mem::take(&mut test_svids(&test));
        test.change(|said| said.svids.clear());
        test.restart();
        let began = Instant::now();
        until(&subscription, |state| state.handshakers().is_empty()).await;
        assert!(began.elapsed() > Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(accounts(&before).len(), 1);
        test.change(|said| said.svids = svids);
    }
}

fn test_svids(test: &TestAgent) -> std::collections::HashMap<i32, Vec<agent::Svid>> {
    let mut all = std::collections::HashMap::new();
    test.change(|said| all.clone_from(&said.svids));
    all
}

#[tokio::test]
async fn a_number_that_was_used_again_gets_nothing() {
    let domain = Domain::new("prod.example");
    let svid = vec![domain.issue("spiffe://prod.example/new")];
    let test =
        TestAgent::with_broker(&socket("reuse"), Said::new(&[&domain]).with(1, svid), &domain);
    let agent = Agent::at(&test.address()).unwrap();
    let brokered = broker(&test, AGENT);
    let alive = Arc::new(AtomicBool::new(true));
    let pinned = || {
        let alive = Arc::clone(&alive);
        Pinned::new(1, move || alive.load(Ordering::SeqCst))
    };
    // While the agent looks, the process ends, and another gets its number.
    let dying = Arc::clone(&alive);
    test.before_answers(move |_pid| dying.store(false, Ordering::SeqCst));
    for source in [agent.delegated(Workload::Process(pinned())), brokered.process(pinned())] {
        alive.store(true, Ordering::SeqCst);
        let (_kept, state) = of(source, Settings::new()).await;
        assert!(state.handshakers().is_empty());
        assert_eq!(state.problem(), Some("the process that was meant has ended"));
    }
    // It had ended before: the agent is not even asked.
    let asked = test.asked().len();
    let (_kept, state) = of(brokered.process(pinned()), Settings::new()).await;
    assert!(state.handshakers().is_empty());
    assert_eq!(test.asked().len(), asked);
    // It ends later.
    test.before_answers(|_pid| {});
    alive.store(true, Ordering::SeqCst);
    let (subscription, state) = of(brokered.process(pinned()), Settings::new()).await;
    assert_eq!(state.handshakers().len(), 1);
    alive.store(false, Ordering::SeqCst);
    test.change(|_said| {});
    until(&subscription, |state| state.handshakers().is_empty()).await;
}

#[tokio::test]
async fn a_bundle_vouches_for_its_own_trust_domain_and_for_no_other() {
    let (home, away) = (Domain::new("prod.example"), Domain::new("partner.example"));
    let mut said = Said::new(&[&home, &away])
        .with(1, vec![home.issue("spiffe://prod.example/web")])
        .with(2, vec![away.issue("spiffe://partner.example/db")]);
    said.federates_with = vec!["prod.example".to_owned(), "partner.example".to_owned()];
    let test = TestAgent::with_broker(&socket("federation"), said, &home);
    let agent = Agent::at(&test.address()).unwrap();
    let brokered = broker(&test, AGENT);
    let federated = |names: &[&str]| {
        Settings::new().federated(names.iter().map(|n| n.parse().unwrap()).collect())
    };
    let both = ["prod.example", "partner.example"];
    for protocol in ["delegated", "broker"] {
        let source = |pid: i32| match protocol {
            "delegated" => agent.delegated(Workload::Process(always(pid))),
            _ => brokered.process(always(pid)),
        };
        let one = async |pid: i32, names: &[&str]| {
            let (_kept, state) = of(source(pid), federated(names)).await;
            state.handshakers().first().cloned().unwrap()
        };
        let (web, db) = (one(1, &both).await, one(2, &both).await);
        let (web_id, db_id) = ("spiffe://prod.example/web", "spiffe://partner.example/db");
        assert_eq!(shake(&web, &db), Ok((db_id.to_owned(), web_id.to_owned())));
        // Both sides have to name the other.
        let (web_alone, db_alone) = (one(1, &[]).await, one(2, &["other.example"]).await);
        for (client, server) in [(&web_alone, &db), (&web, &db_alone), (&web_alone, &db_alone)] {
            assert!(shake(client, server).is_err());
        }
        // What the engine does not federate with is not trusted either, whoever is named.
        test.change(|said| said.federates_with.clear());
        let web_unfederated = one(1, &both).await;
        assert!(shake(&web_unfederated, &db).is_err());
        test.change(|said| said.federates_with = both.map(ToOwned::to_owned).to_vec());

        // The partner makes up a member of ours.
        test.change(|said| {
            let forged = away.issue(web_id);
            said.svids.insert(3, vec![forged]);
        });
        let forged = forge(&away, web_id);
        for (client, server) in [(&forged, &web), (&web, &forged), (&forged, &db)] {
            let why = shake(client, server).unwrap_err();
            assert!(why.contains("certificate"), "{why}");
        }
    }
}

/// A handshaker that trusts everything, with an identity that its authority should not have made.
fn forge(domain: &Domain, id: &str) -> Handshaker {
    use alts_handshaker::identity::{Identity, TrustRoots};
    let svid = domain.issue(id);
    let identity = Identity::from_der(svid.chain, &svid.key).unwrap();
    let roots = TrustRoots::from_der(vec![domain.certificate.clone()]).unwrap();
    Handshaker::builder(identity, roots).build().unwrap()
}

#[tokio::test]
async fn what_cannot_be_used_does_not_replace_what_can() {
    let domain = Domain::new("prod.example");
    let good = domain.issue("spiffe://prod.example/web");
    let test = TestAgent::start(&socket("bad"), Said::new(&[&domain]).with(1, vec![good.clone()]));
    let agent = Agent::at(&test.address()).unwrap();
    let (subscription, _) =
        of(agent.delegated(Workload::Process(always(1))), Settings::new()).await;
    let other = domain.issue("spiffe://prod.example/db");
    let with = |change: &dyn Fn(&mut agent::Svid)| {
        let mut bad = good.clone();
        change(&mut bad);
        Said::new(&[&domain]).with(1, vec![bad])
    };
    let mut no_bundle = Said::new(&[&domain]).with(1, vec![good.clone()]);
    no_bundle.bundles.clear();
    let many = Said::new(&[&domain]).with(1, vec![good.clone(); 65]);
    for (said, sentence) in [
        (with(&|bad| bad.key.clone_from(&other.key)), "does not belong"),
        (with(&|bad| bad.key.truncate(5)), "private key"),
        (with(&|bad| bad.id = "spiffe://prod.example/db".to_owned()), "its certificate is for"),
        (with(&|bad| bad.id = "spiffe://prod.example/".to_owned()), "is not the SPIFFE ID"),
        (with(&|bad| bad.chain.clear()), "no certificate"),
        (no_bundle, "no bundle of its trust domain"),
        (many, "65 identities"),
    ] {
        test.says(said);
        let state =
            until(&subscription, |state| state.problem().is_some_and(|why| why.contains(sentence)))
                .await;
        assert_eq!(accounts(&state), ["spiffe://prod.example/web"], "{sentence}");
        test.says(Said::new(&[&domain]).with(1, vec![good.clone()]));
        until(&subscription, |state| state.problem().is_none()).await;
    }
    let shown = format!("{:?} {:?}", subscription, subscription.state());
    assert!(!shown.contains("key"), "{shown}");
}

#[tokio::test]
async fn several_identities_are_a_choice() {
    let domain = Domain::new("prod.example");
    let ids = ["spiffe://prod.example/web", "spiffe://prod.example/admin"];
    let svids = ids.map(|id| domain.issue(id)).to_vec();
    let test = TestAgent::start(&socket("several"), Said::new(&[&domain]).with(0, svids));
    let agent = Agent::at(&test.address()).unwrap();
    let (_kept, state) = of(agent.workload(), Settings::new()).await;
    assert_eq!(accounts(&state), ids);
}

#[tokio::test]
async fn new_settings_count_at_once_also_while_the_agent_is_away() {
    let domain = Domain::new("prod.example");
    let (web, db) = ("spiffe://prod.example/web", "spiffe://prod.example/db");
    let said = Said::new(&[&domain]);
    let said = said.with(1, vec![domain.issue(web)]).with(2, vec![domain.issue(db)]);
    let mut test = TestAgent::with_broker(&socket("settings"), said, &domain);
    let brokered = broker(&test, AGENT);
    let shared = SharedSettings::new(Settings::new());
    let server = Subscription::begin(brokered.process(always(1)), shared.clone());
    let server_state = server.settled(LONG).await;
    let (_client, client_state) = of(brokered.process(always(2)), Settings::new()).await;
    let client = &client_state.handshakers()[0];
    assert!(shake(client, &server_state.handshakers()[0]).is_ok());
    let denying = || Settings::new().denying(DenyList::new().accounts(vec![db.parse().unwrap()]));
    shared.replace(denying());
    until(&server, |state| shake(client, &state.handshakers()[0]).is_err()).await;
    shared.replace(Settings::new());
    until(&server, |state| shake(client, &state.handshakers()[0]).is_ok()).await;
    test.stop();
    until(&server, |state| state.problem().is_some()).await;
    shared.replace(denying());
    let state = until(&server, |state| shake(client, &state.handshakers()[0]).is_err()).await;
    assert!(state.problem().is_some());
}

#[tokio::test]
async fn at_a_broker_endpoint_both_sides_prove_who_they_are() {
    let domain = Domain::new("prod.example");
    let document = vec![domain.issue("spiffe://prod.example/web")];
    let said = Said::new(&[&domain]).with(1, document);
    let test = TestAgent::with_broker(&socket("mutual"), said.clone(), &domain);
    let told = async |endpoint: Broker| of(endpoint.process(always(1)), Settings::new()).await.1;
    let state = told(broker(&test, AGENT)).await;
    assert_eq!(accounts(&state), ["spiffe://prod.example/web"]);
    // Another agent than the one that is expected.
    let state = told(broker(&test, "spiffe://prod.example/spire/agent/other")).await;
    assert!(state.handshakers().is_empty());
    let why = state.problem().unwrap();
    assert!(why.contains("cannot be asked") && !why.contains("refuses"), "{why}");
    // One of another authority, although it has the right name.
    let forger = Domain::new("prod.example");
    let other = TestAgent::with_broker(&socket("forged"), said, &forger);
    let workload_api = Agent::at(&test.address()).unwrap();
    let endpoint = Broker::at(&other.broker_address(), &workload_api, AGENT.parse().unwrap());
    let state = told(endpoint.unwrap()).await;
    assert!(state.handshakers().is_empty(), "{state:?}");
    assert!(!other.asked().iter().any(|asked| asked.starts_with("broker")), "{:?}", other.asked());
    // Whoever has no identity itself.
    test.change(|said| said.own = vec![]);
    let state = told(broker(&test, AGENT)).await;
    assert!(state.handshakers().is_empty(), "{state:?}");
}
