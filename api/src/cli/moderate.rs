//! `novastream moderate`: one text, file or URL, judged in this process.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use novastream_features::media::{CancelToken, MediaError, MediaLimits};
use novastream_inference::{Moderator, Policy, StreamHistory, TextItem, Verdict};
use serde_json::json;

use super::args::ModerateArgs;
use super::output;
use super::table::Table;
use crate::config::Settings;
use crate::http::VerdictRecord;
use crate::judge::{Context, Judge};
use crate::loading;
use crate::watch::Opener as _;
use crate::watch::address::{self, Asker};

/// Judges and prints.
///
/// # Errors
/// The input cannot be read, or nothing in it can be judged.
pub fn run(args: ModerateArgs) -> anyhow::Result<ExitCode> {
    let mut settings = super::local_settings(args.config.as_deref())?;
    if let Some(path) = &args.policy {
        settings.policy = Some(path.clone());
    }
    let policy = Arc::clone(loading::policies(&settings)?.default_policy());
    // An empty secret: the same command gives the same verdict everywhere.
    let moderator = loading::moderator(&settings, Vec::new())?;
    let bench = Bench {
        settings,
        policy,
        moderator,
        seconds: args.seconds,
    };
    let verdicts = match (&args.text, &args.input) {
        (Some(text), _) => vec![bench.text(text, "0")],
        (None, Some(input)) => bench.input(input)?,
        (None, None) => bail!("nothing to judge"),
    };
    print(&verdicts, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What the bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Image,
    Text,
    Playlist,
    Media,
}

/// Looks at the first bytes; a `.txt` name decides for text.
fn sniff(bytes: &[u8], name: &str) -> Sort {
    let image = bytes.starts_with(b"\xff\xd8\xff")
        || bytes.starts_with(b"\x89PNG\r\n\x1a\n")
        || bytes.starts_with(b"GIF87a")
        || bytes.starts_with(b"GIF89a")
        || bytes.starts_with(b"BM")
        || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"));
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    if extension.is_some_and(|e| e.eq_ignore_ascii_case("txt")) {
        Sort::Text
    } else if image {
        Sort::Image
    } else if bytes.trim_ascii_start().starts_with(b"#EXTM3U") {
        Sort::Playlist
    } else {
        Sort::Media
    }
}

struct Bench {
    settings: Settings,
    policy: Arc<Policy>,
    moderator: Moderator,
    seconds: u64,
}

impl Bench {
    fn context(&self) -> Context {
        Context {
            stream_id: None,
            sequence: None,
            start_ms: None,
            stretch_percent: 0,
            policy: Arc::clone(&self.policy),
        }
    }

    fn text(&self, text: &str, id: &str) -> Verdict {
        let item = TextItem {
            id: id.to_owned(),
            text: text.to_owned(),
            ..TextItem::default()
        };
        let policy = Some(self.policy.as_ref());
        self.moderator
            .text(std::slice::from_ref(&item), policy)
            .remove(0)
    }

    fn input(&self, input: &str) -> anyhow::Result<Vec<Verdict>> {
        match input.split_once("://") {
            Some(("http" | "https", _)) => {
                let bytes = fetch(input)?;
                let path = input.split(['?', '#']).next().unwrap_or(input);
                self.bytes(bytes, path, input)
            }
            Some(_) => self.live(input),
            None => {
                let path = Path::new(input);
                let size = std::fs::metadata(path)
                    .with_context(|| input.to_owned())?
                    .len();
                check_size(size, input)?;
                let bytes = std::fs::read(path).with_context(|| input.to_owned())?;
                self.bytes(bytes, input, input)
            }
        }
    }

    fn bytes(&self, bytes: Vec<u8>, name: &str, whole: &str) -> anyhow::Result<Vec<Verdict>> {
        let file = Path::new(name)
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or(name);
        let judged = match sniff(&bytes, name) {
            Sort::Text => {
                let text = String::from_utf8(bytes)
                    .with_context(|| format!("{name} is not UTF-8 text"))?;
                return Ok(vec![self.text(&text, file)]);
            }
            Sort::Playlist => return self.live(whole),
            Sort::Image => Judge::image(&self.moderator, &bytes, Some(file), &self.context()),
            Sort::Media => {
                let (context, cancel) = (self.context(), CancelToken::new());
                let history = &mut StreamHistory::default();
                Judge::segment(&self.moderator, bytes.into(), &context, history, &cancel)
            }
        };
        let verdict = judged.map_err(|e| {
            anyhow::anyhow!(
                "{name}: {} [{}]: {}",
                e.detail,
                e.code.as_str(),
                e.code.hint()
            )
        })?;
        Ok(vec![verdict])
    }

    /// Windows of a live source up to `--seconds` of stream time.
    fn live(&self, url: &str) -> anyhow::Result<Vec<Verdict>> {
        let check = address::check(url, &self.settings.watch, Asker::Local);
        let url = super::runtime()?.block_on(check).map_err(|e| {
            anyhow::anyhow!("{} [{}]: {}", e.detail, e.code.as_str(), e.code.hint())
        })?;
        let opener = loading::opener(&self.settings, Vec::new());
        let read = |e: MediaError| anyhow::anyhow!("{e} [{}]", e.code());
        let mut source = opener.open(&url, &CancelToken::new()).map_err(read)?;
        let (media, mut history) = (source.info().clone(), StreamHistory::default());
        let mut verdicts = Vec::new();
        let mut until = None;
        while let Some(window) = source.next_window().map_err(read)? {
            let until = *until.get_or_insert(window.start_ms + self.seconds as i64 * 1000);
            let end_ms = window.end_ms;
            let context = self.context();
            verdicts.push(Judge::window(
                &self.moderator,
                window,
                &media,
                &context,
                &mut history,
            ));
            if end_ms >= until {
                break;
            }
        }
        if verdicts.is_empty() {
            bail!("the source ended before its first window");
        }
        Ok(verdicts)
    }
}

fn check_size(size: u64, name: &str) -> anyhow::Result<()> {
    let most = MediaLimits::default().max_bytes as u64;
    if size > most {
        bail!("{name} has {size} bytes, more than {most}: cut it, or watch it");
    }
    Ok(())
}

fn fetch(url: &str) -> anyhow::Result<Vec<u8>> {
    let most = MediaLimits::default().max_bytes as u64;
    let response = ureq::get(url)
        .config()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_mins(5)))
        .build()
        .call()
        .with_context(|| format!("fetching {}", address::redact(url)))?;
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_reader()
        .take(most + 1)
        .read_to_end(&mut bytes)?;
    check_size(bytes.len() as u64, url)?;
    Ok(bytes)
}

/// One verdict as it is; several as one object with the strongest action.
fn print(verdicts: &[Verdict], as_json: bool) -> anyhow::Result<()> {
    if as_json {
        let text = match verdicts {
            [one] => serde_json::to_string(one)?,
            several => serde_json::to_string(&json!({
                "action": several.iter().map(|v| v.action).max().unwrap_or_default(),
                "review": several.iter().any(|v| v.review),
                "verdicts": several,
            }))?,
        };
        return output::line(&text);
    }
    let mut table = Table::new();
    output::line(&Table::header())?;
    for verdict in verdicts {
        let record = VerdictRecord {
            seq: 0,
            latency_ms: None,
            verdict: verdict.clone(),
        };
        for row in table.rows(&record) {
            output::line(&row)?;
        }
        for d in &verdict.degraded {
            output::note(&format!("degraded: {}: {}", d.component, d.reason));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        assert_eq!(sniff(b"\xff\xd8\xff\xe0", "a.ts"), Sort::Image);
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 ", "a"), Sort::Image);
        assert_eq!(sniff(b"RIFF\0\0\0\0WAVEfmt ", "a.wav"), Sort::Media);
        assert_eq!(sniff(b"hello", "note.TXT"), Sort::Text);
        assert_eq!(sniff(b"\n#EXTM3U\n", "x"), Sort::Playlist);
        assert_eq!(sniff(&[0x47; 188], "a.ts"), Sort::Media);
        assert_eq!(sniff(b"", "a"), Sort::Media);
    }
}
