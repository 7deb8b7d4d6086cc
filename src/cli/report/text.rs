//! Text that others chose, on the page: it stays text, and fits into a drawing.

/// Writes text where markup is expected. What could hide in a line or turn its direction is shown by its number.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe
}

/// A name that fits: its middle gives way, because versions stand at the end.
pub(super) fn shortened(name: &str, letters: usize) -> String {
    let count = name.chars().count();
    if count <= letters {
        return name.to_owned();
    }
    let (head, tail) = (letters / 2, letters - letters / 2 - 1);
    name.chars().take(head).chain(['…']).chain(name.chars().skip(count - tail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hostile_becomes_markup_or_hides() {
        assert_eq!(
            escape("<script>alert('x')</script>&\"\u{1b}\u{202e}\u{7}"),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\\u{1b}\\u{202e}\\u{7}"
        );
        assert_eq!(escape("a\tb\nä"), "a\tb\nä");
    }

    #[test]
    fn a_long_name_keeps_its_version() {
        assert_eq!(shortened("short-1.0", 10), "short-1.0");
        assert_eq!(shortened("a-very-long-module-name-12.3", 15), "a-very-…me-12.3");
        assert_eq!(shortened("a-very-long-module-name-12.3", 15).chars().count(), 15);
    }
}
