//! Accepting connections, for as long as the process lives.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tiny_http::{Server, SslContextWrap};

use super::connection::{Common, Connection};
use super::socket::Finder;

/// How long a connection may be silent, in either direction.
pub const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long sent bytes may stay unacknowledged.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(120);
/// The congestion control of connections within this machine, where nothing gets lost. What a
/// system has chosen for its lines may send by a timer, as BBR does, and that costs several times
/// as much as the sending.
const NEAR: &[u8] = b"reno";
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// The most connections at a time, where the system allows so many descriptors.
const CONNECTIONS_MAX: u64 = 1024;
/// Descriptors that a connection takes: two of the library, one of ours, one for a file.
const DESCRIPTORS_EACH: u64 = 4;
/// Descriptors kept for everything else.
const DESCRIPTORS_KEPT: u64 = 64;
/// How long nothing is accepted when the system has no room for one more connection.
const RESOURCES_WAIT: Duration = Duration::from_millis(50);
/// A connection's thread: no frame in it is large, and only pages in use count.
const STACK_SIZE: usize = 256 << 10;

/// A socket that listens, over TCP or in the file system.
pub struct Listener {
    listener: tiny_http::Listener,
    finder: Finder,
    address: String,
    /// The congestion control that the system has chosen.
    usual: Option<Vec<u8>>,
}

impl Listener {
    /// Listens on a TCP address such as `:5005`, which is every address of the machine, or
    /// `127.0.0.1:0`, which is any free port.
    pub fn tcp(address: &str) -> io::Result<Listener> {
        let addresses = if let Some(port) = address.strip_prefix(':') {
            let port = port
                .parse()
                .map_err(|_| io::Error::other("the port is not a number"))?;
            vec![
                SocketAddr::from(([0u16; 8], port)),
                SocketAddr::from(([0u8; 4], port)),
            ]
        } else {
            address.to_socket_addrs()?.collect()
        };
        let mut failed = io::Error::other("the name has no address");
        for address in addresses {
            match bind(address) {
                Ok(socket) => return Listener::new(socket),
                Err(err) => failed = err,
            }
        }
        Err(failed)
    }

    /// Listens on a socket in the file system; one that a dead server left is replaced.
    pub fn unix(path: &Path) -> io::Result<Listener> {
        let is_socket = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
            std::fs::remove_file(path)?;
        }
        let socket = Socket::from(UnixListener::bind(path)?);
        set_time_outs(&socket)?;
        Listener::new(socket)
    }

    fn new(socket: Socket) -> io::Result<Listener> {
        let finder = Finder::new(&socket)?;
        let local = socket.local_addr()?;
        // A timer that a connection has once does not go, so each begins without. A socket in the
        // file system has no congestion.
        let usual = socket.tcp_congestion();
        let usual = usual.and_then(|usual| socket.set_tcp_congestion(NEAR).map(|()| usual));
        let usual = usual.ok();
        let address = match (local.as_socket(), local.as_pathname()) {
            (Some(address), _) => address.to_string(),
            (None, path) => path.unwrap_or(Path::new("")).display().to_string(),
        };
        let listener = match local.as_socket() {
            Some(_) => tiny_http::Listener::Tcp(socket.into()),
            None => tiny_http::Listener::Unix(socket.into()),
        };
        Ok(Listener {
            listener,
            finder,
            address,
            usual,
        })
    }

    /// Where it listens: `[::]:5005`, or a path.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Accepts connections for ever and calls `serve` for each, in a thread of its own.
    pub fn run(self, common: Common, serve: impl Fn(Connection) + Send + Sync + 'static) {
        let plain = SslContextWrap::build_ssl_capabilities(None);
        // Without a certificate there is nothing in it that could fail.
        let Ok(plain) = plain else { return };
        let (serve, common) = (Arc::new(serve), Arc::new(common));
        let places = Places::new(connections_max());
        loop {
            let place = places.take();
            match self.accept(&plain, &common) {
                Ok(Some(connection)) => {
                    let serve = Arc::clone(&serve);
                    let work = move || {
                        serve(connection);
                        drop(place);
                    };
                    let thread = thread::Builder::new().stack_size(STACK_SIZE).spawn(work);
                    if let Err(err) = thread {
                        log::error!("no thread for a connection: {err}");
                    }
                }
                Ok(None) => {}
                Err(err) if is_of_one(&err) => {}
                Err(err) => {
                    log::error!("accept on {}: {err}; going on", self.address);
                    // Out of descriptors or memory: whatever holds them needs a moment.
                    thread::sleep(RESOURCES_WAIT);
                }
            }
        }
    }

    /// Accepts a connection; None, if the one that came is gone already.
    fn accept(
        &self,
        plain: &SslContextWrap,
        common: &Arc<Common>,
    ) -> io::Result<Option<Connection>> {
        // The listening socket has a time-out for its connections to inherit: wait here instead.
        poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], None)?;
        let likely = self.finder.next_number()?;
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            Server::accept_connection(&self.listener, plain)
        }));
        // The library unwraps what can fail when descriptors run out.
        let accepted = accepted.map_err(|_| io::Error::other("no descriptor is left"))?;
        let Some(requests) = accepted? else {
            return Ok(None);
        };
        let socket = self.finder.find(likely)?;
        // It was reset before we came.
        if socket.peer_addr().is_err() {
            return Ok(None);
        }
        if let Some(usual) = self.usual.as_ref().filter(|_| !is_near(&socket)) {
            // Without it the client is served all the same.
            let _ = socket.set_tcp_congestion(usual);
        }
        let requests = Box::new(requests.map(Result::ok));
        Ok(Some(Connection::new(requests, socket, Arc::clone(common))))
    }
}

/// Whether an error is of the one connection that came, and the next may be well: it is gone, a
/// firewall forbids it, or its network has failed (accept(2), "Error handling").
fn is_of_one(err: &io::Error) -> bool {
    let of_one = [
        Errno::AGAIN,
        Errno::INTR,
        Errno::CONNABORTED,
        Errno::CONNRESET,
        Errno::NOTCONN,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::TIMEDOUT,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
        Errno::NONET,
    ];
    Errno::from_io_error(err).is_some_and(|err| of_one.contains(&err))
}

/// Whether the client of a connection is on this machine.
fn is_near(socket: &Socket) -> bool {
    let ip = |address: io::Result<SockAddr>| Some(address.ok()?.as_socket()?.ip().to_canonical());
    let peer = ip(socket.peer_addr());
    peer.is_some_and(|peer| peer.is_loopback()) || peer == ip(socket.local_addr())
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    set_time_outs(&socket)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Options that accepted connections inherit.
fn set_time_outs(socket: &Socket) -> io::Result<()> {
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    socket.set_write_timeout(Some(SILENCE_MAX))
}

/// As many connections as there are descriptors for, once the soft limit is raised.
fn connections_max() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // What can't be raised is then what there is.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    );
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = descriptors.saturating_sub(DESCRIPTORS_KEPT) / DESCRIPTORS_EACH;
    room.clamp(1, CONNECTIONS_MAX)
}

/// Places for connections: whoever takes one gives it back when dropped.
struct Places {
    give_back: Sender<()>,
    free: Receiver<()>,
}

struct Place(Sender<()>);

impl Places {
    fn new(count: u64) -> Places {
        let (give_back, free) = channel();
        let places = Places { give_back, free };
        (0..count).for_each(|_| drop(Place(places.give_back.clone())));
        places
    }

    /// Waits for a free place.
    fn take(&self) -> Place {
        // There is always a sender: the one in `self`.
        let _ = self.free.recv();
        Place(self.give_back.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Nobody counts places after the listener is gone.
        let _ = self.0.send(());
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_connection_that_was_reset_is_not_an_error_of_the_listener() {
        let plain = SslContextWrap::build_ssl_capabilities(None).expect("no certificate");
        let common = Arc::new(Common::default());
        let listener = Listener::tcp("127.0.0.1:0").expect("a listener");
        let connect = || Socket::from(TcpStream::connect(listener.address()).expect("it listens"));
        for _ in 0..20 {
            let reset = connect().set_linger(Some(Duration::ZERO));
            reset.expect("an option");
        }
        let _honest = connect();
        for _ in 0..20 {
            let gone = listener
                .accept(&plain, &common)
                .expect("the next may be well");
            assert!(gone.is_none());
        }
        let accepted = listener.accept(&plain, &common).expect("it is well");
        assert!(accepted.is_some());
    }

    #[test]
    fn only_what_all_connections_lack_is_waited_for() {
        let is_of_one = |err: Errno| is_of_one(&err.into());
        assert!([Errno::CONNABORTED, Errno::PROTO, Errno::INTR].map(is_of_one) == [true; 3]);
        let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
        assert!(lacks.map(is_of_one) == [false; 4]);
    }

    #[test]
    fn a_client_of_this_machine_is_sent_to_without_a_timer() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = bind(address.parse().expect("an address")) else {
                continue;
            };
            let (own, usual) = (
                socket.try_clone().expect("a socket"),
                socket.tcp_congestion(),
            );
            let listener = Listener::new(socket).expect("a listener");
            let address = listener
                .address()
                .parse::<SocketAddr>()
                .expect("an address");
            let _client = TcpStream::connect(address).expect("it listens");
            let (accepted, _) = own.accept().expect("a connection");
            let used = accepted.tcp_congestion().expect("a name");
            assert!(is_near(&accepted) && used.starts_with(NEAR), "{used:?}");
            // Clients elsewhere get what any socket of this system has.
            let own = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            assert_eq!(listener.usual, usual.ok());
            assert_eq!(listener.usual, own.tcp_congestion().ok());
        }
    }
}
