//! What somebody may have meant who misspelt a name.

/// The known name that is nearest to a wanted one, if it is near enough to have been meant.
pub fn nearest<'k>(wanted: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let most = near(wanted);
    let candidates = known
        .into_iter()
        // One whose length differs by more is farther away than that as well.
        .filter(|known| known.len().abs_diff(wanted.len()) <= most)
        .map(|known| (distance(wanted, known), known));
    let nearest = candidates.min()?;
    (nearest.0 <= most).then_some(nearest.1)
}

/// The most letters by which a misspelt name may differ from what was meant.
pub fn near(name: &str) -> usize {
    (name.len() / 3).max(2)
}

/// How many letters must be inserted, removed, replaced or swapped with their neighbour to get
/// from one text to the other, upper and lower case being equal (optimal string alignment).
pub fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().map(|c| c.to_ascii_lowercase()).collect();
    let other: Vec<char> = other.chars().map(|c| c.to_ascii_lowercase()).collect();
    let mut rows = [
        vec![0; other.len() + 1],
        vec![0; other.len() + 1],
        (0..=other.len()).collect(),
    ];
    for i in 1..=one.len() {
        rows.rotate_left(1);
        rows[2][0] = i;
        for j in 1..=other.len() {
            let replaced = rows[1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
            let mut least = replaced.min(rows[1][j] + 1).min(rows[2][j - 1] + 1);
            if i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1] {
                least = least.min(rows[0][j - 2] + 1);
            }
            rows[2][j] = least;
        }
    }
    rows[2][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (one, other, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("filesytem", "filesystem", 1),
            ("fielsystem", "filesystem", 1),
            ("rootDirectory", "rootdirectory", 0),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
    }

    #[test]
    fn only_what_is_near_was_meant() {
        let known = ["helloworld", "library/alpine", "v1"];
        for (wanted, expected) in [
            ("hellowrold", Some("helloworld")),
            ("library/alpin", Some("library/alpine")),
            ("v2", Some("v1")),
            ("something-else", None),
        ] {
            assert_eq!(nearest(wanted, known), expected, "{wanted}");
        }
        assert_eq!(nearest("anything", []), None);
    }
}
