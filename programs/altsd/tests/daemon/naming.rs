//! Secure naming at the daemon: its table, a reload, and what is wrong with one.

use std::fs;

use nix::sys::signal::Signal;

use crate::common::Start;
use crate::support::{Authority, Caller, Directory, Running, Said, altsd, channel};

/// What a client that looks for `target` is told last; its service judges, and the server's has an
/// account `web@dev.test` as well.
async fn client_says(service: &str, target: &'static str) -> Said {
    let channel = channel(service).await;
    let start = Start { target_name: target, ..Start::default() };
    let (mut client, hello) = Caller::call(&channel, start.client()).await.unwrap();
    if hello.code != 0 {
        return hello;
    }
    let first = Start::default().server(&hello.out);
    let (_server, init) = Caller::call(&channel, first).await.unwrap();
    client.next(&init.out).await.unwrap()
}

const TABLE: &str = "[naming]\nempty = \"allow\"\n\
                     [[target]]\nnames = [\"web.prod.example\"]\naccounts = [\"web@dev.test\"]\n\
                     [[target]]\nnames = [\"*.prod.example\"]\naccounts = [\"*@prod.example\"]\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_decides_who_is_found_under_a_name_and_changes_with_a_reload() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let config = directory.simple(&authority, "\"anyone\"", TABLE);
    let mut running = Running::start(&config);
    let socket = directory.socket();
    for (target, code, words) in [
        ("web.prod.example:443", 0, ""),
        ("dns:///WEB.prod.example.", 0, ""),
        ("", 0, ""),
        ("db.prod.example:443", 16, "may not serve db.prod.example:443: it is service account web"),
        ("other.example", 7, "no rule of this service says who may serve other.example:443"),
        ("web%2eprod.example", 3, "the target name \"web%2eprod.example\" cannot be compared"),
    ] {
        let said = client_says(&socket, target).await;
        assert_eq!(said.code, code, "{target}: {}", said.details);
        assert!(said.details.contains(words), "{target}: {}", said.details);
    }
    let line = running.wait_for("may not serve db.prod.example:443");
    assert!(line.contains("altsd::audit") && line.contains("\"code\":16"), "{line}");

    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("*@prod.example", "*@dev.test")).unwrap();
    running.signal(Signal::SIGHUP);
    running.wait_for("\"reloaded\"");
    let said = client_says(&socket, "db.prod.example:443").await;
    assert_eq!(said.code, 0, "{}", said.details);
}

#[test]
fn tables_that_say_nothing_or_too_much_are_refused() {
    let (directory, authority) = (Directory::new(), Authority::new());
    let target = |names: &str, accounts: &str| {
        format!("[[target]]\nnames = [{names}]\naccounts = [{accounts}]\n")
    };
    let good = target("\"a.example\"", "\"*@dev.test\"");
    for (text, words) in [
        ("[naming]\nunknown = \"allow\"\n".to_owned(), "there is no [[target]]"),
        (format!("{good}[naming]\nunknown = \"accept\"\n"), "unknown variant `accept`"),
        (format!("{good}[naming]\nother = \"allow\"\n"), "unknown field `other`"),
        (target("", "\"a@dev.test\""), "one entry at least"),
        (target("\"a.example\"", ""), "one entry at least"),
        (target("\"a.*\"", "\"a@dev.test\""), "\"a.*\" is no pattern for target names"),
        (target("\"a.example\"", "\"w*@dev.test\""), "\"w*@dev.test\": no pattern for service acc"),
        (
            target("\"*.example\"", "\"a@dev.test\"")
                + &target("\"A.example:1\"", "\"b@dev.test\""),
            "a.example:1 never gets here, because *.example comes first",
        ),
    ] {
        let path = directory.simple(&authority, "\"anyone\"", &text);
        let output = altsd().args(["check-config", "--config"]).arg(&path).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success() && said.contains(words), "{words}: {said}");
    }
}
