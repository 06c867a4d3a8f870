//! Nothing half-done is left in the code as a note to oneself: open work is an issue, a decision is a document.

use super::{Finding, source::Source};

const RULE: &str = "leftover";

/// Words in any text, comments and literals included; put together here so that this file holds none.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const MACROS: [&str; 2] = [concat!("to", "do!"), concat!("unimple", "mented!")];

/// Every leftover of a file.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, text) in source.raw.iter().enumerate() {
        for word in NOTES.iter().filter(|word| has_whole_word(text, word)) {
            findings.push(finding(
                source,
                line,
                format!("`{word}`: do it, or file an issue and say here what is true today"),
            ));
        }
        for word in
            MACROS.iter().filter(|word| source.code.get(line).is_some_and(|code| has_whole_word(code, word)))
        {
            findings.push(finding(
                source,
                line,
                format!("`{word}`: return an error that says what is not supported"),
            ));
        }
    }
    findings
}

fn has_whole_word(text: &str, word: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !is_word(text[..at].chars().next_back()) && !is_word(text[at + word.len()..].chars().next())
    })
}

fn finding(source: &Source, line: usize, text: String) -> Finding {
    Finding { place: format!("{}:{}", source.path, line + 1), rule: RULE, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        check(&Source::parse("crates/app/x/src/a.rs".into(), text)).len()
    }

    #[test]
    fn each_leftover_is_found() {
        assert_eq!(count(&format!("// {}: later\n", NOTES[0])), 1);
        assert_eq!(count(&format!("let x = \"{}\";\n", NOTES[1])), 1);
        assert_eq!(count(&format!("fn f() {{ {}() }}\n", MACROS[0])), 1);
        assert_eq!(count(&format!("fn f() {{ {}(\"x\") }}\n", MACROS[1])), 1);
        assert_eq!(count(&format!("// my{}s\nfn f() {{}}\n", NOTES[0])), 0);
    }
}
