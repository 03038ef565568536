//! How many users a second one core serves from a recommender bundle: `recsys_serve DIR FILE` reads
//! histories (a JSON list of item ids a line), lists the ten best unseen items of the whole
//! catalogue for each, and prints one JSON object. Used by `make bench-recsys`.

use std::process::ExitCode;

use novastream_models::recommender::{Ease, FactorIndex, RecommenderBundle, Scorer, top_n};
use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| {
        args.next()
            .ok_or_else(|| format!("usage: recsys_serve DIR FILE ({what} is missing)"))
    };
    let (dir, file) = (next("DIR")?, next("FILE")?);
    let bundle = RecommenderBundle::load(dir.as_ref()).map_err(|error| error.to_string())?;
    let items = bundle.items().len();
    let histories = histories(&file, &bundle)?;
    let users = histories.len();
    let mut figures = serde_json::Map::new();
    if let Some(ease) = &bundle.base.ease {
        let kind = match ease {
            Ease::Dense { .. } => "ease_dense_users_per_second",
            Ease::Sparse(_) => "ease_sparse_users_per_second",
        };
        let started = cpu_seconds();
        let mut scores = vec![0.0; items];
        let mut listed = 0;
        for history in &histories {
            ease.score_all(history, &mut scores);
            for (item, _) in history {
                scores[*item as usize] = f32::NEG_INFINITY;
            }
            listed += top_n(&scores, 10).len();
        }
        let rate = users as f64 / (cpu_seconds() - started);
        figures.insert(kind.to_owned(), rate.into());
        figures.insert("ease_listed".to_owned(), listed.into());
    }
    if let Some(factors) = &bundle.base.factors {
        let mut vectors = Vec::with_capacity(users * factors.dims());
        let mut vector = Vec::new();
        let started = cpu_seconds();
        for history in &histories {
            factors.fold_in(history, &mut vector);
            vectors.extend_from_slice(&vector);
        }
        let rate = users as f64 / (cpu_seconds() - started);
        figures.insert("factors_fold_in_users_per_second".to_owned(), rate.into());
        let seen: Vec<Vec<u32>> = histories
            .iter()
            .map(|history| history.iter().map(|(item, _)| *item).collect())
            .collect();
        let index = FactorIndex::new(factors);
        let started = cpu_seconds();
        let lists = index.top(&vectors, 10, |user| &seen[user]);
        let rate = lists.len() as f64 / (cpu_seconds() - started);
        figures.insert("factors_users_per_second".to_owned(), rate.into());
    }
    serde_json::to_string(&figures).map_err(|error| error.to_string())
}

/// One history a line of the file; ids that the bundle does not know are left out.
fn histories(file: &str, bundle: &RecommenderBundle) -> Result<Vec<Vec<(u32, f32)>>, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    text.lines()
        .map(|line| {
            let ids: Vec<String> = serde_json::from_str(line).map_err(|error| error.to_string())?;
            let known = ids.iter().filter_map(|id| bundle.item_number(id));
            let mut history: Vec<(u32, f32)> = known.map(|item| (item, 1.0)).collect();
            history.sort_unstable_by_key(|(item, _)| *item);
            Ok(history)
        })
        .collect()
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
