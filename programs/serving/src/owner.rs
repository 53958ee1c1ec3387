//! The user behind a connection over loopback TCP: whose socket the other end is.
//!
//! The kernel is asked for the one socket whose two addresses are those of the accepted connection,
//! the other way round (`sock_diag(7)`); where it does not answer such questions, its whole list is
//! read. Only an established socket that still belongs to a file counts: for others the kernel
//! shows user 0.
//!
//! What this cannot see: a process that forwards connections for others (a proxy, a port forwarded
//! by sshd or a container engine) is itself the owner of the socket that it made.

use std::net::{IpAddr, SocketAddr};
use std::{fs, io};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP, TCP_ESTABLISHED};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::owner_table;
use crate::process::Process;

/// `ENOENT`: the kernel knows no such socket.
const NO_SUCH_SOCKET: i32 = nix::errno::Errno::ENOENT as i32;

/// The user whose socket has `local` for its own address and `remote` for its peer's.
///
/// It may block for as long as it takes to read the kernel's list.
///
/// # Errors
/// When the kernel answers in neither way.
pub fn owner(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u32>> {
    // A socket for IPv6 can be connected to an IPv4 address; the kernel finds it by that one.
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (local, remote) = (canonical(local), canonical(remote));
    match ask(local, remote) {
        Ok(found) => Ok(found.map(|found| found.uid)),
        Err(_) => owner_table::owner(local, remote),
    }
}

/// The process that holds the socket which has `local` for its own address and `remote` for its peer's:
/// none if there is none here to be seen, or more than one.
///
/// It may block for as long as it takes to look at the descriptors of all processes. Processes whose
/// descriptors this one may not see, those of other users without `CAP_SYS_PTRACE`, are passed over.
///
/// # Errors
/// When the kernel does not say which socket it is, or processes cannot be listed.
pub fn process(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Process>> {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let Some(found) = ask(canonical(local), canonical(remote))? else { return Ok(None) };
    let wanted = format!("socket:[{}]", found.inode);
    let mut holder = None;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Some(process) = Process::now(pid) else { continue };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let holds = descriptors.flatten().any(|one| {
            fs::read_link(one.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        // A number that another process has by now says nothing of either.
        if holds && process.is_there() && holder.replace(process).is_some() {
            return Ok(None);
        }
    }
    // The socket may have changed hands, or be gone, since it was asked for.
    let same = ask(canonical(local), canonical(remote))?.is_some_and(|now| now == found);
    Ok(holder.filter(|_| same))
}

/// A socket, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    uid: u32,
    inode: u32,
}

/// Asks for one socket.
fn ask(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Found>> {
    let id = SocketId {
        source_port: local.port(),
        destination_port: remote.port(),
        source_address: local.ip(),
        destination_address: remote.ip(),
        interface_id: 0,
        // Any.
        cookie: [0xFF; 8],
    };
    let request = InetRequest {
        family: if local.is_ipv4() { AF_INET } else { AF_INET6 },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: id.clone(),
    };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    // The answer is there when `send` returns: there is nothing to wait for.
    socket.set_non_blocking(true)?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<SockDiagMessage>::deserialize(&answer)
        .map_err(|why| io::Error::other(format!("the kernel's answer cannot be read: {why}")))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(found)) => {
            let found = found.header;
            let same = |one: IpAddr, other: IpAddr| one.to_canonical() == other.to_canonical();
            let exact = found.socket_id.source_port == id.source_port
                && found.socket_id.destination_port == id.destination_port
                && same(found.socket_id.source_address, id.source_address)
                && same(found.socket_id.destination_address, id.destination_address);
            let owned = found.state == TCP_ESTABLISHED && found.inode != 0;
            Ok((exact && owned).then_some(Found { uid: found.uid, inode: found.inode }))
        }
        NetlinkPayload::Error(error) => match error.raw_code() {
            code if code == -NO_SUCH_SOCKET => Ok(None),
            code => Err(io::Error::from_raw_os_error(-code)),
        },
        _ => Err(io::Error::other("the kernel answered something else")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_kernel_says_whose_socket_it_is() {
        let own = nix::unistd::geteuid().as_raw();
        for host in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(host).unwrap();
            let port = listener.local_addr().unwrap().port();
            let hosts: &[&str] = match host {
                "127.0.0.1:0" => &["127.0.0.1", "::ffff:127.0.0.1"],
                "[::1]:0" => &["::1"],
                _ => &["::1", "127.0.0.1", "::ffff:127.0.0.1"],
            };
            for to in hosts {
                let to: IpAddr = to.parse().unwrap();
                let client = TcpStream::connect(SocketAddr::new(to, port)).unwrap();
                let (server, remote) = listener.accept().unwrap();
                let local = server.local_addr().unwrap();
                assert_eq!(ask_canonical(remote, local), Some(own), "{host} {to}");
                assert_eq!(owner(remote, local).unwrap(), Some(own), "{host} {to}");
                // Nobody's: another port, and one that is being closed.
                let other = SocketAddr::new(remote.ip(), 1);
                assert_eq!(ask_canonical(other, local), None, "{host} {to}");
                drop(client);
                assert_eq!(ask_canonical(remote, local), None, "{host} {to}");
            }
        }
    }

    #[test]
    fn the_one_process_that_holds_a_socket_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        // Only a child holds the client's end.
        let script = format!("exec 3<>/dev/tcp/127.0.0.1/{}; exec sleep 60", local.port());
        let mut child = std::process::Command::new("bash").args(["-c", &script]).spawn().unwrap();
        let (server, remote) = listener.accept().unwrap();
        let found = process(remote, local).unwrap().unwrap();
        assert_eq!(found.pid(), child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(process(remote, local).unwrap(), None);
        drop(server);
        // Two hold it.
        let script =
            format!("exec 3<>/dev/tcp/127.0.0.1/{}; sleep 60 & exec sleep 60", local.port());
        let mut child = std::process::Command::new("bash").args(["-c", &script]).spawn().unwrap();
        let (mut server, remote) = listener.accept().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert_eq!(process(remote, local).unwrap(), None);
        child.kill().unwrap();
        child.wait().unwrap();
        let heir = process(remote, local).unwrap().unwrap();
        assert!(heir.is_there());
        let kill =
            std::process::Command::new("kill").args(["-9", &heir.pid().to_string()]).status();
        assert!(kill.unwrap().success());
        let mut end = [0];
        assert_eq!(io::Read::read(&mut server, &mut end).unwrap(), 0);
    }

    fn ask_canonical(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
        let canonical =
            |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        ask(canonical(local), canonical(remote)).unwrap().map(|found| found.uid)
    }
}
