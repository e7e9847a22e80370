//! Imports that end in the middle: the next one makes them whole.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lighthouse::store::import::{self, Options, Phase, Progress};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::drawn::Tree;
use super::world::Image;
use super::{copy, dump, folder, imported, root, store};

/// Names the root directory to import for [`child`].
const ROOT: &str = "LIGHTHOUSE_TEST_IMPORT_ROOT";

/// Repositories with some images each, of which some refer to others.
fn tree() -> Tree {
    let tree = Tree::new();
    for number in 0..400 {
        let image = Image::named(&format!("image {number}"));
        let name = format!("team-{}/app-{}", number % 7, number % 40);
        let tag = format!("v{number}");
        tree.push(&name, &[&tag, "latest"], &image);
        if number % 5 == 0 {
            tree.push(
                &name,
                &[],
                &Image::referring_to(&image, "application/vnd.test"),
            );
        }
    }
    tree
}

/// Not a test by itself: the process that [`a_killed_import_is_made_whole_by_the_next`] kills.
#[test]
fn child() {
    if let Some(path) = std::env::var_os(ROOT) {
        imported(Path::new(&path));
    }
}

/// How many manifests a catalog has that somebody else may be writing.
fn manifests(path: &Path) -> i64 {
    let catalog = path.join("lighthouse/catalog.sqlite");
    let counted = Connection::open_with_flags(catalog, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(
        |catalog| catalog.query_row("select count(*) from manifests", [], |row| row.get(0)),
    );
    // There is no such table yet.
    counted.unwrap_or(0)
}

#[test]
fn a_killed_import_is_made_whole_by_the_next() {
    let tree = tree();
    let whole = TempDir::new().expect("a folder");
    // Times of files are part of what is read.
    let copied = Command::new("cp")
        .arg("-a")
        .arg(tree.path())
        .arg(whole.path().join("root"))
        .status();
    assert!(copied.expect("cp").success());
    let whole = whole.path().join("root");
    imported(&whole);
    let mut killed_in_the_middle = 0;
    for at_least in [1, 30, 100, 200, 300] {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["killed::child", "--exact"])
            .env(ROOT, tree.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a child");
        let began = Instant::now();
        while manifests(tree.path()) < at_least
            && child.try_wait().expect("ours").is_none()
            && began.elapsed() < Duration::from_secs(60)
        {
            thread::yield_now();
        }
        child.kill().expect("it is ours");
        child.wait().expect("it is ours");
        let is_part = manifests(tree.path()) < 480;
        if is_part {
            assert!(folder(tree.path()).is_dir(), "a part passes for the whole");
            killed_in_the_middle += 1;
        }
    }
    assert!(killed_in_the_middle > 0, "no kill came in time");
    imported(tree.path());
    assert_eq!(dump(tree.path()), dump(&whole));
}

#[test]
fn an_import_that_was_stopped_goes_on() {
    let drawn = tree();
    let progress = Progress::default();
    progress.stop();
    let (at, root) = (store(drawn.path()), root(drawn.path()));
    let run = |progress| import::run(&at, &root, &Options::default(), progress).expect("no fault");
    assert_eq!(run(&progress), None);
    assert!(import::is_needed(&root));
    let progress = Progress::default();
    assert_eq!(progress.phase(), Phase::Waiting);
    let summary = run(&progress).expect("whole");
    assert_eq!((summary.repositories, summary.manifests), (280, 480));
    assert_eq!((progress.repositories(), progress.manifests()), (280, 480));
    assert_eq!(progress.phase(), Phase::Done);
    assert!(!import::is_needed(&root));
}

/// Kills between the last row and the folder's new name, and between that and the file in its
/// place.
#[test]
fn each_last_step_can_be_the_last() {
    let drawn = tree();
    let summary = imported(drawn.path());
    let before = dump(drawn.path());
    let aside = summary.aside.expect("moved");
    fs::remove_file(folder(drawn.path())).expect("removed");
    imported(drawn.path());
    assert!(folder(drawn.path()).is_file());
    assert_eq!(dump(drawn.path()), before);
    fs::remove_file(folder(drawn.path())).expect("removed");
    fs::rename(&aside, folder(drawn.path())).expect("moved back");
    let summary = imported(drawn.path());
    assert_eq!(
        (summary.manifests, summary.tags, summary.differing),
        (0, 0, 0)
    );
    assert_eq!(dump(drawn.path()), before);
    // Others of the same second have names of their own.
    let second = TempDir::new().expect("a folder");
    copy(&summary.aside.expect("moved"), &second.path().join("kept"));
    fs::remove_file(folder(drawn.path())).expect("removed");
    fs::rename(second.path().join("kept"), folder(drawn.path())).expect("moved back");
    assert!(imported(drawn.path()).aside.is_some());
}
