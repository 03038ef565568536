//! The leave-out and ranking protocols: over all items that a user did not take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use novastream_datasets::events::{EventLog, Interner, load_negatives};
use novastream_models::recommender::{Past, RecommenderBundle, Scorer};
use novastream_training::recommender::matrix::PastByUser;

use super::answers::{self, Named};
use super::case::{Case, TOP, best};
use super::figures::{HitFigures, ListFigures, Placed, rank};
use super::options::{Protocol, RecommenderOptions};
use super::report::{Beside, Outcome};
use super::spread::{of_lists, surprise};
use crate::cpu::{CpuClock, per_second};
use crate::error::EvalError;

/// The others in the table; the first is the model itself.
const NAMES: [&str; 5] = [
    "this model",
    "EASE alone",
    "factors alone",
    "popularity",
    "random",
];
/// Place of a random order in [`NAMES`].
const RANDOM: usize = 4;

/// One user's question: what was taken, and what should be found.
struct Question {
    user: u32,
    taken: BTreeSet<u32>,
    history: Vec<(u32, f32)>,
    targets: Vec<u32>,
}

/// Judges a bundle on a test file.
pub(super) fn judge(
    options: &RecommenderOptions,
    bundle: &Arc<RecommenderBundle>,
    log: &mut EventLog,
) -> Result<Outcome, EvalError> {
    let path = options
        .test
        .as_ref()
        .ok_or_else(|| EvalError::usage("this protocol needs --test FILE"))?;
    let mut test = EventLog::load_with(
        path,
        &options.columns.columns(),
        options.columns.clock(),
        log.users.clone(),
        log.items.clone(),
    )?;
    let (questions, skipped) = questions(bundle, log, &test);
    if questions.is_empty() {
        return Err(EvalError::NotEvaluated {
            reason: "no user of the test file is in the events".to_owned(),
        });
    }
    let cpu = CpuClock::start();
    let mut scores = Scores::new(bundle, &test.items, log);
    for question in &questions {
        scores.model(question);
    }
    let rate = per_second(questions.len(), cpu.elapsed());
    let mut outcome = if options.protocol == Protocol::Ranking {
        lists(&questions, &mut scores)
    } else {
        let negatives = options
            .negatives
            .as_ref()
            .map(|path| load_negatives(path, &options.columns.columns(), &test.users, &test.items))
            .transpose()?;
        single(
            &questions,
            &mut scores,
            negatives.as_ref().map(|(map, _)| map),
        )
    };
    outcome.events_per_cpu_second = rate;
    outcome.skipped = skipped;
    std::mem::swap(&mut log.items, &mut test.items);
    Ok(outcome)
}

/// One question for each user with test rows and a past; also the rows of users without.
fn questions(
    bundle: &RecommenderBundle,
    log: &EventLog,
    test: &EventLog,
) -> (Vec<Question>, usize) {
    let mut targets: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for event in &test.events {
        targets.entry(event.user).or_default().push(event.item);
    }
    let past = PastByUser::new(&log.events, test.users.len());
    let now = log.events.last().map_or(0, |event| event.time + 1);
    let mut skipped = 0;
    let mut questions = Vec::new();
    for (user, mut targets) in targets {
        let mine: &[Past] = past.of(user as usize);
        if mine.is_empty() {
            skipped += targets.len();
            continue;
        }
        let taken: BTreeSet<u32> = mine.iter().map(|event| event.item).collect();
        targets.retain(|item| !taken.contains(item));
        targets.sort_unstable();
        targets.dedup();
        let mut history = Vec::new();
        bundle
            .config
            .weighting
            .apply(mine.iter().copied(), now, &mut history);
        if !targets.is_empty() {
            questions.push(Question {
                user,
                taken,
                history,
                targets,
            });
        }
    }
    (questions, skipped)
}

/// Scores of the whole catalogue by the model and by the others.
struct Scores<'a> {
    bundle: &'a RecommenderBundle,
    all: Vec<u32>,
    out: Vec<f32>,
    /// Starts of each item in the events, and of all.
    starts: Vec<u32>,
    events: usize,
    named: Named<'a>,
}

impl<'a> Scores<'a> {
    fn new(bundle: &'a RecommenderBundle, names: &'a Interner, log: &EventLog) -> Self {
        let items = names.len();
        let mut starts = vec![0; items];
        for event in &log.events {
            starts[event.item as usize] += 1;
        }
        Self {
            bundle,
            starts,
            events: log.events.len(),
            named: Named::new(names),
            all: (0..items as u32).collect(),
            out: vec![0.0; items],
        }
    }

    fn model(&mut self, question: &Question) {
        self.bundle
            .score(&question.history, &self.all, &mut self.out);
        self.mask(question);
    }

    /// Scores by the others of [`NAMES`]; `false` where the bundle does not have one.
    fn by(&mut self, which: usize, question: &Question) -> bool {
        let base = &self.bundle.base;
        let scorer: Option<&dyn Scorer> = match which {
            0 => {
                self.model(question);
                return true;
            }
            1 => base.ease.as_ref().map(|model| model as &dyn Scorer),
            2 => base.factors.as_ref().map(|model| model as &dyn Scorer),
            3 => base.popularity.as_ref().map(|model| model as &dyn Scorer),
            _ => None,
        };
        match scorer {
            Some(scorer) => scorer.score(&question.history, &self.all, &mut self.out),
            None if which == RANDOM => self.out.fill(0.0),
            None => return false,
        }
        self.mask(question);
        true
    }

    fn surprise(&self, list: &[u32]) -> f64 {
        surprise(list, |item| self.starts[item as usize], self.events)
    }

    /// Taken items leave the list.
    fn mask(&mut self, question: &Question) {
        for item in &question.taken {
            self.out[*item as usize] = f32::NEG_INFINITY;
        }
    }
}

fn lists(questions: &[Question], scores: &mut Scores<'_>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut shown: Vec<(Vec<u32>, f64)> = Vec::new();
    for (which, name) in NAMES.into_iter().enumerate() {
        let mut users = Vec::new();
        for question in questions {
            if !scores.by(which, question) {
                break;
            }
            let figures = if which == RANDOM {
                // What a random order hits on average.
                random_list(question, scores.all.len())
            } else {
                let top = best(&scores.out);
                let right = |at: &usize| question.targets.binary_search(&(*at as u32)).is_ok();
                let hits: Vec<bool> = top.iter().map(right).collect();
                if which == 0 {
                    let list: Vec<u32> = top.into_iter().map(|at| at as u32).collect();
                    let surprise = scores.surprise(&list);
                    shown.push((list, surprise));
                }
                ListFigures::of(&hits, question.targets.len())
            };
            users.push((question.user, figures));
        }
        let mean = ListFigures::mean(users.iter().map(|(_, figures)| figures));
        if which == 0 {
            outcome.lists = Some(mean);
            let lists = || shown.iter().map(|(list, surprise)| (&list[..], *surprise));
            outcome.spread = Some(of_lists(lists(), scores.all.len()));
            outcome.name_popular(&scores.named, lists().map(|(list, _)| list));
            outcome.interval(
                "map",
                users.iter().map(|(user, figures)| (*user, figures.map)),
            );
            outcome.interval(
                "ndcg@10",
                users.iter().map(|(user, figures)| (*user, figures.ndcg10)),
            );
            outcome.users = users;
        } else if !users.is_empty() {
            outcome
                .baselines
                .insert(name.to_owned(), Beside::of_lists(mean));
        }
    }
    outcome
}

/// Expected figures of a random order: every place hits with the same chance.
fn random_list(question: &Question, items: usize) -> ListFigures {
    let open = items.saturating_sub(question.taken.len()).max(1) as f64;
    let right = question.targets.len() as f64;
    let chance = right / open;
    let again = (right - 1.0) / (open - 1.0).max(1.0);
    let best = (0..question.targets.len().min(TOP)).map(|place| 1.0 / (place as f64 + 2.0).log2());
    let mut figures = ListFigures {
        precision10: chance,
        recall10: (TOP as f64 / open).min(1.0),
        n: 1,
        ..ListFigures::default()
    };
    for place in 0..TOP.min(open as usize) {
        let place = place as f64;
        figures.map += chance * (1.0 + place * again) / (place + 1.0);
        figures.ndcg10 += chance / (place + 2.0).log2();
    }
    figures.map /= right.max(1.0);
    figures.ndcg10 /= best.sum::<f64>();
    figures
}

fn single(
    questions: &[Question],
    scores: &mut Scores<'_>,
    negatives: Option<&BTreeMap<u32, Vec<u32>>>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut sampled = Vec::new();
    for (which, name) in NAMES.into_iter().enumerate() {
        let mut cases = Vec::new();
        for question in questions {
            if !scores.by(which, question) {
                break;
            }
            let top: Vec<u32> = if which == 0 {
                best(&scores.out).into_iter().map(|at| at as u32).collect()
            } else {
                Vec::new()
            };
            let surprise = scores.surprise(&top);
            for target in &question.targets {
                let place = *target as usize;
                let placed = |rank| Placed {
                    user: question.user,
                    rank,
                    repeat: false,
                };
                if let (0, Some(list)) = (which, negatives.and_then(|all| all.get(&question.user)))
                {
                    let list: BTreeSet<u32> =
                        list.iter().copied().filter(|item| item != target).collect();
                    let picked: Vec<f32> = std::iter::once(place)
                        .chain(list.into_iter().map(|item| item as usize))
                        .map(|item| scores.out[item])
                        .collect();
                    sampled.push(placed(rank(&picked, 0)));
                }
                // Taken items are at the very end, not in the list at all.
                let rank = rank(&scores.out, place);
                cases.push(Case {
                    placed: placed(rank),
                    item: *target,
                    top: top.clone(),
                    surprise,
                    confidence: 0.0,
                    user_starts: question.taken.len() as u32,
                    item_starts: scores.starts[place],
                    group: None,
                });
            }
        }
        if which == 0 {
            outcome = answers::hits(&cases, scores.all.len());
            outcome.repeat = None;
            outcome.new = None;
            outcome.intervals.retain(|name, _| !name.contains('.'));
            outcome.segments = answers::segments(&cases, &Interner::default());
            outcome.name_popular(&scores.named, cases.iter().map(|case| &case.top[..]));
            outcome.cases = cases;
        } else if !cases.is_empty() {
            let hits = HitFigures::of(cases.iter().map(|case| &case.placed));
            let beside = Beside {
                hits: Some(hits),
                ..Beside::default()
            };
            outcome.baselines.insert(name.to_owned(), beside);
        }
    }
    outcome.sampled = negatives.map(|_| HitFigures::of(&sampled));
    outcome
}
