//! Asked to log everything that it can, TLS reveals none of its secrets.

use std::sync::{Mutex, PoisonError};

use leaks::Secrets;
use log::{LevelFilter, Log, Metadata, Record};
use rustls::KeyLog;

use super::{Arc, CONFIRMATION, Context, Exchange, ExchangeConfig, Export, KEY_DATA, fmt};
use crate::dev::Authority;

#[path = "../../tests/common/leaks.rs"]
mod leaks;

/// The secrets of TLS, as it gives them to anyone who debugs it with `SSLKEYLOGFILE`.
#[derive(Default)]
struct Keys(Mutex<Secrets>);

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys")
    }
}

impl KeyLog for Keys {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add(label, secret);
    }
}

/// All that rustls says, of every test in this program.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

impl Log for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}: {}\n", record.level(), record.target(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_str(&line);
    }

    fn flush(&self) {}
}

#[test]
fn tls_tells_none_of_its_secrets_at_any_level() {
    let told = Told::default();
    log::set_boxed_logger(Box::new(told.clone())).unwrap();
    log::set_max_level(LevelFilter::Trace);
    let keys = Arc::new(Keys::default());
    let authority = Authority::new().unwrap();
    let config = |account| {
        let shared = authority.handshaker(account).unwrap().shared();
        let ExchangeConfig { mut client, mut server, key_exchange } = shared.exchange.clone();
        Arc::make_mut(&mut client).key_log = Arc::clone(&keys) as _;
        Arc::make_mut(&mut server).key_log = Arc::clone(&keys) as _;
        ExchangeConfig { client, server, key_exchange }
    };
    let mut client = Exchange::client(&config("client@dev.test")).unwrap();
    let mut server = Exchange::server(&config("server@dev.test")).unwrap();
    server.receive(&client.send(b"").unwrap()).unwrap();
    client.receive(&server.send(b"").unwrap()).unwrap();
    server.receive(&client.send(b"client's parameters").unwrap()).unwrap();
    client.receive(&server.send(b"server's parameters").unwrap()).unwrap();
    assert!(client.is_ready() && server.is_ready());

    let context = Context::new(b"client", b"server", b"its parameters", b"and its");
    let mut secrets = std::mem::take(&mut *keys.0.lock().unwrap());
    // Four of traffic and the exporter's, at least.
    assert!(secrets.len() >= 5);
    secrets.add_key_data(&*client.export::<KEY_DATA>(Export::KeyData, &context).unwrap());
    for purpose in [Export::ClientConfirmation, Export::ServerConfirmation] {
        secrets.add("a confirmation", &*client.export::<CONFIRMATION>(purpose, &context).unwrap());
    }
    let text = told.0.lock().unwrap().clone();
    assert!(text.contains("TRACE rustls::"), "rustls told nothing: {text}");
    secrets.assert_not_in(&text, "the log of TLS");
}
