//! The tests that `docs/safety.md` names, against those that there are.

use super::{read, root};

/// The tests that a text names, as in `` `registry/power.rs::nothing_is_lost_on_xfs` ``: a path
/// below `tests/`, or one that begins with `src/`, and a function.
fn named(text: &str) -> Vec<(String, &str)> {
    let quoted = text.split('`').skip(1).step_by(2);
    let pairs = quoted.filter_map(|quoted| quoted.split_once(".rs::"));
    pairs
        .map(|(path, test)| match path.starts_with("src/") {
            true => (format!("{path}.rs"), test),
            false => (format!("tests/{path}.rs"), test),
        })
        .collect()
}

#[test]
fn every_test_that_holds_a_promise_exists() {
    let safety = read("docs/safety.md");
    let named = named(&safety);
    assert!(named.len() > 50, "{named:?}");
    for (path, test) in named {
        assert!(root().join(&path).is_file(), "docs/safety.md names {path}");
        let is_test = |before: &str| before.trim_end().ends_with(']');
        let there = read(&path);
        let found = there.split_once(&format!("fn {test}()"));
        assert!(
            found.is_some_and(|(before, _)| is_test(before)),
            "docs/safety.md names {test}, which is no test of {path}"
        );
    }
}
