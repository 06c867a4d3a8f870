//! A Rust file, split into code and the rest, without a parser.
//!
//! Steps: a small lexer blanks comments and literals (line breaks stay, so line numbers hold) → items under
//! `#[cfg(test)]` are marked → functions are found by their braces. Good enough for formatted code, which ours is.

/// One file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// As written.
    pub(crate) raw: Vec<String>,
    /// The same lines with comments and literals blanked.
    pub(crate) code: Vec<String>,
    /// For each line: does it belong to an item under `#[cfg(test)]`?
    pub(crate) test: Vec<bool>,
}

/// A function of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name, as written.
    pub(crate) name: String,
    /// Index of the line that holds `fn`.
    pub(crate) first: usize,
    /// Index of the line that holds the closing brace.
    pub(crate) last: usize,
}

impl Source {
    /// Split a file.
    pub(crate) fn parse(path: String, text: &str) -> Self {
        let masked = mask(text);
        let code: Vec<String> = masked.lines().map(str::to_owned).collect();
        let raw: Vec<String> = text.lines().map(str::to_owned).collect();
        let test = test_lines(&masked, raw.len());
        Self { path, raw, code, test }
    }

    /// True for `tests/` and `benches/`, which are not shipped.
    pub(crate) fn is_test_file(&self) -> bool {
        self.path.contains("/tests/") || self.path.contains("/benches/") || self.path.ends_with("/tests.rs")
    }

    /// True if the line is shipped and holds code.
    pub(crate) fn is_production(&self, line: usize) -> bool {
        !self.test[line] && self.code.get(line).is_some_and(|code| !code.trim().is_empty())
    }

    /// Lines that hold shipped code.
    pub(crate) fn production_lines(&self) -> usize {
        (0..self.raw.len()).filter(|line| self.is_production(*line)).count()
    }

    /// Functions outside tests, also nested ones.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let text = self.code.join("\n");
        let bytes = text.as_bytes();
        let mut found = Vec::new();
        for (at, _) in text.match_indices("fn ") {
            let starts_word = at == 0 || !is_word(bytes[at - 1]);
            let name: String =
                text[at + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !starts_word || name.is_empty() {
                continue;
            }
            let Some(end) = item_end(bytes, at) else { continue };
            let first = line_of(bytes, at);
            if !self.test.get(first).copied().unwrap_or(false) {
                found.push(Function { name, first, last: line_of(bytes, end) });
            }
        }
        found
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// Where the item that starts at `from` ends: its `;`, or the brace that closes its body.
fn item_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut braces = 0_usize;
    let mut other = 0_usize;
    for (at, byte) in bytes.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => other += 1,
            b')' | b']' => other = other.saturating_sub(1),
            b'{' => braces += 1,
            b'}' => {
                braces = braces.saturating_sub(1);
                if braces == 0 && other == 0 {
                    return Some(at);
                }
            }
            b';' if braces == 0 && other == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

fn test_lines(masked: &str, lines: usize) -> Vec<bool> {
    let bytes = masked.as_bytes();
    let mut test = vec![false; lines];
    for (at, attribute) in masked.match_indices("#[cfg(test)]") {
        let end = item_end(bytes, skip_attributes(bytes, at + attribute.len()))
            .unwrap_or(bytes.len().saturating_sub(1));
        for line in line_of(bytes, at)..=line_of(bytes, end) {
            if let Some(mark) = test.get_mut(line) {
                *mark = true;
            }
        }
    }
    test
}

/// Past white space and further `#[…]`, to the item itself.
fn skip_attributes(bytes: &[u8], mut at: usize) -> usize {
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        if bytes.get(at) != Some(&b'#') {
            return at;
        }
        let mut depth = 0_usize;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'[' => depth += 1,
                b']' if depth == 1 => break,
                b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
}

/// The text with comments and literals turned into spaces.
fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            // A literal is code: a line that holds nothing else is not blank.
            if chars[at] != '/' {
                out.pop();
                out.push(if chars[end - 1] == '\n' { '\n' } else { '"' });
            }
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// The end of the comment or literal that starts here, or `at` if none does.
fn literal_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let after_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next == Some('/') => (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len()),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'r' if !after_word => raw_string_end(chars, at + 1).unwrap_or(at),
        'b' if !after_word && next == Some('r') => raw_string_end(chars, at + 2).unwrap_or(at),
        '\'' => char_end(chars, at),
        _ => at,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => {
                depth += 1;
                i += 2;
            }
            ('*', '/') => {
                depth -= 1;
                i += 2;
                if depth == 0 {
                    return i;
                }
            }
            _ => i += 1,
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            '"' => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

fn raw_string_end(chars: &[char], mut i: usize) -> Option<usize> {
    let first = i;
    while chars.get(i) == Some(&'#') {
        i += 1;
    }
    let hashes = i - first;
    if chars.get(i) != Some(&'"') {
        return None;
    }
    i += 1;
    while i < chars.len() {
        if chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#')) {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

/// A character literal, not a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => (at + 3..chars.len()).find(|i| chars[*i] == '\'').map_or(at, |i| i + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source::parse("crates/pure/x/src/lib.rs".into(), text)
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        let s = source(
            "let a = \"std::fs\"; // std::net\n/* std::env\n /* nested */ */ let b = r#\"x\"y\"#;\nlet c = '\"'; let d: &'a str = b;\n",
        );
        let code = s.code.join("\n");
        assert!(!code.contains("std::"), "{code}");
        assert!(code.contains("let b") && code.contains("let d: &'a str = b;"), "{code}");
    }

    #[test]
    fn only_code_outside_tests_counts() {
        let s = source(
            "//! Doc.\n\nfn a() {\n    // why\n    b();\n}\n\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n    fn t() {\n    }\n}\nconst X: &str = \"\n\";\n",
        );
        assert_eq!(s.production_lines(), 5, "{:?}", s.code);
        assert_eq!(s.functions(), vec![Function { name: "a".into(), first: 2, last: 5 }]);
    }

    #[test]
    fn functions_end_at_their_own_brace() {
        let s = source(
            "trait T {\n    fn declared(&self, x: [u8; 3]) -> u8;\n}\nfn f<F>(f: F) -> [u8; 2]\nwhere\n    F: Fn(u8),\n{\n    if x {\n    }\n}\nfn g() {}\n",
        );
        let names: Vec<_> = s.functions().into_iter().map(|f| (f.name, f.first, f.last)).collect();
        assert_eq!(names, vec![("declared".into(), 1, 1), ("f".into(), 3, 9), ("g".into(), 10, 10)]);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_one_line() {
        let s = source("fn a() {}\n#[cfg(test)]\nmod tests;\nfn b() {}\n");
        assert_eq!(s.test, vec![false, true, true, false]);
    }
}
