//! Manual pages.

use std::fs;
use std::process::Command;

fn felhom(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_felhom")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a command's help lists.
fn listed(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  "));
    let names =
        lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn each_command_has_a_page_with_its_example() {
    let dir = tempfile::tempdir().unwrap();
    let man = dir.path().join("man1");
    felhom(&["man", man.to_str().unwrap()]);
    felhom(&["man", man.to_str().unwrap()]);
    let (mut open, mut seen) = (vec![Vec::<String>::new()], 0);
    while let Some(path) = open.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = felhom(&arguments);
        let name = std::iter::once("felhom").chain(path.iter().map(String::as_str)).collect::<Vec<_>>();
        let page = man.join(format!("{}.1", name.join("-")));
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        let example = help.lines().skip_while(|line| !line.starts_with("Example")).nth(1);
        let words = |text: &str| text.replace('\\', "").split_whitespace().collect::<Vec<_>>().join(" ");
        if let Some(example) = example {
            assert!(words(&text).contains(&words(example)), "{}: {example}", page.display());
        }
        seen += 1;
        open.extend(listed(&help).into_iter().map(|name| [path.clone(), vec![name]].concat()));
    }
    assert_eq!(fs::read_dir(&man).unwrap().count(), seen, "pages and commands");
    assert!(seen > 30, "{seen}");
}
