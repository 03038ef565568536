//! `novastream-train recommender schedule`: retrain, judge against production, promote or keep.
//!
//! One round: train a candidate on events before a cut, have `novastream-eval recommender
//! --compare` judge it and the production model on the events after it, and follow its decision.
//! The rule lives there, in one place; training may not depend on evaluation, so it runs as a
//! child process, which also means that nothing it does can take this one down.
//!
//! A promoted candidate is brought up to date with the events after the cut and becomes
//! production by the rename of a link, so the service sees the old model or the new one, never half
//! of one. Every round adds a line to `decisions.jsonl`. A round that dies at any point leaves
//! production as it was and a folder ending in `.part`, which the next one removes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use novastream_datasets::events::EventLog;
use novastream_models::recommender::RecommenderBundle;
use serde::Serialize;
use serde_json::Value;

use super::{ColumnArgs, Goal, RecommenderArgs, RecommenderTrainError, TrainOptions};

/// File of the decisions, one JSON object a line.
pub const DECISIONS_FILE: &str = "decisions.jsonl";
/// Ends the name of a folder that is not whole yet.
const PART: &str = ".part";

/// Retrain, judge against the production model, promote or keep; once or every some hours.
#[derive(Clone, Debug, clap::Args)]
pub struct ScheduleArgs {
    /// Events: CSV, JSONL or Parquet, plain or .gz; read anew in every round
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// What was available when, as for training
    #[arg(long, value_name = "FILE")]
    pub availability: Option<PathBuf>,
    /// Column names
    #[command(flatten)]
    pub columns: ColumnArgs,
    /// Folder for models and decisions
    #[arg(long, value_name = "DIR")]
    pub work: PathBuf,
    /// Link to the model in production, DIR/production when not given; the service's
    /// recommend.model
    #[arg(long, value_name = "LINK")]
    pub production: Option<PathBuf>,
    /// Hours from the start of one round to the next; one round only when not given
    #[arg(long, value_name = "HOURS")]
    pub every: Option<f64>,
    /// Share of the events, the latest, that candidate and production are judged on
    #[arg(long, default_value_t = 0.05, value_name = "SHARE")]
    pub judge_share: f64,
    /// Fewest events to judge on; production keeps its place until there are so many after its
    /// training
    #[arg(long, default_value_t = 200, value_name = "N")]
    pub judge_events: usize,
    /// Train fully in every Nth round and update production's settings and ranker in the others
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub full_every: usize,
    /// Models that stay beside the one in production
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub keep: usize,
    /// The evaluation program; the one beside this program when not given
    #[arg(long, value_name = "FILE")]
    pub eval_program: Option<PathBuf>,
    /// Print each decision as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Further options of training, after `--`
    #[arg(last = true, value_name = "OPTIONS")]
    pub options: Vec<String>,
}

/// What became of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The candidate is in production.
    Promote,
    /// Production stays.
    Keep,
    /// Too few events since production was trained; nothing was trained.
    Wait,
    /// The round went wrong; production stays.
    Failed,
}

/// One line of the decisions.
#[derive(Clone, Debug, Serialize)]
pub struct Decision {
    /// When the round ended.
    pub at: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// Folder of the candidate, where one was trained.
    pub candidate: Option<String>,
    /// Folder that production led to before.
    pub production: Option<String>,
    /// Whether settings and ranker were taken from production.
    pub update: bool,
    /// Time of the cut, in steps of the events.
    pub cut: i64,
    /// Events that were there.
    pub events: usize,
    /// NDCG@10 of the candidate less that of production, where both were judged.
    pub difference: Option<f64>,
    /// Its 95 % interval.
    pub interval: Option<Value>,
}

impl ScheduleArgs {
    fn validate(&self) -> Result<(), RecommenderTrainError> {
        let usage = |text: &str| Err(RecommenderTrainError::Usage(text.to_owned()));
        if self
            .every
            .is_some_and(|hours| !(0.001..=8_784.0).contains(&hours))
        {
            return usage("--every must be within 0.001 and 8784 hours");
        }
        if !(self.judge_share > 0.0 && self.judge_share <= 0.5) {
            return usage("--judge-share must be above 0 and at most 0.5");
        }
        if self.full_every == 0 || self.judge_events == 0 {
            return usage("--full-every and --judge-events must be at least 1");
        }
        let link = self.production();
        if link.exists() && !link.is_symlink() {
            return usage("--production must be a link that this program may replace");
        }
        Ok(())
    }

    fn production(&self) -> PathBuf {
        let usual = || self.work.join("production");
        self.production.clone().unwrap_or_else(usual)
    }
}

/// Runs rounds: one, or one every some hours until it is stopped. `tell` gets every decision.
/// With `--every` a round that fails is a decision like others; else it is the error.
pub fn run(
    args: &ScheduleArgs,
    tell: &mut dyn FnMut(&Decision) -> std::io::Result<()>,
) -> Result<(), RecommenderTrainError> {
    args.validate()?;
    std::fs::create_dir_all(&args.work).map_err(io(&args.work))?;
    let lock_path = args.work.join("lock");
    let lock = File::create(&lock_path).map_err(io(&lock_path))?;
    if lock.try_lock().is_err() {
        let text = format!("{}: another schedule is at work here", args.work.display());
        return Err(RecommenderTrainError::Usage(text));
    }
    let mut tell = |decision: &Decision| {
        let path = args.work.join(DECISIONS_FILE);
        note(&path, decision)?;
        tell(decision).map_err(io(&path))
    };
    let Some(hours) = args.every else {
        return tell(&round(args, 0)?);
    };
    let pause = Duration::from_secs_f64(hours * 3600.0);
    for number in 0_usize.. {
        let started = std::time::Instant::now();
        let decision = round(args, number).unwrap_or_else(|error| Decision {
            at: Timestamp::now().to_string(),
            outcome: Outcome::Failed,
            reasons: vec![format!("{}: {error}", error.code())],
            candidate: None,
            production: None,
            update: false,
            cut: 0,
            events: 0,
            difference: None,
            interval: None,
        });
        tell(&decision)?;
        std::thread::sleep(pause.saturating_sub(started.elapsed()));
    }
    Ok(())
}

/// One round.
fn round(args: &ScheduleArgs, number: usize) -> Result<Decision, RecommenderTrainError> {
    sweep(&args.work)?;
    let link = args.production();
    let production = std::fs::canonicalize(&link).ok();
    let trained_until = match &production {
        Some(dir) => Some(RecommenderBundle::load(dir)?.config.trained_until),
        None => None,
    };
    let log = EventLog::load(&args.events, &args.columns.columns(), args.columns.clock())?;
    let (Some(first), Some(last)) = (log.events.first(), log.events.last()) else {
        return Err(RecommenderTrainError::NoEvents { before: None });
    };
    let judged = (log.events.len() as f64 * args.judge_share).ceil() as usize;
    let at = log.events.len().saturating_sub(judged.max(1));
    let cut = trained_until.map_or(log.events[at].time, |until| log.events[at].time.max(until));
    let after = log.since(cut).len();
    let mut decision = Decision {
        at: String::new(),
        outcome: Outcome::Wait,
        reasons: Vec::new(),
        candidate: None,
        production: production.as_deref().map(folder_name),
        update: production.is_some() && !number.is_multiple_of(args.full_every),
        cut,
        events: log.events.len(),
        difference: None,
        interval: None,
    };
    if cut <= first.time || (production.is_some() && after < args.judge_events) {
        decision.reasons.push(format!(
            "{after} events to judge on; {} are wanted",
            args.judge_events
        ));
        decision.at = Timestamp::now().to_string();
        return Ok(decision);
    }
    let stamp = Timestamp::now().strftime("%Y.%m%d.%H%M%S").to_string();
    let part = args.work.join(format!("{stamp}{PART}"));
    let mut train = TrainOptions::parse(&args.options, &args.events, &part.join("candidate"))?;
    train.availability.clone_from(&args.availability);
    train.columns = args.columns.clone();
    train.goal = train.goal.or(Some(Goal::Live));
    train.model_version.clone_from(&stamp);
    train.until = Some(cut);
    train.update = production.clone().filter(|_| decision.update);
    super::run(&train)?;
    match &production {
        None => {
            decision.outcome = Outcome::Promote;
            decision
                .reasons
                .push("nothing was in production".to_owned());
        }
        Some(production) => judge(args, &train, production, cut, &mut decision)?,
    }
    if decision.outcome == Outcome::Promote {
        // Settings and ranker were judged; base models take in what came after the cut.
        let fresh = RecommenderArgs {
            until: Some(last.time + 1),
            update: Some(train.out.clone()),
            out: part.join("model"),
            ..train
        };
        super::run(&fresh)?;
        let dir = args.work.join(&stamp);
        std::fs::rename(part.join("model"), &dir).map_err(io(&dir))?;
        switch(&link, &dir)?;
    }
    decision.candidate = Some(stamp);
    std::fs::remove_dir_all(&part).map_err(io(&part))?;
    tidy(args, &link)?;
    decision.at = Timestamp::now().to_string();
    Ok(decision)
}

/// Has the evaluation decide between candidate and production.
fn judge(
    args: &ScheduleArgs,
    train: &RecommenderArgs,
    production: &Path,
    cut: i64,
    decision: &mut Decision,
) -> Result<(), RecommenderTrainError> {
    let program = match &args.eval_program {
        Some(program) => program.clone(),
        None => std::env::current_exe()
            .map_err(io(Path::new("novastream-eval")))?
            .with_file_name("novastream-eval"),
    };
    let mut command = Command::new(&program);
    command.args([
        "recommender",
        "--protocol",
        "live",
        "--no-ablation",
        "--json",
    ]);
    command.arg("--model").arg(&train.out);
    command.arg("--compare").arg(production);
    command.arg("--events").arg(&args.events);
    command.arg(format!("--from={cut}"));
    if let Some(availability) = &args.availability {
        command.arg("--availability").arg(availability);
    }
    for (name, value) in args.columns.named() {
        command.arg(format!("--{name}={value}"));
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(io(&program))?;
    let failed = |why: String| RecommenderTrainError::Judge {
        program: program.clone(),
        why,
    };
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let comparison = &report["comparison"];
    decision.outcome = match comparison["decision"].as_str() {
        Some("promote") => Outcome::Promote,
        Some("keep") => Outcome::Keep,
        _ => return Err(failed("its answer has no decision".to_owned())),
    };
    let reasons = comparison["reasons"].as_array();
    let texts = reasons.into_iter().flatten().filter_map(Value::as_str);
    decision.reasons.extend(texts.map(str::to_owned));
    decision.difference = comparison["difference"].as_f64();
    decision.interval = Some(comparison["interval"].clone()).filter(|value| !value.is_null());
    Ok(())
}

/// Lets the link lead to `dir`: a new link takes its name in one step.
fn switch(link: &Path, dir: &Path) -> Result<(), RecommenderTrainError> {
    let target = std::fs::canonicalize(dir).map_err(io(dir))?;
    let fresh = link.with_extension("new");
    if fresh.is_symlink() {
        std::fs::remove_file(&fresh).map_err(io(&fresh))?;
    }
    std::os::unix::fs::symlink(target, &fresh).map_err(io(&fresh))?;
    std::fs::rename(&fresh, link).map_err(io(link))
}

/// Removes what a round that died has left.
fn sweep(work: &Path) -> Result<(), RecommenderTrainError> {
    for name in folders(work)? {
        if name.ends_with(PART) {
            let path = work.join(name);
            std::fs::remove_dir_all(&path).map_err(io(&path))?;
        }
    }
    Ok(())
}

/// Removes the oldest models beyond those that stay; never the one in production.
fn tidy(args: &ScheduleArgs, link: &Path) -> Result<(), RecommenderTrainError> {
    let current = std::fs::canonicalize(link).ok();
    let stamp = |name: &String| {
        name.split('.').count() == 3 && name.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let mut old: Vec<String> = folders(&args.work)?.into_iter().filter(stamp).collect();
    old.retain(|name| std::fs::canonicalize(args.work.join(name)).ok() != current);
    // Stamps sort by time.
    old.sort();
    let surplus = old.len().saturating_sub(args.keep);
    for name in old.into_iter().take(surplus) {
        let path = args.work.join(name);
        std::fs::remove_dir_all(&path).map_err(io(&path))?;
    }
    Ok(())
}

/// Names of the real folders in a folder.
fn folders(dir: &Path) -> Result<Vec<String>, RecommenderTrainError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?;
        if entry.file_type().map_err(io(dir))?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Adds a line to the decisions and waits until it is on the disk.
fn note(path: &Path, decision: &Decision) -> Result<(), RecommenderTrainError> {
    let mut line = serde_json::to_string(decision)?;
    line.push('\n');
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(io(path))?;
    file.write_all(line.as_bytes()).map_err(io(path))?;
    file.sync_all().map_err(io(path))
}

fn folder_name(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> RecommenderTrainError + '_ {
    move |source| RecommenderTrainError::Io {
        path: path.to_owned(),
        source,
    }
}
