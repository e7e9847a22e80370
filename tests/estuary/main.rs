//! Journeys to Estuary and, in gateway.rs, back through its gateway: and each fault with what
//! becomes of it. Estuary is the double, a program of its own on real sockets.

#[path = "../double/start.rs"]
mod double;
mod gateway;

use double::Double;
use lighthouse::cid::{Cid, Import, Unixfs};
use lighthouse::estuary::{DealState, Estuary, PinState, Upload};
use lighthouse::fault::{Fault, Neighbour, Trouble};
use lighthouse::outward::{Line, Patience};
use serde_json::{Value, json};
use std::io::{self, Read};
use std::net::TcpListener;
use std::time::Duration;
use tempfile::TempDir;

/// A double with shuttles, and an account there.
struct World {
    double: Double,
    estuary: Estuary,
    _dir: TempDir,
}

impl World {
    fn new(shuttles: usize) -> World {
        let dir = TempDir::new().expect("a folder");
        let double = Double::start(dir.path(), shuttles);
        let estuary = Estuary::new(&double.main, &[], "ESTuserARY").expect("a token");
        World {
            double,
            estuary,
            _dir: dir,
        }
    }

    fn add(&self, blob: &Blob) -> Result<u64, Fault> {
        blob.add_to(&self.estuary)
    }
}

/// Content with its name and CID.
struct Blob {
    name: String,
    bytes: Vec<u8>,
    cid: Cid,
}

impl Blob {
    fn new(size: usize) -> Blob {
        let bytes: Vec<u8> = (0..size)
            .map(|at| (at ^ at >> 8 ^ at >> 16) as u8)
            .collect();
        let mut unixfs = Unixfs::new(Import::ESTUARY);
        unixfs.write(&bytes);
        Blob {
            name: format!("{size:064x}"),
            cid: unixfs.finish().cid,
            bytes,
        }
    }

    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn add_to(&self, estuary: &Estuary) -> Result<u64, Fault> {
        let bytes = self.bytes.clone();
        let open = || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn Read>);
        estuary.add(&Upload {
            name: &self.name,
            size: self.size(),
            cid: self.cid,
            open: &open,
        })
    }
}

fn trouble<T: std::fmt::Debug>(result: Result<T, Fault>) -> Trouble {
    match result {
        Err(Fault::Neighbour { trouble, .. }) => trouble,
        other => panic!("not a neighbour's fault: {other:?}"),
    }
}

#[test]
fn content_is_added_followed_found_and_given_up() {
    let world = World::new(0);
    world.estuary.health().expect("it is up");
    assert_eq!(world.estuary.viewer().expect("a viewer").username, "double");

    world.double.set(json!({"queued_ms": 3_600_000}));
    let blob = Blob::new(3 << 20);
    let id = world.add(&blob).expect("added");
    let content = world
        .estuary
        .content(id)
        .expect("an answer")
        .expect("it is there");
    assert_eq!(
        (content.id, content.cid, &content.name),
        (id, blob.cid, &blob.name)
    );
    assert_eq!(content.state, PinState::Queued);
    assert_eq!(world.estuary.deals(&blob.cid).expect("an answer"), []);

    world.double.set(json!({"pinning_ms": 3_600_000}));
    assert_eq!(
        world.estuary.find(&blob.name).expect("an answer")[0].state,
        PinState::Pinning
    );
    world.double.set(json!({"fails": true}));
    let content = world
        .estuary
        .content(id)
        .expect("an answer")
        .expect("it is there");
    assert_eq!(content.state, PinState::Failed);
    assert!(!content.state.is_alive());

    for (deals, state) in [
        ("published", DealState::Published),
        ("active", DealState::Active),
        ("slashed", DealState::Slashed),
    ] {
        world.double.set(json!({"deals": deals}));
        let deals = world.estuary.deals(&blob.cid).expect("an answer");
        assert_eq!(
            (deals.len(), &deals[0].miner[..], deals[0].state),
            (1, "f01234", state)
        );
    }

    let second = world.add(&blob).expect("added again");
    let found = world.estuary.find(&blob.name).expect("an answer");
    assert_eq!(
        found.iter().map(|content| content.id).collect::<Vec<_>>(),
        [second, id]
    );
    assert_eq!(world.estuary.find("another").expect("an answer"), []);

    world.estuary.unpin(id).expect("given up");
    world.estuary.unpin(id).expect("given up already");
    assert_eq!(world.estuary.content(id).expect("an answer"), None);
    assert_eq!(world.estuary.find(&blob.name).expect("an answer").len(), 1);
}

#[test]
fn shuttles_are_tried_in_the_order_of_the_main_node() {
    let world = World::new(2);
    // More than the sockets between us hold, so that a cut is met while it is sent.
    let blob = Blob::new(16 << 20);
    let servers = || {
        let seen = world.double.seen();
        let requests = seen["requests"].as_array().expect("a list").iter();
        let adds = requests.filter(|request| request["path"] == "/content/add");
        adds.map(|request| request["server"].as_u64().expect("a number"))
            .collect::<Vec<_>>()
    };
    world.add(&blob).expect("added");
    assert_eq!(servers(), [1]);

    // Each of these proves that the first shuttle made no content.
    for (fault, more) in [
        (json!("drop"), [1, 2]),
        (json!({"status": 400}), [1, 2]),
        (json!({"status": 429}), [1, 2]),
        (json!({"status": 503}), [1, 2]),
        (json!({"cut_after": 1 << 20}), [1, 2]),
    ] {
        let (before, rows) = (servers().len(), world.double.rows());
        world
            .double
            .set(json!({"faults": [{"on": "add", "server": 1, "fault": fault}]}));
        world.add(&blob).expect("added elsewhere");
        assert_eq!(servers()[before..], more, "after {fault}");
        assert_eq!(world.double.rows(), rows + 1, "after {fault}");
    }

    // A shuttle that is named in the configuration is the only one.
    let estuary = Estuary::new(
        &world.double.main,
        &world.double.shuttles[1..],
        "ESTuserARY",
    );
    world.double.set(json!({}));
    blob.add_to(&estuary.expect("a token")).expect("added");
    assert_eq!(servers().last(), Some(&2));

    // None named at all: the main node takes it.
    world.double.set(json!({"upload_endpoints": []}));
    world.add(&blob).expect("added");
    assert_eq!(servers().last(), Some(&0));
}

#[test]
fn a_content_that_may_have_been_made_is_not_made_again() {
    let world = World::new(2);
    let blob = Blob::new(2 << 20);
    world.double.fail("add", json!({"status_late": 504}));
    let lost = trouble(world.add(&blob));
    assert!(
        matches!(lost, Trouble::Overloaded { status: 504, .. }),
        "{lost:?}"
    );
    assert_eq!(world.double.rows(), 1);
    let found = world.estuary.find(&blob.name).expect("an answer");
    assert_eq!(
        (found.len(), found[0].cid, found[0].state),
        (1, blob.cid, PinState::Pinned)
    );
}

#[test]
fn every_refusal_of_an_upload_has_its_kind() {
    let world = World::new(1);
    let blob = Blob::new(8 << 20);
    type Kind = fn(&Trouble) -> bool;
    let table: [(Value, Kind); 9] = [
        (json!({"status": 401}), |t| {
            matches!(t, Trouble::Unauthorized(_))
        }),
        (json!({"status": 403}), |t| {
            matches!(t, Trouble::Forbidden(_))
        }),
        (json!({"status": 413}), |t| {
            matches!(t, Trouble::TooLarge(_))
        }),
        (json!({"status": 429}), |t| {
            matches!(t, Trouble::RateLimited(None))
        }),
        (json!({"status": 500}), |t| {
            matches!(t, Trouble::Overloaded { status: 500, .. })
        }),
        (json!({"redirect": "http://127.0.0.1:1/"}), |t| {
            matches!(t, Trouble::Refused { status: 307, .. })
        }),
        (json!({"cid": Cid::raw([1; 32]).to_string()}), |t| {
            matches!(t, Trouble::Lied { .. })
        }),
        (json!({"cid": "not a CID"}), |t| {
            matches!(t, Trouble::Lied { .. })
        }),
        (json!({"body": [200, "<html>"]}), |t| {
            matches!(t, Trouble::Protocol(_))
        }),
    ];
    for (fault, kind) in table {
        world.double.fail("add", fault.clone());
        let trouble = trouble(world.add(&blob));
        assert!(kind(&trouble), "{fault}: {trouble:?}");
    }
    world.double.set(json!({"size_max": 1 << 20}));
    assert!(matches!(trouble(world.add(&blob)), Trouble::TooLarge(_)));
    world
        .double
        .fail("viewer", json!({"body": [200, "x".repeat(2 << 20)]}));
    assert!(matches!(trouble(world.add(&blob)), Trouble::Protocol(_)));
}

#[test]
fn a_refusal_is_told_in_the_words_of_estuary() {
    let world = World::new(0);
    for (body, words) in [
        (
            r#"{"error":{"code":400,"reason":"ERR_X","details":"why"}}"#,
            "ERR_X: why",
        ),
        (r#"{"error":{"reason":"ERR_X","details":""}}"#, "ERR_X"),
        (r#"{"error":"multiple roots"}"#, "multiple roots"),
        (
            "{\"message\":\"already preserved\"}\nnull",
            "already preserved",
        ),
        (
            "<html>\n  <b>Bad</b>\u{1b}[31m\r\n</html>",
            "<html> <b>Bad</b>[31m </html>",
        ),
        ("", "no reason given"),
    ] {
        world.double.fail("health", json!({"body": [400, body]}));
        match trouble(world.estuary.health()) {
            Trouble::Refused {
                status: 400,
                reason,
            } => assert_eq!(reason, words),
            other => panic!("{body}: {other:?}"),
        }
    }
    world
        .double
        .fail("health", json!({"body": [502, "x".repeat(1 << 20)]}));
    match trouble(world.estuary.health()) {
        Trouble::Overloaded {
            status: 502,
            reason,
        } => assert_eq!(reason.len(), 300),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_are_good_for_what_they_are_made_for() {
    let world = World::new(1);
    let blob = Blob::new(100);
    let account = |token| Estuary::new(&world.double.main, &[], token).expect("a token");
    let uploads_only = account("ESTuploadARY");
    let id = blob.add_to(&uploads_only).expect("that is what it may");
    assert!(matches!(
        trouble(uploads_only.content(id)),
        Trouble::Forbidden(_)
    ));
    assert!(matches!(
        trouble(uploads_only.find(&blob.name)),
        Trouble::Forbidden(_)
    ));
    uploads_only.deals(&blob.cid).expect("deals are public");
    let pinned = |id| uploads_only.is_pinned(id, &blob.cid).expect("so are pins");
    assert!(pinned(id) && !pinned(id + 1));
    for token in [
        "ESTexpiredARY",
        "ESTunknownARY",
        "EST more ARY",
        "undefined",
    ] {
        let fault = blob.add_to(&account(token)).expect_err("a bad token");
        assert!(!format!("{fault} {fault:?}").contains(token));
        assert!(matches!(
            trouble(Err::<(), _>(fault)),
            Trouble::Unauthorized(_)
        ));
    }
}

#[test]
fn content_that_cannot_be_read_is_no_fault_of_estuary() {
    struct Broken(Option<io::Error>);
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.0.take().map_or(Ok(0), Err)
        }
    }
    let world = World::new(2);
    let blob = Blob::new(100);
    let upload = |broken: fn() -> Option<io::Error>| {
        let open = || Ok(Box::new(Broken(broken())) as Box<dyn Read>);
        world.estuary.add(&Upload {
            name: &blob.name,
            size: 100,
            cid: blob.cid,
            open: &open,
        })
    };
    let short = upload(|| None).expect_err("too short");
    assert!(matches!(short, Fault::Disk { op: "read", .. }), "{short}");
    let broken = upload(|| Some(io::Error::other("sector 7"))).expect_err("unreadable");
    assert!(broken.to_string().contains("sector 7"), "{broken}");
    let within = || {
        Some(io::Error::other(Fault::disk(
            "read",
            "/srv/x",
            io::Error::other("bad"),
        )))
    };
    let within = upload(within).expect_err("unreadable");
    assert_eq!(within.to_string(), "read /srv/x: bad");
    let open = || {
        Err(Fault::disk(
            "open",
            "/srv/x",
            io::ErrorKind::NotFound.into(),
        ))
    };
    let upload = Upload {
        name: &blob.name,
        size: 100,
        cid: blob.cid,
        open: &open,
    };
    assert!(matches!(
        world.estuary.add(&upload),
        Err(Fault::Disk { op: "open", .. })
    ));
    assert_eq!(world.double.rows(), 0);
}

#[test]
fn what_estuary_took_survives_its_death() {
    let mut world = World::new(1);
    let blob = Blob::new(2 << 20);
    let id = world.add(&blob).expect("added");
    world.double.kill();
    assert!(matches!(
        trouble(world.estuary.content(id)),
        Trouble::Unreachable(_)
    ));
    assert!(matches!(trouble(world.add(&blob)), Trouble::Unreachable(_)));
    world.double.restart();
    let content = world
        .estuary
        .content(id)
        .expect("an answer")
        .expect("it is there");
    assert_eq!(content.state, PinState::Pinned);
}

#[test]
fn a_neighbour_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("bound"));
    let line = Line::new(Neighbour::Estuary);
    let brief = Duration::from_millis(50);
    let patience = Patience {
        answer: brief,
        body: Some(brief),
    };
    let late = trouble(line.answered(&url, line.get(&url, patience).call()));
    assert!(matches!(late, Trouble::Unreachable(_)), "{late:?}");
}
