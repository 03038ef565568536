//! The live protocol.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use novastream_datasets::events::{Availability, Event, EventLog};
use novastream_features::interactions::{HistoryLimits, HourClock};
use novastream_inference::recommend::{LiveScorer, Scratch};
use novastream_models::recommender::RecommenderBundle;
use novastream_training::recommender::ranker::interaction;

use super::answers::{self, Named};
use super::baselines::Others;
use super::case::{Case, best, confidence};
use super::figures::{Placed, rank};
use super::options::RecommenderOptions;
use super::report::Outcome;
use super::spread::surprise;
use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;

/// The window: events to judge, and what was live at each.
pub(super) struct Window<'a> {
    pub events: &'a [Event],
    known: Option<&'a Availability>,
    by_rule: Availability,
}

impl<'a> Window<'a> {
    fn new(
        options: &RecommenderOptions,
        log: &'a EventLog,
        from: i64,
        known: Option<&'a Availability>,
    ) -> Self {
        let events = log.since(from);
        let to = options.to.unwrap_or(i64::MAX);
        let events = &events[..events.partition_point(|event| event.time < to)];
        let by_rule = match known {
            Some(_) => Availability::default(),
            None => Availability::from_events(
                &log.events,
                log.clock,
                events.iter().map(|event| event.time),
            ),
        };
        Self {
            events,
            known,
            by_rule,
        }
    }

    /// The live list of an event and the place of its item; `None` where the list does not have
    /// it.
    pub(super) fn list(&self, event: &Event) -> Option<(&[u32], usize)> {
        let list = match self.known {
            Some(known) => known.at(event.time)?,
            None => self.by_rule.at(event.time)?,
        };
        Some((list, list.binary_search(&event.item).ok()?))
    }
}

/// Judges a bundle on the events of a window; `alone` leaves the others out.
pub(super) fn judge(
    options: &RecommenderOptions,
    bundle: &Arc<RecommenderBundle>,
    log: &EventLog,
    known: Option<&Availability>,
    alone: bool,
) -> Result<Outcome, EvalError> {
    let seconds = log.clock.seconds().and_then(HourClock::new);
    let Some(clock) = seconds else {
        return Err(EvalError::usage(
            "the live protocol needs a time column: give --time-col",
        ));
    };
    let from = options.from.unwrap_or(bundle.config.trained_until);
    if from < bundle.config.trained_until {
        return Err(EvalError::usage(format!(
            "--from {from} is before the end of the model's training ({}): its own events would be judged",
            bundle.config.trained_until
        )));
    }
    let window = Window::new(options, log, from, known);
    let mut start = LiveScorer::new(Arc::clone(bundle), clock, HistoryLimits::default());
    let before = log.until(from);
    for event in before {
        start.observe(interaction(event));
    }
    start.advance(from);

    // The clock runs over all that a service would do: taking events in and scoring lists.
    let progress = bar(window.events.len());
    let cpu = CpuClock::start();
    let (cases, skipped) = replay(&start, &window, before.len(), &progress);
    let rate = per_second(cases.len(), cpu.elapsed());
    progress.finish_and_clear();
    if cases.is_empty() {
        return Err(EvalError::NotEvaluated {
            reason: format!(
                "none of {} events from {from} on has its item in the list of what was live",
                window.events.len()
            ),
        });
    }
    let others = if alone {
        Others::default()
    } else {
        Others::judge(&start, &window, !options.no_ablation)
    };
    let mut outcome = answers::hits(&cases, bundle.items().len());
    outcome.events_per_cpu_second = rate;
    outcome.skipped = skipped;
    outcome.from = Some(from);
    outcome.baselines = others.baselines;
    outcome.ablation = others.ablation;
    outcome.segments = answers::segments(&cases, &log.groups);
    outcome.name_popular(
        &Named::new(&log.items),
        cases.iter().map(|case| &case.top[..]),
    );
    outcome.cases = cases;
    Ok(outcome)
}

/// A bar with rate and time left on stderr.
fn bar(events: usize) -> ProgressBar {
    let progress = ProgressBar::new(events as u64);
    let style = "judging {bar:30} {pos}/{len} {per_sec} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        progress.set_style(style);
    }
    progress
}

/// Asks for every event of the window; `before` events came earlier.
fn replay(
    start: &LiveScorer,
    window: &Window<'_>,
    before: usize,
    progress: &ProgressBar,
) -> (Vec<Case>, usize) {
    let mut scorer = start.clone();
    let chances = scorer.has_ranker();
    let (mut scratch, mut scores) = (Scratch::default(), Vec::new());
    let (mut cases, mut skipped) = (Vec::with_capacity(window.events.len()), 0);
    for (number, event) in window.events.iter().enumerate() {
        scorer.advance(event.time);
        if let Some((list, target)) = window.list(event) {
            scorer.score(event.user, event.time, list, &mut scratch, &mut scores);
            let history = scorer.history();
            let top: Vec<u32> = best(&scores).into_iter().map(|at| list[at]).collect();
            cases.push(Case {
                placed: Placed {
                    user: event.user,
                    rank: rank(&scores, target),
                    repeat: history.count(event.user, event.item) > 0,
                },
                item: event.item,
                surprise: surprise(&top, |item| history.starts(item), before + number),
                top,
                confidence: if chances { confidence(&scores) } else { 0.0 },
                user_starts: history.total(event.user),
                item_starts: history.starts(event.item),
                group: event.group,
            });
        } else {
            skipped += 1;
        }
        scorer.observe(interaction(event));
        if number % 256 == 255 {
            progress.inc(256);
        }
    }
    (cases, skipped)
}
