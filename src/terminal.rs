//! The terminal: what commands print, and how they end.
//!
//! What was asked for goes to standard output, page by page, so that it is there at once and takes
//! no memory; whatever else there is to say goes to standard error.

use std::fmt::{Display, Write as _};
use std::io::{self, BufWriter, Write};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use serde::Serialize;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is where it should be.
    Well,
    /// Something failed, or is not there.
    Failed,
    /// Something is still on its way.
    OnItsWay,
}

/// What output is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// One JSON document, with everything in full.
    Json,
}

/// Standard output. Whoever has read enough may go: the rest is written to nobody.
pub struct Output {
    out: BufWriter<io::StdoutLock<'static>>,
    is_closed: bool,
}

impl Output {
    /// Standard output, for as long as this lives.
    pub fn new() -> Output {
        Output {
            out: BufWriter::new(io::stdout().lock()),
            is_closed: false,
        }
    }

    fn unless_closed<T>(&mut self, done: io::Result<T>, or: T) -> io::Result<T> {
        match done {
            Err(err) if err.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(or)
            }
            done => done,
        }
    }
}

impl Default for Output {
    fn default() -> Output {
        Output::new()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Ok(bytes.len());
        }
        let written = self.out.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.unless_closed(flushed, ())
    }
}

/// Says that something failed.
pub fn complain(what: impl Display) {
    eprintln!("error: {what}");
}

/// Says what somebody should look at.
pub fn warn(what: impl Display) {
    eprintln!("warning: {what}");
}

/// Says what a reader should know.
pub fn note(what: impl Display) {
    eprintln!("note: {what}");
}

/// Says what a command does, or did.
pub fn tell(what: impl Display) {
    eprintln!("{what}");
}

/// A line on standard error, if that is a terminal, for how far it is. It vanishes in the end.
pub fn progress() -> ProgressBar {
    let line = ProgressBar::no_length().with_finish(ProgressFinish::AndClear);
    match ProgressStyle::with_template("{wide_msg}") {
        Ok(style) => line.with_style(style),
        // Only a template that is wrong has none.
        Err(_) => line,
    }
}

/// `512 B`, `1.2 kB`, `3.4 MB`: decimal, as docker prints them.
pub fn size_text(size: u64) -> String {
    if size < 1000 {
        return format!("{size} B");
    }
    let mut size = size as f64;
    let mut unit = "";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        // What would be rounded up to 1000 has the next unit.
        if size < 999.95 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

/// A line of a table.
enum Row {
    Cells(Vec<String>),
    /// A text that belongs to no column.
    Note(String),
}

/// How many lines are aligned together. On a later page a column may be wider, never narrower.
const PAGE_LINES: usize = 1000;

/// Aligned columns, printed page by page.
pub struct Table {
    widths: Vec<usize>,
    /// The column whose cells end at the same place.
    numbers: usize,
    rows: Vec<Row>,
}

impl Table {
    /// A table with these titles; the cells of the column `numbers` are numbers.
    pub fn new(titles: &[&str], numbers: usize) -> Table {
        let mut table = Table {
            widths: vec![0; titles.len()],
            numbers,
            rows: Vec::new(),
        };
        table.cells(titles.iter().copied().map(String::from).collect());
        table
    }

    /// Adds a line; cells for which there is no title are left out.
    pub fn cells(&mut self, cells: Vec<String>) {
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = cell.chars().count().max(*width);
        }
        self.rows.push(Row::Cells(cells));
    }

    /// Adds a text that belongs to no column.
    pub fn note(&mut self, text: String) {
        self.rows.push(Row::Note(text));
    }

    /// Prints a page, if there is one.
    pub fn print_page(&mut self, out: &mut dyn Write) -> io::Result<()> {
        match self.rows.len() < PAGE_LINES {
            true => Ok(()),
            false => self.print(out),
        }
    }

    /// Prints all that was not printed yet.
    pub fn print(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for row in std::mem::take(&mut self.rows) {
            let line = match row {
                Row::Note(note) => note,
                Row::Cells(cells) => self.line(&cells),
            };
            writeln!(out, "{}", line.trim_end())?;
        }
        out.flush()
    }

    fn line(&self, cells: &[String]) -> String {
        let mut line = String::new();
        for (at, (cell, width)) in cells.iter().zip(&self.widths).enumerate() {
            // A formatter that writes to a text never fails.
            let _ = match at == self.numbers {
                true => write!(line, "{cell:>width$}  "),
                false => write!(line, "{cell:width$}  "),
            };
        }
        line
    }
}

/// A JSON object that begins with a list, printed entry by entry.
pub struct List {
    name: &'static str,
    is_empty: bool,
}

impl List {
    /// An object whose first key is `name`.
    pub fn new(name: &'static str) -> List {
        List {
            name,
            is_empty: true,
        }
    }

    /// Prints an entry.
    pub fn entry(&mut self, out: &mut dyn Write, entry: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(entry)?.replace('\n', "\n    ");
        match self.is_empty {
            true => write!(out, "{{\n  \"{}\": [\n    {text}", self.name)?,
            false => write!(out, ",\n    {text}")?,
        }
        self.is_empty = false;
        Ok(())
    }

    /// Ends the list; the fields of `rest`, a struct, follow.
    pub fn end(self, out: &mut dyn Write, rest: &impl Serialize) -> io::Result<()> {
        match self.is_empty {
            true => write!(out, "{{\n  \"{}\": []", self.name)?,
            false => write!(out, "\n  ]")?,
        }
        let rest = serde_json::to_string_pretty(rest)?;
        match rest.strip_prefix("{\n") {
            Some(fields) => writeln!(out, ",\n{fields}")?,
            // It has no fields.
            None => writeln!(out, "\n}}")?,
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_at_a_glance() {
        for (size, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1234, "1.2 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (34_000_000_000, "34.0 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(size_text(size), text);
        }
    }

    #[test]
    fn columns_stand_under_each_other() {
        let cells = |cells: [&str; 3]| cells.map(String::from).into();
        let mut table = Table::new(&["IMAGE", "SIZE", "STATE"], 1);
        table.cells(cells(["é", "1.2 kB", "local"]));
        table.note("  because: why".into());
        let mut out = Vec::new();
        table.print_page(&mut out).expect("written");
        assert!(out.is_empty(), "a page is not full");
        table.print(&mut out).expect("written");
        let text = "IMAGE    SIZE  STATE\né      1.2 kB  local\n  because: why\n";
        assert_eq!(String::from_utf8_lossy(&out), text);
        // What is wider moves what comes after it.
        table.cells(cells(["much wider", "1 B", ""]));
        table.cells(cells(["x", "2 B", "local"]));
        let mut out = Vec::new();
        table.print(&mut out).expect("written");
        let text = "much wider     1 B\nx              2 B  local\n";
        assert_eq!(String::from_utf8_lossy(&out), text);
    }

    #[test]
    fn a_list_is_the_same_document_as_if_it_were_printed_at_once() {
        #[derive(Serialize)]
        struct Rest {
            total: u8,
        }
        let entries = [
            serde_json::json!({"a": [1, 2], "b": {}}),
            serde_json::json!({}),
        ];
        for count in 0..=2 {
            let (mut list, mut out) = (List::new("entries"), Vec::new());
            for entry in &entries[..count] {
                list.entry(&mut out, entry).expect("written");
            }
            list.end(&mut out, &Rest { total: 7 }).expect("written");
            let all = serde_json::json!({"entries": entries[..count], "total": 7});
            let all = serde_json::to_string_pretty(&all).expect("JSON") + "\n";
            assert_eq!(String::from_utf8_lossy(&out), all);
        }
        let mut out = Vec::new();
        let nothing = serde_json::json!({});
        List::new("entries")
            .end(&mut out, &nothing)
            .expect("written");
        assert_eq!(out, b"{\n  \"entries\": []\n}\n");
    }
}
