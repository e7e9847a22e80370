//! What journeys share: clients that may misbehave, images to push, and a registry to talk to,
//! in this process or as the program itself.

pub mod client;
pub mod distribution;
pub mod hub;
pub mod image;
pub mod program;
pub mod served;

pub use client::{Answer, Ask, Line};
pub use hub::Hub;
pub use image::{Blob, Image};
pub use program::Program;
pub use served::{Place, Served};

use std::io::Write;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// How long a journey waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer; for what no event tells of.
pub fn await_some<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An address for a server that can't be asked where it listens. The system gives ports below
/// 10,000 to nobody who does not name them, so none is taken between now and then.
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(7400);
    loop {
        let address = format!("127.0.0.1:{}", NEXT.fetch_add(1, Ordering::Relaxed));
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Says why a journey can't be made on this machine, past the capture of a test's output.
pub fn skip(why: &str) {
    // Without a place to say it there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "skipped: {}", why.trim());
}
