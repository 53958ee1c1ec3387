//! Certificates as peers look at them: what is not good is found before the first handshake, and an
//! authority vouches for what it may vouch for.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer,
    KeyPair, NameConstraints, SanType,
};

use crate::common::Start;
use crate::support::{Authority, Caller, Directory, Running, Said, altsd, channel};

/// What `altsd check-config` says, and whether it is content.
fn check(path: &Path) -> (bool, String) {
    let output = altsd().args(["check-config", "--config"]).arg(path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn certificates_that_peers_would_refuse_are_not_good() {
    type Change = fn(&mut CertificateParams);
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"anyone\"", "");
    assert!(check(&path).0);
    let cases: [(Change, &str); 6] = [
        (
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            "extended key usage",
        ),
        (
            |p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "extended key usage",
        ),
        (|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), "that of an authority"),
        (|p| p.not_after = time::OffsetDateTime::now_utc() - time::Duration::days(1), "not valid"),
        (|p| p.not_before = time::OffsetDateTime::now_utc() + time::Duration::days(1), "not valid"),
        (
            |p| p.subject_alt_names.push(SanType::URI("spiffe://dev.test/web".try_into().unwrap())),
            "the e-mail name web@dev.test and the URI spiffe://dev.test/web",
        ),
    ];
    for (change, words) in cases {
        directory.identity_with("web", &authority, "web@dev.test", change);
        let (good, text) = check(&path);
        assert!(!good && text.contains("web.pem: ") && text.contains(words), "{words}: {text}");
        // And so says the start.
        let output = altsd().arg("--config").arg(&path).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
    }
    directory.identity("web", &Authority::new(), "web@dev.test", 10);
    let (good, text) = check(&path);
    assert!(
        !good && text.contains("not signed by the authority of that name that the peer trusts"),
        "{text}"
    );
    let other = std::fs::read_to_string(&path).unwrap();
    let other =
        other.replace("[\"roots.pem\"]", "[{ path = \"roots.pem\", accounts = [\"*@a.test\"] }]");
    directory.write("other.toml", &other, 0o644);
    directory.identity("web", &authority, "web@dev.test", 10);
    let (good, text) = check(&directory.path("other.toml"));
    assert!(!good && text.contains("may vouch for the accounts *@a.test"), "{text}");
}

#[test]
fn an_encrypted_key_is_called_so() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let path = directory.simple(&authority, "\"anyone\"", "");
    for text in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0A\n\n\
         MIIB\n-----END EC PRIVATE KEY-----\n",
    ] {
        directory.write("web.key", text, 0o600);
        let (good, text) = check(&path);
        assert!(!good && text.contains("web.key: the private key is encrypted"), "{text}");
    }
}

/// One daemon with an identity, and what it believes.
struct Side {
    directory: Directory,
    _running: Running,
}

impl Side {
    /// An identity from `chain` and `key`, verified by peers by `own`; `roots` is the text of
    /// `trust_roots`, in which `NAME.pem` are the files given.
    fn start(
        san: &str,
        (chain, key): (&str, &str),
        own: &str,
        roots: &str,
        files: &[(&str, &str)],
    ) -> Self {
        let directory = Directory::new();
        for (name, text) in files {
            directory.write(name, text, 0o644);
        }
        directory.write("own.pem", chain, 0o644);
        directory.write("own.key", key, 0o600);
        directory.write("verified.pem", own, 0o644);
        let account = if san.contains('@') || san.contains(':') {
            san.to_owned()
        } else {
            format!("root@{san}")
        };
        let machines =
            if account == san { String::new() } else { format!(", machines = [\"{san}\"]") };
        let account = if account == san { account } else { format!("{{user}}@{san}") };
        let config = format!(
            "trust_roots = {roots}\n[[listen]]\nunix = \"s.sock\"\nmode = \"0666\"\n\
             [[identity]]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n\
             verified_by = [{{ path = \"verified.pem\"{machines} }}]\n\
             [[policy]]\ncallers = [\"anyone\"]\naccounts = [\"{account}\"]\n\
             [log]\nformat = \"json\"\n"
        );
        directory.write("altsd.toml", &config, 0o644);
        let running = Running::start(&directory.path("altsd.toml"));
        Self { directory, _running: running }
    }

    async fn channel(&self) -> tonic::transport::Channel {
        channel(&self.directory.socket()).await
    }
}

/// A handshake until one of the two learns how it ends: the server's last words, as the client's
/// certificate is what is judged.
async fn judged(client: &Side, server: &Side) -> Said {
    let (client, server) = (client.channel().await, server.channel().await);
    let (mut client, hello) = Caller::client(&client).await.unwrap();
    let first = Start::default().server(&hello.out);
    let (mut server, init) = Caller::call(&server, first).await.unwrap();
    assert_eq!(init.code, 0, "{}", init.details);
    let parameters = client.next(&init.out).await.unwrap();
    assert_eq!(parameters.code, 0, "{}", parameters.details);
    let said = server.next(&parameters.out).await.unwrap();
    if said.code != 0 {
        // What the other side hears is not that somebody does not trust it.
        let told = client.next(&said.out).await.unwrap();
        assert!(!told.details.contains("does not trust"), "{}", told.details);
    }
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_authority_vouches_for_what_it_may_vouch_for() {
    let (ours, team) = (Authority::new(), Authority::new());
    let (chain, key) = ours.issue("server@prod.test", 10);
    let files = [("ours.pem", &*ours.certificate), ("team.pem", &*team.certificate)];
    let roots = "[{ path = \"ours.pem\", accounts = [\"*@prod.test\"], machines = [\"*.hosts.prod.test\"] }, \
                 { path = \"team.pem\", accounts = [\"*@team.test\", \"spiffe://team.test/*\"], account_from = \"uri\" }]";
    let server = Side::start("server@prod.test", (&chain, &key), &ours.certificate, roots, &files);
    let uri = |text: &'static str| {
        move |params: &mut CertificateParams| {
            params.subject_alt_names.push(SanType::URI(text.try_into().unwrap()));
        }
    };
    for (authority, san, more, words) in [
        (&ours, "web@prod.test", None, ""),
        (&ours, "web@team.test", None, "service account web@team.test, and the authority"),
        (&ours, "web@a.hosts.prod.test", None, "is a machine's name here"),
        (&ours, "a.hosts.prod.test", None, ""),
        (&ours, "prod.test", None, "machine prod.test, and the authority"),
        (&team, "a.hosts.prod.test", None, "does not let machines vouch"),
        (&team, "x@prod.test", Some("spiffe://team.test/web"), ""),
        (&team, "x@team.test", Some("spiffe://prod.test/web"), "spiffe://prod.test/web, and the"),
        (&ours, "web@prod.test", Some("spiffe://team.test/web"), "nothing says which of them"),
    ] {
        let (chain, key) = match more {
            Some(text) => authority.issue_with(san, uri(text)),
            None => authority.issue(san, 10),
        };
        // What the client's side believes of itself is another matter.
        let kind = more.map_or("", |_| ", account_from = \"uri\"");
        let directory_roots = "[\"ours.pem\"]".to_owned();
        let account = more.unwrap_or(san);
        let client = ClientSide::start(
            account,
            (&chain, &key),
            &authority.certificate,
            &directory_roots,
            kind,
            &files,
        );
        let said = judged(&client.0, &server).await;
        if words.is_empty() {
            assert_eq!(said.code, 0, "{san} {more:?}: {}", said.details);
        } else {
            assert_eq!(said.code, 16, "{san} {more:?}: {}", said.details);
            assert!(said.details.contains(words), "{words}: {}", said.details);
        }
    }
}

/// As [`Side`], with the kind of name that counts for its own certificate.
struct ClientSide(Side);

impl ClientSide {
    fn start(
        san: &str,
        identity: (&str, &str),
        own: &str,
        roots: &str,
        kind: &str,
        files: &[(&str, &str)],
    ) -> Self {
        if kind.is_empty() {
            return Self(Side::start(san, identity, own, roots, files));
        }
        let directory = Directory::new();
        for (name, text) in files {
            directory.write(name, text, 0o644);
        }
        directory.write("own.pem", identity.0, 0o644);
        directory.write("own.key", identity.1, 0o600);
        directory.write("verified.pem", own, 0o644);
        let config = format!(
            "trust_roots = {roots}\n[[listen]]\nunix = \"s.sock\"\nmode = \"0666\"\n\
             [[identity]]\ncertificate = \"own.pem\"\nkey = \"own.key\"\n\
             verified_by = [{{ path = \"verified.pem\"{kind} }}]\n\
             [[policy]]\ncallers = [\"anyone\"]\naccounts = [\"{san}\"]\n"
        );
        directory.write("altsd.toml", &config, 0o644);
        let running = Running::start(&directory.path("altsd.toml"));
        Self(Side { directory, _running: running })
    }
}

/// An authority below another one, limited to some names.
fn limited(
    root: &Issuer<'_, KeyPair>,
    permitted: GeneralSubtree,
) -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.name_constraints =
        Some(NameConstraints { permitted_subtrees: vec![permitted], excluded_subtrees: vec![] });
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, root).unwrap().pem();
    (Issuer::new(params, key), certificate)
}

#[test]
fn an_authority_that_is_limited_to_other_names_makes_no_accounts() {
    for (permitted, words) in [
        (GeneralSubtree::DnsName("team.test".to_owned()), "limited to other kinds of names"),
        (GeneralSubtree::Rfc822Name("team.test".to_owned()), "name constraint of its authority"),
    ] {
        let (directory, authority) = (Directory::new(), Authority::new());
        let path = directory.simple(&authority, "\"anyone\"", "");
        let (below, certificate) = limited(authority.issuer(), permitted);
        let below = Authority::from_issuer(below, certificate);
        let (chain, key) = below.issue("web@dev.test", 10);
        directory.write("web.pem", &format!("{chain}{}", below.certificate), 0o644);
        directory.write("web.key", &key, 0o600);
        let (good, text) = check(&path);
        assert!(!good && text.contains(words), "{words}: {text}");
    }
}
