//! The second half: one viewer's list while channels go live and end.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::check::Findings;

/// The model that the demo's list comes from, trained on a synthetic log; in the zoo.
pub const MODEL: &str = "recommender-sample/0.2.0";

/// What the channels say of themselves: `item_id,title,tags,category`.
const ITEMS: &str = include_str!("../../../datasets/samples/viewers-items.csv");

const VIEWER: &str = "viewer-demo";
/// Length of the list.
const SHOWN: usize = 5;
/// What is live when the viewer arrives.
const LIVE: [&str; 14] = [
    "speedruns-00",
    "speedruns-01",
    "speedruns-02",
    "cooking-00",
    "cooking-01",
    "cooking-02",
    "chess-00",
    "chess-01",
    "chess-02",
    "music-00",
    "music-01",
    "music-02",
    "cooking-03",
    "music-03",
];
/// What the viewer likes, and how often it was watched.
const HABITS: [(&str, usize); 2] = [("speedruns-01", 3), ("speedruns-02", 1)];
/// Ends while the viewer is there.
const ENDS: &str = "speedruns-01";
/// Of the viewer's community; goes live while the viewer is there.
const GOES_LIVE: &str = "speedruns-03";

/// Nobody has ever started it, and the model has never heard of it; it says of itself what
/// [`ENDS`] does.
const UNHEARD_OF: &str = "speedruns-brand-new";

/// Whether the model is there; a source tree without it has no second half.
pub fn model() -> Option<std::path::PathBuf> {
    let dir = Path::new("models/zoo").join(MODEL);
    dir.is_dir().then_some(dir)
}

/// Plays the viewer's evening and holds each list against what must be on it.
pub fn play(url: &str, findings: &mut Findings) -> Result<()> {
    println!("\na viewer's list as channels go live and end (14 live, {SHOWN} shown)");
    let mut live: Vec<&str> = LIVE.to_vec();
    put_live(url, &live)?;
    // Others are watching too.
    let others = LIVE.iter().enumerate().flat_map(|(n, stream)| {
        (0..=n % 4)
            .map(move |k| event(&format!("o{n}-{k}"), &format!("other-{n}-{k}"), stream, 600))
    });
    post_events(url, others.collect())?;
    let list = shown(url, "arrives")?;
    findings.note(
        list["fallback"] == "trending",
        "a new viewer is shown what is trending".to_owned(),
    );

    let habits = HABITS.iter().flat_map(|(stream, times)| {
        (0..*times).map(move |k| {
            let ago = 86_400 * (k as i64 + 1);
            event(&format!("{stream}-{k}"), VIEWER, stream, ago)
        })
    });
    post_events(url, habits.collect())?;
    let list = shown(url, "has watched speedruns-01 (3x) and speedruns-02")?;
    findings.note(
        list["fallback"].is_null() && list["items"][0]["stream_id"] == HABITS[0].0,
        "the list becomes the viewer's own, the favourite first".to_owned(),
    );
    findings.note(
        list["items"][0]["reason"] == "watched-before",
        "the first entry says that it was watched before".to_owned(),
    );

    live.retain(|stream| *stream != ENDS);
    put_live(url, &live)?;
    let list = shown(url, "sees speedruns-01 end")?;
    findings.note(
        !streams(&list).contains(&ENDS.to_owned()),
        "a channel that ended leaves the list at once".to_owned(),
    );

    live.push(GOES_LIVE);
    put_live(url, &live)?;
    let list = shown(url, "sees speedruns-03 go live, which is new to the viewer")?;
    findings.note(
        streams(&list).contains(&GOES_LIVE.to_owned()),
        "a channel of the viewer's community comes up when it goes live".to_owned(),
    );

    live.push(UNHEARD_OF);
    put_live(url, &live)?;
    let list = shown(url, "sees a channel go live that nobody has ever started")?;
    findings.note(
        streams(&list).contains(&UNHEARD_OF.to_owned()),
        "a channel without a past comes up by what it says of itself".to_owned(),
    );
    Ok(())
}

fn event(id: &str, user: &str, stream: &str, seconds_ago: i64) -> Value {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs() as i64);
    json!({"id": id, "user_id": user, "stream_id": stream, "type": "watch", "at": now - seconds_ago})
}

/// A live stream with its title, tags and category.
fn describe(id: &str) -> Value {
    let known = if id == UNHEARD_OF { ENDS } else { id };
    let row = ITEMS
        .lines()
        .map(|line| line.split(',').collect::<Vec<&str>>())
        .find(|row| row.first() == Some(&known));
    match row.as_deref() {
        Some([_, title, tags, category]) => {
            let tags: Vec<&str> = tags.split_whitespace().collect();
            json!({"stream_id": id, "title": title, "tags": tags, "category": category})
        }
        _ => json!({"stream_id": id}),
    }
}

fn put_live(url: &str, live: &[&str]) -> Result<()> {
    let streams: Vec<Value> = live.iter().map(|id| describe(id)).collect();
    ureq::put(format!("{url}/v1/live"))
        .content_type("application/json")
        .send(json!({"streams": streams}).to_string())
        .context("PUT /v1/live")?;
    Ok(())
}

fn post_events(url: &str, events: Vec<Value>) -> Result<()> {
    ureq::post(format!("{url}/v1/events"))
        .content_type("application/json")
        .send(json!({"events": events}).to_string())
        .context("POST /v1/events")?;
    Ok(())
}

/// Asks for the list and prints it.
fn shown(url: &str, moment: &str) -> Result<Value> {
    // An event counts from the next second on.
    thread::sleep(Duration::from_millis(1100));
    let list = crate::get(&format!(
        "{url}/v1/recommendations?user_id={VIEWER}&n={SHOWN}&surface=demo"
    ))?;
    let entries: Vec<String> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| {
            let text = |key: &str| item[key].as_str().unwrap_or("-").to_owned();
            format!("{} ({})", text("stream_id"), text("reason"))
        })
        .collect();
    println!("  the viewer {moment}:\n    {}", entries.join(", "));
    Ok(list)
}

fn streams(list: &Value) -> Vec<String> {
    list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item["stream_id"].as_str().map(str::to_owned))
        .collect()
}
