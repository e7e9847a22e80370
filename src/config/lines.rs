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
