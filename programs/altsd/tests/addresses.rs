//! The grammar of addresses, by the table that all packages share.

use altsd::listen::ListenAddress;

/// The same table is read by every package that takes addresses.
#[test]
fn the_table_of_addresses_has_the_same_verdict_here_as_everywhere() {
    let table = include_str!("../../../vectors/addresses.txt");
    let mut count = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let (verdict, address) = line.split_once(' ').unwrap_or((line, ""));
        assert_eq!(ListenAddress::parse(address).is_ok(), verdict == "yes", "{address:?}");
        count += 1;
    }
    assert!(count >= 20);
}

/// Flags are read before anything else: nobody is asked what a name means until it is opened.
#[test]
fn a_name_is_taken_as_it_is_written() {
    let address = ListenAddress::parse("a..b:80").unwrap();
    assert_eq!(address.to_string(), "a..b:80");
}
