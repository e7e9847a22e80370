//! `REGISTRY_*` variables, laid over the file as distribution does.
//!
//! `REGISTRY_HTTP_DEBUG_ADDR` is `http.debug.addr`, whatever the case. A number is the place of a
//! list's entry; a hyphen may be spelt as an underscore. A value is YAML, so that a variable can
//! also give a whole section. `…_FILE` names a file that holds the value. No value is ever told.

use serde_yaml::{Mapping, Value};

use super::keys::{self, DRIVERS, Fate};
use super::read::{Reading, join};
use super::{Problem, Severity};
use crate::nearest::{distance, near};

const PREFIX: &str = "REGISTRY_";

/// Lays the environment over what was read, in the order of the names, so that a section comes
/// before its keys.
pub(super) fn overlay(reading: &mut Reading, env: impl Iterator<Item = (String, String)>) {
    spread(&mut reading.tree);
    let mut variables: Vec<(String, String)> = env
        .filter(|(name, _)| {
            name.get(..PREFIX.len())
                .is_some_and(|p| p.eq_ignore_ascii_case(PREFIX))
        })
        .collect();
    variables.sort();
    let mut drivers = Vec::new();
    for (name, value) in variables {
        if let Some(driver) = apply(reading, &name, &value) {
            drivers.push(driver);
        }
    }
    // A driver that the environment names takes the place of the file's.
    if !drivers.is_empty()
        && let Some(section) = reading
            .tree
            .get_mut("storage")
            .and_then(Value::as_mapping_mut)
    {
        let kept = |key: &str| !DRIVERS.contains(&key) || drivers.iter().any(|d| d == key);
        section.retain(|key, _| key.as_str().is_none_or(kept));
    }
}

/// `storage: inmemory` and `auth: none` are short for a section with one empty key.
fn spread(tree: &mut Value) {
    for key in ["storage", "auth"] {
        if let Some(value) = tree.as_mapping_mut().and_then(|tree| tree.get_mut(key))
            && let Value::String(name) = value
        {
            let name = Value::String(std::mem::take(name));
            *value = Value::Mapping(Mapping::from_iter([(name, Value::Null)]));
        }
    }
}

/// Sets what one variable says; gives the storage driver that it names, if it does.
fn apply(reading: &mut Reading, name: &str, text: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let words: Vec<&str> = upper[PREFIX.len()..].split(['_', '-']).collect();
    let found = find(&words, &reading.tree).map(|steps| (steps, text_value(text)));
    let found = match (found, words.as_slice()) {
        (None, [rest @ .., "FILE"]) => match find_key(rest, &reading.tree) {
            Some(steps) => match std::fs::read_to_string(text.trim()) {
                Ok(text) => Some((steps, Value::String(text.trim_end().to_owned()))),
                Err(error) => {
                    complain(reading, Severity::Error, name, format!("its file: {error}"));
                    return None;
                }
            },
            None => None,
        },
        (found, _) => found,
    };
    let Some((steps, value)) = found else {
        complain(
            reading,
            Severity::Warning,
            name,
            format!("ignored; {}", instead(&upper)),
        );
        return None;
    };
    match (path_of(&steps).as_str(), value) {
        (section @ ("storage" | "auth"), Value::String(choice)) => {
            choose(reading, name, section, &choice)
        }
        (_, value) => {
            put(reading, name, &steps, value);
            match steps.as_slice() {
                [Step::Key(section), Step::Key(driver), ..] if section == "storage" => {
                    DRIVERS.contains(&driver.as_str()).then(|| driver.clone())
                }
                _ => None,
            }
        }
    }
}

/// `REGISTRY_STORAGE=inmemory` names a driver, `REGISTRY_AUTH=none` a way to know users. The
/// parameters of the one that is named stay.
fn choose(reading: &mut Reading, name: &str, section: &str, choice: &str) -> Option<String> {
    let choice = choice.trim().to_ascii_lowercase();
    let driver = DRIVERS.contains(&choice.as_str());
    let known = keys::is_section_key(section, &choice) && (driver || section == "auth");
    if !known {
        complain(
            reading,
            Severity::Error,
            name,
            format!("not one of {section}'s known kinds"),
        );
        return None;
    }
    let path = join(section, &choice);
    if section == "auth"
        && let Some(auth) = reading.tree.get_mut("auth").and_then(Value::as_mapping_mut)
    {
        auth.retain(|key, _| key.as_str() == Some(&choice));
    }
    if reading.value(&path).is_none() {
        put(
            reading,
            name,
            &[Step::Key(section.into()), Step::Key(choice.clone())],
            Value::Null,
        );
    }
    driver.then_some(choice)
}

/// Sets a value and remembers who said so.
fn put(reading: &mut Reading, name: &str, steps: &[Step], value: Value) {
    let path = path_of(steps);
    match set(&mut reading.tree, steps, value) {
        Ok(()) => {
            reading.variables.insert(path, name.to_owned());
        }
        Err(len) => complain(
            reading,
            Severity::Error,
            name,
            format!("{path} does not exist; the next entry of this list has the number {len}"),
        ),
    }
}

/// Reports a variable as a whole.
fn complain(reading: &mut Reading, severity: Severity, name: &str, cause: String) {
    let key = name.chars().filter(|c| !c.is_control()).collect();
    reading.problems.push(Problem {
        severity,
        line: None,
        key,
        cause,
    });
}

/// What a variable's text means. Only sections and lists are taken from YAML, and quotes are
/// taken off; every other scalar stays as it was written.
fn text_value(text: &str) -> Value {
    match serde_yaml::from_str::<Value>(text) {
        Ok(Value::Null) if text.trim().is_empty() => Value::Null,
        Ok(value @ (Value::Mapping(_) | Value::Sequence(_) | Value::String(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// One step into a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

fn path_of(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => join(&path, key),
        Step::Item(index) => format!("{path}[{index}]"),
    })
}

/// Where a variable's words lead: to a key, else to a section or list, else into a section of
/// which nothing is known but its fate.
fn find(words: &[&str], tree: &Value) -> Option<Vec<Step>> {
    let lead = |fits: fn(Option<&Fate>) -> bool, open| {
        keys::patterns()
            .filter(|(_, fate)| fits(*fate))
            .find_map(|(pattern, _)| fit(&split(pattern), words, Some(tree), pattern, open))
    };
    let key = lead(|fate| fate.is_some(), false);
    let section = || lead(|fate| fate.is_none(), false);
    let within = || {
        lead(
            |fate| fate.is_some_and(|fate| !matches!(fate, Fate::Act)),
            true,
        )
    };
    key.or_else(section).or_else(within)
}

/// Where words lead, if it is to a key that is acted on.
fn find_key(words: &[&str], tree: &Value) -> Option<Vec<Step>> {
    keys::patterns()
        .filter(|(_, fate)| {
            matches!(
                fate,
                Some(Fate::Act | Fate::Refuse(_) | Fate::RefuseIfSet(_))
            )
        })
        .find_map(|(pattern, _)| fit(&split(pattern), words, Some(tree), pattern, false))
}

/// The steps of a pattern: names, `*` and `[]`.
fn split(pattern: &'static str) -> Vec<&'static str> {
    pattern
        .split('.')
        .flat_map(|name| match name.strip_suffix("[]") {
            Some(name) => vec![name, "[]"],
            None => vec![name],
        })
        .collect()
}

/// Fits words to a pattern's steps; `tree` is what is there already, for the names that `*`
/// stands for. An `open` pattern takes words beyond its end as names.
fn fit(
    pattern: &[&str],
    words: &[&str],
    tree: Option<&Value>,
    whole: &str,
    open: bool,
) -> Option<Vec<Step>> {
    let Some((step, pattern)) = pattern.split_first() else {
        let beyond = words
            .iter()
            .map(|word| Step::Key(word.to_ascii_lowercase()));
        return (words.is_empty() || open).then(|| beyond.collect());
    };
    let lead = |step: Step, words, tree| {
        let mut steps = fit(pattern, words, tree, whole, open)?;
        steps.insert(0, step);
        Some(steps)
    };
    match *step {
        "[]" => {
            let (index, words) = words.split_first()?;
            let index = index.parse().ok()?;
            lead(
                Step::Item(index),
                words,
                tree.and_then(|tree| tree.get(index)),
            )
        }
        "*" => (1..=words.len()).rev().find_map(|count| {
            let (name, words) = words.split_at(count);
            let name = any_name(
                name,
                tree,
                if whole.contains("headers") { "-" } else { "_" },
            );
            let tree = tree.and_then(|tree| tree.get(&name));
            lead(Step::Key(name), words, tree)
        }),
        name => {
            let count = name.split('-').count();
            let same = words.len() >= count && words[..count].join("-").eq_ignore_ascii_case(name);
            let tree = tree.and_then(|tree| tree.get(name));
            same.then(|| lead(Step::Key(name.to_owned()), &words[count..], tree))
                .flatten()
        }
    }
}

/// The name that words stand for where any name can be: one that is there already, or else
/// the words in lower case.
fn any_name(words: &[&str], tree: Option<&Value>, separator: &str) -> String {
    let name = words.join(separator).to_ascii_lowercase();
    let plain = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    let there = tree.and_then(Value::as_mapping).and_then(|section| {
        section
            .keys()
            .filter_map(Value::as_str)
            .find(|key| plain(key) == plain(&name))
    });
    there.map_or(name, str::to_owned)
}

/// Sets a value in a tree and makes what lies on the way. Gives the length of a list that is too
/// short for it.
fn set(tree: &mut Value, steps: &[Step], value: Value) -> Result<(), usize> {
    let Some((step, steps)) = steps.split_first() else {
        *tree = value;
        return Ok(());
    };
    match step {
        Step::Key(key) => {
            if !tree.is_mapping() {
                *tree = Value::Mapping(Mapping::new());
            }
            let section = tree.as_mapping_mut().expect("it was just made one");
            let entry = section
                .entry(Value::String(key.clone()))
                .or_insert(Value::Null);
            set(entry, steps, value)
        }
        Step::Item(index) => {
            if !tree.is_sequence() {
                *tree = Value::Sequence(Vec::new());
            }
            let list = tree.as_sequence_mut().expect("it was just made one");
            if list.len() < *index {
                return Err(list.len());
            }
            if list.len() == *index {
                list.push(Value::Null);
            }
            set(&mut list[*index], steps, value)
        }
    }
}

/// What an unknown variable may have been meant to be.
fn instead(name: &str) -> String {
    let most = near(&name[PREFIX.len()..]);
    let nearest = keys::patterns()
        .map(|(pattern, _)| pattern.replace("[]", "_0").replace(['.', '-'], "_"))
        .map(|words| format!("{PREFIX}{}", words.to_ascii_uppercase()))
        // One whose length differs by more is farther away than that as well.
        .filter(|known| !known.contains('*') && known.len().abs_diff(name.len()) <= most)
        .map(|known| (distance(name, &known), known))
        .min();
    match nearest {
        Some((distance, known)) if distance <= most => {
            format!("no key has this name; did you mean {known}?")
        }
        _ => "no key has this name".to_owned(),
    }
}
