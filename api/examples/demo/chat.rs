//! The chat that is replayed beside the stream, with what must become of each line.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

/// A chat line: when it is sent, who sends it, what it says, and whether it must be flagged.
pub struct Line {
    pub at_s: u32,
    pub user: &'static str,
    pub text: &'static str,
    pub flagged: bool,
}

const fn line(at_s: u32, user: &'static str, text: &'static str, flagged: bool) -> Line {
    Line {
        at_s,
        user,
        text,
        flagged,
    }
}

/// Abuse (plain, spaced out, in look-alike letters), a scam, and innocent look-alikes.
pub const LINES: [Line; 18] = [
    line(2, "mira", "hi everyone, great stream today", false),
    line(3, "tomo", "gg wp, that boss fight was intense", false),
    line(5, "anon17", "you are a worthless idiot, shut up", true),
    line(6, "lena", "anyone here from Scunthorpe?", false),
    line(8, "anon17", "y o u  a r e  a n  i d i o t", true),
    line(10, "sam", "my class assignment is due tomorrow lol", false),
    line(11, "anon23", "what a stupіd іdіоt streamer", true),
    line(13, "kai", "base is at -1204 64 3391, bring iron", false),
    line(15, "mira", "he assassinated the final boss, nice", false),
    line(17, "anon23", "you are a st\u{200b}upid id\u{200b}iot", true),
    line(19, "lena", "k/d is 10/2/7, not bad", false),
    line(
        22,
        "promo_88",
        "FREE crypto giveaway!! send 0.1 BTC and get 1 BTC back, claim at double-your-coins.example",
        true,
    ),
    line(24, "tomo", "thanks for the raid, welcome in", false),
    line(27, "anon31", "1d10t $tup1d m0r0n", true),
    line(29, "sam", "I need 3 more wins at 5k elo", false),
    line(31, "kai", "is that siren in the game or outside?", false),
    line(33, "anon31", "shut up you pathetic moron", true),
    line(36, "mira", "good night all, see you next week", false),
];

/// Sends the lines at their times, counted from `start`, to `server` as messages of `channel`.
///
/// Gives each line's verdict in order.
pub fn replay(server: &str, channel: &str, start: Instant) -> Result<Vec<Value>> {
    let mut verdicts = Vec::with_capacity(LINES.len());
    for (index, line) in LINES.iter().enumerate() {
        let due = start + Duration::from_secs(u64::from(line.at_s));
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let body = json!({"items": [{
            "id": format!("chat-{index}"),
            "text": line.text,
            "user_id": line.user,
            "channel_id": channel,
        }]});
        let mut answer: Value = ureq::post(format!("{server}/v1/moderate/text"))
            .content_type("application/json")
            .send(body.to_string())
            .and_then(|mut response| response.body_mut().read_to_string())
            .context("sending a chat line")
            .and_then(|text| serde_json::from_str(&text).context("reading a chat verdict"))?;
        verdicts.push(answer["results"][0].take());
    }
    Ok(verdicts)
}
