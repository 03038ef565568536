//! `load`: how a running service behaves under load.
//!
//! Only the address that the user gives is contacted: no proxy, no redirect, plain HTTP/1.1 with
//! connections kept alive.

mod payload;
pub(crate) mod recorder;
mod run;
pub(crate) mod server;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Url};
use serde::Serialize;

pub use payload::{Endpoint, Part};
pub use recorder::{Errors, Latency};
pub use server::ServerUse;

use crate::cpu::CpuClock;
use crate::error::EvalError;
use crate::report::{Head, Report, Table, cell};
use payload::{Making, Payloads};
use run::{Measured, Plan};
use server::Watch;

/// More than this many open sockets is a matter for several machines.
const MAX_CONNECTIONS: usize = 10_000;
/// Keeps the bookkeeping of an overloaded open loop short.
const MAX_PLANNED: f64 = 1e8;
const DAY_S: f64 = 86_400.0;

/// Options of `novastream-eval load`.
#[derive(Debug, Clone, Args)]
pub struct LoadOptions {
    /// The service's address, such as http://127.0.0.1:8080
    #[arg(long, value_name = "URL")]
    pub target: String,
    /// Which endpoint to call; `raw` sends each --file as it is to the path of --at
    #[arg(long, value_enum, default_value = "text")]
    pub path: Endpoint,
    /// Path of `raw` requests
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub at: String,
    /// A header of `raw` requests. Repeat it for more
    #[arg(long, value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Mixed traffic instead of --path and --file: ENDPOINT=WEIGHT or ENDPOINT=WEIGHT:FILE, once
    /// for each kind of request
    #[arg(long, value_name = "PART", conflicts_with = "file")]
    pub mix: Vec<Part>,
    /// Process of the service on this machine: its CPU time and memory are reported as well
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// What to send: messages, one a line (default: a small built-in list), or a picture or
    /// segment. Repeat it to rotate over several; a stream of one repeated segment lets the
    /// service skip pictures that it has just seen
    #[arg(long, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// Connections, each with one request in flight
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub connections: usize,
    /// Seconds to measure
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub duration: f64,
    /// Open loop: requests due per second, latency measured from when each was due.
    /// Without: closed loop, each connection sends as soon as it has its answer
    #[arg(long, value_name = "R")]
    pub rate: Option<f64>,
    /// Open loop: the rate that --rate grows or falls to, evenly, until the end
    #[arg(long, value_name = "R", requires = "rate")]
    pub ramp_to: Option<f64>,
    /// Seconds to send before measuring
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub warmup: f64,
    /// Seconds after which a request counts as unanswered
    #[arg(long, value_name = "S", default_value_t = 30.0)]
    pub timeout: f64,
    /// Open loop: seconds after the end in which overdue requests are still sent
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    pub drain: f64,
    /// Milliseconds by which the start time of a connection's segments advances
    #[arg(long, value_name = "MS", default_value_t = 2_000)]
    pub segment_ms: u64,
    /// Every segment is a stream of its own (default: one stream a connection)
    #[arg(long)]
    pub fresh_streams: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What was sent.
#[derive(Debug, Clone, Serialize)]
pub struct PayloadReport {
    /// Different bodies, sent in turn.
    pub distinct: usize,
    /// Mean bytes of a body.
    pub mean_bytes: f64,
    /// Bytes of all measured request bodies.
    pub sent_bytes: u64,
    /// Bytes of all measured answers' bodies.
    pub received_bytes: u64,
}

/// The report of `load`. Everything in it is of the measured stretch, after the warm-up.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Program, machine and the service's models.
    #[serde(flatten)]
    pub head: Head,
    /// The address that was called.
    pub target: String,
    /// `closed` or `open`.
    pub mode: &'static str,
    /// Requests in flight at most; a few more sockets than this may be open for a moment.
    pub connections: usize,
    /// Requests due per second, open loop only.
    pub rate: Option<f64>,
    /// What that rate grew or fell to.
    pub ramp_to: Option<f64>,
    /// As asked for.
    pub warmup_s: f64,
    /// As asked for.
    pub duration_s: f64,
    /// From the end of the warm-up to the end of the plan or the last answer, the later one.
    pub elapsed_s: f64,
    /// Requests that were sent.
    pub requests: u64,
    /// 2xx answers per second of `elapsed_s`.
    pub throughput_per_s: f64,
    /// 2xx answers.
    pub accepted: u64,
    /// Answers with status 429.
    pub rejected: u64,
    /// Answers by status, without 429.
    pub status: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub errors: Errors,
    /// Requests that were due and could not be sent before the drain ended, open loop only. They
    /// count in `latency_ms` with the time they had waited.
    pub unsent: u64,
    /// Milliseconds to the end of a 2xx answer: from sending in a closed loop, from when the
    /// request was due in an open one.
    pub latency_ms: Option<Latency>,
    /// The same for 429 answers.
    pub rejected_latency_ms: Option<Latency>,
    /// What was sent.
    pub payload: PayloadReport,
    /// Share of the requests that got no 2xx answer: refused, failed, unanswered or never sent.
    pub drop_rate: f64,
    /// What the service's process used, with `--pid`.
    pub server: Option<ServerUse>,
    /// CPU seconds that this program itself used, warm-up included; a service on the same machine
    /// had to do without them.
    pub client_cpu_s: Option<f64>,
}

impl Report for LoadReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let loop_ = match self.rate {
            Some(rate) => match self.ramp_to {
                Some(to) => format!("open loop, {rate} to {to} requests/s due"),
                None => format!("open loop, {rate} requests/s due"),
            },
            None => "closed loop".to_owned(),
        };
        writeln!(out, "{}", self.head.line())?;
        writeln!(
            out,
            "{} · {loop_} · {} connections · {:.1} s\n",
            self.target, self.connections, self.elapsed_s
        )?;
        let mut table = Table::default();
        table.row(["requests".into(), self.requests.to_string()]);
        table.row([
            "2xx per second".into(),
            cell(Some(self.throughput_per_s), 1),
        ]);
        table.row(["drop rate".into(), cell(Some(self.drop_rate), 4)]);
        if let Some(server) = &self.server {
            let rate = cell(server.answers_per_cpu_second, 1);
            table.row(["2xx per CPU second of the service".into(), rate]);
            let slope = format!(
                "{} ± {}",
                cell(Some(server.rss_slope_mib_per_minute), 2),
                cell(server.rss_slope_error_mib_per_minute, 2)
            );
            table.row(["its memory, MiB".into(), cell(Some(server.rss_last_mib), 1)]);
            table.row(["and its slope, MiB a minute".into(), slope]);
        }
        for (status, n) in &self.status {
            table.row([format!("status {status}"), n.to_string()]);
        }
        table.row(["status 429".into(), self.rejected.to_string()]);
        for (name, n) in [
            ("not connected", self.errors.connect),
            ("timed out", self.errors.timeout),
            ("broken", self.errors.broken),
            ("due, never sent", self.unsent),
        ] {
            if n > 0 {
                table.row([name.into(), n.to_string()]);
            }
        }
        table.row([
            "bytes a request".into(),
            cell(Some(self.payload.mean_bytes), 0),
        ]);
        out.push_str(&table.render());

        let mut table = Table::new([
            "latency, ms",
            "n",
            "mean",
            "p50",
            "p90",
            "p95",
            "p99",
            "p99.9",
            "max",
        ]);
        for (name, latency) in [("2xx", self.latency_ms), ("429", self.rejected_latency_ms)] {
            let Some(l) = latency else { continue };
            let figures = [l.mean, l.p50, l.p90, l.p95, l.p99, l.p99_9, l.max];
            let cells = figures.map(|f| cell(Some(f), 2));
            table.row(
                [name.to_owned(), l.count.to_string()]
                    .into_iter()
                    .chain(cells),
            );
        }
        out.push('\n');
        out.push_str(&table.render());
        Ok(())
    }
}

/// Runs the load test that `options` describe.
pub fn run(options: &LoadOptions) -> Result<LoadReport, EvalError> {
    let parts = parts(options);
    let url = payload::address(&options.target, parts[0].endpoint, &options.at)?;
    let making = Making {
        target: options.target.clone(),
        at: options.at.clone(),
        headers: headers(&options.header)?,
        segment_ms: options.segment_ms,
        fresh_streams: options.fresh_streams,
    };
    let plan = plan(options)?;
    let timeout = seconds("--timeout", options.timeout, true)?;
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .timeout(timeout)
        .pool_max_idle_per_host(plan.connections)
        .build()
        .map_err(|e| EvalError::internal(format!("can't make an HTTP client: {e}")))?;
    let payloads = Payloads::new(&client, &making, &parts)?;
    let (distinct, mean_bytes) = (payloads.distinct(), payloads.mean_bytes());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| EvalError::internal(format!("can't start the runtime: {e}")))?;
    let cpu = CpuClock::start();
    let (models, measured, server) = runtime.block_on(async {
        let models = models_of(&client, &options.target).await;
        let progress = tokio::spawn(show_progress(plan.warmup + plan.duration));
        let watch = options
            .pid
            .map(|pid| tokio::spawn(Watch::start(pid, plan.warmup)));
        let measured = run::run(client, payloads, plan).await?;
        progress.abort();
        let server = match watch {
            None => None,
            Some(watch) => watch
                .await
                .map_err(|e| EvalError::internal(format!("the watch failed: {e}")))??
                .stop(measured.recorder.accepted()),
        };
        Ok::<_, EvalError>((models, measured, server))
    })?;
    let client_cpu_s = cpu.elapsed();
    let Measured { recorder, elapsed } = measured;
    let requests = recorder.answered() + recorder.errors().total();
    if recorder.answered() == 0 {
        return Err(EvalError::Unanswered {
            target: url.to_string(),
            attempts: requests,
            last: recorder
                .last_error()
                .unwrap_or("nothing was due after the warm-up")
                .to_owned(),
        });
    }
    let (sent_bytes, received_bytes) = recorder.bytes();
    let due = requests + recorder.unsent();
    Ok(LoadReport {
        head: Head::new("load", models),
        target: url.to_string(),
        mode: if plan.rate.is_some() {
            "open"
        } else {
            "closed"
        },
        connections: plan.connections,
        rate: plan.rate,
        ramp_to: plan.ramp_to,
        warmup_s: options.warmup,
        duration_s: options.duration,
        elapsed_s: elapsed.as_secs_f64(),
        requests,
        throughput_per_s: recorder.accepted() as f64 / elapsed.as_secs_f64(),
        accepted: recorder.accepted(),
        rejected: recorder.rejected(),
        status: recorder.statuses(),
        errors: recorder.errors(),
        unsent: recorder.unsent(),
        latency_ms: recorder.accepted_latency(),
        rejected_latency_ms: recorder.rejected_latency(),
        payload: PayloadReport {
            distinct,
            mean_bytes,
            sent_bytes,
            received_bytes,
        },
        drop_rate: (due - recorder.accepted()) as f64 / due as f64,
        server,
        client_cpu_s,
    })
}

/// What is sent, by the options.
fn parts(options: &LoadOptions) -> Vec<Part> {
    if options.mix.is_empty() {
        vec![Part {
            endpoint: options.path,
            weight: 1,
            files: options.file.clone(),
        }]
    } else {
        options.mix.clone()
    }
}

fn headers(lines: &[String]) -> Result<HeaderMap, EvalError> {
    let mut map = HeaderMap::new();
    for line in lines {
        let wrong = || EvalError::usage(format!("--header takes NAME: VALUE, not {line:?}"));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_str(name.trim()).map_err(|_| wrong())?;
        let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        map.insert(name, value);
    }
    Ok(map)
}

/// Checks the options against their ranges.
fn plan(options: &LoadOptions) -> Result<Plan, EvalError> {
    if !(1..=MAX_CONNECTIONS).contains(&options.connections) {
        return Err(EvalError::usage(format!(
            "--connections takes 1 to {MAX_CONNECTIONS}"
        )));
    }
    let plan = Plan {
        connections: options.connections,
        warmup: seconds("--warmup", options.warmup, false)?,
        duration: seconds("--duration", options.duration, true)?,
        rate: options.rate,
        ramp_to: options.ramp_to,
        drain: seconds("--drain", options.drain, false)?,
    };
    if let Some(rate) = options.rate {
        let highest = options.ramp_to.map_or(rate, |to| rate.max(to));
        let planned = highest * (options.warmup + options.duration);
        let positive = rate > 0.0 && options.ramp_to.is_none_or(|to| to > 0.0);
        if !(positive && planned <= MAX_PLANNED) {
            return Err(EvalError::usage(format!(
                "--rate takes more than 0 requests a second, and at most {MAX_PLANNED:.0} in all"
            )));
        }
    }
    Ok(plan)
}

fn seconds(name: &str, value: f64, positive: bool) -> Result<Duration, EvalError> {
    let fits = if positive { value > 0.0 } else { value >= 0.0 };
    if fits && value <= DAY_S {
        Ok(Duration::from_secs_f64(value))
    } else {
        let from = if positive { "more than 0" } else { "0" };
        Err(EvalError::usage(format!(
            "{name} takes {from} to {DAY_S:.0} seconds"
        )))
    }
}

/// `name@version` of the models that the service says are ready; empty if it does not say.
pub(crate) async fn models_of(client: &Client, target: &str) -> Vec<String> {
    let Ok(mut url) = Url::parse(target) else {
        return Vec::new();
    };
    let prefix = url.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{prefix}/v1/models"));
    let answer = async {
        let response = client
            .get(url)
            .timeout(Duration::from_secs(5))
            .send()
            .await?;
        response
            .error_for_status()?
            .json::<serde_json::Value>()
            .await
    };
    match answer.await {
        Ok(json) => ready_models(&json),
        Err(error) => {
            tracing::warn!(%error, "the target does not list its models");
            Vec::new()
        }
    }
}

fn ready_models(json: &serde_json::Value) -> Vec<String> {
    let all = json["models"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = all.iter().filter(|m| m["state"] == "ready");
    let name = |m: &serde_json::Value| {
        Some(format!(
            "{}@{}",
            m["name"].as_str()?,
            m["version"].as_str()?
        ))
    };
    let mut names: Vec<String> = ready.filter_map(name).collect();
    names.sort();
    names
}

/// A bar on stderr, if that is a terminal.
async fn show_progress(total: Duration) {
    let bar = ProgressBar::new(total.as_secs().max(1)).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} s")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        bar.set_position(bar.elapsed().as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_models_are_named() {
        let json = serde_json::json!({"models": [
            {"name": "yamnet", "version": "1", "state": "ready"},
            {"name": "chat", "version": "2.0", "state": "ready"},
            {"name": "ocr", "version": "4", "state": "not_loaded"},
            {"state": "ready"}
        ]});
        assert_eq!(ready_models(&json), ["chat@2.0", "yamnet@1"]);
        assert!(ready_models(&serde_json::json!([])).is_empty());
    }

    #[test]
    fn times_have_ranges() {
        assert!(seconds("--warmup", 0.0, false).is_ok());
        for (value, positive) in [(0.0, true), (-1.0, false), (f64::NAN, false), (1e9, false)] {
            assert_eq!(seconds("--x", value, positive).unwrap_err().code(), "usage");
        }
    }
}
