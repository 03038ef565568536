//! How many users a second one core serves from a recommender bundle: `recsys_serve DIR USERS
//! LENGTH` makes random histories of LENGTH items (popular ones more often), lists the ten best
//! unseen items of the whole catalogue, and prints one JSON object. Used by `make bench-recsys`.

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
            .ok_or_else(|| format!("usage: recsys_serve DIR USERS LENGTH ({what} is missing)"))
    };
    let dir = next("DIR")?;
    let number = |text: String| text.parse::<usize>().map_err(|error| error.to_string());
    let (users, length) = (number(next("USERS")?)?, number(next("LENGTH")?)?);
    let bundle = RecommenderBundle::load(dir.as_ref()).map_err(|error| error.to_string())?;
    let items = bundle.items().len();
    let histories = histories(users, length, items);
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

/// Histories by a fixed random sequence; the square of a uniform number favours low item numbers.
fn histories(users: usize, length: usize, items: usize) -> Vec<Vec<(u32, f32)>> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..users)
        .map(|_| {
            let mut taken: Vec<u32> = (0..length)
                .map(|_| (random().powi(2) * items as f64) as u32)
                .collect();
            taken.sort_unstable();
            taken.dedup();
            taken.into_iter().map(|item| (item, 1.0)).collect()
        })
        .collect()
}

/// Processor time of this process so far.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
