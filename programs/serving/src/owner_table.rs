//! The kernel's list of TCP sockets as text, for kernels that do not answer for one socket.
//!
//! It shows the user who made each socket in `/proc/net/tcp` and `/proc/net/tcp6`. Only an
//! established socket that still belongs to a file counts: for others the kernel shows user 0.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// How often the tables are read. An entry can be missed while others come and go.
const ATTEMPTS: usize = 3;

/// `TCP_ESTABLISHED`, as the table writes it.
const ESTABLISHED: &str = "01";

/// The user whose socket has `local` for its own address and `remote` for its peer's.
///
/// It may block for as long as it takes to read the tables.
///
/// # Errors
/// When the tables cannot be read.
pub(crate) fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    // A socket for IPv6 can be connected to an IPv4 address, so both tables are for both.
    for _ in 0..ATTEMPTS {
        for table in TABLES {
            let file = match File::open(table) {
                Ok(file) => file,
                // A kernel without IPv6.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let found = find(BufReader::with_capacity(64 * 1024, file), local, remote)?;
            if found.is_some() {
                return Ok(found);
            }
        }
    }
    Ok(None)
}

/// Looks through one table.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn find(
    table: impl BufRead,
    local: SocketAddr,
    remote: SocketAddr,
) -> io::Result<Option<u32>> {
    let wanted = (canonical(local), canonical(remote));
    for line in table.lines().skip(1) {
        if let Some((addresses, uid)) = parse(&line?)
            && addresses == wanted
        {
            return Ok(Some(uid));
        }
    }
    Ok(None)
}

/// The two addresses and the user of an established socket that belongs to a file.
fn parse(line: &str) -> Option<((SocketAddr, SocketAddr), u32)> {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = fields.next()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    (state == ESTABLISHED && inode != 0).then_some(((local, remote), uid))
}

/// `0100007F:1F90`: the address in words of the machine's byte order, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::with_capacity(16);
    let mut rest = host;
    while !rest.is_empty() {
        let (word, behind) = rest.split_at_checked(8)?;
        bytes.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
        rest = behind;
    }
    let host = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    Some(canonical(SocketAddr::new(host, port)))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// The tables in here are those of a little-endian machine.
#[cfg(target_endian = "little")]
#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 02:00000411 00000000  1000        0 12 2
   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     7        0 13 1
   3: 0100007F:C351 0100007F:1F90 06 00000000:00000000 03:00000000 00000000     0        0 0 3
   4: 0100007F:C352 0100007F:1F90 01 00000000:00000000 03:00000000 00000000     0        0 0 3
   5: 0100007F:C353 0100007F:1F90 08 00000000:00000000 03:00000000 00000000  1000        0 14 3
";
    const TABLE6: &str = "\
  sl  local_address                         remote_address                        st tx rx
   0: 0000000000000000FFFF00000100007F:C354 0000000000000000FFFF00000100007F:1F90 01 0:0 0:0 0 1001 0 15 1
   1: 00000000000000000000000001000000:C355 00000000000000000000000001000000:1F90 01 0:0 0:0 0 1002 0 16 1
";

    fn lookup(table: &str, local: &str, remote: &str) -> Option<u32> {
        find(table.as_bytes(), local.parse().unwrap(), remote.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_callers_end_is_found_and_not_ours() {
        assert_eq!(lookup(TABLE, "127.0.0.1:50000", "127.0.0.1:8080"), Some(1000));
        assert_eq!(lookup(TABLE, "127.0.0.1:8080", "127.0.0.1:50000"), Some(7));
        assert_eq!(lookup(TABLE, "127.0.0.2:50000", "127.0.0.1:8080"), None);
    }

    #[test]
    fn sockets_that_show_user_0_because_nobody_owns_them_do_not_count() {
        for port in [50001, 50002, 50003] {
            assert_eq!(lookup(TABLE, &format!("127.0.0.1:{port}"), "127.0.0.1:8080"), None);
        }
    }

    #[test]
    fn ipv6_and_ipv4_through_it() {
        assert_eq!(lookup(TABLE6, "127.0.0.1:50004", "127.0.0.1:8080"), Some(1001));
        assert_eq!(lookup(TABLE6, "[::1]:50005", "[::1]:8080"), Some(1002));
        assert_eq!(lookup(TABLE6, "[::ffff:127.0.0.1]:50004", "127.0.0.1:8080"), Some(1001));
    }

    #[test]
    fn lines_of_another_form_are_passed_over() {
        let table = "head\n\n 1: zz\n 2: 01:1 2:2 01\n 3: 0100007F:C350 0100007F:1F90 01 x\n";
        assert_eq!(lookup(table, "127.0.0.1:50000", "127.0.0.1:8080"), None);
    }
}
