//! CSV as RFC 4180 has it: lines end with CRLF, every cell that needs it is quoted, quotes are doubled.
//!
//! A cell that a spreadsheet would take for a formula (it begins with `=`, `+`, `-` or `@`, or with a tab or carriage
//! return that hides one) gets an apostrophe in front, so that opening an export runs nothing (OWASP, CSV injection).

/// One line.
pub fn row<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let mut line = String::new();
    for (place, text) in cells.into_iter().enumerate() {
        if place > 0 {
            line.push(',');
        }
        cell(&mut line, text);
    }
    line.push_str("\r\n");
    line
}

/// True for what a spreadsheet evaluates, also behind blanks, which some of them skip.
fn is_formula(text: &str) -> bool {
    text.starts_with(['\t', '\r', '\n'])
        || text.trim_start().starts_with(['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'])
}

fn cell(line: &mut String, text: &str) {
    let formula = is_formula(text);
    let quoted = text.contains(['"', ',', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ');
    if quoted {
        line.push('"');
    }
    if formula {
        line.push('\'');
    }
    if quoted {
        line.push_str(&text.replace('"', "\"\""));
        line.push('"');
    } else {
        line.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_when_they_must_be() {
        assert_eq!(row(["a", "", "b c"]), "a,,b c\r\n");
        assert_eq!(row(["a,b", "dice \"sí\"", "uno\ndos"]), "\"a,b\",\"dice \"\"sí\"\"\",\"uno\ndos\"\r\n");
    }

    #[test]
    fn nothing_becomes_a_formula() {
        for hostile in
            ["=1+1", "+51 999", "-2", "@SUM(A1)", "\t=1", "\r=1", "  =cmd|' /C calc'!A0", "\u{ff1d}1+1"]
        {
            let line = row([hostile]);
            let text = line.trim_start_matches('"');
            assert!(text.starts_with('\''), "{hostile:?} became {line:?}");
        }
        assert_eq!(row(["=\"a\",b"]), "\"'=\"\"a\"\",b\"\r\n");
        assert_eq!(row(["5-3", "a=b", "ana@ejemplo.pe"]), "5-3,a=b,ana@ejemplo.pe\r\n");
    }

    proptest::proptest! {
        #[test]
        fn a_reader_gets_the_cells_back(cells in proptest::collection::vec("\\PC*|[a-c\",\r\n =]*", 1..5)) {
            let line = row(cells.iter().map(String::as_str));
            let expected: Vec<String> = cells.iter().map(|cell| if is_formula(cell) { format!("'{cell}") } else { cell.clone() }).collect();
            proptest::prop_assert_eq!(read(&line), expected);
        }
    }

    /// A reader by the grammar of RFC 4180.
    fn read(line: &str) -> Vec<String> {
        let (mut cells, mut cell, mut inside) = (Vec::new(), String::new(), false);
        let text = line.strip_suffix("\r\n").expect("a line ends with CRLF");
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '"' if inside && rest.peek() == Some(&'"') => cell.extend(rest.next()),
                '"' => inside = !inside,
                ',' if !inside => cells.push(std::mem::take(&mut cell)),
                other => cell.push(other),
            }
        }
        cells.push(cell);
        cells
    }
}
