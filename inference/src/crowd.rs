//! What messages say together: raids, flooding, and senders who were acted on before.
//!
//! Each channel keeps a short window of its last messages as MinHash signatures (Broder 1997) over
//! the character 3-grams of the normalised text, so that a message with an emoji or a number more is
//! still the same message. From the window follow
//!
//! | sign | counts | category |
//! |---|---|---|
//! | raid | different senders of near-same messages | `raid` |
//! | repetition | near-same messages of one sender | `spam` |
//! | rate | messages of one sender in ten seconds | `spam` |
//!
//! Short lines (`gg`, emotes) never count as near-same: a whole chat cheers with one word.
//!
//! Memory is bounded: [`MAX_CHANNELS`] channels of [`MAX_MESSAGES`] messages, [`MAX_SENDERS`]
//! senders with an offence. When a bound is reached, the half that was used longest ago goes. No
//! text and no name is kept, only hashes. The state follows from the order of the messages and
//! their times alone.

use std::collections::{HashMap, HashSet, VecDeque};

use novastream_features::text::Normalizer;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Channels that are remembered.
pub const MAX_CHANNELS: usize = 2048;
/// Messages that are remembered for a channel.
pub const MAX_MESSAGES: usize = 192;
/// Senders with an offence that are remembered.
pub const MAX_SENDERS: usize = 65_536;

/// How long a message counts, milliseconds.
const WINDOW_MS: i64 = 60_000;
/// The stretch over which a sender's rate is counted, milliseconds.
const RATE_MS: i64 = 10_000;
/// How long an offence counts, milliseconds.
const OFFENCE_MS: i64 = 3_600_000;
/// Offences after which a sender is judged more strictly.
const OFFENCES: u32 = 3;

/// Numbers in a signature.
const HASHES: usize = 16;
/// Equal numbers that make two messages near-same: a Jaccard similarity of about 0.62.
const NEAR: usize = 10;
/// Letters and digits that a message must have to be compared.
const FEWEST_CHARS: usize = 16;
/// Bytes of a message that are compared.
const MAX_BYTES: usize = 2048;
/// Different senders at which the raid score is 0.63.
const RAID_SCALE: f32 = 3.6;
/// Repetitions beyond the first at which the score is 0.63.
const REPEAT_SCALE: f32 = 3.0;
/// Messages in [`RATE_MS`] that are still conversation.
const CALM_RATE: usize = 6;
/// Messages beyond those at which the score is 0.63.
const RATE_SCALE: f32 = 4.0;

/// What a message adds to those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Signs {
    /// Score for `raid`, 0 to 1; `None` without a channel and a sender.
    pub raid: Option<f32>,
    /// Different senders of near-same messages, this one included.
    pub senders: usize,
    /// Score for `spam` from repetition and rate, 0 to 1; `None` without a channel and a sender.
    pub flood: Option<f32>,
    /// Near-same messages of this sender, this one included.
    pub repeats: usize,
    /// Messages of this sender in the last ten seconds, this one included.
    pub rate: usize,
    /// The sender was acted on in this channel three times within the hour.
    pub offender: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ms: i64,
    sender: u64,
    /// All ones for a message too short to compare.
    signature: [u32; HASHES],
}

#[derive(Debug, Default)]
struct Channel {
    messages: VecDeque<Seen>,
    used: u64,
}

#[derive(Clone, Copy, Debug)]
struct Offences {
    count: u32,
    last_ms: i64,
    used: u64,
}

/// The windows of all channels.
#[derive(Debug, Default)]
pub struct Crowd {
    channels: HashMap<u64, Channel>,
    offences: HashMap<u64, Offences>,
    clock: u64,
    normalizer: Normalizer,
}

const UNCOMPARED: [u32; HASHES] = [u32::MAX; HASHES];

impl Crowd {
    /// No messages yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message and says what it adds up to. `at_ms` is the time of its arrival on any clock
    /// that does not run backwards by more than the windows.
    pub fn observe(&mut self, channel: &str, sender: &str, text: &str, at_ms: i64) -> Signs {
        self.clock += 1;
        let signature = self.signature(text);
        let (channel_id, sender_id) = (xxh3_64(channel.as_bytes()), xxh3_64(sender.as_bytes()));
        if self.channels.len() >= MAX_CHANNELS && !self.channels.contains_key(&channel_id) {
            forget_half(&mut self.channels, |c| c.used);
        }
        let window = self.channels.entry(channel_id).or_default();
        window.used = self.clock;
        window
            .messages
            .retain(|m| at_ms.saturating_sub(m.at_ms) <= WINDOW_MS);
        while window.messages.len() >= MAX_MESSAGES {
            window.messages.pop_front();
        }
        window.messages.push_back(Seen {
            at_ms,
            sender: sender_id,
            signature,
        });

        let comparable = signature != UNCOMPARED;
        let same = |m: &&Seen| comparable && near(&m.signature, &signature);
        let senders: HashSet<u64> = window
            .messages
            .iter()
            .filter(same)
            .map(|m| m.sender)
            .collect();
        let own = || window.messages.iter().filter(|m| m.sender == sender_id);
        let repeats = own().filter(same).count();
        let rate = own()
            .filter(|m| at_ms.saturating_sub(m.at_ms) <= RATE_MS)
            .count();
        let repetition = saturating(repeats.saturating_sub(1), REPEAT_SCALE);
        let flood = repetition.max(saturating(rate.saturating_sub(CALM_RATE), RATE_SCALE));
        Signs {
            raid: Some(saturating(senders.len().saturating_sub(1), RAID_SCALE)),
            senders: senders.len(),
            flood: Some(flood),
            repeats,
            rate,
            offender: self.is_offender(channel_id, sender_id, at_ms),
        }
    }

    /// Remembers that a sender was acted on in a channel.
    pub fn offence(&mut self, channel: &str, sender: &str, at_ms: i64) {
        self.clock += 1;
        let id = pair(xxh3_64(channel.as_bytes()), xxh3_64(sender.as_bytes()));
        if self.offences.len() >= MAX_SENDERS && !self.offences.contains_key(&id) {
            forget_half(&mut self.offences, |o| o.used);
        }
        let known = self.offences.entry(id).or_insert(Offences {
            count: 0,
            last_ms: at_ms,
            used: 0,
        });
        if at_ms.saturating_sub(known.last_ms) > OFFENCE_MS {
            known.count = 0;
        }
        known.count = known.count.saturating_add(1);
        known.last_ms = at_ms;
        known.used = self.clock;
    }

    fn is_offender(&self, channel: u64, sender: u64, at_ms: i64) -> bool {
        self.offences
            .get(&pair(channel, sender))
            .is_some_and(|o| o.count >= OFFENCES && at_ms.saturating_sub(o.last_ms) <= OFFENCE_MS)
    }

    fn signature(&self, text: &str) -> [u32; HASHES] {
        let text = &text[..text.floor_char_boundary(MAX_BYTES)];
        let plain: Vec<char> = self
            .normalizer
            .normalize(text)
            .text
            .chars()
            // Numbers and signs are what copies differ by.
            .filter(|c| c.is_alphabetic())
            .collect();
        let mut signature = UNCOMPARED;
        // A letter of Han or Hangul says as much as several Latin ones.
        let weight = |c: &char| if (*c as u32) < 0x2E80 { 1 } else { 4 };
        if plain.iter().map(weight).sum::<usize>() < FEWEST_CHARS {
            return signature;
        }
        for gram in plain.windows(3) {
            let mut bytes = [0; 12];
            for (slot, c) in bytes.chunks_exact_mut(4).zip(gram) {
                slot.copy_from_slice(&(*c as u32).to_le_bytes());
            }
            let hash = xxh3_64_with_seed(&bytes, 0);
            let (a, b) = (hash as u32, (hash >> 32) as u32 | 1);
            for (i, least) in signature.iter_mut().enumerate() {
                // Sixteen hashes of two (Kirsch and Mitzenmacher 2006), mixed once more.
                let one = a.wrapping_add(b.wrapping_mul(i as u32 + 1));
                let mixed = (one ^ (one >> 15)).wrapping_mul(0x2c1b_3c6d);
                *least = (*least).min(mixed ^ (mixed >> 12));
            }
        }
        signature
    }
}

fn near(a: &[u32; HASHES], b: &[u32; HASHES]) -> bool {
    a.iter().zip(b).filter(|(x, y)| x == y).count() >= NEAR
}

/// 0 at 0, towards 1: `1 - exp(-n / scale)`.
fn saturating(n: usize, scale: f32) -> f32 {
    1.0 - (-(n as f32) / scale).exp()
}

fn pair(channel: u64, sender: u64) -> u64 {
    channel.rotate_left(32) ^ sender.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Drops the half that was used longest ago.
fn forget_half<T>(map: &mut HashMap<u64, T>, used: impl Fn(&T) -> u64) {
    let mut times: Vec<u64> = map.values().map(&used).collect();
    let middle = times.len() / 2;
    let (_, middle, _) = times.select_nth_unstable(middle);
    let middle = *middle;
    map.retain(|_, v| used(v) > middle);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const COPY: &str = "everyone go and follow the channel of the great raider now";

    #[test]
    fn many_senders_of_one_message_are_a_raid() {
        let mut crowd = Crowd::new();
        let mut last = 0.0;
        for n in 0..12 {
            // Each copy differs a little.
            let text = format!("{COPY}{} {n}", "!".repeat(n % 3));
            let signs = crowd.observe("c", &format!("u{n}"), &text, 1000 * n as i64);
            assert_eq!(signs.senders, n + 1);
            assert!(signs.raid.unwrap() >= last);
            last = signs.raid.unwrap();
        }
        assert!(last > 0.9);
        // Another channel knows nothing of it, and an hour later neither does this one.
        assert_eq!(crowd.observe("d", "u1", COPY, 12_000).senders, 1);
        assert_eq!(crowd.observe("c", "u1", COPY, 3_600_000).senders, 1);
    }

    #[test]
    fn cheering_and_talking_are_none() {
        let mut crowd = Crowd::new();
        for n in 0..50 {
            let signs = crowd.observe("c", &format!("u{n}"), "gg wp POGGERS", 100 * n);
            assert_eq!(signs.raid, Some(0.0));
        }
        for (n, text) in [
            "that was the best play of the whole tournament",
            "i think the other team should have won this one",
            "does anybody know when the next match begins",
            "what a save by the goalkeeper in the last minute",
        ]
        .iter()
        .enumerate()
        {
            let signs = crowd.observe("c", &format!("v{n}"), text, 6000 + n as i64);
            assert_eq!((signs.senders, signs.flood), (1, Some(0.0)), "{text}");
        }
    }

    #[test]
    fn one_sender_floods_by_repeating_and_by_haste() {
        let mut crowd = Crowd::new();
        let repeats: Vec<f32> = (0..8)
            .map(|n| crowd.observe("c", "u", COPY, 9000 * n).flood.unwrap())
            .collect();
        assert!(repeats[1] < 0.5 && repeats[6] > 0.8 && repeats.is_sorted());
        let hasty: Vec<f32> = (0..20)
            .map(|n| {
                crowd
                    .observe("c", "v", &format!("{n}"), 200_000 + 100 * n)
                    .flood
                    .unwrap()
            })
            .collect();
        assert_eq!(hasty[5], 0.0);
        assert!(hasty[19] > 0.9);
    }

    #[test]
    fn offenders_are_known_for_an_hour_in_their_channel() {
        let mut crowd = Crowd::new();
        for n in 0..3 {
            assert!(!crowd.observe("c", "u", "hello", n).offender);
            crowd.offence("c", "u", n);
        }
        assert!(crowd.observe("c", "u", "hello", 10).offender);
        assert!(!crowd.observe("d", "u", "hello", 10).offender);
        assert!(!crowd.observe("c", "u", "hello", 2 * OFFENCE_MS).offender);
    }

    #[test]
    fn memory_is_bounded_whatever_comes() {
        let mut crowd = Crowd::new();
        for n in 0..3 * MAX_CHANNELS {
            crowd.observe(&n.to_string(), "u", "hello", n as i64);
            crowd.offence(&n.to_string(), "u", n as i64);
        }
        for n in 0..3 * MAX_MESSAGES {
            crowd.observe("c", &n.to_string(), "hello", 10_000);
        }
        assert!(crowd.channels.len() <= MAX_CHANNELS);
        assert!(
            crowd
                .channels
                .values()
                .all(|c| c.messages.len() <= MAX_MESSAGES)
        );
        // The channel in use stays.
        assert!(crowd.channels.contains_key(&xxh3_64(b"c")));
        assert!(crowd.offences.len() <= MAX_SENDERS);
    }

    proptest! {
        #[test]
        fn the_same_messages_give_the_same_signs(
            messages in prop::collection::vec((0_u8..3, 0_u8..6, "[a-c ]{0,30}|\\PC{0,30}", 0_i64..200_000), 0..60),
        ) {
            let run = || {
                let mut crowd = Crowd::new();
                messages
                    .iter()
                    .map(|(c, u, text, at)| crowd.observe(&c.to_string(), &u.to_string(), text, *at))
                    .collect::<Vec<_>>()
            };
            let signs = run();
            prop_assert_eq!(&signs, &run());
            for sign in signs {
                prop_assert!((0.0..=1.0).contains(&sign.raid.unwrap()));
                prop_assert!((0.0..=1.0).contains(&sign.flood.unwrap()));
            }
        }
    }
}
