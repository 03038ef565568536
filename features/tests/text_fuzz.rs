//! The fuzz target's body over a fixed corpus and mutations of it, on a stable compiler.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../fuzz/bodies/text.rs"]
mod body;

/// Texts that touch every branch of the normaliser and some that once broke others'.
const CORPUS: [&str; 28] = [
    "",
    " ",
    "gg wp",
    "you are an 1d10t and a l0000ser",
    "i.d.i.o.t i d i o t i-d-i-o-t i/d/i/o/t",
    "$50 50$ 1v1 192.168.0.1 v1.2.3 10:30 40.7128,-74.0060",
    "https://t.co/a1b2c3 www.ex4mple.org/p4ge t3st@example.org",
    "@n00bslayer #FF5733 0xdeadb33f 550e8400-e29b-41d4-a716-446655440000",
    "id🔥iot i🔥d🔥i🔥o🔥t 👨‍👩‍👧 🇬🇧🇬 👍🏽 ❤️ 1️⃣",
    "і\u{200B}d\u{200B}іоt \u{202E}toidi\u{202C} \u{E0020}\u{E007F}",
    "Z̸̢͍̞͉̹̪͕͉̄͂́a̴̡̛̱̩̼͕͌l̶͎̠̽g̷͓̰͋o̶͖̓",
    "ﷺ ﷻ ™ № ℡ … ⅷ ﬃ ㎯ ㍿",
    "ｉｄｉｏｔ ⓘⓓⓘⓞⓣ 🅸🅳🅸🅾🆃 𝓲𝓭𝓲𝓸𝓽 ɪᴅɪᴏᴛ",
    "привет, как дела сор и рот",
    "山口さん こんにちは 안녕 하세요 각 नमस्ते",
    "مرحبا \u{200F}بك\u{200E} عليكم",
    "a\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "|_| |\\| /\\/\\ () \\/\\/ |2 †h∂† ¥ø& ß¢",
    "f*ck sh!t @$$ b!+ch w#at",
    "and/or 9-5 k/d/a 3/2/1 don't o'clock",
    "\u{0}\u{1}\u{7F}\u{85}\u{AD}\u{FEFF}\u{FFFD}",
    "ǅ ŉ İ ı ſ ẞ ß Σς",
    "s01e05 rtx3080ti i5-10400 a4:5e:60:11:22:33 2001:db8::1",
    "!!!!!!!! ???? ...... ,,,, ''''' ****",
    "\u{1F1E6}\u{1F1E6}\u{1F1E6} \u{1F3FB} \u{200D}\u{200D} \u{FE0F}",
    "WHY ARE YOU SHOUTING at me\n\n\t\r\n in lines",
    "x\u{2060}\u{34F}\u{180E}y \u{3164}\u{FFA0}z",
];

/// Numbers that look random and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n.max(1)
    }
}

#[test]
fn what_must_hold_for_any_text_holds_for_the_corpus() {
    for text in CORPUS {
        body::check(text);
    }
    body::check(&CORPUS.join(" "));
    body::check(&CORPUS.join("").repeat(3));
    body::check(&"i.".repeat(3_000));
    body::check(&"1a".repeat(3_000));
    body::check(&"🔥a".repeat(3_000));
}

#[test]
fn and_for_thousands_of_mutations_of_it() {
    let mut numbers = Numbers(0x5EED_CAFE);
    let all: Vec<Vec<char>> = CORPUS.iter().map(|text| text.chars().collect()).collect();
    for _ in 0..4_000 {
        let mut text = all[numbers.below(all.len())].clone();
        for _ in 0..=numbers.below(6) {
            let at = numbers.below(text.len() + 1);
            let other = &all[numbers.below(all.len())];
            match numbers.below(5) {
                0 if at < text.len() => {
                    text.remove(at);
                }
                1 if at < text.len() => text.insert(at, text[at]),
                2 => {
                    let code = numbers.below(0x11_0000) as u32;
                    text.insert(at, char::from_u32(code).unwrap_or('\u{FFFD}'));
                }
                3 if !other.is_empty() => {
                    let from = numbers.below(other.len());
                    let to = (from + 1 + numbers.below(8)).min(other.len());
                    text.splice(at..at, other[from..to].iter().copied());
                }
                _ if !other.is_empty() => text.insert(at, other[numbers.below(other.len())]),
                _ => {}
            }
        }
        body::check(&text.iter().collect::<String>());
    }
}

#[test]
fn and_for_the_sample_of_chat() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../datasets/samples/chat.jsonl"
    );
    let sample = std::fs::read_to_string(path).expect("the sample ships");
    for line in sample.lines() {
        body::check(line);
    }
}
