//! The letters of an avatar.

/// One or two letters in upper case: of the first two words of a name, else of the address.
pub(super) fn initials(name: &str, address: &str) -> String {
    let letter = |word: &str| word.chars().find(|c| c.is_alphanumeric());
    let letters: Vec<char> = name.split_whitespace().filter_map(letter).take(2).collect();
    let letters = if letters.is_empty() { letter(address).into_iter().collect() } else { letters };
    letters.into_iter().flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::initials;

    #[test]
    fn initials_of_names_and_addresses() {
        let rows = [
            ("Eva Quispe", "x@y", "EQ"),
            ("  maría   de los Ángeles ", "x@y", "MD"),
            ("Ñusta", "x@y", "Ñ"),
            ("\"Eva\" (Textil)", "x@y", "ET"),
            ("***", "eva@cliente.example", "E"),
            ("", "+51987654321", "5"),
            ("", "", ""),
        ];
        for (name, address, expected) in rows {
            assert_eq!(initials(name, address), expected, "{name} {address}");
        }
    }
}
