//! Emoji in words, for encoders whose vocabulary has none.
//!
//! WordPiece knows a few dozen symbols and reads every other emoji as the unknown token, so that a
//! monkey where a word should be and a heart look the same. Each emoji is therefore read by its
//! name in the Unicode CLDR: `🐒` is `monkey`, `🇲🇽` is `flag mexico`.

use std::borrow::Cow;

use super::emoji::is_pictograph;

/// Skin tones are no emoji of their own, but in hateful messages they are often what is meant.
fn skin_tone(ch: char) -> Option<&'static str> {
    match ch {
        '\u{1F3FB}' | '\u{1F3FC}' => Some("light skin"),
        '\u{1F3FD}' => Some("medium skin"),
        '\u{1F3FE}' | '\u{1F3FF}' => Some("dark skin"),
        _ => None,
    }
}

fn is_flag_letter(ch: char) -> bool {
    matches!(ch, '\u{1F1E6}'..='\u{1F1FF}')
}

/// Variation selectors and joiners, which only shape the emoji beside them.
fn is_shaping(ch: char) -> bool {
    matches!(ch, '\u{200D}' | '\u{FE0E}' | '\u{FE0F}')
}

/// The text with every emoji replaced by the words of its name, set off by blanks; a run of one
/// emoji is named once. Emoji joined to one picture (families, professions) are named one by one.
/// Text without emoji is answered as it is.
pub(super) fn spell_emoji(text: &str) -> Cow<'_, str> {
    let names_something = |ch: char| is_pictograph(ch) || is_flag_letter(ch);
    if text.is_ascii() || !text.chars().any(names_something) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(2 * text.len());
    let mut chars = text.chars().peekable();
    // What was named last, while nothing else came in between.
    let mut last: Option<(char, Option<char>)> = None;
    while let Some(ch) = chars.next() {
        if is_shaping(ch) && last.is_some() {
            continue;
        }
        let second = chars
            .peek()
            .copied()
            .filter(|next| is_flag_letter(ch) && is_flag_letter(*next));
        let name = name(ch, second);
        let Some(name) = name else {
            out.push(ch);
            last = None;
            continue;
        };
        if second.is_some() {
            chars.next();
        }
        if last != Some((ch, second)) {
            push_words(&mut out, name);
        }
        last = Some((ch, second));
    }
    Cow::Owned(out)
}

fn name(ch: char, second: Option<char>) -> Option<&'static str> {
    if !is_pictograph(ch) && second.is_none() {
        return None;
    }
    if let Some(name) = skin_tone(ch) {
        return Some(name);
    }
    let mut buffer = [0; 8];
    let mut len = ch.encode_utf8(&mut buffer).len();
    if let Some(second) = second {
        len += second.encode_utf8(&mut buffer[len..]).len();
    }
    let symbol = str::from_utf8(&buffer[..len]).ok()?;
    emojis::get(symbol).map(emojis::Emoji::name)
}

/// Words only: `flag: Mexico` is `flag Mexico`.
fn push_words(out: &mut String, name: &str) {
    out.push(' ');
    out.extend(
        name.chars()
            .filter(|ch| !matches!(ch, ':' | '“' | '”' | '"')),
    );
    out.push(' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        let spelled = spell_emoji(text);
        spelled.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn emoji_are_named() {
        assert_eq!(words("you 🐒"), "you monkey");
        assert_eq!(words("I ❤️ you"), "I red heart you");
        assert_eq!(words("I ❤ you"), "I red heart you");
        assert_eq!(words("🇲🇽 go home"), "flag Mexico go home");
        assert_eq!(words("👍🏿"), "thumbs up dark skin");
        assert_eq!(words("👩‍🦽"), "woman manual wheelchair");
        assert_eq!(words("🏳️‍🌈"), "white flag rainbow");
    }

    #[test]
    fn a_run_of_one_emoji_is_named_once() {
        assert_eq!(words("gg 🔥🔥🔥🔥 wp 🔥"), "gg fire wp fire");
        assert_eq!(words("❤️❤️❤️"), "red heart");
        assert_eq!(words("🔥💀🔥"), "fire skull fire");
    }

    #[test]
    fn what_is_no_emoji_stays() {
        for text in [
            "",
            "plain",
            "naïve — café",
            "a → b ★",
            "привет",
            "🇽",
            "日本",
        ] {
            assert_eq!(spell_emoji(text), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_grows_by_a_bounded_factor(text: String) {
            assert!(spell_emoji(&text).len() <= 32 * text.len());
        }
    }
}
