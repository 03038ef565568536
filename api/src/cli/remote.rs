//! `watch --server`: the service watches, this command follows.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::json;

use super::args::WatchArgs;
use super::follow::{Follower, Told};
use super::output;
use super::stop::StopSign;
use super::watch::Printer;
use crate::watch::{Watch, WatchState};

/// A connection that is silent for this long is dead: the service sends a comment far more often.
const SILENCE: Duration = Duration::from_mins(1);
/// How long a service that went away is waited for.
const PATIENCE: Duration = Duration::from_mins(2);
/// How long the last verdicts are waited for after the watch was ended.
const LAST_WORDS: Duration = Duration::from_secs(5);
const LOOK_UP: Duration = Duration::from_millis(100);

/// Begins the watch, prints its verdicts until it ends or the command is stopped.
///
/// # Errors
/// The service refuses the watch or cannot be reached for too long.
pub fn run(args: &WatchArgs, server: &str) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let stop = StopSign::new(&runtime, args.seconds);
    let watch = begin(args, server)?;
    let mut printer = Printer::new(args.json);
    let mut following = Following {
        url: format!("{server}/v1/streams/{}/verdicts", encode(&watch.stream_id)),
        id: watch.id.clone(),
        after: watch.verdicts_after.to_string(),
    };
    let followed = following.until_end(&mut printer, || stop.is_up())?;
    let state = match followed {
        Some(state) => state,
        None if args.keep => {
            output::note(&format!("the service goes on with watch {}", watch.id));
            watch.state
        }
        None => {
            let ended = end(server, &watch.id)?;
            let until = Instant::now() + LAST_WORDS;
            let last = following.until_end(&mut printer, || Instant::now() >= until)?;
            last.unwrap_or(ended.state)
        }
    };
    Ok(printer.finish(state))
}

struct Following {
    url: String,
    id: String,
    after: String,
}

impl Following {
    /// Prints what comes until the watch has ended (gives its state) or `stop` says so.
    fn until_end(
        &mut self,
        printer: &mut Printer,
        stop: impl Fn() -> bool,
    ) -> anyhow::Result<Option<WatchState>> {
        let mut lost_since: Option<Instant> = None;
        loop {
            match self.one_connection(printer, &stop, &mut lost_since)? {
                Part::Over(state) => return Ok(Some(state)),
                Part::Stopped => return Ok(None),
                Part::Lost(why) => {
                    let since = *lost_since.get_or_insert_with(|| {
                        output::note(&format!("lost the service: {why}; trying again"));
                        Instant::now()
                    });
                    if since.elapsed() > PATIENCE {
                        bail!(
                            "the service did not come back within {} s: {why}",
                            PATIENCE.as_secs()
                        );
                    }
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
    }

    fn one_connection(
        &mut self,
        printer: &mut Printer,
        stop: &impl Fn() -> bool,
        lost_since: &mut Option<Instant>,
    ) -> anyhow::Result<Part> {
        let follower = Follower::connect(self.url.clone(), self.after.clone());
        let mut heard = Instant::now();
        loop {
            if stop() {
                return Ok(Part::Stopped);
            }
            let event = match follower.next(LOOK_UP) {
                None if heard.elapsed() > SILENCE => return Ok(Part::Lost("silence".into())),
                None => continue,
                Some(Told::Ended(why)) => return Ok(Part::Lost(why)),
                Some(Told::Alive) => {
                    heard = Instant::now();
                    *lost_since = None;
                    continue;
                }
                Some(Told::Event(event)) => event,
            };
            heard = Instant::now();
            *lost_since = None;
            if event.name == "watch" {
                let watch: Watch = serde_json::from_str(&event.data).context("a watch event")?;
                if watch.id == self.id {
                    Printer::state(&watch);
                    if !watch.state.is_active() {
                        return Ok(Part::Over(watch.state));
                    }
                }
            } else {
                printer.verdict(&event.data)?;
                if let Some(id) = event.id {
                    self.after = id;
                }
            }
        }
    }
}

enum Part {
    Over(WatchState),
    Stopped,
    Lost(String),
}

fn begin(args: &WatchArgs, server: &str) -> anyhow::Result<Watch> {
    let body = json!({"url": args.url, "stream_id": args.stream_id, "policy": args.policy});
    let response = ureq::post(format!("{server}/v1/watches"))
        .config()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
        .build()
        .content_type("application/json")
        .send(body.to_string());
    answer(response, server)
}

fn end(server: &str, id: &str) -> anyhow::Result<Watch> {
    let response = ureq::delete(format!("{server}/v1/watches/{id}"))
        .config()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_mins(1)))
        .build()
        .call();
    answer(response, server)
}

fn answer(
    response: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    server: &str,
) -> anyhow::Result<Watch> {
    let mut response = response.with_context(|| format!("asking the service at {server}"))?;
    let text = response
        .body_mut()
        .read_to_string()
        .context("reading the service's answer")?;
    if response.status().is_success() {
        return serde_json::from_str(&text).context("the answer is not a watch");
    }
    let problem: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    bail!(
        "{} {}: {} {}",
        response.status(),
        field("code"),
        field("detail"),
        field("hint")
    )
}

/// Percent-encodes a path segment.
fn encode(id: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    id.bytes()
        .map(|b| {
            if plain(b) {
                char::from(b).to_string()
            } else {
                format!("%{b:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_one_path_segment() {
        assert_eq!(super::encode("a-b_c.7"), "a-b_c.7");
        assert_eq!(super::encode("a/b ?ü"), "a%2Fb%20%3F%C3%BC");
    }
}
