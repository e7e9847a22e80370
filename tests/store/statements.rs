//! Each statement of the catalog: none reads a whole table, or sorts what it found.

use std::fs;
use std::path::Path;

use lighthouse::store::sqlite;
use rusqlite::Connection;

/// Statements that read a whole table which is small by its own rule.
const BOUNDED: &[&str] = &[
    // Sessions have a limit, which this statement holds.
    "upload/count",
    // The content of one manifest, which has a limit.
    "pin/missing",
    // As many as it is asked for.
    "pin/waiting",
    // A row for each network that was ever configured.
    "network/enqueue_anew",
];

/// All statements, by the name of their file.
fn statements() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sql");
    let mut found = Vec::new();
    for noun in fs::read_dir(&folder).expect("a folder") {
        for file in fs::read_dir(noun.expect("an entry").path()).expect("a folder") {
            let path = file.expect("an entry").path();
            let name = path
                .strip_prefix(&folder)
                .expect("below")
                .with_extension("");
            let text = fs::read_to_string(&path).expect("text");
            found.push((name.display().to_string(), text));
        }
    }
    found.sort();
    found
}

#[test]
fn no_statement_reads_more_than_it_asks_for() {
    let catalog = Connection::open_in_memory().expect("a database");
    catalog
        .execute_batch(&sqlite::schema())
        .expect("the schema");
    let statements = statements();
    assert!(statements.len() > 40, "{}", statements.len());
    for (name, text) in statements {
        let mut explained = catalog
            .prepare(&format!("explain query plan {text}"))
            .unwrap_or_else(|err| panic!("{name}: {err}"));
        let values = vec![rusqlite::types::Null; explained.parameter_count()];
        let steps = explained.query_map(rusqlite::params_from_iter(values), |row| row.get(3));
        let steps: Vec<String> = steps
            .expect("a plan")
            .map(|step| step.expect("a step"))
            .collect();
        let is_cheap = |step: &String| !step.starts_with("SCAN") && !step.contains("TEMP B-TREE");
        let is_bounded = BOUNDED.contains(&name.as_str());
        assert!(
            is_bounded || steps.iter().all(is_cheap),
            "{name}: {steps:#?}"
        );
    }
}

#[test]
fn each_statement_is_used() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let files = [store.join("import"), store]
        .into_iter()
        .flat_map(|folder| {
            let files = fs::read_dir(folder).expect("a folder");
            files.map(|file| file.expect("an entry").path())
        });
    let sources: String = files
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| fs::read_to_string(path).expect("text"))
        .collect();
    for (name, _) in statements() {
        assert!(
            sources.contains(&format!("sql!(\"{name}\")")),
            "{name} is used by nobody"
        );
    }
}

/// SQLite numbers `$1` and its like in the order in which they first appear.
#[test]
fn values_are_given_in_the_order_in_which_a_statement_names_them() {
    for (name, text) in statements() {
        let mut known = 0;
        for (at, _) in text.match_indices('$') {
            let digits = text[at + 1..].split(|c: char| !c.is_ascii_digit());
            let number: u32 = digits
                .clone()
                .next()
                .unwrap_or_default()
                .parse()
                .expect("a number");
            assert!(
                number <= known + 1,
                "{name}: ${number} comes before ${}",
                known + 1
            );
            known = known.max(number);
        }
    }
}
