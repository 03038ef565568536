//! Options of `novastream-train recommender`.

use std::path::PathBuf;

use novastream_datasets::events::{Clock, EventColumns, parse_time};
use serde::Serialize;

use super::RankerArgs;
use super::inner::Goal;

/// Catalogues up to this size keep all weights of EASE.
const DENSE_ITEMS: usize = 5000;
/// Weights kept for each item of larger ones.
const KEEP: usize = 512;

/// Train the recommender from behaviour events.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct RecommenderArgs {
    /// Events: CSV, JSONL or Parquet, plain or .gz
    #[arg(long, value_name = "FILE")]
    pub events: PathBuf,
    /// What was available when: rows of time and item. Without it a channel counts as live
    /// within three hours of its events
    #[arg(long, value_name = "FILE")]
    pub availability: Option<PathBuf>,
    /// Column names
    #[command(flatten)]
    #[serde(flatten)]
    pub columns: ColumnArgs,
    /// Train on events before this time only: a number in the unit of the time column, or a date
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<i64>,
    /// Folder for the run: model, card, metrics, configuration, log
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Name of the model
    #[arg(long, default_value = "recommender")]
    pub name: String,
    /// Version of the model
    #[arg(long, default_value = "0.1.0", value_name = "VERSION")]
    pub model_version: String,
    /// Seed of all randomness; the same data and options give the same bytes
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// What the model is for: the next channel among those live, or unseen items of the whole
    /// catalogue. Live when --until or --availability is given, rest otherwise
    #[arg(long, value_enum)]
    pub goal: Option<Goal>,
    /// Continue from the run in this folder: its settings and ranker stay, base models are fitted
    /// on all events of the file, matrix factorisation from its vectors
    #[arg(long, value_name = "DIR")]
    pub update: Option<PathBuf>,
    /// Do not choose settings on held-out events; take the usual ones
    #[arg(long)]
    pub no_search: bool,
    /// Ridge of EASE at an item of average count; chosen on held-out events when not given
    #[arg(long)]
    pub ease_lambda: Option<f32>,
    /// Power by which an item's ridge grows with its count
    #[arg(long)]
    pub ease_exponent: Option<f32>,
    /// How much less users weigh who took much, 0..=1
    #[arg(long)]
    pub ease_damping: Option<f32>,
    /// EASE covers at most this many of the most taken items; matrix factorisation covers all
    #[arg(long, default_value_t = 12_000)]
    pub ease_items: usize,
    /// Weights kept for each item in EASE's sparse form; 0 keeps all. Without it, catalogues up to
    /// 5,000 items keep all and larger ones keep 512. Of ML-1M's 3,706, 256 change HR@10 over the
    /// whole catalogue by .0001; fewer cost more, and places far down change sooner
    #[arg(long, value_name = "N")]
    pub ease_keep: Option<usize>,
    /// Ship every model, also those without a part in the blend
    #[arg(long)]
    pub all_models: bool,
    /// Length of the vectors of matrix factorisation; 0 leaves it out
    #[arg(long, default_value_t = 64)]
    pub dims: usize,
    /// Passes of matrix factorisation
    #[arg(long, default_value_t = 10)]
    pub passes: usize,
    /// The ranker of live lists
    #[command(flatten)]
    #[serde(flatten)]
    pub ranker: RankerArgs,
    /// Print one JSON object
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
}

/// Which column holds what; usual names are found without.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
pub struct ColumnArgs {
    /// Who
    #[arg(long, value_name = "COLUMN")]
    pub user_col: Option<String>,
    /// What: channel, item
    #[arg(long, value_name = "COLUMN")]
    pub item_col: Option<String>,
    /// When; without such a column the order of the file is the time
    #[arg(long, value_name = "COLUMN")]
    pub time_col: Option<String>,
    /// How much: a rating, minutes watched
    #[arg(long, value_name = "COLUMN")]
    pub weight_col: Option<String>,
    /// Category or community of an event
    #[arg(long, value_name = "COLUMN")]
    pub group_col: Option<String>,
    /// Seconds in one unit of the time column; told from the size of the numbers when not given
    #[arg(long, value_name = "SECONDS")]
    pub step_seconds: Option<f64>,
}

impl ColumnArgs {
    /// The columns for the readers.
    pub fn columns(&self) -> EventColumns {
        EventColumns {
            user: self.user_col.clone(),
            item: self.item_col.clone(),
            time: self.time_col.clone(),
            weight: self.weight_col.clone(),
            group: self.group_col.clone(),
        }
    }

    /// The unit of time, where the user said it.
    pub fn clock(&self) -> Option<Clock> {
        self.step_seconds.map(Clock::Seconds)
    }
}

fn time(text: &str) -> Result<i64, String> {
    parse_time(text).ok_or_else(|| "expected a number or a date".to_owned())
}

impl RecommenderArgs {
    /// What the model is for.
    pub fn goal(&self) -> Goal {
        let live = self.until.is_some() || self.availability.is_some();
        self.goal
            .unwrap_or(if live { Goal::Live } else { Goal::Rest })
    }

    /// Weights kept for each item in EASE, `None` for all.
    pub fn keep(&self, items: usize) -> Option<usize> {
        match self.ease_keep {
            Some(0) => None,
            Some(keep) => Some(keep),
            None if items <= DENSE_ITEMS => None,
            None => Some(KEEP),
        }
    }

    /// Checks what the parser can't; the message says what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self
            .columns
            .step_seconds
            .is_some_and(|step| !positive(step))
        {
            return Err("--step-seconds must be above 0".to_owned());
        }
        if self
            .ease_lambda
            .is_some_and(|lambda| !positive(f64::from(lambda)))
        {
            return Err("--ease-lambda must be above 0".to_owned());
        }
        self.ranker.validate()
    }
}
