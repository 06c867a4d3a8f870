//! The command lines that Proxmox VE would have run; they stand in its error texts (rec 483; 2/867, 872, 881). Pure.

use crate::work::compress::Compressor;

/// Patterns of `stdexcludes`.
const STANDARD: [&str; 3] = ["/tmp/?*", "/var/tmp/?*", "/var/run/?*.pid"];

/// As `String::ShellQuote` quotes an argument.
pub(crate) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_!%+,-./:@^".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// What the commands are made of.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    /// The temporary directory.
    pub(super) tmp: String,
    /// The file that is written.
    pub(super) out: String,
    /// Whether user ids are shifted.
    pub(super) unprivileged: bool,
    /// Patterns to leave out.
    pub(super) exclude_path: &'a [String],
    /// And the standard ones.
    pub(super) stdexcludes: bool,
    /// Compression.
    pub(super) compressor: Compressor,
    /// KiB a second; 0 is no limit.
    pub(super) bwlimit: u64,
}

impl Parts<'_> {
    fn patterns(&self) -> Vec<String> {
        let standard = STANDARD.iter().filter(|_| self.stdexcludes).map(|s| (*s).to_owned());
        self.exclude_path.iter().cloned().chain(standard).collect()
    }

    /// The pipeline of tar; `mounts` are the mount paths, none for the copy of suspend mode.
    pub(super) fn tar(&self, mounts: &[&str]) -> String {
        let mut words: Vec<String> = Vec::new();
        if self.unprivileged {
            let shift = ["lxc-usernsexec", "-m", "u:0:100000:65536", "-m", "g:0:100000:65536", "--"];
            words.extend(shift.map(str::to_owned));
        }
        let fixed = [
            "tar",
            "cpf",
            "-",
            "--totals",
            "--one-file-system",
            "-p",
            "--sparse",
            "--numeric-owner",
            "--acls",
            "--xattrs",
            "--xattrs-include=user.*",
            "--xattrs-include=security.capability",
            "--warning=no-file-ignored",
            "--warning=no-xattr-write",
            "--one-file-system",
            "--warning=no-file-ignored",
        ];
        words.extend(fixed.map(str::to_owned));
        words.push(format!("--directory={}", self.tmp));
        words.extend(["./etc/vzdump/pct.conf", "./etc/vzdump/pct.fw"].map(str::to_owned));
        let root = if mounts.is_empty() { self.tmp.as_str() } else { "/mnt/vzsnap0" };
        words.push(format!("--directory={root}"));
        let (anchored, floating): (Vec<String>, Vec<String>) =
            self.patterns().into_iter().partition(|p| p.starts_with('/'));
        words.push("--no-anchored".into());
        words.extend(self.unprivileged.then(|| "--exclude=lost+found".to_owned()));
        words.extend(floating.iter().map(|p| format!("--exclude={p}")));
        words.push("--anchored".into());
        words.extend(anchored.iter().map(|p| format!("--exclude=.{p}")));
        if mounts.is_empty() {
            words.push(".".into());
        }
        words.extend(mounts.iter().map(|m| format!(".{m}")));
        let join = |words: &[String]| words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ");
        let mut text = format!("set -o pipefail && {}", join(&words));
        if self.bwlimit > 0 {
            text.push_str(&format!(" | cstream -t {}", self.bwlimit * 1024));
        }
        let compress = self.compressor.command();
        if !compress.is_empty() {
            text.push_str(&format!(" | {}", join(&compress)));
        }
        text.push_str(&format!(" >{}", quote(&self.out)));
        text
    }

    /// One pass of rsync.
    pub(super) fn rsync(&self, pid: u32, mounts: &[&str], excluded: &[String]) -> String {
        let fixed = "rsync --stats -h -X -A --numeric-ids -aH --delete --no-whole-file --sparse --one-file-system --relative";
        let mut words: Vec<String> = fixed.split(' ').map(str::to_owned).collect();
        if self.bwlimit > 0 {
            words.push(format!("--bwlimit={}", self.bwlimit));
        }
        words.extend(self.patterns().iter().chain(excluded).map(|p| format!("--exclude={p}")));
        words.extend(mounts.iter().map(|m| format!("/proc/{pid}/root//.{m}")));
        words.push(self.tmp.clone());
        words.iter().map(|w| quote(w)).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts<'a>(exclude_path: &'a [String], compressor: Compressor) -> Parts<'a> {
        Parts {
            tmp: "/d/x.tmp".into(),
            out: "/d/x.tar.dat".into(),
            unprivileged: true,
            exclude_path,
            stdexcludes: true,
            compressor,
            bwlimit: 0,
        }
    }

    const HEAD: &str = "set -o pipefail && lxc-usernsexec -m u:0:100000:65536 -m g:0:100000:65536 -- tar cpf - --totals \
        --one-file-system -p --sparse --numeric-owner --acls --xattrs '--xattrs-include=user.*' \
        '--xattrs-include=security.capability' '--warning=no-file-ignored' '--warning=no-xattr-write' --one-file-system \
        '--warning=no-file-ignored' '--directory=/d/x.tmp' ./etc/vzdump/pct.conf ./etc/vzdump/pct.fw ";
    const TAIL: &str = "--no-anchored '--exclude=lost+found' --anchored '--exclude=./tmp/?*' '--exclude=./var/tmp/?*' \
        '--exclude=./var/run/?*.pid' ";

    /// rec 483, 2/867: as the error texts have them.
    #[test]
    fn the_pipelines_are_proxmoxs() {
        assert_eq!(
            parts(&[], Compressor::Gzip).tar(&[]),
            format!("{HEAD}'--directory=/d/x.tmp' {TAIL}. | gzip --rsyncable >/d/x.tar.dat")
        );
        assert_eq!(
            parts(&[], Compressor::Zstd { threads: 1 }).tar(&["/", "/data"]),
            format!("{HEAD}'--directory=/mnt/vzsnap0' {TAIL}./ ./data | zstd '--threads=1' >/d/x.tar.dat")
        );
        let text =
            Parts { bwlimit: 8000, ..parts(&["*.log".into(), "/a".into()], Compressor::None) }.tar(&["/"]);
        assert!(
            text.contains("'--exclude=lost+found' '--exclude=*.log' --anchored '--exclude=./a'"),
            "{text}"
        );
        assert!(text.ends_with("./ | cstream -t 8192000 >/d/x.tar.dat"), "{text}");
    }

    /// 2/881.
    #[test]
    fn a_pass_of_rsync() {
        let text = parts(&[], Compressor::None).rsync(10511, &["/", "/data"], &["/scratch".into()]);
        let expected = "rsync --stats -h -X -A --numeric-ids -aH --delete --no-whole-file --sparse --one-file-system \
            --relative '--exclude=/tmp/?*' '--exclude=/var/tmp/?*' '--exclude=/var/run/?*.pid' '--exclude=/scratch' \
            /proc/10511/root//./ /proc/10511/root//./data /d/x.tmp";
        assert_eq!(text, expected);
        assert_eq!(
            (quote("it's"), quote("101,102"), quote("")),
            ("'it'\\''s'".into(), "101,102".into(), "''".into())
        );
    }
}
