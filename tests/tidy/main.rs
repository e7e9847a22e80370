//! The rules of the house, as tests. Each complaint says where, and what to do about it.
#![forbid(unsafe_code)]

mod floors;
mod rust;
mod safety;
mod tried;

use std::{fs, path::Path};

use rust::Source;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_COLUMNS_MAX: usize = 100;

/// Names that say nothing.
const EMPTY_WORDS: &[&str] = &[
    "manager", "helper", "util", "handler", "service", "context", "data", "info",
];

/// The line, counted from 1, and what to do there.
type Complaint = (usize, String);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path))
        .unwrap_or_else(|fault| panic!("{path} belongs to the project: {fault}"))
}

/// The programs in `src` and `tests`: Rust, and scripts, which begin with `#!` or end in `.sh`.
fn house() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src and tests can be listed") {
            let path = entry.expect("an entry can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root()).expect("it lies in the project");
            let name = name.to_str().expect("names in the project are UTF-8");
            // What is not UTF-8 is no program.
            let text = fs::read_to_string(&path).unwrap_or_default();
            if name.ends_with(".rs") || name.ends_with(".sh") || text.starts_with("#!") {
                sources.push(Source::new(name, &text));
            }
        }
    }
    assert!(
        sources.len() > 3,
        "the walk through src and tests found next to nothing"
    );
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

/// All that a rule has to say about the sources, a line each.
fn complaints(sources: &[Source], rule: impl Fn(&Source) -> Vec<Complaint>) -> Vec<String> {
    let about = |source: &Source| {
        let path = &source.path;
        let lines = rule(source).into_iter();
        lines
            .map(|(line, what)| format!("{path}:{line}: {what}"))
            .collect::<Vec<_>>()
    };
    sources.iter().flat_map(about).collect()
}

/// The rule finds nothing in the house, and something in each of the `bad` files.
fn hold(rule: impl Fn(&Source) -> Vec<Complaint>, bad: &[(&str, &str)]) {
    for (path, text) in bad {
        assert!(
            !rule(&Source::new(path, text)).is_empty(),
            "it lets pass {path}: {text}"
        );
    }
    let found = complaints(&house(), rule);
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn files_are_short() {
    let rule = |source: &Source| {
        let lines = source.text.lines().count();
        let long = lines > FILE_LINES_MAX;
        let what = format!("{lines} lines, {FILE_LINES_MAX} are allowed: split the file by noun");
        long.then_some((lines, what)).into_iter().collect()
    };
    hold(rule, &[("tests/run", &"\n".repeat(FILE_LINES_MAX + 1))]);
}

#[test]
fn functions_are_short() {
    let rule = |source: &Source| {
        let functions = source.functions().into_iter();
        let long = functions.filter(|function| function.lines > FUNCTION_LINES_MAX);
        long.map(|function| {
            let what = format!(
                "fn {} has {} lines, {FUNCTION_LINES_MAX} are allowed: take a part that deserves \
                 a name out of it",
                function.name, function.lines
            );
            (function.line, what)
        })
        .collect()
    };
    let body = "g();\n".repeat(FUNCTION_LINES_MAX - 1);
    hold(
        rule,
        &[("src/a.rs", &format!("fn f(a: [u8; 2]) {{\n{body}}}"))],
    );
}

#[test]
fn lines_are_short() {
    let rule = |source: &Source| {
        let lines = (1..).zip(source.text.lines().map(|line| line.chars().count()));
        let long = lines.filter(|(_, columns)| *columns > LINE_COLUMNS_MAX);
        long.map(|(line, columns)| {
            (
                line,
                format!("{columns} columns, {LINE_COLUMNS_MAX} are allowed: wrap the line"),
            )
        })
        .collect()
    };
    hold(rule, &[("src/a.rs", &"x".repeat(LINE_COLUMNS_MAX + 1))]);
}

/// The words in a name or a path, in lower case and without the `s` of a plural.
fn words(name: &str) -> Vec<String> {
    let mut spaced = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_uppercase() && after_lower {
            spaced.push(' ');
        }
        spaced.push(if c.is_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            ' '
        });
        after_lower = c.is_lowercase();
    }
    spaced
        .split_whitespace()
        .map(|word| word.trim_end_matches('s').into())
        .collect()
}

#[test]
fn names_say_something() {
    let rule = |source: &Source| {
        let mut found = Vec::new();
        for (name, line) in source
            .declared()
            .into_iter()
            .chain([(source.path.as_str(), 1)])
        {
            for word in words(name)
                .iter()
                .filter(|word| EMPTY_WORDS.contains(&word.as_str()))
            {
                let what = format!(
                    "`{word}` in {name} says nothing: name what the thing is, or what it does"
                );
                found.push((line, what));
            }
        }
        found
    };
    let binding = "fn f() { let mut request_context = 1; }";
    hold(
        rule,
        &[
            ("src/utils.rs", ""),
            ("src/a.rs", "struct BlobManager;"),
            ("src/a.rs", binding),
        ],
    );
}

#[test]
fn nothing_is_left_for_later() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let rule = |source: &Source| {
        let lines = (1..).zip(source.text.lines());
        let marked = lines.filter(|(_, text)| marks.iter().any(|mark| text.contains(mark)));
        marked
            .map(|(line, text)| (line, format!("finish it, or take it out: {}", text.trim())))
            .collect()
    };
    let bad = format!("# {}: the rest", marks[0]);
    hold(rule, &[("tests/run", &bad)]);
}

#[test]
fn every_test_file_is_run() {
    let cargo = read("Cargo.toml");
    let rule = |source: &Source| {
        let inside = source.path.strip_prefix("tests/").unwrap_or_default();
        let name = inside
            .strip_suffix("/main.rs")
            .or(inside.strip_suffix(".rs"));
        let target = name.filter(|name| !name.contains('/'));
        let lost = |name: &&str| {
            let test = format!("[[test]]\nname = \"{name}\"\n");
            let program = format!("path = \"tests/{name}/main.rs\"\n");
            !cargo.contains(&test) && !cargo.contains(&program)
        };
        let what = |name| {
            (
                1,
                format!("add a [[test]] named {name} to Cargo.toml, or it never runs"),
            )
        };
        target.filter(lost).map(what).into_iter().collect()
    };
    hold(rule, &[("tests/lost.rs", ""), ("tests/lost/main.rs", "")]);
}

#[test]
fn unsafe_code_is_forbidden() {
    assert!(
        read("src/lib.rs").contains("#![forbid(unsafe_code)]"),
        "src/lib.rs: put #![forbid(unsafe_code)] below the crate's documentation"
    );
    assert!(
        read("Cargo.toml").contains("unsafe_code = \"forbid\""),
        "Cargo.toml: let [lints.rust] say unsafe_code = \"forbid\", for the binary and the tests"
    );
}

#[test]
fn the_changelog_knows_the_version() {
    let (cargo, changelog) = (read("Cargo.toml"), read("CHANGELOG.md"));
    let mut versions = cargo
        .lines()
        .filter_map(|line| line.strip_prefix("version = "));
    let version = versions
        .next()
        .expect("Cargo.toml states the version")
        .trim_matches('"');
    let mut headings = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## ["));
    let newest = headings.next().unwrap_or_default();
    assert!(
        newest.starts_with("Unreleased]") || newest.starts_with(&format!("{version}]")),
        "CHANGELOG.md: give version {version} a heading on top, `## [{version}] - DATE`, or \
         collect what changed under `## [Unreleased]`"
    );
}
