//! `novastream-train recommender`: from behaviour events to a recommender bundle.
//!
//! Events are read in the order of time, weighed as the bundle will weigh them when it serves,
//! their settings chosen on events held out from the training events themselves ([`inner`],
//! [`search`]), and fitted by base models ([`ease`], [`als`], [`knn`], [`popularity`]) and, where
//! times allow, a ranker of live lists over them ([`ranker`]).

pub mod als;
mod als_conjugate;
mod als_subspace;
mod args;
pub mod base;
mod clusters;
pub mod content;
pub mod ease;
mod error;
mod export;
pub mod inner;
pub mod knn;
mod lanes;
pub mod matrix;
pub mod popularity;
pub mod ranker;
mod ranker_args;
pub mod schedule;
pub mod search;
pub mod segments;
pub mod sequence;
mod stages;
pub mod update;

use std::collections::BTreeMap;

use indicatif::{ProgressBar, ProgressStyle};
use novastream_datasets::events::{Availability, Event, EventLog, load_item_words};
use novastream_datasets::sha256_file;
use novastream_models::recommender::{BlendPart, ScorerKind};
use serde::Serialize;

use args::TrainOptions;
pub use args::{ColumnArgs, RecommenderArgs, RecommenderCommand, RecommenderSubcommand};
pub use error::{FitError, RecommenderTrainError};
pub use inner::Goal;
pub use ranker_args::RankerArgs;
pub use stages::{Seconds, Stages};

use base::Extras;
use inner::InnerSplit;
use ranker::{RankerFit, RankerInput};
use search::{Freedom, Search, Settings, Try};
use segments::SegmentParams;
use sequence::SequenceParams;
use update::Previous;

/// One data file of a run.
#[derive(Clone, Debug, Serialize)]
pub struct DataEntry {
    /// File name, without folders.
    pub file: String,
    /// SHA-256.
    pub sha256: String,
}

/// What a run did; `metrics.json` and the answer of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct RecommenderReport {
    /// `name@version`.
    pub model: String,
    /// What it learned from.
    pub data: Vec<DataEntry>,
    /// Events learned from.
    pub events: usize,
    /// Users among them.
    pub users: usize,
    /// Items among them.
    pub items: usize,
    /// What the settings were chosen for.
    pub goal: Goal,
    /// Models in the bundle.
    pub models: Vec<String>,
    /// The settings taken.
    pub settings: Settings,
    /// What was tried on held-out events, in order; the last is what was taken.
    pub tries: Vec<Try>,
    /// Figures on events held out from the fits that chose the settings.
    pub metrics: BTreeMap<String, f64>,
    /// Seconds by stage.
    pub seconds: BTreeMap<String, Seconds>,
}

impl RecommenderReport {
    /// A few lines for people.
    pub fn summary(&self) -> String {
        let mut lines = vec![format!(
            "{}: {} events, {} users, {} items; {}",
            self.model,
            self.events,
            self.users,
            self.items,
            self.models.join(", ")
        )];
        for (name, value) in &self.metrics {
            lines.push(format!("  {name:<32} {value:.4}"));
        }
        lines.join("\n")
    }
}

/// Trains and writes a bundle. Progress goes to stderr.
pub fn run(args: &RecommenderArgs) -> Result<RecommenderReport, RecommenderTrainError> {
    args.validate().map_err(RecommenderTrainError::Usage)?;
    let mut out = export::RunLog::create(&args.out)?;
    let mut stages = Stages::start();
    let columns = args.columns.columns();
    let mut log = EventLog::load(&args.events, &columns, args.columns.clock())?;
    let words = args.items.as_ref();
    let words = words
        .map(|path| load_item_words(path, &columns, &mut log.items))
        .transpose()?;
    let content = match words {
        Some(words) => content::ContentParams::default().check()?.fit(&words)?,
        None => None,
    };
    let segments = (args.goal() == Goal::Live && args.segments > 0).then(|| SegmentParams {
        segments: args.segments,
        seed: args.seed,
        ..SegmentParams::default()
    });
    let extras = Extras {
        content: content.as_ref(),
        segments,
        sequence: args.sequence.then(|| SequenceParams {
            seed: args.seed,
            ..SequenceParams::default()
        }),
    };
    let train = args.until.map_or(&log.events[..], |time| log.until(time));
    let Some(last) = train.last() else {
        return Err(RecommenderTrainError::NoEvents { before: args.until });
    };
    let now = args.until.unwrap_or(last.time + 1);
    let seconds = stages.end("read");
    out.line(&format!(
        "{} events of {} users and {} items, {} rows left out, {:.1} s",
        train.len(),
        log.users.len(),
        log.items.len(),
        log.skipped,
        seconds.wall,
    ))?;

    let previous = args.update.as_deref().map(Previous::load).transpose()?;
    let (settings, tries) = match (&previous, &args.settings) {
        (Some(previous), _) => (previous.settings.clone(), Vec::new()),
        (None, Some(dir)) => (update::settings_of(dir)?, Vec::new()),
        (None, None) => choose(args, &log, train)?,
    };
    let seconds = stages.end("choose");
    for Try { what, figure } in &tries {
        out.line(&format!(
            "  {what}: NDCG@10 {:.4}, {:.4}",
            figure.all, figure.hard
        ))?;
    }
    out.line(&format!("settings chosen, {:.1} s", seconds.wall))?;

    let all = args.all_models || args.goal() == Goal::Live;
    let start = previous.as_ref().and_then(|model| model.vectors(&log));
    let mut bundle = base::fit(
        args,
        &log,
        train,
        now,
        &settings,
        all,
        start.as_ref(),
        extras,
        &mut stages,
    )?;
    let seconds = stages.end("fit");
    out.line(&format!(
        "{} fitted, {:.1} s",
        base::names(&bundle).join(", "),
        seconds.wall
    ))?;

    let ranker = match previous {
        Some(previous) => {
            bundle.ranker = previous.ranker(train, &log, args.seed);
            None
        }
        None => fit_ranker(args, &log, train, now, &settings, extras)?,
    };
    let seconds = stages.end("ranker");
    let mut metrics = BTreeMap::new();
    if let Some(fit) = ranker {
        out.line(&format!(
            "ranker fitted on {} lists, {} rows: {} trees, {:.1} s",
            fit.lists, fit.rows, fit.trees, seconds.wall
        ))?;
        if let Some(loss) = fit.held_out_loss {
            metrics.insert("ranker.held_out_loss".to_owned(), round(f64::from(loss)));
        }
        bundle.ranker = Some(fit.ranker);
    }

    if let Some(Try { figure, .. }) = tries.last() {
        metrics.insert("inner.ndcg@10".to_owned(), round(figure.all));
        metrics.insert("inner.hard.ndcg@10".to_owned(), round(figure.hard));
    }
    let report = RecommenderReport {
        model: format!("{}@{}", args.name, args.model_version),
        data: data_entries(args)?,
        events: train.len(),
        users: log.users.len(),
        items: log.items.len(),
        goal: args.goal(),
        models: base::names(&bundle),
        settings,
        tries,
        metrics,
        seconds: stages.done,
    };
    export::write(args, &bundle, &report)?;
    Ok(report)
}

/// The ranker of live lists; `None` where the goal or the data want none.
fn fit_ranker(
    args: &RecommenderArgs,
    log: &EventLog,
    train: &[Event],
    now: i64,
    settings: &Settings,
    extras: Extras<'_>,
) -> Result<Option<RankerFit>, RecommenderTrainError> {
    if args.goal() != Goal::Live {
        return Ok(None);
    }
    let mut items = log.items.clone();
    let availability = args
        .availability
        .as_ref()
        .map(|path| Availability::load(path, &args.columns.columns(), &mut items))
        .transpose()?;
    let fit_base =
        |events: &[Event], until: i64| base::fit_ease(args, log, events, until, settings, extras);
    let input = RankerInput {
        events: train,
        users: log.users.len(),
        items: log.items.len(),
        clock: log.clock,
        until: now,
        availability: availability.as_ref(),
        fit_base: &fit_base,
        without: &args.ranker.ranker_without,
        seed: args.seed,
    };
    args.ranker.params().fit(&input)
}

/// Settings from options, held-out events and what usually does well, in this order.
fn choose(
    args: &RecommenderArgs,
    log: &EventLog,
    train: &[Event],
) -> Result<(Settings, Vec<Try>), RecommenderTrainError> {
    let mut settings = Settings::usual(args.seed);
    let ease = &mut settings.ease;
    ease.lambda = args.ease_lambda.unwrap_or(ease.lambda);
    ease.exponent = args.ease_exponent.unwrap_or(ease.exponent);
    ease.damping = args.ease_damping.unwrap_or(ease.damping);
    settings.factors.dims = args.dims.max(1);
    settings.factors.passes = args.passes;
    let factors = &mut settings.factors;
    factors.regularisation = args
        .factors_regularisation
        .unwrap_or(factors.regularisation);
    factors.unobserved = args.factors_unobserved.unwrap_or(factors.unobserved);
    settings.weighting.unit = train.iter().fold(1.0, |unit, event| event.weight.max(unit));
    ease.check()?;
    settings.factors.check()?;
    let (users, items) = (log.users.len(), log.items.len());
    let goal = args.goal();
    let partial = args.dims > 0 && !als::covers(items, args.ease_items);
    if partial {
        settings.blend.parts = vec![BlendPart {
            kind: ScorerKind::Factors,
            factor: 1.0,
        }];
    }
    let split = if args.no_search {
        None
    } else {
        InnerSplit::new(train, users, log.clock, goal, args.seed)
    };
    let Some(split) = split else {
        return Ok((settings, Vec::new()));
    };
    let mut pairs: Vec<u64> = train
        .iter()
        .map(|event| u64::from(event.user) << 32 | u64::from(event.item))
        .collect();
    pairs.sort_unstable();
    pairs.dedup();
    let free = Freedom {
        fixed_lambda: args.ease_lambda.is_some(),
        fixed_exponent: args.ease_exponent.is_some(),
        fixed_damping: args.ease_damping.is_some(),
        weighted: log.weighted && train.iter().any(|event| event.weight != train[0].weight),
        repeats: (pairs.len() as f64) < 0.99 * train.len() as f64,
        timed: log.clock.seconds().is_some(),
        factors: args.dims > 0,
        partial,
    };
    let style = ProgressStyle::with_template(
        "{spinner} choosing settings: {pos} tried, {per_sec}, best so far {msg} [{elapsed}]",
    );
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = style {
        progress.set_style(style);
    }
    let mut search = Search::new(&split, users, items, &progress);
    let chosen = search.run(settings, goal, free)?;
    let tries = search.tries;
    progress.finish_and_clear();
    Ok((chosen, tries))
}

fn data_entries(args: &RecommenderArgs) -> Result<Vec<DataEntry>, RecommenderTrainError> {
    let files = std::iter::once(&args.events);
    let files = files.chain(&args.availability).chain(&args.items);
    files
        .map(|path| {
            let name = path.file_name().unwrap_or_default();
            Ok(DataEntry {
                file: name.to_string_lossy().into_owned(),
                sha256: sha256_file(path)?,
            })
        })
        .collect()
}

/// Four decimals: what the card shows.
fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
