//! How single values are read, and what is wrong with them remembered.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_yaml::Value;

use super::lines::Lines;
use super::{Problem, Severity, values};

/// A configuration on its way: what was written, where, and what is wrong with it so far.
#[derive(Default)]
pub(super) struct Reading {
    /// The file with the environment laid over it.
    pub(super) tree: Value,
    /// Where the file says it.
    pub(super) lines: Lines,
    /// The variable that set a path.
    pub(super) variables: BTreeMap<String, String>,
    pub(super) problems: Vec<Problem>,
}

/// The path of a key beneath another.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

impl Reading {
    /// Reports what keeps the registry from starting.
    pub(super) fn error(&mut self, path: &str, cause: impl Into<String>) {
        self.report(Severity::Error, path, cause.into());
    }

    /// Reports what does not, but should be known.
    pub(super) fn warn(&mut self, path: &str, cause: impl Into<String>) {
        self.report(Severity::Warning, path, cause.into());
    }

    fn report(&mut self, severity: Severity, path: &str, cause: String) {
        let (line, key) = match self.variable(path) {
            Some(variable) => (None, format!("{path} ({variable})")),
            None => (self.lines.of(path), path.to_owned()),
        };
        let problem = Problem {
            severity,
            line,
            key,
            cause,
        };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The variable that set a path or something around it, or else, if the file does not name
    /// the path, something beneath it.
    fn variable(&self, path: &str) -> Option<&String> {
        let mut around = Some(path);
        while let Some(path) = around {
            if let Some(variable) = self.variables.get(path) {
                return Some(variable);
            }
            around = path.rfind(['.', '[']).map(|end| &path[..end]);
        }
        let beneath = self.variables.iter().find(|(set, _)| {
            set.strip_prefix(path)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        });
        beneath
            .map(|(_, variable)| variable)
            .filter(|_| !self.lines.has(path))
    }

    /// What is set at a path such as `health.http[0].uri`; `None` for nothing or null.
    pub(super) fn value(&self, path: &str) -> Option<&Value> {
        let mut value = &self.tree;
        for name in path.split('.') {
            let (name, index) = match name.split_once('[') {
                Some((name, index)) => (name, index.strip_suffix(']')?.parse::<usize>().ok()),
                None => (name, None),
            };
            value = value.as_mapping()?.get(name)?;
            if let Some(index) = index {
                value = value.as_sequence()?.get(index)?;
            }
        }
        Some(value).filter(|value| !value.is_null())
    }

    /// How many entries a list has.
    pub(super) fn len(&self, path: &str) -> usize {
        self.value(path)
            .and_then(Value::as_sequence)
            .map_or(0, Vec::len)
    }

    /// Text that is not empty.
    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        let text = match self.value(path)? {
            Value::String(text) => Ok(text.trim().to_owned()),
            Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
            Value::Number(_) | Value::Bool(_) => Err("must be text; put it in quotes"),
            _ => Err("must be text"),
        };
        self.accept(path, text).filter(|text| !text.is_empty())
    }

    /// Text in the form that `parse` checks.
    pub(super) fn parsed<T>(
        &mut self,
        path: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let text = self.text(path)?;
        self.accept(path, parse(&text))
    }

    /// A list of texts in the form that `parse` checks.
    pub(super) fn list<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Vec<T> {
        (0..self.len(path))
            .filter_map(|i| self.parsed(&format!("{path}[{i}]"), &parse))
            .collect()
    }

    /// One of the named words, upper and lower case being equal.
    pub(super) fn word<T: Clone>(&mut self, path: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(path)?;
        let found = words
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(&text));
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.error(path, format!("must be one of {}", known.join(", ")));
        }
        found.map(|(_, meaning)| meaning.clone())
    }

    /// `true` or `false`, in all spellings of YAML 1.1, which distribution's parser knows.
    pub(super) fn flag(&mut self, path: &str, default: bool) -> bool {
        let flag = match self.value(path) {
            None => return default,
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
                "" => Ok(default),
                "true" | "yes" | "on" | "y" => Ok(true),
                "false" | "no" | "off" | "n" => Ok(false),
                _ => Err("must be true or false"),
            },
            Some(_) => Err("must be true or false"),
        };
        self.accept(path, flag).unwrap_or(default)
    }

    /// A whole number.
    pub(super) fn number(&mut self, path: &str) -> Option<i64> {
        let number = match self.value(path)? {
            Value::Number(number) => number.as_i64(),
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        self.accept(path, number.ok_or("must be a whole number"))
    }

    /// A duration; a bare number other than 0 is nanoseconds, which hardly anybody means.
    pub(super) fn duration(&mut self, path: &str) -> Option<Duration> {
        let text = self.text(path)?;
        if let Ok(nanos) = text.parse::<u64>() {
            if nanos != 0 {
                self.warn(
                    path,
                    "a number without a unit is nanoseconds; write a unit, as in 10s",
                );
            }
            return Some(Duration::from_nanos(nanos));
        }
        self.accept(path, values::duration(&text))
    }

    /// A section whose keys are names of headers, each with a list of values.
    pub(super) fn headers(&mut self, path: &str) -> Vec<(String, String)> {
        let names = self
            .value(path)
            .and_then(Value::as_mapping)
            .map_or_else(Vec::new, |mapping| {
                mapping
                    .keys()
                    .filter_map(|name| name.as_str().map(str::to_owned))
                    .collect()
            });
        let mut headers = Vec::new();
        for name in names {
            let path = join(path, &name);
            if self.accept(&path, values::header_name(&name)).is_some() {
                let values = self.list(&path, |value| {
                    values::header_value(value).map(|()| value.to_owned())
                });
                headers.extend(values.into_iter().map(|value| (name.clone(), value)));
            }
        }
        headers
    }

    /// Takes what a value turned out to be, or reports what is wrong with it.
    pub(super) fn accept<T>(&mut self, path: &str, found: Result<T, &'static str>) -> Option<T> {
        found.map_err(|cause| self.error(path, cause)).ok()
    }
}
