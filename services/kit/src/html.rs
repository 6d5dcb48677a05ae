//! What hostile HTML would cost the parser (html5ever, in ammonia), estimated without parsing it; the bounds are the caller's.

/// Formatting elements of the HTML Living Standard, 13.2.4.3.
const FORMATTING: [&str; 14] =
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"];

/// Nodes the parser would make: every open formatting element is opened again in every following block (HTML Living Standard
/// 13.2.4.3), so n times `<b>` and m times `<p>` cost n × m. An ordinary mail costs some hundred.
pub fn cost(html: &str) -> usize {
    let (mut open, mut total): (usize, usize) = (0, 0);
    for tag in html.split('<').skip(1) {
        let (closing, tag) = tag.strip_prefix('/').map_or((false, tag), |tag| (true, tag));
        let name = tag.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        if name.is_empty() {
            continue;
        }
        if FORMATTING.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            open = if closing { open.saturating_sub(1) } else { open + 1 };
        }
        total = total.saturating_add(1 + open);
    }
    total
}

/// Bytes that writing the HTML out would read: html5ever 0.40 looks from every `&` and every character of U+0080 to U+00BF (`¿`, a
/// no-break space) to the next angle bracket or the end of the text, so n of them in one text of m bytes cost n × m. Only a start
/// tag ends a text for certain.
pub fn scanned(html: &str) -> usize {
    let (mut total, mut run, mut escaped): (usize, usize, usize) = (0, 0, 0);
    for piece in html.split('<') {
        if piece.starts_with(|c: char| c.is_ascii_alphabetic()) {
            total = total.saturating_add(run.saturating_mul(escaped));
            (run, escaped) = (0, 0);
        }
        run += piece.len();
        escaped += piece.bytes().filter(|byte| matches!(byte, b'&' | 0xC2)).count();
    }
    total.saturating_add(run.saturating_mul(escaped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_html_is_cheap_and_bombs_are_quadratic() {
        let mail = "<tr><td>Precio:&nbsp;S/&nbsp;30 &amp; <b>¿más?</b></td></tr>\n".repeat(100);
        assert_eq!(cost(&mail), 100 * (1 + 1 + 2 + 1 + 1 + 1));
        assert!(scanned(&mail) < 100 * mail.len(), "{}", scanned(&mail));
        assert_eq!(cost(&("<b>".repeat(10) + &"<p>".repeat(10))), (2..=11).sum::<usize>() + 10 * 11);
        assert_eq!(scanned(&"&".repeat(1_000)), 1_000_000);
        // An end tag that closes nothing does not end a text.
        assert!(scanned(&"&</x>".repeat(1_000)) > 1_000_000);
    }
}
