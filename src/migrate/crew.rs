//! The crew: threads that run jobs, and the loop that gives them out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::Failure;
use super::copier::{Copier, Event};
use super::job::{Job, Outcome, Route};
use super::journal::Journal;
use super::report::{Report, View};
use super::tally::Notice;

/// How often the display is brought up to date, at least.
const TICK: Duration = Duration::from_millis(100);

/// Runs a copier until nothing is left to do: events go in, jobs come out.
pub fn run(
    copier: &mut Copier,
    routes: &[Route],
    mut journal: Option<&mut Journal>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (to_inbox, inbox) = mpsc::channel();
    let (to_crew, orders) = mpsc::channel();
    let orders = Mutex::new(orders);
    let meter = AtomicU64::new(0);
    let dry = copier.plan().dry;
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..copier.plan().jobs {
            let to_inbox = to_inbox.clone();
            scope.spawn(|| work(&orders, to_inbox, routes, &meter, dry));
        }
        // The crew goes home when this end of the channel is gone.
        let to_crew = to_crew;
        let mut event = Event::Tick;
        loop {
            for job in copier.decide(event, start.elapsed()) {
                // It fails only if the whole crew is gone, which no job can bring about.
                let _ = to_crew.send(job);
            }
            while let Some(notice) = copier.notices.pop_front() {
                if let (Some(journal), Notice::Arrived { .. }) = (&mut journal, &notice) {
                    write_down(journal, routes, &notice)?;
                }
                report.tell(&notice);
            }
            report.show(&View {
                copier,
                bytes: meter.load(Ordering::Relaxed),
                elapsed: start.elapsed(),
                wait: copier.wait(start.elapsed()),
            });
            if copier.is_done() {
                return Ok(());
            }
            event = inbox.recv_timeout(TICK).unwrap_or(Event::Tick);
        }
    })
}

fn write_down(journal: &mut Journal, routes: &[Route], notice: &Notice) -> Result<(), Failure> {
    let Notice::Arrived {
        route,
        target,
        digest,
        ..
    } = notice
    else {
        return Ok(());
    };
    let route = &routes[*route];
    let (from, to) = (
        route.source.name(&route.from),
        route.destination.name(&route.to),
    );
    journal.add(&from, &to, &target.to_string(), digest)
}

/// Runs one job after another; each ends in exactly one event, even if it panics.
fn work(
    orders: &Mutex<mpsc::Receiver<Job>>,
    to_inbox: mpsc::Sender<Event>,
    routes: &[Route],
    meter: &AtomicU64,
    dry: bool,
) {
    loop {
        let order = orders.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = order else { return };
        let ran = catch_unwind(AssertUnwindSafe(|| job.run(routes, meter, dry)));
        let outcome: Result<Outcome, Failure> =
            ran.unwrap_or_else(|panic| Err(Failure::Panicked(message(&panic))));
        if to_inbox
            .send(Event::Ended(Box::new((job, outcome))))
            .is_err()
        {
            return;
        }
    }
}

fn message(panic: &Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default()
}
