//! Configurations: good ones are accepted, and bad ones refused with the place and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use altsd::cli::Cli;
use altsd::config::Config;
use clap::Parser as _;

use crate::support::{Authority, Directory, Running, altsd};

const GOOD: &str = "\
trust_roots = ['r.pem']
[[listen]]
unix = 's.sock'
[[identity]]
certificate = 'c.pem'
key = 'k.pem'
[[policy]]
callers = ['anyone']
accounts = ['a@dev.test']
";

/// What is said about a text.
fn error(text: &str) -> String {
    match Config::parse(text, Path::new("/etc/altsd.toml")) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(error) => error.to_string(),
    }
}

/// The configuration with one thing changed is refused, with a place and a remedy.
fn assert_says(from: &str, to: &str, place: &str, what: &str) {
    let mut text = GOOD.replacen(from, to, 1);
    if what == "no user name" {
        text = text.replace("a@dev.test", "{user}@host.test");
    }
    assert_ne!(text, GOOD, "{from}");
    let error = error(&text);
    assert!(error.starts_with("/etc/altsd.toml"), "{error}");
    assert!(error.contains(place) && error.contains(what), "{place} {what}: {error}");
}

#[test]
fn errors_name_the_place_and_what_to_do() {
    assert!(Config::parse(GOOD, Path::new("/etc/altsd.toml")).is_ok());
    for (from, to, place, what) in [
        ("unix = ", "unx = ", "line 3, column 1", "unknown field `unx`"),
        ("unix = 's.sock'", "", "line 2, [[listen]]", "exactly one of unix, abstract and tcp"),
        ("unix = 's.sock'", "tcp = '0.0.0.0:1'", "line 2, [[listen]]", "remote = true"),
        ("unix = 's.sock'", "tcp = '127.0.0.1'", "line 3, column 7", "is no TCP address: write"),
        ("unix = 's.sock'", "tcp = 'elsewhere.test:1'", "line 2, [[listen]]", "remote = true"),
        (
            "unix = 's.sock'",
            "tcp = '127.0.0.1:1'\nmode = '0600'",
            "line 2",
            "only for socket files",
        ),
        ("unix = 's.sock'", "unix = 's.sock'\nidentify = false", "line 2", "only for TCP"),
        ("unix = 's.sock'", "unix = 's.sock'\nmode = '999'", "line 4, column 8", "octal"),
        ("trust_roots = ['r.pem']", "", "line 4, [[identity]]", "set trust_roots"),
        (
            "trust_roots = [",
            "accept_machines = true\ntrust_roots = [",
            "line 1, accept",
            "machines = [",
        ),
        (
            "['r.pem']",
            "[{ path = 'r.pem', accounts = ['a*@b'] }]",
            "line 1",
            "no pattern for service accounts",
        ),
        (
            "['r.pem']",
            "[{ path = 'r.pem', machines = ['*'] }]",
            "line 1",
            "no pattern for machines",
        ),
        ("['r.pem']", "[{ path = 'r.pem', account_from = 'dns' }]", "line 1", "`email` or `uri`"),
        ("['r.pem']", "[{ path = 'r.pem', account = [] }]", "line 1", "unknown field `account`"),
        ("['r.pem']", "[7]", "line 1", "a path, or a table"),
        ("[[policy]]", "[limits]\nbytes_per_caller = 1\n[[policy]]", "[limits]", "request_bytes"),
        ("'anyone'", "'everyone'", "line 8", "user:NAME, uid:NUMBER"),
        ("'anyone'", "'uid:root'", "line 8", "user:NAME, uid:NUMBER"),
        ("['anyone']", "[]", "line 7, [[policy]]", "for nobody"),
        ("a@dev.test", "a b", "line 9", "printable ASCII"),
        ("a@dev.test", "{group}@x", "line 9", "{user}@MACHINE"),
        (
            "callers =",
            "listeners = ['x']\ncallers =",
            "line 7, [[policy]]",
            "no listener called \"x\"",
        ),
        ("['anyone']", "['unidentified']", "line 7", "no user name"),
        ("[[policy]]", "[limits]\ndeadline = '5'\n[[policy]]", "line 8, column 12", "30s"),
        ("[[policy]]", "[limits]\nhandshakes = 0\n[[policy]]", "[limits]", "at least 1"),
        (
            "[[policy]]",
            "[metrics]\naddress = '0.0.0.0:1'\n[[policy]]",
            "[metrics]",
            "remote = true",
        ),
        ("[[policy]]", "[log]\nlevel = 'trace'\n[[policy]]", "line 8", "one of `error`"),
    ] {
        assert_says(from, to, place, what);
    }
}

#[test]
fn errors_about_agents_and_trust_domains_name_the_place_and_what_to_do() {
    for (from, to, place, what) in [
        (
            "['r.pem']",
            "[{ path = 'r.json', trust_domain = 'a.test', machines = ['b.test'] }]",
            "line 1",
            "trust_domain says which accounts these are",
        ),
        (
            "['r.pem']",
            "[{ path = 'r.json', trust_domain = 'A.test' }]",
            "line 1",
            "is not the name of a trust domain",
        ),
        ("a@dev.test", "{spiffe}", "line 7, [[policy]]", "say which one ([spiffe])"),
        ("[[policy]]", "[spiffe]\nagent = 'a.sock'\n[[policy]]", "line 7, [spiffe]", "unix:/path"),
        (
            "[[policy]]",
            "[spiffe]\nagent = 'unix:/a.sock'\napi = 'other'\n[[policy]]",
            "line 9, column 7",
            "delegated",
        ),
        (
            "[[policy]]",
            "[spiffe]\nagent = 'unix:/a.sock'\napi = 'broker'\n[[policy]]",
            "line 7, [spiffe]",
            "set workload_api",
        ),
        (
            "[[policy]]",
            "[spiffe]\nagent = 'unix:/a.sock'\nagent_id = 'spiffe://a/b'\n[[policy]]",
            "line 7, [spiffe]",
            "only for api = \"broker\"",
        ),
        (
            "[[policy]]",
            "[spiffe]\nagent = 'unix:/a.sock'\nfederated = ['A']\n[[policy]]",
            "line 7, [spiffe]",
            "federated: \"A\" is not the name of a trust domain",
        ),
        (
            "[[policy]]\ncallers = ['anyone']\naccounts = ['a@dev.test']",
            "[spiffe]\nagent = 'unix:/a.sock'\n[[policy]]\ncallers = ['unidentified']\naccounts = ['{spiffe}']",
            "line 9, [[policy]]",
            "{spiffe} is nobody",
        ),
    ] {
        assert_says(from, to, place, what);
    }
}

#[test]
fn an_empty_file_is_none() {
    assert!(error("").contains("[[listen]]"));
    let two = GOOD.replace("[[identity]]", "[[listen]]\nunix = 's.sock'\n[[identity]]");
    assert!(error(&two).contains("two listeners"));
}

#[test]
fn what_is_allowed_and_dangerous_is_warned_of() {
    let text = GOOD.replace("unix = 's.sock'", "tcp = '0.0.0.0:1'\nremote = true")
        + "[[policy]]\ncallers = ['uid:1']\naccounts = []\n";
    let config = Config::parse(&text, Path::new("x.toml")).unwrap();
    let warnings = config.warnings().join("\n");
    assert!(warnings.contains("can be reached from other machines"), "{warnings}");
    assert!(warnings.contains("line 11, [[policy]]: this rule is never reached"), "{warnings}");
}

/// What `altsd check-config` says, and whether it is content.
fn check(path: &Path) -> (bool, String) {
    let output = altsd().args(["check-config", "--config"]).arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn the_example_is_accepted() {
    let (directory, authority) = (Directory::new(), Authority::new());
    directory.identity("web", &authority, "web@prod.example", 100);
    directory.identity("machine", &authority, "host.prod.example", 3);
    let example = include_str!("../../altsd.example.toml").replace("/etc/altsd/", "");
    let path = directory.config(&authority, &example);
    let (good, text) = check(&path);
    assert!(good, "{text}");
    for line in [
        "identity  service account web@prod.example (99 days left)",
        "identity  machine host.prod.example",
        "listener  tcp (127.0.0.1:8080)",
        "policy    user:nobody: nothing",
        "policy    anyone on local, tcp: {user}@host.prod.example",
        "warning   the certificate of machine host.prod.example expires in 2 days",
        "altsd.toml: good",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn the_example_in_the_repository_says_what_the_defaults_are() {
    let config = Config::parse(include_str!("../../altsd.example.toml"), Path::new("x")).unwrap();
    let default = Config::new(vec![], vec![], vec![]);
    assert_eq!(config.limits, default.limits);
    assert_eq!(config.log, default.log);
    assert_eq!(
        (config.poll, config.expiry_warning, config.grace),
        (default.poll, default.expiry_warning, default.grace)
    );
}

#[test]
fn what_is_deployed_can_be_read() {
    let manifest = include_str!("../../deploy/kubernetes.yaml");
    let (_, text) = manifest.split_once("  altsd.toml: |\n").unwrap();
    let lines = text.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let text: Vec<_> = lines.map(str::trim_start).collect();
    let config = Config::parse(&text.join("\n"), Path::new("/etc/altsd/altsd.toml")).unwrap();
    assert_eq!((config.listeners.len(), config.rules.len()), (1, 1));
    assert!(config.metrics.is_some(), "the last table was read");
    for probe in [
        "livenessProbe:\n            httpGet: { path: /healthz",
        "readinessProbe:\n            httpGet: { path: /readyz",
    ] {
        assert!(manifest.contains(probe), "{probe}");
    }

    let unit = include_str!("../../deploy/altsd.service");
    let commands = unit.lines().filter_map(|line| line.split_once("=/usr/bin/altsd "));
    let commands: Vec<_> = commands.map(|(_, arguments)| arguments).collect();
    assert_eq!(commands.len(), 3);
    for arguments in commands {
        let words = std::iter::once("altsd").chain(arguments.split(' '));
        Cli::try_parse_from(words).unwrap();
    }
}

#[test]
fn files_that_do_not_fit_are_named() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"anyone\"", "");
    assert!(check(&path).0);

    let key = directory.path("web.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (good, text) = check(&path);
    assert!(!good && text.contains("web.key") && text.contains("chmod 0600"), "{text}");
    let allowed = fs::read_to_string(&path)
        .unwrap()
        .replace("key = \"web.key\"", "key = \"web.key\"\nallow_readable_key = true");
    directory.write("allowed.toml", &allowed, 0o644);
    assert!(check(&directory.path("allowed.toml")).0);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(check(&path).0, "a group of its own may read it");

    let (_, other) = authority.issue("web@dev.test", 10);
    directory.write("web.key", &other, 0o600);
    let (good, text) = check(&path);
    assert!(!good && text.contains("web.key: the private key does not belong"), "{text}");
    assert!(text.contains("line 6, [[identity]]"), "{text}");

    directory.identity("web", &authority, "api@dev.test", 10);
    let (good, text) = check(&path);
    assert!(!good && text.contains("line 9, [[policy]]"), "{text}");
    assert!(text.contains("no certificate vouches for web@dev.test"), "{text}");

    directory.identity("web", &authority, "web@dev.test", 10);
    directory.write("roots.pem", "no PEM", 0o644);
    let (good, text) = check(&path);
    assert!(text.contains("altsd.toml, line 1, trust_roots: "), "{text}");
    assert!(!good && text.contains("roots.pem: no trust root in the input"), "{text}");
    fs::remove_file(directory.path("web.pem")).unwrap();
    let (good, text) = check(&path);
    assert!(!good && text.contains("web.pem: No such file"), "{text}");
    let (good, text) = check(&directory.path("nothing.toml"));
    assert!(!good && text.contains("nothing.toml: No such file"), "{text}");
}

#[test]
fn a_name_to_listen_on_is_looked_up_by_the_start_and_not_by_the_check() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"anyone\"", "");
    let text = fs::read_to_string(&path).unwrap();
    let with = |lines: &str| {
        let text = text.replace("unix = \"s.sock\"\nmode = \"0666\"", lines);
        directory.write("altsd.toml", &text, 0o644);
    };
    // No name, in no directory: the label between the dots is empty.
    with("tcp = \"a..b:0\"\nremote = true");
    let (good, said) = check(&path);
    assert!(good && said.contains("listener  s (a..b:0)"), "{said}");
    let output = altsd().arg("--config").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let wanted = "line 2, [[listen]], a..b:0: the name cannot be looked up";
    assert!(!output.status.success() && said.contains(wanted), "{said}");

    with("tcp = \"localhost:0\"");
    assert!(check(&path).0);
    let mut running = Running::start(&path);
    assert!(running.tcp().ip().is_loopback());
}

#[test]
fn a_mode_that_shuts_out_whom_the_policy_names_is_reported() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"uid:61001\"", "");
    let text = fs::read_to_string(&path).unwrap();
    let (_, said) = check(&path);
    assert!(!said.contains("keeps out"), "{said}");
    // Without a mode, it is 0660.
    directory.write("altsd.toml", &text.replace("mode = \"0666\"\n", ""), 0o644);
    let (_, said) = check(&path);
    let wanted = "the mode 0660 of the listener s keeps out uid:61001, whom this rule is for";
    assert!(said.contains(wanted), "{said}");
}

#[test]
fn a_listener_has_one_name_however_the_path_of_the_file_is_written() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"anyone\"", "");
    let text = fs::read_to_string(&path).unwrap().replace("name = \"s\"\n", "");
    let text = text.replace("[reload]", "listeners = [\"unix:s.sock\"]\n[reload]");
    directory.write("altsd.toml", &text, 0o644);
    for spelling in [path.to_str().unwrap(), "altsd.toml", "./altsd.toml"] {
        let mut command = altsd();
        command.current_dir(&directory.0).args(["check-config", "--config", spelling]);
        let output = command.output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{spelling}: {said}");
        assert!(said.contains("anyone on unix:s.sock: web@dev.test"), "{spelling}: {said}");
    }
}

#[test]
fn the_program_explains_itself() {
    let output = altsd().arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["check-config", "dev", "--config", "--allow", "SIGHUP"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let output = altsd().arg("--version").output().unwrap();
    let version = concat!("altsd ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
    let output = altsd().args(["--listen", "0.0.0.0:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "flags that are not enough are refused");
}
