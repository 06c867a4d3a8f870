//! Texts of others, shown so that they can be nothing but text.

/// A text is cut after so many characters.
const LONGEST: usize = 500;

/// The text with everything that is not seen, or that changes how the rest is seen, written out; cut if it is too long.
pub fn plain(text: &str) -> String {
    let mut plain = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == LONGEST {
            plain.push('…');
            break;
        }
        if hidden(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    plain
}

/// Control characters, other white space than the blank, and characters without a shape or that turn the direction.
fn hidden(c: char) -> bool {
    let shapeless = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    c.is_control() || shapeless || (c.is_whitespace() && c != ' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_written_out() {
        assert_eq!(plain("Kovács család – 2 GB"), "Kovács család – 2 GB");
        assert_eq!(plain("a\nb\u{202e}c\u{1b}[2J\u{200b}\u{85}\u{2028}"), {
            "a\\u{a}b\\u{202e}c\\u{1b}[2J\\u{200b}\\u{85}\\u{2028}"
        });
        assert_eq!(plain(&"x".repeat(600)).chars().count(), 501);
    }
}
