//! `streams`: how many live streams one service keeps up with, and whether its memory stays flat.
//!
//! Streams are played as a streaming core sends them: 2 s segments of 720p30 with sound, each when
//! it is due, their starts spread over the two seconds. A step is good when 95 % of its verdicts
//! came within the limit, none was refused, and the service did not thin out its pictures.

mod clips;
mod play;
mod search;
mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reqwest::Client;
use serde::Serialize;

use crate::cpu::CpuClock;
use crate::error::EvalError;
use crate::load::{Latency, ServerUse};
use crate::report::{Head, Report, Table, cell};
use clips::Clips;
use play::{Player, Step};
use search::Search;
use server::Service;

/// Length of a segment.
const SEGMENT: Duration = Duration::from_secs(2);
/// Most streams that one program plays.
const MAX_STREAMS: usize = 2000;

/// What the streams show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Picture {
    /// Every frame is another.
    Moving,
    /// One picture with a camera's noise.
    Still,
    /// Half of the streams each.
    Mixed,
}

/// Options of `novastream-eval streams`.
#[derive(Debug, Clone, Args)]
pub struct StreamOptions {
    /// A running service's address, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL", required_unless_present = "server")]
    pub target: Option<String>,
    /// Instead: a `novastream` program to start on a free port with an empty data folder, and to
    /// stop at the end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "pid"])]
    pub server: Option<PathBuf>,
    /// The service's process on this machine: its CPU time and memory are reported as well
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Play just so many streams (with --soak: at once; default 8)
    #[arg(long, value_name = "N")]
    pub streams: Option<usize>,
    /// Streams of the first step; each next step has twice as many until one fails
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub from: usize,
    /// Most streams that are tried
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub max: usize,
    /// Search until good and bad are so many streams apart
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub resolution: usize,
    /// Seconds to measure in each step
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub seconds: f64,
    /// Seconds to play before measuring: new streams are looked at more closely for a while. Of more
    /// than 14 s the first are those over which the streams join, one after the other
    #[arg(long, value_name = "S", default_value_t = 14.0)]
    pub warmup: f64,
    /// Milliseconds from sending a segment to its verdict that 95 % must keep
    #[arg(long, value_name = "MS", default_value_t = 1000.0)]
    pub limit: f64,
    /// Share of verdicts that may be degraded because the service spread its pictures out
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub stretched: f64,
    /// What the streams show
    #[arg(long, value_enum, default_value = "moving")]
    pub picture: Picture,
    /// Text on the screen, of which a line changes every few seconds
    #[arg(long, overrides_with = "no_text")]
    pub text: bool,
    /// No text on the screen (the default)
    #[arg(long)]
    pub no_text: bool,
    /// Folder that keeps the clips for the next run
    #[arg(long, value_name = "DIR")]
    pub cache: Option<PathBuf>,
    /// Instead of in real time: as fast as the service answers, until so many hours of streams went
    /// through
    #[arg(long, value_name = "HOURS")]
    pub soak: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What one step, or the soak, measured.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Streams at once.
    pub streams: usize,
    /// Whether every condition held.
    pub good: bool,
    /// Seconds of all streams together that were played and measured.
    pub stream_seconds: f64,
    /// Wall-clock seconds of that.
    pub elapsed_s: f64,
    /// Milliseconds from when a segment was due to the end of its verdict.
    pub latency_ms: Option<Latency>,
    /// Segments that were refused with status 429.
    pub refused: u64,
    /// Segments with another status, or without an answer.
    pub failed: u64,
    /// Share of verdicts with less than should have been looked at, by what was missing.
    pub degraded: BTreeMap<String, f64>,
    /// Share of verdicts whose pictures were spread out for want of time.
    pub stretched: f64,
    /// Pictures per stream-second that the networks judged.
    pub pictures_per_stream_second: f64,
    /// Pictures per stream-second that kept an earlier one's scores.
    pub carried_per_stream_second: f64,
    /// CPU seconds of the service per stream-second, with its process.
    pub cpu_s_per_stream_second: Option<f64>,
    /// What its process used, with its process.
    pub server: Option<ServerUse>,
    /// Growth of its memory, MiB per hour of stream time.
    pub rss_slope_mib_per_stream_hour: Option<f64>,
}

/// The report of `streams`.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// Program, machine and the service's models.
    #[serde(flatten)]
    pub head: Head,
    /// `search`, `fixed` or `soak`.
    pub mode: &'static str,
    /// What the streams show.
    pub picture: Picture,
    /// Whether there is text on it.
    pub text: bool,
    /// The limit on the 95th percentile.
    pub limit_ms: f64,
    /// The most streams of a good step; absent where none was good.
    pub streams: Option<usize>,
    /// Every step, in order.
    pub steps: Vec<StepReport>,
    /// CPU seconds that this program used itself.
    pub client_cpu_s: Option<f64>,
}

impl Report for StreamReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "{}", self.head.line())?;
        let text = if self.text { "with" } else { "without" };
        let picture = format!("{:?}", self.picture).to_lowercase();
        writeln!(out, "720p30, {picture} pictures, {text} text\n")?;
        let mut table = Table::new([
            "streams",
            "good",
            "p50 ms",
            "p95 ms",
            "max ms",
            "refused",
            "failed",
            "stretched",
            "degraded",
            "pictures/s",
            "carried/s",
            "CPU s/s",
            "RSS MiB",
            "MiB/stream-h",
        ]);
        for step in &self.steps {
            let latency = |of: fn(&Latency) -> f64| cell(step.latency_ms.as_ref().map(of), 0);
            let worst = step.degraded.values().copied().fold(0.0, f64::max);
            table.row([
                step.streams.to_string(),
                if step.good { "yes" } else { "no" }.to_owned(),
                latency(|l| l.p50),
                latency(|l| l.p95),
                latency(|l| l.max),
                step.refused.to_string(),
                step.failed.to_string(),
                cell(Some(step.stretched), 3),
                cell(Some(worst), 3),
                cell(Some(step.pictures_per_stream_second), 3),
                cell(Some(step.carried_per_stream_second), 3),
                cell(step.cpu_s_per_stream_second, 4),
                cell(step.server.map(|s| s.rss_last_mib), 0),
                cell(step.rss_slope_mib_per_stream_hour, 3),
            ]);
        }
        out.push_str(&table.render());
        match (self.mode, self.streams) {
            ("search", Some(n)) => writeln!(out, "\nkept up with {n} streams"),
            ("search", None) => writeln!(out, "\nkept up with none of the numbers tried"),
            _ => Ok(()),
        }
    }
}

/// Plays what `options` describe.
///
/// # Errors
/// Options out of range, no `ffmpeg` to make clips with, or a service that does not answer.
pub fn run(options: &StreamOptions) -> Result<StreamReport, EvalError> {
    check(options)?;
    let clips = Clips::make(options.picture, options.text, options.cache.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| EvalError::internal(format!("can't start the runtime: {e}")))?;
    let cpu = CpuClock::start();
    let (models, steps) = runtime.block_on(async {
        let service = Service::reach(options).await?;
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .tcp_nodelay(true)
            .timeout(Duration::from_mins(1))
            .build()
            .map_err(|e| EvalError::internal(format!("can't make an HTTP client: {e}")))?;
        let models = crate::load::models_of(&client, &service.target).await;
        let player = Player::new(client, &service, clips, options)?;
        let steps = play_all(&player, options).await?;
        Ok::<_, EvalError>((models, steps))
    })?;
    if steps.iter().all(|step| step.latency_ms.is_none()) {
        return Err(EvalError::Unanswered {
            target: options
                .target
                .clone()
                .unwrap_or_else(|| "the service".into()),
            attempts: steps.iter().map(|s| s.refused + s.failed).sum(),
            last: "no segment got a verdict; see the service's log".into(),
        });
    }
    Ok(StreamReport {
        head: Head::new("streams", models),
        mode: match (options.soak, options.streams) {
            (Some(_), _) => "soak",
            (None, Some(_)) => "fixed",
            (None, None) => "search",
        },
        picture: options.picture,
        text: options.text,
        limit_ms: options.limit,
        streams: steps.iter().filter(|s| s.good).map(|s| s.streams).max(),
        steps,
        client_cpu_s: cpu.elapsed(),
    })
}

async fn play_all(
    player: &Arc<Player>,
    options: &StreamOptions,
) -> Result<Vec<StepReport>, EvalError> {
    if let Some(hours) = options.soak {
        let streams = options.streams.unwrap_or(8);
        return Ok(vec![player.soak(streams, hours * 3600.0).await?]);
    }
    if let Some(streams) = options.streams {
        return Ok(vec![player.step(Step { streams, number: 0 }).await?]);
    }
    let mut search = Search::new(options.from, options.max, options.resolution);
    let mut steps = Vec::new();
    while let Some(streams) = search.next() {
        let number = steps.len();
        let step = player.step(Step { streams, number }).await?;
        let p95 = step.latency_ms.map_or(f64::NAN, |l| l.p95);
        let outcome = if step.good { "good" } else { "bad" };
        eprintln!("{streams} streams: p95 {p95:.0} ms, {outcome}");
        search.found(streams, step.good);
        steps.push(step);
    }
    Ok(steps)
}

fn check(options: &StreamOptions) -> Result<(), EvalError> {
    let most = options.streams.unwrap_or(options.max.max(options.from));
    if most == 0 || most > MAX_STREAMS || options.from == 0 {
        return Err(EvalError::usage(format!(
            "--streams, --from and --max take 1 to {MAX_STREAMS}"
        )));
    }
    let long = |seconds: f64| (0.0..=86_400.0).contains(&seconds);
    if !long(options.seconds) || options.seconds < 2.0 || !long(options.warmup) {
        return Err(EvalError::usage(
            "--seconds takes 2 to 86400, --warmup 0 to 86400",
        ));
    }
    if options
        .soak
        .is_some_and(|hours| !(hours > 0.0 && hours <= 10_000.0))
    {
        return Err(EvalError::usage(
            "--soak takes more than 0 and at most 10000 hours",
        ));
    }
    if options.limit.is_nan() || options.limit <= 0.0 {
        return Err(EvalError::usage("--limit takes more than 0 milliseconds"));
    }
    Ok(())
}
