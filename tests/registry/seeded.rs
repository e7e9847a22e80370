//! A long day, drawn from a seed: many clients that push, move and delete, a registry that is
//! killed and started again, a disk that is full now and then; held against a model. What was
//! acknowledged is there, what was refused is not, and of what was under way when the registry was
//! killed all is there or nothing.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;

use crate::disks::Disk;
use crate::model::{Change, Model, Things};
use crate::world::image::Noise;
use crate::world::{Answer, Ask, Line, Program, await_some, free_address};

const CLIENTS: usize = 5;
/// What one client does in `cargo test`; `MODEL_STEPS` says otherwise.
const STEPS: u64 = 120;
/// What a client looks at all of its repository after.
const LOOK_STEPS: u64 = 20;

/// What all threads of a run share.
struct Run<'r> {
    things: Things,
    address: String,
    seed: u64,
    steps: u64,
    root: &'r Path,
    done: AtomicU64,
}

impl Run<'_> {
    fn serve(&self) -> Program {
        let settings = [
            ("LOG_ACCESSLOG_DISABLED", "true"),
            ("HTTP_ADDR", &self.address),
        ];
        Program::serve(self.root, &settings)
    }

    fn try_ask(&self, ask: &Ask) -> io::Result<Answer> {
        let mut line = Line::try_to(&self.address)?;
        line.try_say(ask.bytes())?;
        line.try_hear(&ask.method)
    }

    /// What a repository holds, once the registry is there to be asked.
    fn look(&self, repository: &str) -> Model {
        await_some("the registry to be there", || {
            let get = |url: &str| self.try_ask(&Ask::get(url));
            Model::found(&[repository], &self.things, &self.when(repository), get).ok()
        })
    }

    fn when(&self, repository: &str) -> String {
        format!("seed {}, {repository}", self.seed)
    }

    /// A client that changes a repository of its own, whose contents are everybody's.
    fn visit(&self, number: usize, mut noise: Noise) {
        let own = format!("team/{number}");
        let mut model = Model::default();
        for step in 0..self.steps {
            let other = format!("team/{}", noise.below(CLIENTS as u64));
            let change = Change::drawn(&mut noise, &self.things, &own, &other);
            let mut after = model.clone();
            let expected = after.apply(&change, &self.things);
            let heard = self.try_ask(&change.ask(&self.things));
            let when = || format!("{}: {change:?}", self.when(&own));
            match (heard.map(|answer| answer.status), &change) {
                // What another repository holds is not known here.
                (Ok(201 | 202), Change::Mount { blob, .. }) if other != own => {
                    model = self.look(&own);
                    let mut mounted = after.clone();
                    let push = Change::PushBlob {
                        to: own.clone(),
                        blob: *blob,
                    };
                    mounted.apply(&push, &self.things);
                    assert!(model == after || model == mounted, "{}", when());
                }
                (Ok(507), _) => {}
                (Ok(status), _) => {
                    assert_eq!(status, expected, "{}", when());
                    model = after;
                }
                (Err(_), Change::Mount { .. }) => model = self.look(&own),
                (Err(_), _) => {
                    let found = self.look(&own);
                    assert!(found == model || found == after, "{}", when());
                    model = found;
                }
            }
            if step % LOOK_STEPS == 0 {
                assert_eq!(self.look(&own), model, "{}", when());
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(self.look(&own), model, "{}", self.when(&own));
    }

    /// Lets clients come, and has `disturb` do so now and then, until they are done.
    fn go(&self, mut noise: Noise, mut disturb: impl FnMut(&mut Noise)) {
        std::thread::scope(|scope| {
            let seeds = [0; CLIENTS].map(|_| noise.draw());
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| scope.spawn(move || self.visit(number, Noise::new(seeds[number]))))
                .collect();
            let is_over = || clients.iter().all(|client| client.is_finished());
            while !is_over() {
                let until = self.done.load(Ordering::Relaxed) + 20 + noise.below(80);
                while self.done.load(Ordering::Relaxed) < until && !is_over() {
                    std::thread::yield_now();
                }
                std::thread::sleep(Duration::from_micros(noise.below(3000)));
                disturb(&mut noise);
            }
        });
    }
}

/// What the environment says, for longer runs than those of `cargo test`.
pub fn number(variable: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    match std::env::var(variable) {
        Ok(number) => number.parse().expect("a number"),
        Err(_) => otherwise(),
    }
}

fn run(root: &Path) -> (Run<'_>, Noise) {
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("now")
            .as_micros() as u64
    };
    let seed = number("MODEL_SEED", now);
    println!("MODEL_SEED={seed}");
    let run = Run {
        things: Things::new(),
        address: free_address(),
        seed,
        steps: number("MODEL_STEPS", || STEPS),
        root,
        done: AtomicU64::new(0),
    };
    (run, Noise::new(seed))
}

#[test]
fn a_registry_that_is_killed_is_as_its_clients_know_it() {
    let dir = TempDir::new().expect("a folder");
    let (run, noise) = run(dir.path());
    let mut program = Some(run.serve());
    run.go(noise, |_| {
        program.take().expect("one").kill();
        program = Some(run.serve());
    });
}

#[test]
fn a_registry_whose_disk_is_full_now_and_then_is_as_its_clients_know_it() {
    let Some(disk) = Disk::of_mebibytes(16) else {
        return;
    };
    let (path, filler) = (disk.path(), disk.path().join("filler"));
    let (run, noise) = run(&path);
    let _program = run.serve();
    run.go(noise, |_| match filler.exists() {
        true => std::fs::remove_file(&filler).expect("there"),
        // It takes what there is.
        false => drop(std::fs::write(&filler, vec![0; 16 << 20])),
    });
}
