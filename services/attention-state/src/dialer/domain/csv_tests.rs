//! The CSV of rows, as tables.

use super::*;

fn columns() -> Vec<String> {
    ["1", "nombre"].map(str::to_owned).into()
}

fn good(text: &[u8]) -> Vec<(String, Vec<String>)> {
    let sheet = read(text, &columns()).unwrap();
    assert_eq!(sheet.problems, [], "{}", String::from_utf8_lossy(text));
    sheet.rows.into_iter().map(|row| (row.number.to_string(), row.values)).collect()
}

fn eva() -> Vec<(String, Vec<String>)> {
    vec![("+51987654321".to_owned(), vec!["17".to_owned(), "Eva".to_owned()])]
}

#[test]
fn one_row_in_all_the_ways_spreadsheets_write_it() {
    for text in [
        "number,1,nombre\n+51987654321,17,Eva\n",
        "number,1,nombre\n+51987654321,17,Eva",
        "number,1,nombre\r\n+51987654321,17,Eva\r\n",
        "\u{feff}number,1,nombre\n+51987654321,17,Eva\n",
        "number;1;nombre\n+51987654321;17;Eva\n",
        "nombre,number,1\nEva,+51987654321,17\n",
        " number , 1,nombre \n +51 987 654 321 , 17 , Eva \n",
        "\"number\",\"1\",\"nombre\"\n\"+51987654321\",\"17\",\"Eva\"\n",
        "number,1,nombre\n,,\n\n+51987654321,17,Eva\n,,\n",
    ] {
        assert_eq!(good(text.as_bytes()), eva(), "{text:?}");
    }
}

#[test]
fn quotes_keep_separators_and_a_doubled_quote_is_one() {
    let rows = good(b"number,1,nombre\n+51987654321,\"1,5\",\"Eva \"\"la jefa\"\"\"\n");
    assert_eq!(rows[0].1, ["1,5", "Eva \"la jefa\""]);
}

#[test]
fn a_number_twice_counts_once_and_the_first_row_wins() {
    let text = b"number,1,nombre\n+51987654321,17,Eva\n+51 987 654 321,18,Otra\n+51911111111,1,Otto\n";
    let sheet = read(text, &columns()).unwrap();
    assert_eq!((sheet.rows.len(), sheet.repeated, sheet.bad), (2, 1, 0));
    assert_eq!(sheet.rows[0].values, ["17", "Eva"]);
}

#[test]
fn every_bad_row_is_told_with_line_column_and_reason() {
    let long = "x".repeat(templates::MAX_VALUE + 1);
    let text = [
        "number,1,nombre".as_bytes(),
        b"+51987654321,17,Eva",
        b",17,Eva",
        b"987654321,17,Eva",
        b"+51911111111,,Eva",
        b"+51911111112,17",
        b"+51911111113,17,Eva,mas",
        format!("+51911111114,{long},Eva").as_bytes(),
        // This row takes two lines.
        b"+51911111115,\"17\n18\",Eva",
        b"+51911111116,17,Jos\xe9",
        b"+51911111117,17,\"a     b\"",
        b"+51922222222,17,Otto",
    ]
    .join(&b'\n');
    let sheet = read(&text, &columns()).unwrap();
    let told: Vec<(i32, &str, &str)> =
        sheet.problems.iter().map(|one| (one.line, one.column.as_str(), one.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            (3, "number", "NUMBER_MISSING"),
            (4, "number", "NUMBER_MALFORMED"),
            (5, "1", "VALUE_MISSING"),
            (6, "", "WRONG_NUMBER_OF_COLUMNS"),
            (7, "", "WRONG_NUMBER_OF_COLUMNS"),
            (8, "1", "VALUE_TOO_LONG"),
            (9, "1", "VALUE_MALFORMED"),
            (11, "nombre", "NOT_UTF8"),
            (12, "nombre", "VALUE_MALFORMED"),
        ]
    );
    assert_eq!((sheet.bad, sheet.rows.len()), (9, 2));
    assert!(sheet.problems.iter().all(|one| !one.text.is_empty()));
}

#[test]
fn a_header_that_does_not_fit_refuses_the_whole_text() {
    for (text, why) in [
        ("", "the text is empty; its first line names the columns"),
        (
            "+51987654321,17,Eva\n",
            "line 1: there is no column `+51987654321`; the columns are number, 1, nombre",
        ),
        ("number,1\n", "line 1: the column `nombre` is missing; the columns are number, 1, nombre"),
        ("1,nombre\n", "line 1: the column `number` is missing; the columns are number, 1, nombre"),
        ("number,1,nombre,1\n", "line 1: the column `1` stands there twice"),
        ("number,1,nombre,edad\n", "line 1: there is no column `edad`; the columns are number, 1, nombre"),
    ] {
        let error = read(text.as_bytes(), &columns()).unwrap_err();
        assert_eq!(error.reason(), "INVALID_REQUEST");
        assert_eq!(error.violations()[0].description, why, "{text:?}");
    }
    let error = read(&vec![b'x'; MAX_BYTES + 1], &columns()).unwrap_err();
    assert!(error.violations()[0].description.starts_with("at most"), "{error:?}");
}

#[test]
fn a_flood_of_problems_is_counted_beyond_the_bound() {
    let mut text = b"number\n".to_vec();
    text.extend_from_slice(&b"x\n".repeat(MAX_PROBLEMS + 5));
    let sheet = read(&text, &[]).unwrap();
    assert_eq!((sheet.problems.len(), sheet.bad), (MAX_PROBLEMS, MAX_PROBLEMS + 5));
}

proptest::proptest! {
    /// Whatever bytes come, they are rows, problems or a refusal.
    #[test]
    fn no_text_breaks_the_reader(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let mut text = b"number,1,nombre\n".to_vec();
        text.extend_from_slice(&body);
        if let Ok(sheet) = read(&text, &columns()) {
            proptest::prop_assert!(sheet.rows.iter().all(|row| row.values.len() == 2));
            proptest::prop_assert_eq!(sheet.problems.len(), sheet.bad.min(MAX_PROBLEMS));
        }
    }
}
