//! From chosen settings to base models.

use novastream_datasets::events::{Event, EventLog};
use novastream_models::recommender::{
    BaseModels, Factors, RecommenderBundle, RecommenderConfig, ScorerKind,
};

use super::matrix::Matrix;
use super::search::Settings;
use super::{FitError, RecommenderArgs, ease, popularity};

/// Fits base models on events, all before `now`, and joins them in a bundle without a ranker.
/// Models without a part in the blend are left out, except popularity, which is the fallback, and
/// matrix factorisation where the ranker can use it (`all`), which continues from the vectors of
/// `start` where they are given.
pub fn fit(
    args: &RecommenderArgs,
    log: &EventLog,
    events: &[Event],
    now: i64,
    settings: &Settings,
    all: bool,
    start: Option<&Factors>,
) -> Result<RecommenderBundle, FitError> {
    let (users, items) = (log.users.len(), log.items.len());
    let matrix = Matrix::from_events(events, users, items, &settings.weighting, now);
    let in_blend = |kind| settings.blend.parts.iter().any(|part| part.kind == kind);
    let keep = args.keep(items.min(args.ease_items));
    let model = settings.ease.check()?;
    let model = model.fit_head(&matrix, args.ease_items, keep.unwrap_or(items))?;
    let model = match keep {
        Some(keep) => ease::sparsify(model, keep),
        None => model,
    };
    let factors = if args.dims > 0 && (all || in_blend(ScorerKind::Factors)) {
        Some(settings.factors.check()?.fit(&matrix, start)?)
    } else {
        None
    };
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
    };
    let config = RecommenderConfig {
        weighting: settings.weighting,
        blend: settings.blend.clone(),
        step_seconds: log.clock.seconds(),
        trained_until: now,
    };
    let names = log.items.names().map(str::to_owned).collect();
    Ok(RecommenderBundle::new(config, names, base))
}

/// Fits EASE alone on events, all before `now`, as [`fit`] does: what a ranker's past lists need.
pub fn fit_ease(
    args: &RecommenderArgs,
    log: &EventLog,
    events: &[Event],
    now: i64,
    settings: &Settings,
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
    Ok(BaseModels {
        ease: Some(model),
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
    ]
    .into_iter()
    .filter(|(there, _)| *there)
    .map(|(_, name)| name.to_owned())
    .collect()
}
