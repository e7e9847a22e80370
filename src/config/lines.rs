//! Which line of a file a key stands on.
//!
//! serde_yaml gives values without places. This pass reads only the shape of a file, keys and
//! list entries by their indentation, and that is enough: what it takes for a key and is none
//! does harm to nobody, since only keys that the parser found are ever looked up. Keys in flow
//! style (`{a: 1}`) have no line of their own and get that of the nearest key around them.

use std::collections::BTreeMap;

/// Lines, counted from 1, by path: `http.debug.addr`, `health.tcp[0].addr`.
#[derive(Debug, Default)]
pub(super) struct Lines(BTreeMap<String, usize>);

impl Lines {
    /// The line of a path, or else of the nearest path around it.
    pub(super) fn of(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// Whether a path has a line of its own.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Reads the shape of a file.
    pub(super) fn scan(text: &str) -> Lines {
        let mut lines = Lines::default();
        let mut nest: Vec<Level> = Vec::new();
        let mut literal: Option<usize> = None;
        for (index, line) in text.lines().enumerate() {
            let mut column = line.len() - line.trim_start_matches(' ').len();
            let mut rest = &line[column..];
            if rest.is_empty() || rest.starts_with('#') || literal.is_some_and(|at| at < column) {
                continue;
            }
            literal = None;
            while let Some(entry) = rest
                .strip_prefix('-')
                .filter(|r| r.is_empty() || r.starts_with(' '))
            {
                let path = Level::enter_item(&mut nest, column);
                lines.0.entry(path).or_insert(index + 1);
                let gap = 1 + entry.len() - entry.trim_start_matches(' ').len();
                column += gap;
                rest = &rest[gap..];
            }
            if let Some((key, value)) = split_key(rest) {
                let path = Level::enter_key(&mut nest, column, &key);
                lines.0.entry(path).or_insert(index + 1);
                rest = value;
            }
            if rest.starts_with(['|', '>']) {
                literal = nest.last().map(|level| level.column);
            }
        }
        lines
    }
}

/// A key or a list entry that is still open, with the column where it begins.
struct Level {
    column: usize,
    path: String,
    /// The place in its list; `None` for a key.
    item: Option<usize>,
}

impl Level {
    /// Closes what a list entry in `column` ends, opens the entry and gives its path.
    fn enter_item(nest: &mut Vec<Level>, column: usize) -> String {
        let mut item = 0;
        while let Some(last) = nest.last() {
            // A list may stand in the column of the key that holds it.
            if last.column < column || (last.column == column && last.item.is_none()) {
                break;
            }
            if last.column == column {
                item = last.item.map_or(0, |item| item + 1);
            }
            nest.pop();
        }
        let path = format!("{}[{item}]", nest.last().map_or("", |level| &level.path));
        nest.push(Level {
            column,
            path: path.clone(),
            item: Some(item),
        });
        path
    }

    /// Closes what a key in `column` ends, opens the key and gives its path.
    fn enter_key(nest: &mut Vec<Level>, column: usize, key: &str) -> String {
        while nest.last().is_some_and(|last| column <= last.column) {
            nest.pop();
        }
        let path = match nest.last() {
            Some(level) => format!("{}.{key}", level.path),
            None => key.to_owned(),
        };
        nest.push(Level {
            column,
            path: path.clone(),
            item: None,
        });
        path
    }
}

/// Splits `key: value`; the key may be quoted.
fn split_key(text: &str) -> Option<(String, &str)> {
    let (key, rest) = match text.chars().next()? {
        quote @ ('"' | '\'') => {
            let (key, rest) = text[1..].split_once(quote)?;
            (key, rest.trim_start().strip_prefix(':')?)
        }
        '{' | '[' | '#' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' => return None,
        _ => {
            let colon = text
                .match_indices(':')
                .find(|(at, _)| matches!(text.as_bytes().get(at + 1), None | Some(b' ' | b'\t')))?;
            (text[..colon.0].trim_end(), &text[colon.0 + 1..])
        }
    };
    (rest.is_empty() || rest.starts_with([' ', '\t'])).then(|| (key.to_owned(), rest.trim_start()))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn keys_lists_and_what_looks_like_them() {
        let lines = Lines::scan(
            "\
# version: 9
version: 0.1   # line 2

log:
  fields:
    'a key': \"x: y\"
    \"b\" : |
      storage:
        not: a key

    c: plain text that
      goes on: here
http:
  headers: {X-A: [a, b],
            X-B: [c]}
  tls:
    clientcas:
    - /one
    - /two
    letsencrypt: &x
      hosts: [a]
health:
  tcp:
    - addr: a:1
      timeout: 1s
    -
      addr: b:2
  http:
  -   uri: http://c
      headers:
        A: [b]
validation: null",
        );
        for (path, line) in [
            ("version", 2),
            ("log", 4),
            ("log.fields.a key", 6),
            ("log.fields.b", 7),
            ("log.fields.c", 11),
            ("http.headers", 14),
            ("http.headers.X-A[1]", 14),
            ("http.tls.clientcas[0]", 18),
            ("http.tls.clientcas[1]", 19),
            ("http.tls.letsencrypt.hosts[0]", 21),
            ("http.tls.certificate", 16),
            ("health.tcp[0].addr", 24),
            ("health.tcp[0].timeout", 25),
            ("health.tcp[0].threshold", 24),
            ("health.tcp[1].addr", 27),
            ("health.http[0].uri", 29),
            ("health.http[0].headers.A[0]", 31),
            ("validation", 32),
        ] {
            assert_eq!(lines.of(path), Some(line), "{path}");
        }
        assert_eq!(lines.of("storage.not"), None);
        assert_eq!(lines.of(""), None);
    }

    #[test]
    fn windows_line_ends_and_strange_files() {
        assert_eq!(Lines::scan("a:\r\n  b: 1\r\n").of("a.b"), Some(2));
        for text in [
            "",
            "-",
            "- - a: 1",
            ":",
            ": :",
            "'",
            "\"a",
            "\u{feff}a: 1",
            "\t\ta: b",
            "--- a",
        ] {
            Lines::scan(text);
        }
    }
}
