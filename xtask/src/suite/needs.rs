//! What a group of tests needs of this machine, and how it gets there: Debian's packages are installed by whoever is root, named
//! before; for others there is the one command that would do it.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::run;

/// Whether something works, and the Debian package without which it does not.
pub(super) type Works = (fn() -> bool, &'static str);

/// What a group needs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    /// Whether its tests do what only root may.
    pub(super) root: bool,
    /// Programs, each with the Debian package that brings it.
    pub(super) programs: &'static [(&'static str, &'static str)],
    /// What a name on the path does not tell, each with the Debian package that brings it.
    pub(super) works: &'static [Works],
    /// Lines that a file of this machine must have.
    pub(super) lines: &'static [(&'static str, &'static str)],
    /// What else is needed: the reason why it is missing, if it is.
    pub(super) more: Option<fn() -> Option<String>>,
}

/// What is missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Missing {
    packages: Vec<&'static str>,
    lines: Vec<(&'static str, &'static str)>,
    root: bool,
    more: Option<String>,
}

impl Needs {
    /// What this machine lacks; nothing is done about it.
    pub(super) fn missing(&self) -> Option<Missing> {
        let lacks = |name: &str| run::find_program(name).is_none() && !sbin(name);
        let mut packages: Vec<_> =
            self.programs.iter().filter(|(name, _)| lacks(name)).map(|(_, package)| *package).collect();
        packages.extend(self.works.iter().filter(|(works, _)| !works()).map(|(_, package)| *package));
        packages.sort_unstable();
        packages.dedup();
        let has = |(file, line): &(&str, &str)| {
            fs::read_to_string(file).is_ok_and(|text| text.lines().any(|known| known == *line))
        };
        let missing = Missing {
            packages,
            lines: self.lines.iter().filter(|wanted| !has(wanted)).copied().collect(),
            root: self.root && !is_root(),
            more: self.more.and_then(|more| more()),
        };
        (missing != Missing::default()).then_some(missing)
    }
}

impl Missing {
    /// Why the group is left out, with the one command that would enable it.
    pub(super) fn reason(&self, group: &str) -> String {
        if let Some(more) = &self.more {
            return more.clone();
        }
        let mut lacks = self.packages.clone();
        lacks.extend(self.lines.iter().map(|(file, _)| *file));
        lacks.extend(self.root.then_some("root"));
        format!("needs {}; `{}` enables it", lacks.join(", "), self.command(group))
    }

    fn command(&self, group: &str) -> String {
        let test = format!("cargo xtask test {group}");
        // As root the group brings its packages itself.
        if !is_root() && (self.root || !self.lines.is_empty()) {
            return format!("sudo -E env \"PATH=$PATH\" {test}");
        }
        if self.packages.is_empty() {
            test
        } else {
            format!("{}apt-get install {}", sudo(), self.packages.join(" "))
        }
    }

    /// Whether whoever runs this can bring what is missing.
    pub(super) fn can_be_brought(&self) -> bool {
        is_root() && !self.root && self.more.is_none() && run::find_program("apt-get").is_some()
    }

    /// Names and brings it.
    ///
    /// # Errors
    /// A package cannot be installed, a file cannot be written.
    pub(super) fn bring(&self) -> Result<()> {
        if !self.packages.is_empty() {
            println!("   installing {}", self.packages.join(" "));
            apt(&["update", "-q"])?;
            apt(&[&["install", "-y", "-q", "--no-install-recommends"], &self.packages[..]].concat())?;
        }
        for (file, line) in &self.lines {
            println!("   adding `{line}` to {file}");
            let mut file = fs::OpenOptions::new().append(true).create(true).open(file).context(*file)?;
            writeln!(file, "{line}")?;
        }
        Ok(())
    }
}

fn apt(arguments: &[&str]) -> Result<()> {
    run::check(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(arguments)
            .stdout(Stdio::null()),
    )
}

fn sudo() -> &'static str {
    if is_root() { "" } else { "sudo " }
}

/// Root's programs are not on everybody's path.
fn sbin(name: &str) -> bool {
    ["/usr/sbin", "/sbin", "/usr/local/sbin"].iter().any(|dir| Path::new(dir).join(name).is_file())
}

/// By the owner of our own process's folder.
pub(super) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        root: false,
        programs: &[("sh", "dash"), ("no-such-program", "its-package"), ("nor-this-one", "its-package")],
        works: &[(|| true, "not-this")],
        lines: &[("/etc/passwd", "no:such:line")],
        more: None,
    };

    #[test]
    fn what_is_missing_is_named_once_with_the_command_that_brings_it() {
        let missing = NEEDS.missing().unwrap();
        assert_eq!((missing.packages.clone(), missing.lines.len()), (vec!["its-package"], 1));
        let reason = missing.reason("lxc");
        assert!(reason.starts_with("needs its-package, /etc/passwd; `"), "{reason}");
        let packages_only = Needs { lines: &[], ..NEEDS }.missing().unwrap().reason("x");
        assert!(packages_only.contains("apt-get install its-package"), "{packages_only}");
    }

    #[test]
    fn what_is_there_is_not_missing_and_what_cannot_be_brought_says_so() {
        assert_eq!(Needs { programs: &[("sh", "dash")], ..Needs::default() }.missing(), None);
        let never = Needs { more: Some(|| Some("no recordings".into())), ..Needs::default() };
        let missing = never.missing().unwrap();
        assert!(!missing.can_be_brought());
        assert_eq!(missing.reason("conformance"), "no recordings");
    }
}
