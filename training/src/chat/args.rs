//! Options of `novastream-train chat`.

use std::path::PathBuf;

use serde::Serialize;

/// Which of the two chat models is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Linear over hashed n-grams: minutes to train, hundreds of thousands of messages a second.
    Fast,
    /// A fine-tuned text encoder: hours to train, hundreds of messages a second.
    Full,
}

/// Train a chat model from labelled messages.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct ChatArgs {
    /// Labelled messages: CSV, JSONL or Parquet, plain or .gz; columns as in the documentation
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// Folder for the run: model, card, metrics, configuration, log
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Which model: fast (linear) or full (text encoder)
    #[arg(long, value_enum, default_value = "fast")]
    pub tier: Tier,
    /// Labelled files to report on afterwards; nothing is chosen by them
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub report: Vec<PathBuf>,
    /// Name of the model; chat-linear or chat-minilm where none is given
    #[arg(long)]
    pub name: Option<String>,
    /// Version of the model
    #[arg(long, default_value = "0.1.0", value_name = "VERSION")]
    pub model_version: String,
    /// Seed of all randomness; the same data and options give the same bytes
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// log2 of the number of hash buckets
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(10..=24))]
    pub hash_bits: u8,
    /// Set of n-gram features: 2 knows messages as a whole, n-grams across words, and words by the
    /// length of their message
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub ngram_set: u8,
    /// Fewest training messages that a feature is in; rarer ones get no weight
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub min_count: u32,
    /// Weights of the fast tier closer to zero than this are dropped; held-out messages are ordered
    /// as well without them, and the file is smaller
    #[arg(long, default_value_t = 0.25)]
    pub min_weight: f32,
    /// Share of training messages that the fast tier also learns in disguise
    #[arg(long, default_value_t = 0.3, value_name = "X")]
    pub disguised: f64,
    /// Passes over the data
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub epochs: u32,
    /// Step of AdaGrad
    #[arg(long, default_value_t = 0.2)]
    pub learning_rate: f32,
    /// Pull of weights towards zero
    #[arg(long, default_value_t = 1e-6)]
    pub l2: f32,
    /// Share of messages held out for judging and calibrating
    #[arg(long, default_value_t = 0.15)]
    pub validation_fraction: f64,
    /// A source of n messages weighs n^(1-x): 0 counts messages, 1 counts sources
    #[arg(long, default_value_t = 0.5, value_name = "X")]
    pub source_balance: f32,
    /// Weight of a source beside the others, such as jigsaw=2; 0 leaves it out of training
    #[arg(long, num_args = 1.., value_name = "NAME=WEIGHT", value_parser = parse_weight)]
    pub source_weight: Vec<(String, f32)>,
    /// Leave a source out, for example for its licence
    #[arg(long, num_args = 1.., value_name = "NAME")]
    pub exclude_source: Vec<String>,
    /// Share of a narrow head's weight given to messages that are harmless elsewhere
    #[arg(long, default_value_t = 0.5)]
    pub background: f32,
    /// Scores of a better model for the messages of --data, one file for each of them, as
    /// `novastream-eval chat --scores` writes them: the tier learns from these as well
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub teacher: Vec<PathBuf>,
    /// How much of a label the teacher's score replaces
    #[arg(long, default_value_t = 0.5, value_name = "X")]
    pub teacher_share: f32,
    /// Share of a head's weight that messages have for which only the teacher has an answer
    #[arg(long, default_value_t = 0.3, value_name = "X")]
    pub taught: f32,
    /// Fewest held-out positives for a head to ship
    #[arg(long, default_value_t = 50)]
    pub min_positives: usize,
    /// Lowest held-out AUC within sources for a head to ship
    #[arg(long, default_value_t = 0.75)]
    pub min_auc: f64,
    /// Do not learn from the held-out messages after judging by them
    #[arg(long)]
    pub no_refit: bool,
    /// Words for the card that the run itself can't know: what was tried, what was seen
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// What only the full tier has
    #[command(flatten)]
    pub encoder: crate::encoder::EncoderArgs,
    /// Print one JSON object
    #[arg(long)]
    #[serde(skip)]
    pub json: bool,
}

impl ChatArgs {
    /// Checks what the parser can't; the message says what would be right.
    pub fn validate(&self) -> Result<(), String> {
        let positive = |value: f32| value.is_finite() && value > 0.0;
        if !(0.01..=0.5).contains(&self.validation_fraction) {
            return Err("--validation-fraction must be within 0.01..=0.5".to_owned());
        }
        if !positive(self.learning_rate) {
            return Err("--learning-rate must be above 0".to_owned());
        }
        if !(0.0..1.0).contains(&self.l2) {
            return Err("--l2 must be within 0..1".to_owned());
        }
        if !(0.0..=10.0).contains(&self.min_weight) {
            return Err("--min-weight must be within 0..=10".to_owned());
        }
        if !(0.0..=1.0).contains(&self.disguised) {
            return Err("--disguised must be within 0..=1".to_owned());
        }
        if !(0.0..=1.0).contains(&self.source_balance) {
            return Err("--source-balance must be within 0..=1".to_owned());
        }
        if !(0.0..0.95).contains(&self.background) {
            return Err("--background must be within 0..0.95".to_owned());
        }
        if !self.teacher.is_empty() && self.teacher.len() != self.data.len() {
            return Err(
                "--teacher needs one file for each file of --data, in their order".to_owned(),
            );
        }
        if !(0.0..=1.0).contains(&self.teacher_share) {
            return Err("--teacher-share must be within 0..=1".to_owned());
        }
        if !(0.0..0.95).contains(&self.taught) {
            return Err("--taught must be within 0..0.95".to_owned());
        }
        if !positive(self.encoder.encoder_learning_rate) {
            return Err("--encoder-learning-rate must be above 0".to_owned());
        }
        Ok(())
    }

    /// Name of the model.
    pub fn model_name(&self) -> &str {
        self.name.as_deref().unwrap_or(match self.tier {
            Tier::Fast => "chat-linear",
            Tier::Full => "chat-minilm",
        })
    }

    /// Weight of a source beside the others; 1 where nothing was said.
    pub fn weight_of(&self, source: &str) -> f32 {
        let given = self.source_weight.iter().find(|(name, _)| name == source);
        given.map_or(1.0, |(_, weight)| *weight)
    }
}

fn parse_weight(text: &str) -> Result<(String, f32), String> {
    let (name, weight) = text
        .split_once('=')
        .ok_or("expected NAME=WEIGHT, such as jigsaw=2")?;
    match weight.parse::<f32>() {
        Ok(weight) if weight.is_finite() && weight >= 0.0 && !name.is_empty() => {
            Ok((name.to_owned(), weight))
        }
        _ => Err(format!("{weight:?} is not a weight of 0 or more")),
    }
}
