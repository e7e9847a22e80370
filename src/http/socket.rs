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

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
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

    fn try_number(&self, number: RawFd) -> Option<Socket> {
        let socket = Socket::from(self.duplicate(number).ok()?);
        let is_ours = socket.local_addr().is_ok_and(|local| self.is_here(&local));
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
