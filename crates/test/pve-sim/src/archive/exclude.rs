//! Which paths `tar` leaves out of an archive: PVE's `exclude-path` patterns with GNU tar's rules.

/// Patterns of `stdexcludes=1`, the default of vzdump.
const STANDARD: [&str; 3] = ["/tmp/?*", "/var/tmp/?*", "/var/run/?*.pid"];

/// A compiled set of patterns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Excludes {
    /// Match the whole guest path.
    anchored: Vec<Vec<char>>,
    /// Match from any path component on.
    floating: Vec<Vec<char>>,
}

impl Excludes {
    /// `patterns` as given for `exclude-path`; `standard` adds the contents of `/tmp` and `/var/tmp`.
    pub(crate) fn new(patterns: &[String], standard: bool) -> Self {
        let mut set = Self::default();
        let standard = STANDARD.iter().filter(|_| standard).map(|s| (*s).to_owned());
        for pattern in standard.chain(patterns.iter().cloned()) {
            let list = if pattern.starts_with('/') { &mut set.anchored } else { &mut set.floating };
            list.push(pattern.chars().collect());
        }
        set.floating.push("lost+found".chars().collect());
        // The guest's /run is a tmpfs, so a real archive never has anything below it.
        set.anchored.push("/run/?*".chars().collect());
        set
    }

    /// Whether the absolute guest path `path` (`/tmp/x`) is left out. Below an excluded directory nothing is asked.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let text: Vec<char> = path.chars().collect();
        if self.anchored.iter().any(|pattern| glob(pattern, &text)) {
            return true;
        }
        let starts = text.iter().enumerate().filter(|(_, c)| **c == '/').map(|(at, _)| at + 1);
        starts.into_iter().any(|at| self.floating.iter().any(|pattern| glob(pattern, &text[at..])))
    }
}

/// Shell wildcards as in `tar --exclude`: `*` and `?` match a slash too.
fn glob(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, from)) => {
                    star = Some((after, from + 1));
                    p = after;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_excludes_drop_contents_but_not_the_directories() {
        let set = Excludes::new(&[], true);
        assert!(set.matches("/tmp/x") && set.matches("/var/tmp/.hidden") && set.matches("/var/run/a.pid"));
        assert!(!set.matches("/tmp") && !set.matches("/var/tmp") && !set.matches("/srv/tmp/x"));
        assert!(!Excludes::new(&[], false).matches("/tmp/x"));
    }

    #[test]
    fn run_and_lost_found_are_always_excluded() {
        let set = Excludes::new(&[], false);
        assert!(set.matches("/run/lock") && set.matches("/data/lost+found"));
        assert!(!set.matches("/run") && !set.matches("/srv/run/x"));
    }

    #[test]
    fn a_pattern_with_a_leading_slash_is_anchored_and_others_match_anywhere() {
        let set = Excludes::new(&["/excl/*".to_owned(), "*.log".to_owned()], false);
        assert!(set.matches("/excl/x") && set.matches("/var/a.log"));
        assert!(!set.matches("/srv/excl/x") && !set.matches("/excl"));
    }
}
