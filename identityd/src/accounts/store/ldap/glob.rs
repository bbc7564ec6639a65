//! Patterns of a shell, for lists that are chosen here and not by the server.

/// Whether a name matches: `*`, `?`, `[a-c]`, `[!a-c]` or `[^a-c]`. A bracket that does not close is itself.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut reached) = (0, 0);
    // Where to go on after the last star: it takes one more character each time.
    let mut star: Option<(usize, usize)> = None;
    while reached < name.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at + 1, reached));
                at += 1;
                continue;
            }
            Some(_) => {
                if let Some(next) = one(&pattern, at, name[reached]) {
                    (at, reached) = (next, reached + 1);
                    continue;
                }
            }
            None => {}
        }
        let Some((after, from)) = star else { return false };
        star = Some((after, from + 1));
        (at, reached) = (after, from + 1);
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

/// What of the pattern follows if its next sign takes this character.
fn one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match pattern[at] {
        '?' => Some(at + 1),
        '[' => {
            let negated = matches!(pattern.get(at + 1), Some('!' | '^'));
            let from = at + 1 + usize::from(negated);
            // The first sign of a set may be the closing bracket itself.
            let close = (from + 1..pattern.len()).find(|place| pattern[*place] == ']');
            let Some(close) = close else { return (character == '[').then_some(at + 1) };
            (set(&pattern[from..close], character) != negated).then_some(close + 1)
        }
        sign => (sign == character).then_some(at + 1),
    }
}

fn set(signs: &[char], character: char) -> bool {
    let mut at = 0;
    while at < signs.len() {
        match signs.get(at + 1..at + 3) {
            Some(['-', last]) => {
                if (signs[at]..=*last).contains(&character) {
                    return true;
                }
                at += 3;
            }
            _ => {
                if signs[at] == character {
                    return true;
                }
                at += 1;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_take_what_a_shell_takes() {
        for (pattern, name) in [
            ("ana*", "ana"),
            ("ana*", "ana.b"),
            ("*a*b*", "xaxxb"),
            ("?na", "ana"),
            ("[a-c]na", "bna"),
            ("[!a-c]na", "dna"),
            ("[^a-c]na", "dna"),
            ("a[", "a["),
            ("*", ""),
            ("[]]", "]"),
            ("a*a*a", "aaaaa"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("ana", "anab"), ("ana?", "ana"), ("[a-c]", "d"), ("", "a"), ("*b", "ba"), ("a.b", "axb")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    proptest! {
        #[test]
        fn any_pattern_is_judged(pattern: String, name: String) {
            let _ = matches(&pattern, &name);
            prop_assert!(matches("*", &name));
        }
    }
}
