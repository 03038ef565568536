//! Options of `novastream-train recommender`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::FromArgMatches;
use novastream_datasets::events::{Clock, EventColumns, parse_time};
use serde::Serialize;

use super::inner::Goal;
use super::schedule::ScheduleArgs;
use super::{RankerArgs, RecommenderTrainError};

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
    /// What items say of themselves: rows of the item and its title, tags, category. Lets the
    /// ranker place channels that nobody has started yet
    #[arg(long, value_name = "FILE")]
    pub items: Option<PathBuf>,
    /// Audience segments for viewers with little history, whose score goes to the ranker; 0 leaves
    /// them out
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub segments: usize,
    /// Train the sequence model too; its score goes to the ranker
    #[arg(long)]
    pub sequence: bool,
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
    /// A sentence for the card about what the model was made from and for
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
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
    /// Take the settings of the run in this folder instead of choosing them
    #[arg(long, value_name = "DIR", conflicts_with = "update")]
    pub settings: Option<PathBuf>,
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
    /// 5,000 items keep all and larger ones keep 512. Of ML-1M's 3,706, 256 cost .0008 of HR@10 over
    /// the whole catalogue and 128 cost .002; places far down change sooner
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
    /// Regularisation of matrix factorisation that the search starts from
    #[arg(long, value_name = "RIDGE")]
    pub factors_regularisation: Option<f32>,
    /// Weight of what was not taken in matrix factorisation that the search starts from
    #[arg(long, value_name = "WEIGHT")]
    pub factors_unobserved: Option<f32>,
    /// The ranker of live lists
    #[command(flatten)]
    #[serde(flatten)]
    pub ranker: RankerArgs,
    /// Print one JSON object
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
}

/// `novastream-train recommender`: a run, or the schedule of runs.
#[derive(Clone, Debug)]
pub enum RecommenderCommand {
    /// One run.
    Run(Box<RecommenderArgs>),
    /// Another thing to do.
    Other(RecommenderSubcommand),
}

// By hand: what a run needs is not needed beside a subcommand, which deriving can't say.
impl clap::Args for RecommenderCommand {
    fn augment_args(command: clap::Command) -> clap::Command {
        let command = <RecommenderArgs as clap::Args>::augment_args(command);
        <RecommenderSubcommand as clap::Subcommand>::augment_subcommands(command)
            .subcommand_required(false)
            .arg_required_else_help(false)
            .args_conflicts_with_subcommands(true)
            .subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for RecommenderCommand {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand_name().is_some() {
            RecommenderSubcommand::from_arg_matches(matches).map(Self::Other)
        } else {
            RecommenderArgs::from_arg_matches(matches).map(|args| Self::Run(Box::new(args)))
        }
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// What else there is to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum RecommenderSubcommand {
    /// Retrain, judge against the production model, promote or keep; once or every some hours
    Schedule(Box<ScheduleArgs>),
}

/// Options of a run that come as texts.
#[derive(Debug, clap::Parser)]
#[command(name = "recommender", no_binary_name = true)]
pub(super) struct TrainOptions {
    #[command(flatten)]
    args: RecommenderArgs,
}

impl TrainOptions {
    /// Reads options of a run over `events` into `out`.
    pub(super) fn parse(
        options: &[String],
        events: &Path,
        out: &Path,
    ) -> Result<RecommenderArgs, RecommenderTrainError> {
        let set = ["--events".into(), events.into(), "--out".into(), out.into()];
        let options = options.iter().map(OsString::from);
        let parsed: Result<Self, clap::Error> =
            clap::Parser::try_parse_from(set.into_iter().chain(options));
        parsed
            .map(|parsed| parsed.args)
            .map_err(|error| RecommenderTrainError::Usage(error.to_string()))
    }
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
    /// Option names and values of what was given.
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let columns = [
            ("user-col", &self.user_col),
            ("item-col", &self.item_col),
            ("time-col", &self.time_col),
            ("weight-col", &self.weight_col),
            ("group-col", &self.group_col),
        ];
        let given = columns.into_iter();
        let given = given.filter_map(|(name, value)| Some((name, value.clone()?)));
        let step = self
            .step_seconds
            .map(|step| ("step-seconds", step.to_string()));
        given.chain(step).collect()
    }

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
        if self.segments > 256 {
            return Err("--segments must be at most 256".to_owned());
        }
        self.ranker.validate()
    }
}
