//! Every setting, its type and its default.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How log lines are written to stderr.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which engine runs the ONNX models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendChoice {
    /// The text encoder and the picture networks on our own kernels where the processor has AVX2; the
    /// rest on ONNX Runtime where its library can be loaded, Candle otherwise.
    Auto,
    /// ONNX Runtime only.
    Onnx,
    /// Candle only.
    Candle,
}

/// The whole configuration of the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port of the HTTP server; port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// Folder for everything the service writes; made when it is not there.
    pub data_dir: PathBuf,
    /// Policy file (TOML); the built-in policy when absent.
    pub policy: Option<PathBuf>,
    /// More policy files, which a request may name by their id.
    pub policies: Vec<PathBuf>,
    /// Media blocklists: files of `HASH,LABEL` lines.
    pub blocklists: Vec<PathBuf>,
    /// Text lists.
    pub text_lists: Vec<PathBuf>,
    /// Log output.
    pub log: LogSettings,
    /// Traces.
    pub telemetry: TelemetrySettings,
    /// Models and the engine that runs them.
    pub models: ModelSettings,
    /// Sizes and times that one request may take.
    pub limits: LimitSettings,
    /// The work queue in front of the models.
    pub queue: QueueSettings,
    /// Models for clients of the Open Inference Protocol.
    pub oip: OipSettings,
    /// The verdict store.
    pub store: StoreSettings,
    /// How long stored rows live.
    pub retention: RetentionSettings,
    /// Live URLs that the service pulls.
    pub watch: WatchSettings,
    /// How closely pictures are looked at.
    pub sampling: SamplingSettings,
    /// Pictures and sound behind verdicts.
    pub evidence: EvidenceSettings,
    /// Pictures that a request names by URL.
    pub image_urls: ImageUrlSettings,
    /// Recommendations.
    pub recommend: RecommendSettings,
    /// Server-sent events.
    pub sse: SseSettings,
    /// How the service stops.
    pub shutdown: ShutdownSettings,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// A `tracing` filter such as `info` or `novastream_api=debug,info`.
    pub filter: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetrySettings {
    /// A collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; no traces are made when
    /// absent.
    pub otlp_endpoint: Option<String>,
    /// Share of requests without a trace of their own that are traced, 0 to 1.
    pub sample_ratio: f64,
    /// Finished spans that may wait to be sent; more are dropped.
    pub queue_spans: usize,
}

/// `[models]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Folder of pulled models; `DATA_DIR/models` when absent.
    pub dir: Option<PathBuf>,
    /// Folder of the models that ship with NovaStream; found by itself when absent.
    pub zoo: Option<PathBuf>,
    /// ONNX Runtime's shared library; the pulled one when absent.
    pub onnxruntime: Option<PathBuf>,
    /// Folder of a Whisper checkpoint; speech is not transcribed when absent.
    pub speech: Option<PathBuf>,
    /// Which engine runs the ONNX models.
    pub backend: BackendChoice,
    /// Threads that one model run may use; 0 chooses by the machine.
    pub threads: usize,
    /// The file that says which versions run; `DATA_DIR/aliases.toml` when absent.
    pub aliases: Option<PathBuf>,
    /// How often that file is looked at, milliseconds.
    pub poll_ms: u64,
    /// How long a new version is watched after a swap, and the one before it kept loaded, seconds.
    pub probation_s: u64,
    /// Share of failed requests at which a version on probation is taken back, 0 to 1.
    pub max_error_rate: f64,
    /// The time over which failures are counted, seconds.
    pub error_window_s: u64,
    /// Requests within that time below which nothing is concluded.
    pub min_requests: u64,
    /// Requests a second that a candidate in shadow looks at, at most.
    pub shadow_per_second: u32,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSettings {
    /// Largest segment body after decompression, bytes.
    pub segment_bytes: usize,
    /// Largest image body after decompression, bytes.
    pub image_bytes: usize,
    /// Largest JSON body after decompression, bytes.
    pub text_bytes: usize,
    /// Most items in one text request.
    pub text_items: usize,
    /// Bytes of request bodies held at once by all requests together.
    pub in_flight_bytes: usize,
    /// A request that took longer is answered 504, in milliseconds.
    pub deadline_ms: u64,
}

/// `[queue]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Requests judged at the same time; 0 means one a processor.
    pub workers: usize,
    /// Requests with chat messages judged at the same time, which mostly wait for the encoder and
    /// share its batches; 0 means 16 a processor.
    pub text_workers: usize,
    /// Requests that may wait; the next one is answered 429.
    pub waiting: usize,
}

/// `[oip]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OipSettings {
    /// Whether callers may take models off `/v2` and put them back.
    pub control: bool,
    /// Bytes of an infer request.
    pub body_bytes: usize,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// SQLite file; `DATA_DIR/novastream.db` when absent.
    pub path: Option<PathBuf>,
    /// Connections for reading.
    pub readers: u32,
    /// Most writes that share one commit.
    pub batch: usize,
    /// Writes that may wait for the writer.
    pub waiting: usize,
}

/// `[retention]`; 0 switches a rule off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetentionSettings {
    /// Most verdicts kept.
    pub max_rows: u64,
    /// Age at which a verdict goes, hours.
    pub max_age_h: u64,
    /// Age at which a verdict that waits for a person goes, hours.
    pub review_max_age_h: u64,
    /// Age at which an idempotency key is forgotten, hours.
    pub idempotency_max_age_h: u64,
    /// Age at which an unused stream history or a finished watch is forgotten, hours.
    pub stream_max_age_h: u64,
    /// Age at which a behaviour event goes, hours; older ones are also no longer counted after a
    /// restart.
    pub event_max_age_h: u64,
    /// Pause between two rounds of pruning, seconds.
    pub interval_s: u64,
}

/// `[watch]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WatchSettings {
    /// Most watches that run at once.
    pub max: usize,
    /// Windows that may wait for analysis before the oldest is shed.
    pub queue_windows: usize,
    /// Length of a window, milliseconds of stream time.
    pub window_ms: u32,
    /// Time between two sampled frames of a calm stream, milliseconds; segments as well. `[sampling]`
    /// says when it is shorter or longer.
    pub frame_interval_ms: u32,
    /// Time to connect and find the streams, milliseconds.
    pub open_timeout_ms: u64,
    /// Silence after which a source counts as stalled, milliseconds.
    pub read_timeout_ms: u64,
    /// How long a source that never gave data is tried, seconds.
    pub start_timeout_s: u64,
    /// How long a lost source is tried, seconds.
    pub max_outage_s: u64,
    /// How long after its clean end a live source may come back, seconds.
    pub end_grace_s: u64,
    /// First pause before a reconnect, milliseconds; it doubles from there.
    pub backoff_min_ms: u64,
    /// Longest pause before a reconnect, milliseconds.
    pub backoff_max_ms: u64,
    /// URL schemes that may be watched.
    pub schemes: Vec<String>,
    /// Allows `file:` URLs and plain paths.
    pub allow_files: bool,
    /// Allows hosts in private, loopback and link-local networks.
    pub allow_private_hosts: bool,
}

/// `[sampling]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingSettings {
    /// Time between two frames while a stream is suspicious, milliseconds.
    pub risk_interval_ms: u32,
    /// A score at this share of its category's review threshold makes a stream suspicious.
    pub risk_share: f32,
    /// How long a stream stays suspicious after such a score, milliseconds.
    pub cooldown_ms: u32,
    /// How long a new stream has an extra frame in every slot, milliseconds.
    pub new_ms: u32,
    /// Afterwards, one slot in so many has an extra frame, on average.
    pub extra_every: u32,
    /// Near-identical frames in a row that make a stream still.
    pub still_after: u32,
    /// Most time for which a near-identical frame keeps an earlier one's scores, milliseconds.
    pub still_interval_ms: u32,
    /// Time between two readings of the text on a calm stream's changing frames, on average, milliseconds.
    pub read_interval_ms: u32,
    /// The same where the last reading found no text, milliseconds.
    pub read_idle_interval_ms: u32,
    /// Bits of 256 in which the hashes of near-identical frames may differ.
    pub near_bits: u32,
    /// Longest time between two frames that load may lead to, milliseconds.
    pub max_interval_ms: u32,
    /// Busy share of the machine from which frames are spread out; 0 never does.
    pub load_target: f32,
}

/// `[evidence]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EvidenceSettings {
    /// Folder for clips. Without it and without a bucket none are kept.
    pub dir: Option<PathBuf>,
    /// Instead of a folder: `s3://BUCKET/PREFIX`.
    pub bucket: Option<String>,
    /// Address of an S3-compatible service other than Amazon's.
    pub endpoint: Option<String>,
    /// A file with a token a line; who sends one gets originals. Nobody does without it.
    pub original_tokens: Option<PathBuf>,
    /// Keeps pictures that are on a blocklist, and others of the same verdict, too.
    pub blocklisted: bool,
    /// Most bytes of clips; the oldest go first.
    pub max_bytes: u64,
    /// Age at which a clip goes, hours; 0 never.
    pub max_age_h: u64,
    /// Clips that may wait to be stored; more are dropped.
    pub queue: usize,
    /// Bytes of pictures and sound, not yet encoded, that may wait to be stored; more are dropped.
    pub queue_bytes: usize,
}

/// `[image_urls]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageUrlSettings {
    /// Allows hosts in private, loopback and link-local networks. Off: whoever may send a message
    /// would otherwise make this machine ask its neighbours.
    pub allow_private_hosts: bool,
}

/// `[recommend]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecommendSettings {
    /// Folder of a model that `novastream-train recommender` made; without one, everybody is shown
    /// what is trending.
    pub model: Option<PathBuf>,
    /// Largest body of events or live streams after decompression, bytes.
    pub body_bytes: usize,
    /// Most events in one request.
    pub events: usize,
    /// Most streams that are live at once.
    pub live_streams: usize,
    /// Longest list.
    pub items: usize,
    /// Users with a history in memory; the next ones are shown what is trending.
    pub users: usize,
    /// Streams that are remembered beyond those of the model.
    pub streams: usize,
}

/// `[sse]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SseSettings {
    /// Pause between two keep-alive comments, seconds.
    pub keep_alive_s: u64,
    /// Most open event streams.
    pub max_clients: usize,
}

/// `[shutdown]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShutdownSettings {
    /// Time between `readyz` turning 503 and the last accepted connection, milliseconds.
    pub drain_delay_ms: u64,
    /// Time for requests in flight to finish, seconds.
    pub grace_s: u64,
}

const MIB: usize = 1 << 20;

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            data_dir: PathBuf::from(".novastream"),
            policy: None,
            policies: Vec::new(),
            blocklists: Vec::new(),
            text_lists: Vec::new(),
            log: LogSettings::default(),
            telemetry: TelemetrySettings::default(),
            models: ModelSettings::default(),
            limits: LimitSettings::default(),
            queue: QueueSettings::default(),
            oip: OipSettings::default(),
            store: StoreSettings::default(),
            retention: RetentionSettings::default(),
            watch: WatchSettings::default(),
            sampling: SamplingSettings::default(),
            evidence: EvidenceSettings::default(),
            image_urls: ImageUrlSettings::default(),
            recommend: RecommendSettings::default(),
            sse: SseSettings::default(),
            shutdown: ShutdownSettings::default(),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            filter: "info".into(),
            format: LogFormat::Text,
        }
    }
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sample_ratio: 1.0,
            queue_spans: 2048,
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            dir: None,
            zoo: None,
            onnxruntime: None,
            speech: None,
            backend: BackendChoice::Auto,
            threads: 0,
            aliases: None,
            poll_ms: 2000,
            probation_s: 600,
            max_error_rate: 0.05,
            error_window_s: 60,
            min_requests: 50,
            shadow_per_second: 20,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 * MIB,
            image_bytes: 16 * MIB,
            text_bytes: MIB,
            text_items: 256,
            in_flight_bytes: 512 * MIB,
            deadline_ms: 30_000,
        }
    }
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            workers: 0,
            text_workers: 0,
            waiting: 64,
        }
    }
}

impl Default for OipSettings {
    fn default() -> Self {
        Self {
            control: false,
            body_bytes: 32 * MIB,
        }
    }
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            path: None,
            readers: 4,
            batch: 256,
            waiting: 1024,
        }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            max_rows: 1_000_000,
            max_age_h: 30 * 24,
            review_max_age_h: 90 * 24,
            idempotency_max_age_h: 24,
            stream_max_age_h: 7 * 24,
            event_max_age_h: 90 * 24,
            interval_s: 60,
        }
    }
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            max: 16,
            queue_windows: 8,
            window_ms: 2000,
            frame_interval_ms: 2000,
            open_timeout_ms: 10_000,
            read_timeout_ms: 20_000,
            start_timeout_s: 30,
            max_outage_s: 300,
            end_grace_s: 30,
            backoff_min_ms: 500,
            backoff_max_ms: 10_000,
            schemes: ["http", "https", "rtmp", "rtmps", "srt"]
                .map(String::from)
                .to_vec(),
            allow_files: false,
            allow_private_hosts: true,
        }
    }
}

impl Default for EvidenceSettings {
    fn default() -> Self {
        Self {
            dir: None,
            bucket: None,
            endpoint: None,
            original_tokens: None,
            blocklisted: false,
            max_bytes: 4 << 30,
            max_age_h: 30 * 24,
            queue: 32,
            queue_bytes: 64 << 20,
        }
    }
}

impl Default for SamplingSettings {
    fn default() -> Self {
        Self {
            risk_interval_ms: 500,
            risk_share: 0.5,
            cooldown_ms: 10_000,
            new_ms: 10_000,
            extra_every: 4,
            still_after: 3,
            still_interval_ms: 8000,
            read_interval_ms: 4000,
            read_idle_interval_ms: 8000,
            near_bits: 12,
            max_interval_ms: 8000,
            load_target: 0.85,
        }
    }
}

impl Default for RecommendSettings {
    fn default() -> Self {
        Self {
            model: None,
            body_bytes: 16 * MIB,
            events: 1000,
            live_streams: 20_000,
            items: 200,
            users: 1_000_000,
            streams: 1_000_000,
        }
    }
}

impl Default for SseSettings {
    fn default() -> Self {
        Self {
            keep_alive_s: 15,
            max_clients: 1024,
        }
    }
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            drain_delay_ms: 0,
            grace_s: 30,
        }
    }
}

impl Settings {
    /// The SQLite file.
    pub fn database(&self) -> PathBuf {
        self.store
            .path
            .clone()
            .unwrap_or_else(|| self.data_dir.join("novastream.db"))
    }

    /// The folder of the models that we trained.
    pub fn zoo(&self) -> PathBuf {
        let default = novastream_models::store::zoo_dir;
        self.models.zoo.clone().unwrap_or_else(default)
    }

    /// The file that says which versions of models run.
    pub fn aliases(&self) -> PathBuf {
        let default = || self.data_dir.join(novastream_models::aliases::ALIASES_FILE);
        self.models.aliases.clone().unwrap_or_else(default)
    }

    /// Requests with chat messages judged at the same time, 1 or more.
    pub fn text_workers(&self) -> usize {
        match self.queue.text_workers {
            0 => 16 * self.workers(),
            n => n,
        }
    }

    /// Requests judged at the same time, 1 or more.
    pub fn workers(&self) -> usize {
        match self.queue.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            n => n,
        }
    }
}
