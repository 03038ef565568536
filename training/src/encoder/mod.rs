//! `novastream-train chat --tier full`: a pretrained text encoder, fine-tuned for chat.
//!
//! All heads learn at once, each from the rows that somebody labelled for it. Sources are
//! balanced, some messages are disguised or given strangers' messages as context, and sentences
//! of our own teach what identity words do not mean. The fast tier is trained on the same split
//! beside it, and held-out rows decide how the two join.

pub mod batch;
pub mod blend;
pub mod cascade;
pub(crate) mod checkpoint;
mod dense;
mod export;
mod judge;
pub mod optimizer;
pub mod sampler;
mod start;
pub mod trainer;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use novastream_datasets::chat::{ChatRow, head_index};
use novastream_datasets::counterfactual;
use novastream_features::text::{EncoderText, NgramHasher, Normalizer, WordPiece};
use novastream_models::encoder::{EncoderConfig, Route, RouteInputs, TextClassifier};

use crate::chat::corpus::{self, Corpus};
use crate::chat::export::RunLog;
use crate::chat::teacher;
use crate::chat::{ChatArgs, ChatReport, DataEntry, TrainError};
use batch::Batcher;
use sampler::Sampler;
pub use start::Output;
use start::Start;
use trainer::{Settings, Trainer};

/// What a message may look like to the encoder.
pub const SHAPE: EncoderText = EncoderText {
    own: 128,
    context: 64,
    emoji_names: true,
};

/// Held-out rows that a checkpoint is judged by.
const QUICK_ROWS: usize = 1_500;

/// Options of the full tier.
#[derive(Clone, Debug, clap::Args, serde::Serialize)]
#[command(next_help_heading = "Full tier")]
pub struct EncoderArgs {
    /// Folder with a BERT checkpoint: config.json, model.safetensors, vocab.txt; default: the
    /// store's all-MiniLM-L6-v2
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// Folder of a chat encoder that an earlier run made: its weights and heads are the start, in
    /// place of a base
    #[arg(long, value_name = "DIR", conflicts_with = "base")]
    pub warm_start: Option<PathBuf>,
    /// Steps; a run that goes on may be given another number
    #[arg(long, default_value_t = 4_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub steps: u64,
    /// Messages a step
    #[arg(long, default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub batch: u32,
    /// Learning rate of the encoder
    #[arg(long, default_value_t = 1e-4)]
    pub encoder_learning_rate: f32,
    /// Layers of the start that are kept, counted from 0; the others are dropped, for a smaller and
    /// faster student of a --teacher
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "LAYERS",
        conflicts_with = "from"
    )]
    pub keep_layers: Vec<usize>,
    /// Lowest layers that stay as they are
    #[arg(long, default_value_t = 0)]
    pub frozen_layers: u8,
    /// Steps between checkpoints
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u64).range(1..))]
    pub checkpoint_every: u64,
    /// Checkpoints without a better one before the run stops
    #[arg(long, default_value_t = 6)]
    pub patience: usize,
    /// Leave out the sentences we wrote about identity words
    #[arg(long)]
    pub no_counterfactuals: bool,
    /// Do not train: take this model folder's encoder, and blend, calibrate and route it anew. Give
    /// the same data and --validation-fraction as its training had, or what is held out here was
    /// learned there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["base", "warm_start"])]
    pub from: Option<PathBuf>,
}

/// Trains, blends, judges and writes a model folder. Progress goes to stderr; a run that was
/// stopped goes on from its checkpoint when it is given the same options.
pub fn run(args: &ChatArgs) -> Result<ChatReport, TrainError> {
    args.validate().map_err(TrainError::Usage)?;
    if !args.report.is_empty() {
        let message =
            "--report is of the fast tier; judge the full one with `novastream-eval chat`";
        return Err(TrainError::Usage(message.to_owned()));
    }
    let mut log = RunLog::append(&args.out)?;
    let (mut rows, data) = crate::chat::read(args, &mut log)?;
    if !args.encoder.no_counterfactuals {
        rows.extend(counterfactual::counterfactuals());
    }
    let base = start::read(&args.encoder)?;
    let frozen = usize::from(args.encoder.frozen_layers);
    if frozen >= base.config.layers {
        let message = format!(
            "--frozen-layers must be below {}, the encoder's layers",
            base.config.layers
        );
        return Err(TrainError::Usage(message));
    }
    let tokenizer = WordPiece::from_vocabulary(&base.vocabulary)?;
    let (sources, of_row) = number_sources(&rows);
    let normalizer = Normalizer::new();
    let held_out: Vec<bool> = rows
        .iter()
        .map(|row| normalizer.normalize(&row.text).text)
        .map(|text| corpus::held_out(&text, args.validation_fraction))
        .collect();
    let taught = teacher::taught(args)?;
    let batcher = Batcher {
        rows: &rows,
        taught: &taught,
        teacher_share: args.teacher_share,
        normalizer,
        tokenizer: &tokenizer,
        shape: base.shape,
    };
    log.line(&format!(
        "{} messages from {} sources, {} held out",
        rows.len(),
        sources.len(),
        held_out.iter().filter(|h| **h).count(),
    ))?;
    let split = Split {
        sources: &sources,
        of_row: &of_row,
        held_out: &held_out,
        validation: (0..rows.len() as u32)
            .filter(|r| held_out[*r as usize])
            .collect(),
    };
    let Start {
        config,
        shape,
        weights,
        vocabulary,
    } = base;
    let weights = match weights {
        start::Weights::ToTrain(tensors, outputs) => {
            let from = (config, tensors, outputs);
            let best = train(args, &data, &split, from, &batcher, &mut log)?;
            export::Weights::Trained(best)
        }
        start::Weights::Packed(model) => export::Weights::Packed(model),
    };
    let logits = match &weights {
        export::Weights::Trained(best) => {
            let model = TextClassifier::new(config, &best.clone().into_iter().collect())?;
            judge::logits(&model, &batcher, &split.validation)?
        }
        export::Weights::Packed(model) => {
            let places = start::places(model);
            let logits = judge::logits(&model.to_classifier()?, &batcher, &split.validation)?;
            judge::spread(logits, &places)
        }
    };
    let validation = &split.validation;

    log.line("training the fast tier on the same split")?;
    let mut corpus = Corpus::build(
        &rows,
        NgramHasher::with_set(args.hash_bits, args.ngram_set),
        args.validation_fraction,
    );
    corpus.teach(&taught);
    corpus.add_disguised(&rows, args.disguised, args.seed);
    corpus.prune(args.hash_bits, args.min_count);
    let fast = judge::fast_logits(args, &corpus, validation)?;
    let heads = judge::heads(args, &corpus, validation, &logits, &fast);
    for head in &heads {
        log.line(&head.describe())?;
    }
    let cascade = cascade(&rows, &of_row, &batcher, validation, &logits, &fast, &heads);
    log.line(&format!(
        "{:.1} % of held-out ordinary chat goes on to the encoder",
        100.0 * cascade.ordinary_share
    ))?;
    let mut routed = Vec::new();
    for (source, full, mixed, share) in cascade.sources {
        log.line(&format!(
            "{}: held-out AUC joined {full:.4}, cascade {mixed:.4}, {:.1} % go on",
            sources[source],
            100.0 * share
        ))?;
        routed.push((sources[source].clone(), full, mixed, share));
    }
    let mut counts = vec![0; sources.len()];
    for source in &of_row {
        counts[*source] += 1;
    }
    export::write(
        args,
        &mut log,
        export::Finished {
            config,
            shape,
            weights,
            vocabulary: &vocabulary,
            judged: heads,
            route: cascade.route,
            ordinary_share: cascade.ordinary_share,
            routed,
            data,
            sources: sources.into_iter().zip(counts).collect(),
        },
    )
}

/// Which rows are held out, and where rows come from.
struct Split<'a> {
    sources: &'a [String],
    of_row: &'a [usize],
    held_out: &'a [bool],
    /// The held-out rows.
    validation: Vec<u32>,
}

/// Trains from what there is; answers the best checkpoint's weights.
fn train(
    args: &ChatArgs,
    data: &[DataEntry],
    split: &Split<'_>,
    (config, weights, outputs): (
        EncoderConfig,
        HashMap<String, candle_core::Tensor>,
        Vec<Output>,
    ),
    batcher: &Batcher<'_>,
    log: &mut RunLog,
) -> Result<BTreeMap<String, candle_core::Tensor>, TrainError> {
    let source_weights: Vec<f64> = split
        .sources
        .iter()
        .map(|s| f64::from(args.weight_of(s)))
        .collect();
    let training = (0..split.of_row.len()).filter(|row| !split.held_out[*row]);
    let sampler = Sampler::new(
        training.map(|row| (row as u32, split.of_row[row])),
        &source_weights,
        f64::from(args.source_balance),
        args.seed,
    );
    log.line(&format!("{} picks a pass", sampler.pass(0).len()))?;
    let stride = (split.validation.len() / QUICK_ROWS).max(1);
    let quick: Vec<u32> = split.validation.iter().copied().step_by(stride).collect();
    let hashes: Vec<&str> = data.iter().map(|d| d.sha256.as_str()).collect();
    let teachers: Vec<String> = args
        .teacher
        .iter()
        .map(|file| novastream_datasets::sha256_file(file))
        .collect::<Result<_, _>>()?;
    let fingerprint = serde_json::to_string(&(
        hashes,
        args.source_balance,
        &args.source_weight,
        &args.exclude_source,
        args.validation_fraction,
        args.encoder.no_counterfactuals,
        &args.encoder.warm_start,
        &args.encoder.keep_layers,
        teachers,
        args.teacher_share,
    ))?;
    let settings = Settings {
        steps: args.encoder.steps,
        batch: args.encoder.batch as usize,
        learning_rate: args.encoder.encoder_learning_rate,
        frozen_layers: usize::from(args.encoder.frozen_layers),
        checkpoint_every: args.encoder.checkpoint_every,
        patience: args.encoder.patience,
        seed: args.seed,
    };
    let mut trainer = Trainer::new(settings, config, weights, &outputs, batcher)?;
    trainer.run(
        &sampler,
        &args.out,
        &fingerprint,
        |model| judge::mean_auc(model, batcher, &quick, split.of_row),
        |line| log.line(line),
    )
}

/// The cascade's rule, from the held-out rows that have an overall label.
fn cascade(
    rows: &[ChatRow],
    of_row: &[usize],
    batcher: &Batcher<'_>,
    validation: &[u32],
    encoder: &judge::Logits,
    fast: &[Vec<f32>],
    heads: &[judge::Judged],
) -> cascade::Cascade {
    let Some(overall) = heads.first().and_then(|head| head.shipped.as_ref()) else {
        return cascade::fit(&[]);
    };
    let deciding = Route::HEADS.map(head_index);
    // Sources of chat lines: those whose messages are nearly all short.
    let sources = of_row.iter().max().map_or(0, |last| last + 1);
    let mut lengths = vec![(0_usize, 0_usize); sources];
    for (row, source) in rows.iter().zip(of_row) {
        lengths[*source].0 += usize::from(row.text.len() <= Route::SHORT);
        lengths[*source].1 += 1;
    }
    let chat = |source: usize| {
        let (short, all) = lengths[source];
        short * 10 >= all * 9 && all >= MIN_CHAT_ROWS
    };
    let known: Vec<cascade::CascadeRow> = validation
        .iter()
        .zip(encoder.iter().zip(fast))
        .filter_map(|(pick, ((logits, tokens), fast))| {
            let row = &rows[*pick as usize];
            let source = of_row[*pick as usize];
            let bytes = row.text.len();
            Some(cascade::CascadeRow {
                source,
                inputs: RouteInputs {
                    // A head that the fast tier lacks has the logit 0, which says nothing.
                    heads: deciding.map(|head| head.map_or(0.0, |head| fast[head])),
                    bytes,
                    disguised: batcher.normalizer.normalize(&row.text).signals.disguises() > 0,
                },
                full: overall.score(logits[0], fast[0], *tokens),
                positive: row.labels[0]?,
                ordinary: bytes <= Route::SHORT && chat(source),
            })
        })
        .collect();
    cascade::fit(&known)
}

/// Fewest messages of a source that stands for ordinary chat.
const MIN_CHAT_ROWS: usize = 5_000;

/// Names of the sources in order of appearance, and each row's.
fn number_sources(rows: &[ChatRow]) -> (Vec<String>, Vec<usize>) {
    let mut names: Vec<String> = Vec::new();
    let mut number: HashMap<&str, usize> = HashMap::new();
    let of_row = rows
        .iter()
        .map(|row| {
            *number.entry(&row.source).or_insert_with(|| {
                names.push(row.source.clone());
                names.len() - 1
            })
        })
        .collect();
    (names, of_row)
}
