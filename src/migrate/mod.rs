//! The other program of the house: copies images from another registry into one, byte for byte.
//!
//! It is built like the server: **events come in, one thread decides, jobs go out.** The
//! [`copier`] owns all that is known of a run and decides, without seeing the wire or the clock;
//! it thinks in a [`graph`] of what waits for what and in [`lanes`] of what to do next. The
//! [`crew`] runs [`job`]s, each in straight-line blocking code on a [`remote`] registry; a
//! [`blob`] streams from one to the other through a few buffers. In reading order: names
//! ([`image`], [`select`], [`platform`]), who we are ([`credentials`], [`challenge`], [`login`]),
//! the [`wire`], and then the above; what people see is the [`report`].

mod blob;
mod challenge;
mod copier;
mod credentials;
mod crew;
mod failure;
mod graph;
mod image;
mod job;
mod journal;
mod lanes;
mod login;
mod options;
mod platform;
mod quota;
mod remote;
mod report;
mod select;
mod tally;
mod wire;

use std::process::ExitCode;
use std::time::Instant;

pub use failure::Failure;
pub use options::Options;

use copier::Copier;
use options::Setup;
use report::Report;

/// Copies what the options say. The exit code is 0 if all of it is at the destination, 1 if some
/// of it is not, and 2 if it could not begin.
pub fn run(options: Options) -> ExitCode {
    let format = options.format;
    let mut setup = match options.set_up() {
        Ok(setup) => setup,
        Err(failure) => {
            eprintln!("error: {failure}");
            return ExitCode::from(2);
        }
    };
    match copy(&mut setup, Report::new(format)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether all arrived.
fn copy(setup: &mut Setup, mut report: Report) -> Result<bool, Failure> {
    let start = Instant::now();
    let (plan, trips) = (
        std::mem::take(&mut setup.plan),
        std::mem::take(&mut setup.trips),
    );
    let dry = plan.dry;
    let mut copier = Copier::new(plan, trips);
    crew::run(
        &mut copier,
        &setup.routes,
        setup.journal.as_mut(),
        &mut report,
    )?;
    let tally = &copier.tally;
    report.finish(tally, start.elapsed(), dry);
    let all_arrived = tally.failed == 0 && tally.settled() == tally.wanted;
    if let Some(journal) = setup.journal.take().filter(|_| all_arrived) {
        journal.finish()?;
    }
    Ok(all_arrived)
}
