//! What a program prints whose `main` returns an error: its `Debug`, which has to be a sentence.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "test code that several binaries use")]

use std::any::type_name;
use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;

/// The name of the error's type, whose `Debug` is what `Display` says.
pub fn sentence<E: Error>(error: E) -> String {
    assert_eq!(format!("{error:?}"), error.to_string(), "{}", type_name::<E>());
    assert!(error.to_string().contains(' '), "{error} is no sentence");
    let name = type_name::<E>().split('<').next().unwrap_or_default();
    name.rsplit("::").next().unwrap_or_default().to_owned()
}

/// The names of all types below a directory that are errors: a new one does not go unseen.
pub fn errors(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(errors(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        found.extend(text.lines().filter_map(|line| {
            let (before, name) = line.split_once("Error for ")?;
            let name = name.split(|one: char| !one.is_alphanumeric()).next()?;
            before.starts_with("impl").then(|| name.to_owned())
        }));
    }
    found
}
