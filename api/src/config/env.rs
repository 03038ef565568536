//! Every setting by its key, and every environment variable that the programs of this crate read.
//!
//! A setting's variable is [`PREFIX`], then its key in capitals with `__` for each dot:
//! `watch.max` is `NOVASTREAM__WATCH__MAX`. Lists take commas.

/// Start of the variables that override settings.
pub const PREFIX: &str = "NOVASTREAM";

/// Separates the parts of a key in a variable's name.
pub const SEPARATOR: &str = "__";

/// Variables that are not settings: name and meaning. The library crates read them.
pub const OTHER_VARIABLES: &[(&str, &str)] = &[
    (
        "NOVASTREAM_MODELS",
        "folder of pulled models, when `models.dir` is not set",
    ),
    (
        "NOVASTREAM_ZOO",
        "folder of the models that ship with NovaStream",
    ),
    (
        "NOVASTREAM_MIRROR",
        "folder that `novastream models pull` tries before any network",
    ),
    (
        "RUST_LOG",
        "log filter, when `log.filter` is left at its default",
    ),
];

/// Every key of [`super::Settings`] with its meaning, in the order of the default file.
pub const KEYS: &[(&str, &str)] = &[
    (
        "listen",
        "address and port of the HTTP server; port 0 lets the system choose",
    ),
    ("data_dir", "folder for everything the service writes"),
    ("policy", "policy file; the built-in policy when absent"),
    (
        "policies",
        "more policy files, which a request may name by their id",
    ),
    ("blocklists", "media blocklists: files of HASH,LABEL lines"),
    ("text_lists", "text lists"),
    (
        "log.filter",
        "log filter such as `info` or `novastream_api=debug,info`",
    ),
    ("log.format", "`text` or `json`"),
    (
        "telemetry.otlp_endpoint",
        "a collector that takes OTLP over HTTP; no traces when absent",
    ),
    (
        "telemetry.sample_ratio",
        "share of requests without a trace of their own that are traced",
    ),
    (
        "telemetry.queue_spans",
        "finished spans that may wait to be sent",
    ),
    (
        "models.dir",
        "folder of pulled models; NOVASTREAM_MODELS, then DATA_DIR/models",
    ),
    (
        "models.zoo",
        "folder of the models that ship with NovaStream",
    ),
    ("models.onnxruntime", "ONNX Runtime's shared library"),
    (
        "models.speech",
        "folder of a Whisper checkpoint that transcribes speech; off when absent",
    ),
    ("models.backend", "`auto`, `onnx` or `candle`"),
    (
        "models.threads",
        "threads that one model run may use; 0 chooses",
    ),
    (
        "models.aliases",
        "the file that says which versions run; DATA_DIR/aliases.toml",
    ),
    (
        "models.poll_ms",
        "how often that file is looked at, milliseconds",
    ),
    (
        "models.probation_s",
        "how long a new version is watched and the one before kept, seconds",
    ),
    (
        "models.max_error_rate",
        "share of failed requests at which a new version is taken back",
    ),
    (
        "models.error_window_s",
        "the time over which failures are counted, seconds",
    ),
    (
        "models.min_requests",
        "requests within it below which nothing is concluded",
    ),
    (
        "models.shadow_per_second",
        "requests a second that a candidate in shadow looks at",
    ),
    (
        "limits.segment_bytes",
        "largest segment body after decompression",
    ),
    (
        "limits.image_bytes",
        "largest image body after decompression",
    ),
    ("limits.text_bytes", "largest JSON body after decompression"),
    ("limits.text_items", "most items in one text request"),
    (
        "limits.in_flight_bytes",
        "bytes of request bodies held at once",
    ),
    (
        "limits.deadline_ms",
        "a request that took longer is answered 504",
    ),
    (
        "queue.workers",
        "requests judged at the same time; 0 means one a processor",
    ),
    (
        "queue.text_workers",
        "requests with messages judged at the same time; 0 means 16 a processor",
    ),
    (
        "queue.waiting",
        "requests that may wait; the next one is answered 429",
    ),
    (
        "store.path",
        "SQLite file; DATA_DIR/novastream.db when absent",
    ),
    ("store.readers", "connections for reading"),
    ("store.batch", "most writes that share one commit"),
    ("store.waiting", "writes that may wait for the writer"),
    ("retention.max_rows", "most verdicts kept; 0 means no bound"),
    (
        "retention.max_age_h",
        "hours until a verdict goes; 0 means never",
    ),
    (
        "retention.review_max_age_h",
        "hours until a verdict that waits for a person goes",
    ),
    (
        "retention.idempotency_max_age_h",
        "hours until an idempotency key is forgotten",
    ),
    (
        "retention.stream_max_age_h",
        "hours until an unused stream history is forgotten",
    ),
    (
        "retention.event_max_age_h",
        "hours until a behaviour event goes; 0 means never",
    ),
    (
        "retention.interval_s",
        "seconds between two rounds of pruning",
    ),
    ("watch.max", "most watches that run at once"),
    (
        "watch.queue_windows",
        "windows that may wait before the oldest is shed",
    ),
    ("watch.window_ms", "length of a window"),
    (
        "watch.frame_interval_ms",
        "most time between two sampled frames",
    ),
    (
        "watch.open_timeout_ms",
        "time to connect and find the streams",
    ),
    (
        "watch.read_timeout_ms",
        "silence after which a source counts as stalled",
    ),
    (
        "watch.start_timeout_s",
        "how long a source that never gave data is tried",
    ),
    ("watch.max_outage_s", "how long a lost source is tried"),
    (
        "watch.end_grace_s",
        "how long after its clean end a live source may come back",
    ),
    ("watch.backoff_min_ms", "first pause before a reconnect"),
    ("watch.backoff_max_ms", "longest pause before a reconnect"),
    ("watch.schemes", "URL schemes that may be watched"),
    (
        "evidence.dir",
        "folder for evidence clips; none are kept without",
    ),
    ("evidence.bucket", "instead of a folder: s3://BUCKET/PREFIX"),
    (
        "evidence.endpoint",
        "S3-compatible service other than Amazon's",
    ),
    (
        "evidence.original_tokens",
        "file with a token a line; who sends one gets originals",
    ),
    (
        "evidence.blocklisted",
        "keeps clips of verdicts about blocklisted pictures too",
    ),
    ("evidence.max_bytes", "most bytes of evidence clips"),
    ("evidence.max_age_h", "age at which a clip goes; 0 = never"),
    ("evidence.queue", "clips that may wait to be stored"),
    ("evidence.queue_bytes", "bytes that may wait to be stored"),
    (
        "sampling.risk_interval_ms",
        "time between two frames of a suspicious stream",
    ),
    (
        "sampling.risk_share",
        "share of a review threshold that makes a stream suspicious",
    ),
    ("sampling.cooldown_ms", "how long a stream stays suspicious"),
    (
        "sampling.new_ms",
        "how long a new stream is looked at more closely",
    ),
    (
        "sampling.extra_every",
        "slots of a calm stream for one extra frame",
    ),
    (
        "sampling.still_after",
        "near-identical frames that make a stream still",
    ),
    (
        "sampling.still_interval_ms",
        "most time for which a near-identical frame keeps earlier scores",
    ),
    (
        "sampling.read_interval_ms",
        "mean time between two readings of text on a calm stream",
    ),
    (
        "sampling.read_idle_interval_ms",
        "the same where the last reading found no text",
    ),
    (
        "sampling.near_bits",
        "bits in which near-identical frames may differ",
    ),
    (
        "sampling.max_interval_ms",
        "longest time between two frames under load",
    ),
    (
        "sampling.load_target",
        "busy share from which frames are spread out; 0 = never",
    ),
    ("watch.allow_files", "allows file: URLs and plain paths"),
    (
        "watch.allow_private_hosts",
        "allows private, loopback and link-local hosts",
    ),
    (
        "image_urls.allow_private_hosts",
        "pictures are fetched from private, loopback and link-local hosts as well",
    ),
    (
        "recommend.model",
        "folder of a trained recommender; without one, lists are what is trending",
    ),
    (
        "recommend.body_bytes",
        "largest body of events or live streams after decompression",
    ),
    ("recommend.events", "most events in one request"),
    (
        "recommend.live_streams",
        "most streams that are live at once",
    ),
    ("recommend.items", "longest list"),
    ("recommend.users", "users with a history in memory"),
    (
        "recommend.streams",
        "streams remembered beyond those of the model",
    ),
    (
        "oip.control",
        "whether callers may take models off /v2 and put them back",
    ),
    ("oip.body_bytes", "most bytes of an infer request"),
    (
        "sse.keep_alive_s",
        "seconds between two keep-alive comments",
    ),
    ("sse.max_clients", "most open event streams"),
    (
        "shutdown.drain_delay_ms",
        "time between readyz turning 503 and the last connection",
    ),
    ("shutdown.grace_s", "time for requests in flight to finish"),
];

/// Keys that hold lists.
pub const LIST_KEYS: &[&str] = &["policies", "blocklists", "text_lists", "watch.schemes"];

/// The environment variable that sets `key`.
pub fn variable(key: &str) -> String {
    format!(
        "{PREFIX}{SEPARATOR}{}",
        key.to_uppercase().replace('.', SEPARATOR)
    )
}

/// The known key that is nearest to `key`, when one is near enough to be meant.
pub fn nearest(key: &str) -> Option<&'static str> {
    let leaf = |k: &str| k.rsplit('.').next().unwrap_or_default().to_owned();
    KEYS.iter()
        .map(|(known, _)| {
            // The right name in the wrong table counts as near, too.
            let whole = distance(key, known);
            let part = distance(&leaf(key), &leaf(known)) + 2;
            (whole.min(part), *known)
        })
        .min()
        .filter(|(d, _)| *d <= 4)
        .map(|(_, known)| known)
}

/// Levenshtein distance over characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Settings;

    fn leaves(prefix: &str, value: &serde_json::Value, out: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (k, v) in map {
                    let key = if prefix.is_empty() {
                        k.clone()
                    } else {
                        format!("{prefix}.{k}")
                    };
                    leaves(&key, v, out);
                }
            }
            _ => {
                out.insert(prefix.to_owned());
            }
        }
    }

    #[test]
    fn the_table_names_exactly_the_settings() {
        let mut settings = BTreeSet::new();
        leaves(
            "",
            &serde_json::to_value(Settings::default()).unwrap(),
            &mut settings,
        );
        let table: BTreeSet<String> = KEYS.iter().map(|(k, _)| (*k).to_owned()).collect();
        assert_eq!(settings, table);
        assert_eq!(KEYS.len(), table.len(), "a key is listed twice");
    }

    #[test]
    fn list_keys_are_the_lists() {
        let json = serde_json::to_value(Settings::default()).unwrap();
        for (key, _) in KEYS {
            let value = json
                .pointer(&format!("/{}", key.replace('.', "/")))
                .unwrap();
            assert_eq!(value.is_array(), LIST_KEYS.contains(key), "{key}");
        }
    }

    #[test]
    fn near_keys_are_found() {
        assert_eq!(nearest("lisen"), Some("listen"));
        assert_eq!(nearest("watch.shemes"), Some("watch.schemes"));
        assert_eq!(nearest("data.data_dir"), Some("data_dir"));
        assert_eq!(nearest("completely.different"), None);
        assert_eq!(variable("watch.max"), "NOVASTREAM__WATCH__MAX");
    }
}
