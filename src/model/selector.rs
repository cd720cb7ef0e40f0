//! How people name services: by pattern, and with slips of the pen.

/// Longer words are nobody's name, and comparing costs the product of the lengths.
const LONGEST: usize = 128;
/// As many are worth proposing.
const MOST: usize = 3;

/// Whether `name` fits `pattern`, in which `*` stands for any text and `?` for one character.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut place) = (0, 0);
    // Where to try again: behind the last star, one character of the name later.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(character) = name.get(place) {
        match pattern.get(at) {
            Some('*') => {
                retry = Some((at + 1, place));
                at += 1;
            }
            Some(wanted) if *wanted == '?' || wanted == character => {
                at += 1;
                place += 1;
            }
            Some(_) | None => {
                let Some((behind, start)) = retry else { return false };
                retry = Some((behind, start + 1));
                (at, place) = (behind, start + 1);
            }
        }
    }
    pattern.iter().skip(at).all(|rest| *rest == '*')
}

/// Up to three of `names` that somebody may have meant by `word`, the nearest first.
pub fn nearest<'n>(word: &str, names: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    if word.len() > LONGEST {
        return vec![];
    }
    let word = word.to_lowercase();
    let slips = (word.chars().count() / 3).clamp(1, 3);
    let begins = |name: &str| word.len() >= 3 && (name.starts_with(&word) || word.starts_with(name));
    let mut near: Vec<(usize, &str)> = names
        .into_iter()
        .map(|name| (name.to_lowercase(), name))
        .map(|(folded, name)| (strsim::damerau_levenshtein(&word, &folded), folded, name))
        .filter(|(distance, folded, _)| *distance <= slips || begins(folded))
        .map(|(distance, _, name)| (distance, name))
        .collect();
    near.sort_unstable();
    near.into_iter().take(MOST).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text_and_a_question_mark_for_one_character() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("**b", "ab", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a?", "a", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn slips_of_the_pen_and_beginnings_find_their_names() {
        let names = ["web", "web-admin", "db"];
        for (word, expected) in [
            ("wbe", vec!["web"]),
            ("WEB", vec!["web", "web-admin"]),
            ("web-amdin", vec!["web-admin", "web"]),
            ("nothing", vec![]),
            ("", vec![]),
            (&"web".repeat(100), vec![]),
        ] {
            assert_eq!(nearest(word, names), expected, "{word}");
        }
    }
}
