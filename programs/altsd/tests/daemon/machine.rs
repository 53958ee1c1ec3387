//! A machine of the test's own: the program sees users, groups and subordinate numbers that the test
//! writes, in a mount namespace whose `/etc` is a directory of the test.

use std::fs;
use std::io::{Write, stderr};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Directory, Running, own_uid};

/// Whether this test may be other users and have namespaces. If not, it says so where the output of
/// tests that pass is seen, too.
pub fn can_have_namespaces() -> bool {
    let works = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let why = if own_uid() != 0 {
        "it is not run by root"
    } else if !works("unshare", &["--mount", "--user", "--map-root-user"]) {
        "`unshare` makes no namespaces here"
    } else if !works("setpriv", &["--reuid=61001", "--clear-groups"]) {
        "`setpriv` cannot be another user here"
    } else {
        return true;
    };
    let test = std::thread::current().name().unwrap_or_default().to_owned();
    // Not by `eprintln!`, which tests that pass keep to themselves.
    let mut seen = stderr();
    writeln!(seen, "\nSKIPPED {test}: {why}").unwrap();
    false
}

/// The users of a machine.
pub struct Machine {
    etc: Directory,
}

impl Machine {
    /// The lines of `/etc/passwd`: `NAME NUMBER`; of `/etc/group`: `NAME NUMBER MEMBERS`.
    pub fn new(users: &[(&str, u32)], groups: &[(&str, u32, &str)]) -> Self {
        let etc = Directory::new();
        fs::write(etc.path("nsswitch.conf"), "passwd: files\ngroup: files\n").unwrap();
        let machine = Self { etc };
        machine.write(users, groups);
        machine
    }

    /// Other users from now on.
    pub fn write(&self, users: &[(&str, u32)], groups: &[(&str, u32, &str)]) {
        let root = [("root", 0)];
        let users = root.iter().chain(users);
        let users = users.map(|(name, uid)| format!("{name}:x:{uid}:{uid}::/:/bin/false\n"));
        let groups =
            groups.iter().map(|(name, gid, members)| format!("{name}:x:{gid}:{members}\n"));
        fs::write(self.etc.path("passwd"), users.collect::<String>()).unwrap();
        fs::write(self.etc.path("group"), groups.collect::<String>()).unwrap();
    }

    /// The text of `/etc/subuid`.
    pub fn subuids(&self, text: &str) {
        fs::write(self.etc.path("subuid"), text).unwrap();
    }

    /// The program at work on this machine; `unshare` is given more arguments, and `before` is run
    /// first.
    pub fn start_with(&self, config: &Path, arguments: &[&str], before: &str) -> Running {
        let mut command = Command::new("unshare");
        command.env_clear().stdin(Stdio::null());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("--mount").args(arguments).args(["--", "sh", "-e", "-c"]);
        command.arg(format!("{before}\nmount --bind \"$1\" /etc\nexec \"$0\" --config \"$2\""));
        command.arg(env!("CARGO_BIN_EXE_altsd")).arg(&self.etc.0).arg(config);
        let mut running = Running::spawn(command);
        running.wait_listening();
        running
    }

    pub fn start(&self, config: &Path) -> Running {
        self.start_with(config, &[], "")
    }
}
