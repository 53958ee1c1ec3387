//! The configurations in the README and in the book are good ones.

use std::{fs, path::Path};

use altsd::config::Config;

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

#[test]
fn blocks_are_found_where_they_are() {
    let page = "x\n  ```toml,altsd\n  [log]\n\n  a = 1\n  ```\n```toml\nb\n```\n";
    assert_eq!(configurations(page), [(2, "[log]\n\na = 1\n".to_owned())]);
}
