//! Crates in `crates/pure` do no I/O, read no clock and draw no random numbers: time, ids and bytes come in as arguments.

use super::{
    Finding,
    deps::{Kind, Layer, Package},
    source::Source,
};

const RULE: &str = "purity";
const FOLDER: &str = "crates/pure/";

/// Word in code → what to do instead.
const BANNED: [(&str, &str); 18] = [
    ("std::fs", "bytes are an argument"),
    ("std::net", "network I/O belongs into an adapter; for addresses use core::net"),
    ("std::process", "processes belong into an adapter"),
    ("std::env", "the environment is read in a program's configuration"),
    ("std::thread", "the caller decides about threads"),
    ("tokio", "pure code is not async"),
    ("rand::", "randomness is an argument"),
    ("getrandom", "randomness is an argument"),
    ("OsRng", "randomness is an argument"),
    ("thread_rng", "randomness is an argument"),
    ("SystemTime::now", "time is an argument"),
    ("Instant::now", "time is an argument"),
    ("Timestamp::now", "time is an argument"),
    ("Zoned::now", "time is an argument"),
    ("Ulid::new", "ids are an argument"),
    ("Uuid::new_v4", "ids are an argument"),
    ("Uuid::now_v7", "ids are an argument"),
    ("println!", "say it in the return value"),
];

/// In a grouped `use std::{…}`, these modules stand alone.
const BANNED_MODULES: [&str; 5] = ["fs", "net", "process", "env", "thread"];

/// Packages whose whole purpose is I/O, clock or randomness.
const BANNED_PACKAGES: [&str; 17] = [
    "tokio",
    "tokio-util",
    "tokio-stream",
    "reqwest",
    "hyper",
    "axum",
    "axum-server",
    "tower-http",
    "rusqlite",
    "sqlx",
    "rustix",
    "getrandom",
    "rand",
    "tempfile",
    "rcgen",
    "rustls",
    "tracing-subscriber",
];

/// Dependencies that would make a pure crate impure.
pub(crate) fn check_dependencies(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| package.layer == Layer::Pure) {
        for dependency in &package.dependencies {
            if dependency.kind != Kind::Dev && BANNED_PACKAGES.contains(&dependency.name.as_str()) {
                let text = format!(
                    "depends on {}; move what needs it into an adapter or a program",
                    dependency.name
                );
                findings.push(Finding { place: package.name.clone(), rule: RULE, text });
            }
        }
    }
    findings
}

/// Words that a pure crate's shipped code must not hold.
pub(crate) fn check_source(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with(FOLDER) || source.is_test_file() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut inside_std = false;
    for line in (0..source.raw.len()).filter(|line| source.is_production(*line)) {
        let code = &source.code[line];
        for (word, instead) in BANNED {
            if has_word(code, word) {
                findings.push(finding(source, line, &format!("`{word}` in a pure crate: {instead}")));
            }
        }
        if code.contains("use std::{") {
            inside_std = true;
        }
        if inside_std {
            let parts =
                code.split(['{', '}', ',', ';', ' ']).map(|part| part.split("::").next().unwrap_or(part));
            for module in parts.filter(|part| BANNED_MODULES.contains(part)) {
                findings.push(finding(
                    source,
                    line,
                    &format!("`std::{module}` in a pure crate: it belongs into an adapter"),
                ));
            }
            inside_std = !code.contains(';');
        }
    }
    findings
}

/// The word, not as the tail of a longer one.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

fn finding(source: &Source, line: usize, text: &str) -> Finding {
    Finding { place: format!("{}:{}", source.path, line + 1), rule: RULE, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::deps::Dependency;

    fn findings(path: &str, text: &str) -> usize {
        check_source(&Source::parse(path.into(), text)).len()
    }

    #[test]
    fn every_banned_word_is_found_in_code_only() {
        for (word, _) in BANNED {
            let line = format!("fn f() {{ {word}(x); }}\n");
            assert!(findings("crates/pure/gate/src/lib.rs", &line) >= 1, "{word}");
            assert_eq!(findings("crates/app/agent/src/lib.rs", &line), 0, "{word}");
            assert_eq!(findings("crates/pure/gate/tests/it/main.rs", &line), 0, "{word}");
            assert_eq!(
                findings(
                    "crates/pure/gate/src/lib.rs",
                    &format!("// {word}\n#[cfg(test)]\nmod t {{ {word} }}\n")
                ),
                0,
                "{word}"
            );
        }
    }

    #[test]
    fn grouped_imports_are_seen() {
        assert_eq!(
            findings(
                "crates/pure/x/src/lib.rs",
                "use std::{\n    collections::BTreeMap,\n    fs::File,\n};\n"
            ),
            1
        );
        assert_eq!(findings("crates/pure/x/src/lib.rs", "use std::{fmt, env};\nstruct A { fs: u8 }\n"), 1);
    }

    #[test]
    fn dependencies_are_judged_by_kind() {
        let with = |kind| {
            let dependencies = vec![Dependency { name: "tokio".into(), kind, ours: false }];
            check_dependencies(&[Package { name: "felhom-gate".into(), layer: Layer::Pure, dependencies }])
                .len()
        };
        assert_eq!((with(Kind::Normal), with(Kind::Build), with(Kind::Dev)), (1, 1, 0));
    }
}
