//! Configurations without a file: throw-away identities for a first try, and one identity by flags.

use std::time::Duration;

use alts_handshaker::Failure;
use alts_handshaker::dev::{Authority, DevError};
use alts_handshaker::identity::Subject;
use alts_handshaker::identity::vouching::MachinePattern;
use alts_serving::caller_pattern::CallerPattern;
use alts_serving::settings_error::SettingsError;
use alts_serving::socket_file::Mode;

use crate::config::Config;
use crate::identities::{Placed, Source, sentence};
use crate::listen::{Listen, ListenAddress};
use crate::policy::{AccountPattern, Rule};

/// How long before the end of throw-away identities there are warnings.
const EXPIRY_WARNING: Duration = Duration::from_secs(60 * 60);

/// Throw-away identities of one authority, each on a listener of its own, for the callers given.
/// An account may be `{user}@machine.test`: a machine that vouches for the callers' user names.
///
/// # Errors
/// When an account is not in a domain that is reserved for tests.
pub fn development(
    listeners: Vec<(ListenAddress, AccountPattern)>,
    callers: &[CallerPattern],
) -> Result<Config, SettingsError> {
    let place = "altsd dev";
    let failed = |why: DevError| SettingsError::new(place, why.to_string());
    let machine = |(_, account): &(_, AccountPattern)| match account {
        AccountPattern::Exact(_) | AccountPattern::Attested => None,
        AccountPattern::OwnUser { machine } => Some(machine.parse::<MachinePattern>()),
    };
    let machines = listeners.iter().filter_map(machine).collect::<Result<_, _>>();
    let machines = machines.map_err(|why| SettingsError::new(place, why))?;
    let authority = Authority::new().map_err(failed)?.machines(machines);
    let (mut listens, mut sources, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    let mut known = Vec::new();
    for (mut endpoint, account) in listeners {
        if let ListenAddress::Unix { mode, .. } = &mut endpoint {
            *mode = Mode(0o600);
        }
        let certificate = match &account {
            AccountPattern::Exact(account) => account.clone(),
            AccountPattern::OwnUser { machine } => machine.clone(),
            AccountPattern::Attested => {
                let why = "{spiffe} is what a SPIFFE agent gives, and here identities are made up";
                return Err(SettingsError::new(place, why));
            }
        };
        if !known.contains(&certificate) {
            let builder = match &account {
                AccountPattern::OwnUser { machine } => authority.machine_builder(machine),
                _ => authority.builder(&certificate),
            };
            let refused = |why: Failure| SettingsError::new(place, why.to_string());
            let handshaker = builder.map_err(failed)?.build().map_err(refused)?;
            // A service account on one of the machines is none.
            handshaker.check_certificate(None).map_err(refused)?;
            sources.push(Source::Fixed(handshaker));
            known.push(certificate);
        }
        let listen = Listen::at(endpoint, place);
        rules.push(Rule {
            callers: callers.to_vec(),
            listeners: vec![listen.name.clone()],
            accounts: vec![account],
            place: format!("{place}, {}", listen.name),
        });
        listens.push(listen);
    }
    let mut config = Config::new(listens, sources, rules);
    // They live for hours, so a week before their end is before their beginning.
    config.expiry_warning = EXPIRY_WARNING;
    config.check(place)?;
    Ok(config)
}

/// One identity from files, for the callers given: the certificate's account, or `{user}@machine`
/// for a machine's certificate, unless other accounts are named.
///
/// # Errors
/// When the files cannot be used or the rest does not fit together.
pub fn one_identity(
    listeners: Vec<ListenAddress>,
    files: Placed,
    callers: Vec<CallerPattern>,
    mut accounts: Vec<AccountPattern>,
) -> Result<Config, SettingsError> {
    let place = "command line";
    let handshaker = files.files.load().map_err(|why| SettingsError::new(place, sentence(&why)))?;
    if accounts.is_empty() {
        accounts.push(match handshaker.subject() {
            Subject::ServiceAccount(account) => AccountPattern::Exact(account),
            Subject::Machine(machine) => AccountPattern::OwnUser { machine },
        });
    }
    let listeners =
        listeners.into_iter().map(|endpoint| Listen::at(endpoint, "--listen")).collect();
    let rule = Rule { callers, listeners: Vec::new(), accounts, place: "--allow".to_owned() };
    let config = Config::new(listeners, vec![Source::Files(Box::new(files))], vec![rule]);
    config.check(place)?;
    Ok(config)
}
