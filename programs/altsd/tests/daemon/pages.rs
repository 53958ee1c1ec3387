//! The configurations in the README and in the book are good ones, and do what they say for the users
//! whom they name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use alts_serving::caller_pattern::CallerPattern;
use altsd::config::Config;
use altsd::identities::Source;
use altsd::listen::ListenAddress;
use altsd::policy::{AccountPattern, Rule};

use crate::agent::{Domain, Said, TestAgent};
use crate::child::ask_about;
use crate::machine::{Machine, can_have_namespaces};
use crate::revocation::revocation_list;
use crate::support::{Authority, Directory};

/// The blocks of `toml,altsd` in a page, with the lines that they begin in.
fn configurations(page: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut inside = None;
    for (number, line) in page.lines().enumerate() {
        match inside {
            None if line.trim_start() == "```toml,altsd" => {
                inside = line.find('`');
                found.push((number + 1, String::new()));
            }
            Some(_) if line.trim_start() == "```" => inside = None,
            Some(indent) => {
                let (_, text) = found.last_mut().unwrap();
                // An empty line need not be indented.
                text.push_str(line.get(indent..).unwrap_or_default());
                text.push('\n');
            }
            None => {}
        }
    }
    assert_eq!(inside, None, "a block has no end");
    found
}

#[test]
fn the_configurations_in_the_pages_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut count = 0;
    for page in pages.chain([root.join("README.md")]) {
        if page.extension().is_some_and(|extension| extension == "md") {
            for (line, text) in configurations(&fs::read_to_string(&page).unwrap()) {
                let place = format!("{}:{line}", page.display());
                let config = Config::parse(&text, Path::new("/etc/altsd/altsd.toml"))
                    .unwrap_or_else(|error| panic!("{place}: {error}"));
                assert!(!config.rules.is_empty(), "{place}: nobody may call");
                count += 1;
            }
        }
    }
    assert!(count > 0, "no page has a configuration");
}

/// A user whom no configuration names.
const STRANGER: u32 = 62_900;

/// The users of a page: for each pattern of a caller, the number and the name of one who fits.
#[derive(Default)]
struct Users {
    by_pattern: HashMap<String, (u32, String)>,
    entries: Vec<(String, u32)>,
    groups: Vec<(String, u32, String)>,
}

impl Users {
    fn of(rules: &[Rule]) -> Self {
        let mut all = Self::default();
        all.entries.push(("stranger".to_owned(), STRANGER));
        let mut next = 62_000;
        for caller in rules.iter().flat_map(|rule| &rule.callers) {
            next += 1;
            let found = match caller {
                CallerPattern::User(name) => {
                    all.entries.push((name.clone(), next));
                    (next, name.clone())
                }
                CallerPattern::Group(group) => {
                    let member = format!("member-of-{group}");
                    all.entries.push((member.clone(), next));
                    all.groups.push((group.clone(), next + 100, member.clone()));
                    (next, member)
                }
                CallerPattern::Uid(uid) => {
                    let name = format!("user{uid}");
                    all.entries.push((name.clone(), *uid));
                    (*uid, name)
                }
                CallerPattern::Anyone => (STRANGER, "stranger".to_owned()),
                CallerPattern::Gid(_) | CallerPattern::Unidentified => {
                    panic!("{caller}: say here how to be one of these")
                }
            };
            all.by_pattern.insert(caller.to_string(), found);
        }
        all
    }

    fn machine(&self) -> Machine {
        let users: Vec<_> = self.entries.iter().map(|(name, uid)| (name.as_str(), *uid)).collect();
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|(name, gid, members)| (name.as_str(), *gid, members.as_str()))
            .collect();
        Machine::new(&users, &groups)
    }
}

/// Writes the certificates of a configuration: `web.pem` is for the account `web@…` of a rule, and
/// anything else for the machine of one.
fn certify(directory: &Directory, config: &Config) {
    let files = |source: &Source| match source {
        Source::Files(placed) => placed.files.clone(),
        Source::Fixed(_) => panic!("a configuration has files"),
    };
    let files: Vec<_> = config.identities.iter().map(files).collect();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let authority = Authority::new();
    let roots = files.first().map(|files| &*files.trust_roots).unwrap_or_default();
    for (index, root) in roots.iter().enumerate() {
        let of_others = Authority::new();
        let one = if index == 0 { &authority } else { &of_others };
        directory.write(&name(&root.path), &one.certificate, 0o644);
        for path in &root.revocation_lists {
            directory.write(&name(path), &revocation_list(one, &[], 2099), 0o644);
        }
    }
    for files in files {
        let stem = files.certificate.file_stem().unwrap().to_str().unwrap();
        let accounts = || config.rules.iter().flat_map(|rule| &rule.accounts);
        let own = accounts().find_map(|account| match account {
            AccountPattern::Exact(account) => {
                account.starts_with(&format!("{stem}@")).then_some(account)
            }
            AccountPattern::OwnUser { .. } | AccountPattern::Attested => None,
        });
        let of_machine = accounts().find_map(|account| match account {
            AccountPattern::OwnUser { machine } => Some(machine),
            AccountPattern::Exact(_) | AccountPattern::Attested => None,
        });
        directory.identity(stem, &authority, own.or(of_machine).expect("its account"), 100);
    }
}

/// The configuration with its files and sockets in a directory, and ports that are free.
fn moved(text: &str, directory: &Directory) -> String {
    let here = format!("{}/", directory.0.display());
    let mut text = text.to_owned();
    for there in ["/etc/altsd-identities/", "/etc/altsd/", "/run/altsd/", "/run/spire/admin/"] {
        text = text.replace(there, &here);
    }
    text = text.replace("0.0.0.0:9464", "127.0.0.1:0").replace("127.0.0.1:9464", "127.0.0.1:0");
    text = text
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("abstract = \"", &format!("abstract = \"{here}"));
    text.replace("format = \"text\"", "format = \"json\"")
}

/// Everybody whom a configuration names gets what it gives them, and nobody else gets it.
fn try_with_its_users(place: &str, text: &str) {
    let directory = Directory::new();
    let mut text = moved(text, &directory);
    if !text.contains("[log]") {
        text.push_str("[log]\nformat = \"json\"\n");
    }
    directory.write("altsd.toml", &text, 0o644);
    let path: PathBuf = directory.path("altsd.toml");
    let config = Config::parse(&text, &path).unwrap();
    certify(&directory, &config);
    // The clients of a configuration with secure naming look for somebody whom it knows.
    let known = text.split_once("names = [\"").and_then(|(_, rest)| rest.split('"').next());
    let target = known.unwrap_or("service.test:443");
    let users = Users::of(&config.rules);
    // An agent that knows these users, as the same one.
    let domain = Domain::new("prod.example");
    let document = domain.issue("spiffe://prod.example/anybody");
    let _agent = config.spiffe.as_ref().map(|spiffe| {
        let known = users.by_pattern.values().map(|(uid, _)| (*uid, vec![document.clone()]));
        let said = Said { users: known.collect(), ..Said::new(&[&domain]) };
        TestAgent::start(Path::new(spiffe.agent.strip_prefix("unix:").unwrap()), said)
    });
    let machine = users.machine();
    let mut running = machine.start(&path);
    for listen in &config.listeners {
        let address = match &listen.endpoint {
            ListenAddress::Tcp { .. } => running.tcp_of(&listen.name).to_string(),
            // The client here has no such addresses; callers are distinguished as on any UNIX socket.
            ListenAddress::Abstract { .. } => continue,
            ListenAddress::Unix { .. } => listen.endpoint.to_string(),
        };
        let applies =
            |rule: &&Rule| rule.listeners.is_empty() || rule.listeners.contains(&listen.name);
        let rules: Vec<_> = config.rules.iter().filter(applies).collect();
        for rule in &rules {
            for caller in &rule.callers {
                let (uid, name) = &users.by_pattern[&caller.to_string()];
                // Every account of the page: those of this rule are given, and the others not.
                for account in config.rules.iter().flat_map(|rule| &rule.accounts) {
                    let given = rule.accounts.contains(account);
                    let account = account.to_string().replace("{user}", name);
                    let account = account.replace("{spiffe}", &document.id);
                    let told = ask_about(&directory, Some(*uid), &address, &account, target);
                    let expected = if given { "0 " } else { "7 " };
                    assert!(
                        told.starts_with(expected),
                        "{place}: {caller} asks for {account} at {address}: {told}"
                    );
                }
            }
        }
        let for_all = rules
            .iter()
            .any(|rule| rule.callers.contains(&CallerPattern::Anyone) && !rule.accounts.is_empty());
        // Where all users have an account, a caller without a name is none of them.
        let stranger = if for_all { STRANGER + 1 } else { STRANGER };
        let told = ask_about(&directory, Some(stranger), &address, "", target);
        assert!(told.starts_with("7 "), "{place}: a stranger at {address}: {told}");
    }
}

#[test]
fn the_configurations_in_the_pages_do_what_they_say_for_the_users_whom_they_name() {
    if !can_have_namespaces() {
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.chain([root.join("README.md")]) {
        if page.extension().is_some_and(|extension| extension == "md") {
            for (line, text) in configurations(&fs::read_to_string(&page).unwrap()) {
                try_with_its_users(&format!("{}:{line}", page.display()), &text);
            }
        }
    }
    try_with_its_users("altsd.example.toml", include_str!("../../altsd.example.toml"));
}

#[test]
fn blocks_are_found_where_they_are() {
    let page = "x\n  ```toml,altsd\n  [log]\n\n  a = 1\n  ```\n```toml\nb\n```\n";
    assert_eq!(configurations(page), [(2, "[log]\n\na = 1\n".to_owned())]);
}
