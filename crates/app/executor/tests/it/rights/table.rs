//! The generated tables of `docs/operator/rights.md`, between `<!-- NAME: begin … -->` and `<!-- NAME: end -->`.

use std::fs;
use std::path::PathBuf;

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../docs/operator/rights.md")
}

fn writing() -> bool {
    std::env::var_os("FELHOM_WRITE_RIGHTS").is_some()
}

/// Text in front of a table's rows, its rows, and the text after them.
fn parts(text: &str, name: &str) -> (String, Vec<String>, String) {
    let begin = text.find(&format!("<!-- {name}: begin")).unwrap_or_else(|| panic!("no begin of {name}"));
    let end = text.find(&format!("<!-- {name}: end")).unwrap_or_else(|| panic!("no end of {name}"));
    let table = &text[begin..end];
    // The marker, the head and the line under it.
    let rows_at = table.match_indices('\n').map(|(at, _)| at + 1).nth(2).unwrap_or(table.len());
    let rows = table[rows_at..].lines().map(str::to_owned).collect();
    (text[..begin + rows_at].to_owned(), rows, text[end..].to_owned())
}

/// The first two cells name a row.
fn key(row: &str) -> String {
    row.split('|').take(3).collect::<Vec<_>>().join("|")
}

/// Holds these rows against the document's. With `FELHOM_WRITE_RIGHTS=1` they are written instead.
pub(super) fn compare(name: &str, rows: &[String]) {
    if writing() {
        return write(name, rows);
    }
    let text = fs::read_to_string(document()).unwrap();
    let (_, there, _) = parts(&text, name);
    for row in rows {
        let written = there.iter().find(|other| key(other) == key(row));
        assert_eq!(
            written,
            Some(row),
            "docs/operator/rights.md differs; FELHOM_WRITE_RIGHTS=1 cargo nextest run -p felhom-executor -E \
             'test(rights::)' writes what is measured"
        );
    }
}

/// Holds a whole table against the document's. With `FELHOM_WRITE_RIGHTS=1` it is written instead.
pub(super) fn whole(name: &str, rows: Vec<String>) {
    if writing() {
        let lock = locked();
        store(name, rows);
        return drop(lock);
    }
    assert_eq!(
        parts(&fs::read_to_string(document()).unwrap(), name).1,
        rows,
        "rows of docs/operator/rights.md"
    );
}

/// Several tests write their own rows at once.
fn locked() -> fs::File {
    let lock = fs::File::open(document()).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    lock
}

/// The document has rows for these names and no others.
pub(super) fn names(name: &str, keys: &[String]) {
    if writing() {
        let _lock = locked();
        let text = fs::read_to_string(document()).unwrap();
        let (_, rows, _) = parts(&text, name);
        return store(name, rows.into_iter().filter(|row| keys.contains(&key(row))).collect());
    }
    let text = fs::read_to_string(document()).unwrap();
    let mut there: Vec<String> = parts(&text, name).1.iter().map(|row| key(row)).collect();
    let mut wanted = keys.to_vec();
    there.sort();
    wanted.sort();
    assert_eq!(there, wanted, "rows of docs/operator/rights.md");
}

fn write(name: &str, rows: &[String]) {
    let _lock = locked();
    let (_, mut all, _) = parts(&fs::read_to_string(document()).unwrap(), name);
    all.retain(|other| !rows.iter().any(|row| key(row) == key(other)));
    all.extend(rows.iter().cloned());
    all.sort();
    store(name, all);
}

fn store(name: &str, rows: Vec<String>) {
    let text = fs::read_to_string(document()).unwrap();
    let (before, _, after) = parts(&text, name);
    let rows: String = rows.into_iter().map(|row| row + "\n").collect();
    fs::write(document(), format!("{before}{rows}{after}")).unwrap();
}

/// The key of a row with these two cells.
pub(super) fn key_of(first: &str, second: &str) -> String {
    key(&format!("| {first} | {second} |"))
}
