//! README's table of the programs that were tried, against what `tests/tools` builds.

use std::fs;

use super::{read, root};

/// The row that a program's go.mod asks for: its first cells, as in
/// `` | `crane` | 0.22.1 | github.com/google/go-containerregistry ``. `None` where it names no
/// program, or no version of its module.
fn row(name: &str, go_mod: &str) -> Option<String> {
    let mut words = go_mod.split_whitespace();
    words.find(|word| *word == "tool")?;
    let package = words.find(|word| *word != "(")?;
    let module = package.split("/cmd/").next()?;
    let version = go_mod.lines().find_map(|line| {
        let line = line.trim().trim_start_matches("require ");
        let version = line.strip_prefix(module)?.strip_prefix(" v")?;
        version.split_whitespace().next()
    })?;
    Some(format!("| `{name}` | {} | {module}", dated(version)))
}

/// Of a commit without a version, as in `0.0.0-20260831232431-97274622c111`, the day.
fn dated(version: &str) -> String {
    match version.strip_prefix("0.0.0-") {
        Some(time) => format!("{}-{}-{}", &time[..4], &time[4..6], &time[6..8]),
        None => version.to_string(),
    }
}

#[test]
fn the_table_of_tried_programs_says_what_is_built() {
    let folders = fs::read_dir(root().join("tests/tools")).expect("tests/tools can be listed");
    let (readme, mut rows, mut wrong) = (read("README.md"), 0, Vec::new());
    for folder in folders {
        let folder = folder.expect("an entry can be read").path();
        if !folder.is_dir() {
            continue;
        }
        let name = folder.file_name().expect("it has a name").to_string_lossy();
        let path = format!("tests/tools/{name}/go.mod");
        let row = row(&name, &read(&path)).unwrap_or_else(|| panic!("{path} names no `tool`"));
        rows += 1;
        let is_it = |line: &str| {
            line.strip_prefix(row.as_str())
                .is_some_and(|rest| rest.starts_with(" |") || rest.starts_with(':'))
        };
        if !readme.lines().any(is_it) {
            wrong.push(format!("{path} asks for the row: {row} |"));
        }
    }
    assert!(rows > 0, "tests/tools holds no program");
    assert!(
        wrong.is_empty(),
        "README.md, Tried with:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_row_of_a_program_is_found_in_its_go_mod() {
    let one = "go 1.26\n\ntool example.org/a/cmd/a\n\nrequire (\n\texample.org/ab v2.0.0\n\t\
               example.org/a v1.2.3 // indirect\n)\n";
    let several = "tool (\n\texample.org/a/v2/cmd/a\n\texample.org/a/v2/cmd/b\n)\n\
                   require example.org/a/v2 v2.0.0-beta.1\n";
    let commit = "tool example.org/a\nrequire example.org/a v0.0.0-20260831232431-97274622c111\n";
    for (go_mod, expected) in [
        (one, Some("| `a` | 1.2.3 | example.org/a")),
        (several, Some("| `a` | 2.0.0-beta.1 | example.org/a/v2")),
        (commit, Some("| `a` | 2026-08-31 | example.org/a")),
        ("module a\n", None),
        ("tool example.org/a\n", None),
    ] {
        assert_eq!(row("a", go_mod).as_deref(), expected, "{go_mod}");
    }
}
