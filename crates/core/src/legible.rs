//! Text of others for a terminal, a log line or a message.

/// Terminals obey control characters, and the marks that turn the direction of writing: U+FFFD stands for them.
#[must_use]
pub fn printable(char: char) -> char {
    let turns = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if char.is_control() || turns {
        char::REPLACEMENT_CHARACTER
    } else {
        char
    }
}

/// On one line, cut after `limit` characters.
#[must_use]
pub fn legible(text: &str, limit: usize) -> String {
    text.chars().map(printable).take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::legible;

    #[test]
    fn what_a_terminal_obeys_is_replaced_and_the_rest_is_cut() {
        assert_eq!(legible("a\nb\u{1b}[31m\u{202e}c", 99), "a\u{fffd}b\u{fffd}[31m\u{fffd}c");
        assert_eq!(legible("häßlich", 3), "häß");
    }
}
