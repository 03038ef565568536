//! From chosen settings to base models.

use novastream_datasets::events::{Event, EventLog};
use novastream_models::recommender::{
    BaseModels, Content, Factors, RecommenderBundle, RecommenderConfig, ScorerKind, Segments,
    Sequence,
};

use super::matrix::Matrix;
use super::search::Settings;
use super::segments::SegmentParams;
use super::sequence::SequenceParams;
use super::{FitError, RecommenderArgs, Stages, ease, popularity, ranker};

/// Length of the item vectors that users are placed by for their segments.
const SEGMENT_DIMS: usize = 32;

/// What the ranker has beside collaborative models.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// What items say of themselves.
    pub content: Option<&'a Content>,
    /// Audience segments, where they are wanted.
    pub segments: Option<SegmentParams>,
    /// The sequence model, where it is wanted.
    pub sequence: Option<SequenceParams>,
}

impl Extras<'_> {
    /// Fits the segments.
    fn segments(
        &self,
        events: &[Event],
        matrix: &Matrix,
        seed: u64,
    ) -> Result<Option<Segments>, FitError> {
        let Some(params) = self.segments else {
            return Ok(None);
        };
        let (users, items) = (matrix.height(), matrix.width());
        let vectors = ranker::item_vectors(events, users, items, SEGMENT_DIMS, seed);
        params.check()?.fit(matrix, &vectors, SEGMENT_DIMS)
    }

    /// Trains the sequence model.
    fn sequence(
        &self,
        events: &[Event],
        users: usize,
        items: usize,
    ) -> Result<Option<Sequence>, FitError> {
        match self.sequence {
            Some(params) => params.check()?.fit(events, users, items),
            None => Ok(None),
        }
    }
}

/// Fits base models on events, all before `now`, and joins them in a bundle without a ranker.
/// Models without a part in the blend are left out, except popularity, which is the fallback, and
/// matrix factorisation where the ranker can use it (`all`), which continues from the vectors of
/// `start` where they are given. Seconds by estimator go to the stages.
#[allow(
    clippy::too_many_arguments,
    reason = "each is a different thing, and there is one caller"
)]
pub fn fit(
    args: &RecommenderArgs,
    log: &EventLog,
    events: &[Event],
    now: i64,
    settings: &Settings,
    all: bool,
    start: Option<&Factors>,
    extras: Extras<'_>,
    stages: &mut Stages,
) -> Result<RecommenderBundle, FitError> {
    let (users, items) = (log.users.len(), log.items.len());
    let matrix = Matrix::from_events(events, users, items, &settings.weighting, now);
    stages.part("fit.matrix");
    let in_blend = |kind| settings.blend.parts.iter().any(|part| part.kind == kind);
    let keep = args.keep(items.min(args.ease_items));
    let model = settings.ease.check()?;
    let model = model.fit_head(&matrix, args.ease_items, keep.unwrap_or(items))?;
    let model = match keep {
        Some(keep) => ease::sparsify(model, keep),
        None => model,
    };
    stages.part("fit.ease");
    let factors = if args.dims > 0 && (all || in_blend(ScorerKind::Factors)) {
        Some(settings.factors.check()?.fit(&matrix, start)?)
    } else {
        None
    };
    stages.part("fit.factors");
    let knn = if in_blend(ScorerKind::ItemKnn) {
        Some(settings.knn.check()?.fit(&matrix)?)
    } else {
        None
    };
    let base = BaseModels {
        ease: Some(model),
        factors,
        knn,
        popularity: Some(popularity::fit(&matrix)),
        content: extras.content.cloned(),
        segments: extras.segments(events, &matrix, args.seed)?,
        sequence: extras.sequence(events, users, items)?,
    };
    let config = RecommenderConfig {
        weighting: settings.weighting,
        blend: settings.blend.clone(),
        step_seconds: log.clock.seconds(),
        trained_until: now,
    };
    let names = log.items.names().map(str::to_owned).collect();
    let mut bundle = RecommenderBundle::new(config, names, base);
    if !log.groups.is_empty() {
        bundle.groups.names = log.groups.names().map(str::to_owned).collect();
        bundle.groups.of = vec![None; items];
        for event in events {
            let of = &mut bundle.groups.of[event.item as usize];
            *of = event.group.or(*of);
        }
    }
    Ok(bundle)
}

/// Fits what a ranker's past lists need on events, all before `now`, as [`fit`] does: EASE,
/// factors and the extras.
pub fn fit_ease(
    args: &RecommenderArgs,
    log: &EventLog,
    events: &[Event],
    now: i64,
    settings: &Settings,
    extras: Extras<'_>,
) -> Result<BaseModels, FitError> {
    let (users, items) = (log.users.len(), log.items.len());
    let matrix = Matrix::from_events(events, users, items, &settings.weighting, now);
    let keep = args.keep(items.min(args.ease_items));
    let model = settings.ease.check()?;
    let model = model.fit_head(&matrix, args.ease_items, keep.unwrap_or(items))?;
    let model = match keep {
        Some(keep) => ease::sparsify(model, keep),
        None => model,
    };
    let factors = if args.dims > 0 {
        Some(settings.factors.check()?.fit(&matrix, None)?)
    } else {
        None
    };
    Ok(BaseModels {
        ease: Some(model),
        factors,
        content: extras.content.cloned(),
        segments: extras.segments(events, &matrix, args.seed)?,
        sequence: extras.sequence(events, users, items)?,
        ..BaseModels::default()
    })
}

/// Names of the models in a bundle, for people.
pub fn names(bundle: &RecommenderBundle) -> Vec<String> {
    let base = &bundle.base;
    [
        (base.ease.is_some(), "EASE"),
        (base.factors.is_some(), "matrix factorisation"),
        (base.knn.is_some(), "item neighbourhoods"),
        (base.popularity.is_some(), "popularity"),
        (base.content.is_some(), "content"),
        (base.segments.is_some(), "audience segments"),
        (base.sequence.is_some(), "sequence"),
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .map(|(_, name)| name.to_owned())
    .collect()
}
