//! Reads Rust closely enough for the rules: words without comments and literals, the paths they
//! make, and where functions begin and end.

/// A file of the house.
pub struct Source {
    /// Relative to the root of the project, as in `src/oci/mod.rs`.
    pub path: String,
    pub text: String,
    tokens: Vec<Token>,
}

/// A word, a `::` or one other character of Rust code.
struct Token {
    word: String,
    /// Counted from 1.
    line: usize,
    /// How many inline modules it stands in.
    depth: usize,
}

/// A function that has a body.
pub struct Function<'a> {
    pub name: &'a str,
    /// Its first line, counted from 1.
    pub line: usize,
    /// From the first to the closing brace.
    pub lines: usize,
}

/// A path such as `crate::oci::Digest`, those of a `use` group each by itself.
pub struct Named {
    pub parts: Vec<String>,
    /// Counted from 1.
    pub line: usize,
    depth: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let tokens = if path.ends_with(".rs") {
            tokens(&code(text))
        } else {
            Vec::new()
        };
        Source {
            path: path.into(),
            text: text.into(),
            tokens,
        }
    }

    /// The room it belongs to, if it stands in `src`.
    pub fn room(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        Some(
            inside
                .split('/')
                .next()
                .unwrap_or(inside)
                .trim_end_matches(".rs"),
        )
    }

    /// How many modules lie between the root of the crate and this file.
    fn depth(&self) -> usize {
        match self.path.as_str() {
            "src/lib.rs" | "src/main.rs" => 0,
            path => path.trim_end_matches("/mod.rs").matches('/').count(),
        }
    }

    /// Every path named here, with `super` written out as `crate` where it is the root.
    pub fn named(&self) -> Vec<Named> {
        let mut all = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            at = path(&self.tokens, at, &[], &mut all);
        }
        for name in &mut all {
            let supers = name
                .parts
                .iter()
                .take_while(|part| *part == "super")
                .count();
            if supers > 0 && supers == self.depth() + name.depth {
                name.parts.splice(..supers, ["crate".to_string()]);
            }
        }
        all
    }

    /// Every function here that has a body.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let mut found = Vec::new();
        for (at, pair) in self.tokens.windows(2).enumerate() {
            if pair[0].word == "fn" && is_word(&pair[1].word) {
                let (name, line) = (pair[1].word.as_str(), pair[0].line);
                let last = body_end(&self.tokens[at + 2..]);
                found.extend(last.map(|last| Function {
                    name,
                    line,
                    lines: last + 1 - line,
                }));
            }
        }
        found
    }

    /// The names that items and `let` give, each with its line.
    pub fn declared(&self) -> Vec<(&str, usize)> {
        let declare = "fn struct enum trait mod type const static let";
        let mut found = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            if declare.split(' ').any(|word| word == token.word) {
                let mut next = self.tokens[at + 1..]
                    .iter()
                    .filter(|token| token.word != "mut");
                let name = next.next().filter(|name| is_word(&name.word));
                found.extend(name.map(|name| (name.word.as_str(), name.line)));
            }
        }
        found
    }

    /// The rooms named here, each with the line.
    pub fn rooms(&self) -> Vec<(String, usize)> {
        let root = |name: &Named| matches!(name.parts[0].as_str(), "crate" | "lighthouse");
        let room = |name: Named| (name.parts[1].clone(), name.line);
        let named = self.named().into_iter();
        named
            .filter(|name| root(name) && name.parts.len() > 1)
            .map(room)
            .collect()
    }
}

/// Reads one path that starts at `at` into `all`; gives the place behind it.
fn path(tokens: &[Token], mut at: usize, prefix: &[String], all: &mut Vec<Named>) -> usize {
    let word = |at: usize| tokens.get(at).map_or("", |token| token.word.as_str());
    let (line, depth) = (tokens[at].line, tokens[at].depth);
    let mut parts = prefix.to_vec();
    loop {
        if word(at) == "{" && !parts.is_empty() {
            at += 1;
            while at < tokens.len() && word(at) != "}" {
                at = path(tokens, at, &parts, all);
            }
            return at + 1;
        }
        if word(at) == "as" && !prefix.is_empty() {
            return at + 2;
        }
        if !is_word(word(at)) && (word(at) != "*" || parts.is_empty()) {
            break;
        }
        parts.push(word(at).to_string());
        at += 1;
        if word(at) != "::" {
            all.push(Named { parts, line, depth });
            return at;
        }
        at += 1;
    }
    if parts.len() > prefix.len() {
        all.push(Named { parts, line, depth });
        return at;
    }
    at + 1
}

fn is_word(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// The code of a Rust file: comments and literals become blanks, and lines stay where they are.
fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
        let blank = literal(&chars[at..], in_word).min(chars.len() - at);
        for c in &chars[at..at + blank] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at += blank;
        if blank == 0 {
            code.push(chars[at]);
            at += 1;
        }
    }
    code
}

/// How many characters the comment or literal at the beginning of `rest` has; 0 if there is none.
fn literal(rest: &[char], in_word: bool) -> usize {
    let starts = |at: usize, word: &str| {
        word.chars()
            .enumerate()
            .all(|(i, c)| rest.get(at + i) == Some(&c))
    };
    let until = |at: usize, end: &str| {
        (at..rest.len())
            .find(|at| starts(*at, end))
            .unwrap_or(rest.len())
    };
    if starts(0, "//") {
        return until(0, "\n");
    }
    if starts(0, "/*") {
        let (mut at, mut open) = (2, 1);
        while open > 0 && at < rest.len() {
            let step = if starts(at, "/*") {
                1
            } else {
                -i32::from(starts(at, "*/"))
            };
            open += step;
            at += if step == 0 { 1 } else { 2 };
        }
        return at;
    }
    let mark = if in_word {
        0
    } else {
        rest.iter().take_while(|c| "brc".contains(**c)).count()
    };
    let hashes = rest[mark..].iter().take_while(|c| **c == '#').count();
    if mark > 0 && rest[..mark].contains(&'r') && starts(mark + hashes, "\"") {
        let end = format!("\"{}", "#".repeat(hashes));
        return until(mark + hashes + 1, &end) + end.len();
    }
    if starts(mark, "\"") {
        let mut at = mark + 1;
        while at < rest.len() && rest[at] != '"' {
            at += if rest[at] == '\\' { 2 } else { 1 };
        }
        return at + 1;
    }
    // A lifetime has no second quote where a character has one.
    match rest.get(mark..mark + 3) {
        Some(['\'', '\\', _]) => until(mark + 3, "'") + 1,
        Some(['\'', _, '\'']) => mark + 3,
        _ => 0,
    }
}

fn tokens(code: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    // For each open brace, whether it opened a module.
    let mut braces: Vec<bool> = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            let size = match first {
                _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            match first {
                '{' => braces.push(tokens.len() > 1 && tokens[tokens.len() - 2].word == "mod"),
                '}' => {
                    braces.pop();
                }
                _ => {}
            }
            let depth = braces.iter().filter(|module| **module).count();
            tokens.push(Token {
                word: rest[..size].into(),
                line: number + 1,
                depth,
            });
            rest = rest[size..].trim_start();
        }
    }
    tokens
}

/// The line on which the body ends whose function's parameters `tokens` begin with, if it has one.
fn body_end(tokens: &[Token]) -> Option<usize> {
    let (mut open, mut body) = (0, false);
    for token in tokens {
        match token.word.as_str() {
            ";" if open == 0 => return None,
            "(" | "[" => open += 1,
            "{" => {
                body |= open == 0;
                open += 1;
            }
            ")" | "]" | "}" => open -= 1,
            _ => {}
        }
        if body && open == 0 {
            return Some(token.line);
        }
    }
    None
}

#[test]
fn the_reader_tells_code_from_literals() {
    let samples = [
        ("a // b\nc", "a c"),
        ("a /* b /* c */ d */ e", "a e"),
        ("f(\"fn \\\" {\", x)", "f( , x)"),
        ("r#\"a\"b\"# br\"\\\" c", "c"),
        ("'a' '\\'' b'{' '\\u{7b}' &'a str", "&'a str"),
        ("r#type for_r \"x\"", "r#type for_r"),
    ];
    for (text, expected) in samples {
        let code = code(text);
        assert_eq!(
            code.split_whitespace().collect::<Vec<_>>().join(" "),
            expected,
            "{text}"
        );
        assert_eq!(code.len(), text.len(), "{text}");
    }
}
