//! Invented viewers: a log of who started watching what, from a fixed seed.
//!
//! Sixty channels of six communities keep their hours; a few hundred viewers come at theirs, stay
//! with what they know, lean to topics, and follow each other inside small clubs. Two channels of
//! each community start late, so that there is something cold. Only sums, products and quotients
//! are used, so every machine makes the same rows.

use std::fmt::Write as _;

/// Seed of the sample that ships.
pub const VIEWERS_SEED: u64 = 20_260_105;
/// Monday, 5 January 2026, 00:00 UTC, in Unix seconds.
pub const VIEWERS_START: i64 = 1_767_571_200;
/// Days that the sample covers.
pub const VIEWERS_DAYS: u32 = 36;
/// Day from which the latest channels are there.
pub const VIEWERS_LATEST_DEBUT: u32 = 29;

const CHANNELS_EACH: usize = 10;
const VIEWERS: usize = 320;
const CLUB: usize = 8;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
/// How long the choice of a club mate draws others, in seconds.
const TOGETHER: i64 = 90 * MINUTE;

/// A community: its name, its three topics, and words that titles of each topic use.
type Community = (&'static str, [(&'static str, &'static str); 3]);

const COMMUNITIES: [Community; 6] = [
    (
        "speedruns",
        [
            ("platformer", "glitchless platformer runs"),
            ("racing", "time trial laps"),
            ("puzzle", "blind puzzle room routes"),
        ],
    ),
    (
        "chess",
        [
            ("blitz", "three minute blitz ladder"),
            ("endgames", "endgame studies at the board"),
            ("openings", "opening repertoire repair"),
        ],
    ),
    (
        "cooking",
        [
            ("baking", "sourdough and slow baking"),
            ("street-food", "street food at home"),
            ("vegan", "vegan weekday dinners"),
        ],
    ),
    (
        "music",
        [
            ("piano", "piano requests and études"),
            ("synth", "modular synth jam"),
            ("choir", "choir harmonies from scratch"),
        ],
    ),
    (
        "art",
        [
            ("watercolour", "watercolour landscapes"),
            ("pixel", "pixel art sprites"),
            ("clay", "clay figures and glazing"),
        ],
    ),
    (
        "gardening",
        [
            ("vegetables", "vegetable beds through the year"),
            ("bonsai", "bonsai pruning and wiring"),
            ("houseplants", "houseplant clinic"),
        ],
    ),
];
const STYLES: [&str; 4] = ["beginners", "night-owls", "competitors", "collectors"];

/// Rows of the sample as CSV texts, heads included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewersSample {
    /// `user,item,time,group`: who started watching what, in Unix seconds, in order.
    pub events: String,
    /// `item_id,title,tags,category`: what each channel says of itself.
    pub items: String,
}

/// SplitMix64 (G. Steele et al., OOPSLA 2014).
struct Dice(u64);

impl Dice {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.word() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end.saturating_sub(1))
    }

    /// Around 0, within −1..1, the middle likelier.
    fn near(&mut self) -> f64 {
        self.unit() + self.unit() - 1.0
    }
}

struct Channel {
    community: usize,
    topic: usize,
    style: usize,
    popularity: f64,
    debut: u32,
    /// Start and end of each broadcast in seconds, in order.
    live: Vec<(i64, i64)>,
}

struct Viewer {
    main: usize,
    second: usize,
    topics: [usize; COMMUNITIES.len()],
    style: usize,
    club: usize,
    /// Minute of the day around which this viewer comes.
    minute: f64,
    /// Chance of coming on a day.
    keen: f64,
    /// Starts, and the time of the latest, by channel.
    own: Vec<(u32, i64)>,
}

/// Makes the sample of a seed; the same seed gives the same text everywhere.
pub fn viewers_sample(seed: u64) -> ViewersSample {
    let mut dice = Dice(seed);
    let channels = channels(&mut dice);
    let mut viewers = viewers(&mut dice);
    let mut events = "user,item,time,group\n".to_owned();
    let mut recent: Vec<(i64, usize, usize)> = Vec::new();
    for day in 0..VIEWERS_DAYS {
        let mut plans: Vec<(i64, usize)> = Vec::new();
        for (number, viewer) in viewers.iter().enumerate() {
            let weekend = if day % 7 >= 5 { 1.25 } else { 1.0 };
            if dice.unit() > viewer.keen * weekend {
                continue;
            }
            let minute = viewer.minute + 80.0 * dice.near();
            let mut at = VIEWERS_START + i64::from(day) * DAY + (minute * 60.0) as i64;
            plans.push((at, number));
            while dice.unit() < 0.42 {
                at += (20 + dice.below(60) as i64) * MINUTE + dice.below(60) as i64;
                plans.push((at, number));
            }
        }
        plans.sort_unstable();
        for (at, number) in plans {
            recent.retain(|(time, ..)| *time + TOGETHER > at);
            let viewer = &mut viewers[number];
            if let Some(channel) = choose(&channels, viewer, at, &recent, &mut dice) {
                recent.push((at, viewer.club, channel));
                viewer.own[channel].0 += 1;
                viewer.own[channel].1 = at;
                let name = name(&channels, channel);
                let group = COMMUNITIES[channels[channel].community].0;
                // Writing to a string can't fail.
                let _ = writeln!(events, "viewer-{number:03},{name},{at},{group}");
            }
        }
    }
    ViewersSample {
        events: in_order(&events),
        items: items(&channels),
    }
}

/// Rows in the order of time: late sessions reach into the next day.
fn in_order(text: &str) -> String {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let time = |line: &&str| -> i64 {
        let field = line.split(',').nth(2).unwrap_or_default();
        field.parse().unwrap_or_default()
    };
    let mut rows: Vec<&str> = lines.collect();
    rows.sort_by_key(time);
    let mut sorted = format!("{head}\n");
    for row in rows {
        sorted.push_str(row);
        sorted.push('\n');
    }
    sorted
}

fn channels(dice: &mut Dice) -> Vec<Channel> {
    let mut channels = Vec::new();
    for community in 0..COMMUNITIES.len() {
        for place in 0..CHANNELS_EACH {
            let debut = match place {
                8 => 20,
                9 => VIEWERS_LATEST_DEBUT,
                _ => 0,
            };
            let popularity = if debut > 0 {
                0.7
            } else {
                1.0 / (1.0 + 0.35 * place as f64)
            };
            let start = 60.0 * (10.0 + 12.0 * dice.unit());
            let length = 60.0 * (2.5 + 3.0 * dice.unit());
            let weekdays: Vec<bool> = (0..7).map(|_| dice.unit() < 0.8).collect();
            let mut live = Vec::new();
            for day in debut..VIEWERS_DAYS {
                let on = weekdays[day as usize % 7] && dice.unit() < 0.92;
                let from = start + 25.0 * dice.near();
                let to = from + length * (1.0 + 0.2 * dice.near());
                if on {
                    let midnight = VIEWERS_START + i64::from(day) * DAY;
                    live.push((
                        midnight + (from * 60.0) as i64,
                        midnight + (to * 60.0) as i64,
                    ));
                }
            }
            channels.push(Channel {
                community,
                topic: dice.below(3),
                style: dice.below(STYLES.len()),
                popularity,
                debut,
                live,
            });
        }
    }
    channels
}

fn viewers(dice: &mut Dice) -> Vec<Viewer> {
    (0..VIEWERS)
        .map(|number| {
            let club = number / CLUB;
            let main = club % COMMUNITIES.len();
            let second = dice.below(COMMUNITIES.len());
            Viewer {
                main,
                second,
                topics: std::array::from_fn(|_| dice.below(3)),
                style: dice.below(STYLES.len()),
                club,
                minute: 60.0 * (18.0 + 5.0 * dice.near()),
                keen: 0.3 + 0.6 * dice.unit() * dice.unit(),
                own: vec![(0, 0); COMMUNITIES.len() * CHANNELS_EACH],
            }
        })
        .collect()
}

/// Draws one of the channels that are live, each by how much it draws this viewer.
fn choose(
    channels: &[Channel],
    viewer: &Viewer,
    at: i64,
    recent: &[(i64, usize, usize)],
    dice: &mut Dice,
) -> Option<usize> {
    let draws: Vec<f64> = channels
        .iter()
        .enumerate()
        .map(|(number, channel)| {
            let live = channel
                .live
                .iter()
                .any(|(from, to)| (*from..*to).contains(&at));
            if !live {
                return 0.0;
            }
            let community = match channel.community {
                own if own == viewer.main => 6.0,
                own if own == viewer.second => 2.0,
                _ => 0.4,
            };
            let topic = if viewer.topics[channel.community] == channel.topic {
                5.0
            } else {
                1.0
            };
            let style = if viewer.style == channel.style {
                1.6
            } else {
                1.0
            };
            let (count, last) = viewer.own[number];
            let days = (at - last).max(0) as f64 / DAY as f64;
            let habit = 1.0 + 3.5 * f64::from(count.min(10)) / (1.0 + days / 5.0);
            let mates = recent
                .iter()
                .filter(|(_, club, other)| *club == viewer.club && *other == number)
                .count();
            let together = 1.0 + 1.5 * mates.min(3) as f64;
            channel.popularity * community * topic * style * habit * together
        })
        .collect();
    let total: f64 = draws.iter().sum();
    let mut left = dice.unit() * total;
    if total <= 0.0 {
        return None;
    }
    for (number, draw) in draws.iter().enumerate() {
        left -= draw;
        if *draw > 0.0 && left <= 0.0 {
            return Some(number);
        }
    }
    draws.iter().rposition(|draw| *draw > 0.0)
}

fn name(channels: &[Channel], number: usize) -> String {
    let community = COMMUNITIES[channels[number].community].0;
    format!("{community}-{:02}", number % CHANNELS_EACH)
}

fn items(channels: &[Channel]) -> String {
    let mut text = "item_id,title,tags,category\n".to_owned();
    for (number, channel) in channels.iter().enumerate() {
        let (community, topics) = &COMMUNITIES[channel.community];
        let (topic, words) = topics[channel.topic];
        let style = STYLES[channel.style];
        let fresh = if channel.debut > 0 { "new here: " } else { "" };
        // Writing to a string can't fail.
        let _ = writeln!(
            text,
            "{},{fresh}{words} for {style},{topic} {style},{community}",
            name(channels, number)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn viewers_are_the_same_every_time_and_another_seed_makes_others() {
        let sample = viewers_sample(VIEWERS_SEED);
        assert_eq!(sample, viewers_sample(VIEWERS_SEED));
        assert_ne!(sample.events, viewers_sample(1).events);
    }

    #[test]
    fn viewers_have_habits_and_late_channels() {
        let sample = viewers_sample(VIEWERS_SEED);
        let rows: Vec<Vec<&str>> = sample
            .events
            .lines()
            .skip(1)
            .map(|line| line.split(',').collect())
            .collect();
        assert!((8_000..30_000).contains(&rows.len()), "{}", rows.len());
        let channels: BTreeSet<&str> = rows.iter().map(|row| row[1]).collect();
        let viewers: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
        // A channel that comes late may find nobody.
        assert!((56..=60).contains(&channels.len()), "{}", channels.len());
        assert!(viewers.len() > 280, "{}", viewers.len());
        let times: Vec<i64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
        assert!(times.is_sorted());
        let debut = VIEWERS_START + i64::from(VIEWERS_LATEST_DEBUT) * DAY;
        let first = rows.iter().position(|row| row[1] == "chess-09").unwrap();
        assert!(times[first] >= debut);
        let mut seen: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        let repeats = rows
            .iter()
            .filter(|row| {
                let count = seen.entry((row[0], row[1])).or_default();
                *count += 1;
                *count > 1
            })
            .count();
        let share = repeats as f64 / rows.len() as f64;
        assert!((0.5..0.9).contains(&share), "{share}");
    }
}
