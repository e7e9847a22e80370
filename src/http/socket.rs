//! The socket beneath a connection.
//!
//! tiny_http accepts a connection and keeps its socket to itself. We need it too: to look at a
//! head before the library reads it, to answer without draining a body, and to cut a connection.
//! No safe call makes a descriptor out of its number, but the kernel does so for one that is
//! passed over a socket: so we pass it to ourselves.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, getsockname, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use socket2::{SockAddr, Socket};

/// Finds the sockets of accepted connections.
pub struct Finder {
    near: UnixDatagram,
    far: UnixDatagram,
    local: SockAddr,
}

impl Finder {
    /// A finder of connections to that listening socket. Connections inherit its options; it has
    /// no keep-alive, and every connection that was found has, which tells them apart.
    pub fn new(listener: &Socket) -> io::Result<Finder> {
        let (near, far) = UnixDatagram::pair()?;
        Ok(Finder {
            near,
            far,
            local: listener.local_addr()?,
        })
    }

    /// The number that the next descriptor is likely to get.
    pub fn next_number(&self) -> io::Result<RawFd> {
        let next = rustix::io::fcntl_dupfd_cloexec(self.near.as_fd(), 0)?;
        Ok(next.as_raw_fd())
    }

    /// The socket of the one connection that was accepted and not found yet, given the number it
    /// is likely to have.
    pub fn find(&self, likely: RawFd) -> io::Result<Socket> {
        let found = (likely..likely + 8).find_map(|number| self.try_number(number));
        if let Some(socket) = found {
            return Ok(socket);
        }
        let numbers = std::fs::read_dir("/proc/self/fd")?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let found = numbers
            .collect::<Vec<RawFd>>()
            .into_iter()
            .find_map(|n| self.try_number(n));
        found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "its socket is not there"))
    }

    /// The socket of that number, if it is the one. Nothing but a socket is copied: when a copy of
    /// a file is closed, this process gives up all its locks on that file (fcntl_locking(2)), and
    /// other processes would take the catalog's memory for nobody's.
    fn try_number(&self, number: RawFd) -> Option<Socket> {
        getsockname::<SockaddrStorage>(number).ok()?;
        let socket = Socket::from(self.duplicate(number).ok()?);
        let local = match socket.local_addr() {
            Ok(local) => local,
            Err(_) => {
                // A file got the number in between: its copy stays open for good.
                std::mem::forget(socket);
                return None;
            }
        };
        let is_ours = self.is_here(&local);
        // One that was reset has no peer any more.
        let is_new = is_ours && !socket.is_listener().ok()? && !socket.keepalive().ok()?;
        (is_new && socket.set_keepalive(true).is_ok()).then_some(socket)
    }

    /// Whether an address is one that the listening socket answers on.
    fn is_here(&self, local: &SockAddr) -> bool {
        match (self.local.as_socket(), local.as_socket()) {
            (Some(listening), Some(local)) => listening.port() == local.port(),
            (None, None) => local.is_unix(),
            _ => false,
        }
    }

    fn duplicate(&self, number: RawFd) -> io::Result<OwnedFd> {
        let numbers = [number];
        let rights = [ControlMessage::ScmRights(&numbers)];
        let byte = [IoSlice::new(b"s")];
        sendmsg::<()>(
            self.near.as_raw_fd(),
            &byte,
            &rights,
            MsgFlags::MSG_DONTWAIT,
            None,
        )?;
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [IoSliceMut::new(&mut byte)];
        recvmsg(&self.far, &mut bytes, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let received = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        received.ok_or_else(|| io::Error::other("the kernel passed no descriptor"))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;

    use rustix::fs::{FlockOperation, fcntl_lock};

    use super::*;

    /// Whether this process has a lock on a file that others see (proc_locks(5)).
    fn is_locked(file: &File) -> bool {
        let inode = file.metadata().expect("it is open").ino();
        let own = format!(" {} ", std::process::id());
        let locks = std::fs::read_to_string("/proc/locks").expect("they are told");
        let is_it = |lock: &str| lock.contains(&own) && lock.contains(&format!(":{inode} "));
        locks.lines().any(is_it)
    }

    #[test]
    fn a_search_takes_no_lock_away() {
        let path = std::env::temp_dir().join(format!("lighthouse-{}", uuid::Uuid::new_v4()));
        let file = File::create(&path).expect("a file");
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("a lock");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let finder = Finder::new(&Socket::from(listener.try_clone().expect("a copy")));
        let finder = finder.expect("a finder");
        let _client = TcpStream::connect(address).expect("a connection");
        let (_accepted, _) = listener.accept().expect("a connection");
        assert!(is_locked(&file));
        // The file is where the search begins.
        let found = finder.find(file.as_raw_fd());
        assert!(found.is_ok_and(|socket| socket.keepalive().is_ok_and(|is_on| is_on)));
        assert!(
            is_locked(&file),
            "whoever closes a copy of a file gives its locks up"
        );
        std::fs::remove_file(path).expect("there");
    }
}
