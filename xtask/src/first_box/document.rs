//! The commands of a document: console blocks with prompts, what each is expected to say, and the few words that a test writes
//! otherwise. Pure.
//!
//! A line that begins with a prompt is a command; a `\` at its end and a here-document go on. Any other line of the block is
//! what the command says, with `…` for what differs.

/// Who types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Root on the hub's server.
    Hub,
    /// The operator.
    Me,
    /// Root on the box.
    Box,
}

const PROMPTS: [(&str, Who); 3] = [("hub# ", Who::Hub), ("me$ ", Who::Me), ("box# ", Who::Box)];

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// Its line in the document.
    pub(super) line: usize,
    pub(super) who: Who,
    /// As it is typed, with its here-document.
    pub(super) text: String,
    /// What it says, among other things.
    pub(super) says: Vec<String>,
}

/// All commands in their order.
pub(super) fn commands(document: &str) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    let mut lines = document.lines().enumerate();
    let mut inside = false;
    while let Some((n, line)) = lines.next() {
        if line.starts_with("```") {
            inside = line == "```console";
            continue;
        }
        if !inside {
            continue;
        }
        let typed = PROMPTS.iter().find_map(|(prompt, who)| Some((*who, line.strip_prefix(prompt)?)));
        match typed {
            Some((who, first)) => {
                let mut text = first.to_owned();
                while let Some(last) = unfinished(&text)
                    && let Some((_, next)) = lines.next()
                {
                    text.push('\n');
                    text.push_str(next);
                    if last.as_deref() == Some(next) {
                        break;
                    }
                }
                found.push(Command { line: n + 1, who, text, says: Vec::new() });
            }
            None => found.last_mut().into_iter().for_each(|command| command.says.push(line.to_owned())),
        }
    }
    found
}

/// Whether more lines belong to it: the end of a here-document, or one more line.
fn unfinished(text: &str) -> Option<Option<String>> {
    if let Some((_, rest)) = text.split_once("<<") {
        let word: String = rest.chars().take_while(|c| !c.is_whitespace()).filter(|c| *c != '\'').collect();
        return Some(Some(word));
    }
    text.ends_with('\\').then_some(None)
}

/// A word of the document that stands for one of an earlier answer.
pub(super) struct Example {
    /// As the document shows it.
    pub(super) shown: &'static str,
    /// How the real one begins.
    pub(super) begins: &'static str,
}

impl Example {
    /// The newest real one among all answers.
    pub(super) fn value<'a>(&self, answers: &'a str) -> Option<&'a str> {
        let words = answers.split_whitespace().rev();
        let tail = self.shown.rsplit_once('…').map_or(0, |(_, tail)| tail.len());
        words.filter(|word| word.starts_with(self.begins)).find(|word| word.len() > self.begins.len() + tail)
    }
}

/// Whether a line of an answer is what the document says, white space aside.
pub(super) fn is_said(expected: &str, answer: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let expected = words(expected);
    answer.lines().map(words).any(|line| holds(&line, &expected))
}

/// The parts between the `…`, one after the other.
fn holds(line: &str, expected: &str) -> bool {
    let mut rest = line;
    for part in expected.split('…') {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# x\n```toml\nbox# no\n```\n```console\nhub# ./install --hub \\\n  --dry-run\ncreated  a\ncreated  b\n\
                        me$ cat > f <<'END'\n[a]\nb = 1\nEND\nbox# true\n```\nbox# neither\n";

    #[test]
    fn commands_are_lines_with_prompts_in_console_blocks() {
        let all = commands(TEXT);
        let shown: Vec<_> = all.iter().map(|c| (c.line, c.who, c.text.as_str(), c.says.len())).collect();
        assert_eq!(
            shown,
            [
                (6, Who::Hub, "./install --hub \\\n  --dry-run", 2),
                (10, Who::Me, "cat > f <<'END'\n[a]\nb = 1\nEND", 0),
                (14, Who::Box, "true", 0),
            ]
        );
    }

    #[test]
    fn what_is_said_is_held_word_by_word_with_gaps() {
        let answer = "Proxmox VE 9\ncreated       user felhom\nenrolled as `a` (01ABC) at https://x\n";
        assert!(is_said("created  user felhom", answer));
        assert!(is_said("enrolled as `a` (…) at https://x", answer));
        assert!(!is_said("created  user other", answer));
        assert!(!is_said("https://x … enrolled", answer));
    }

    #[test]
    fn an_example_stands_for_the_newest_of_its_kind() {
        let example = Example { shown: "sha256:5d5a…ce66", begins: "sha256:" };
        let long = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(example.value(&format!("x sha256:aa {long} (made)")), Some(long.as_str()));
        assert_eq!(example.value("nothing sha256:"), None);
    }
}
