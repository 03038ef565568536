//! The live registry: versions of a model that come and go while requests run.
//!
//! - `slot` holds what is loaded of one model: production, a candidate on trial, and for a while the
//!   version before. A request takes one of them at its start and keeps it to its end; a version is
//!   dropped when its last request is done with it.
//! - `health` counts failures over a sliding window.
//! - `managed` follows the alias file: it loads what is named, swaps it in when it is whole, warm and
//!   gives its golden answers, and takes back what does not hold.
//! - `keeper` is the thread that looks at the file and at the health of what runs.
//! - `shadow` asks the candidate what production was asked, in the background, and counts where the
//!   two differ.
//! - `chat` is the first model in it: both chat tiers.

mod chat;
mod golden;
mod health;
mod keeper;
mod managed;
mod shadow;
mod slot;
mod status;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use self::golden::{GoldenReport, GoldenWriteError, write_golden};
pub use self::status::{HeadDifference, ModelState, ModelStatus, ShadowReport, Trouble};
pub(crate) use self::{
    chat::{ChatLoader, ChatSlot, ChatVersion},
    golden::ANY,
    keeper::Keeper,
    managed::Kept,
    slot::Permit,
    status::status_of,
};

/// Names of the metrics.
pub mod names {
    /// Loads of versions; labels `model`, `outcome` (`swapped`, `tried` or a code).
    pub const LOADS: &str = "novastream_model_loads_total";
    /// Versions taken back by the service; labels `model`, `reason`.
    pub const TAKEN_BACK: &str = "novastream_model_taken_back_total";
    /// Requests by the version that answered; labels `model`, `version`, `outcome`.
    pub const REQUESTS: &str = "novastream_model_version_requests_total";
    /// What became of requests offered to a shadow; labels `model`, `outcome`.
    pub const SHADOWED: &str = "novastream_shadow_requests_total";
    /// Mean absolute difference between candidate and production; labels `model`, `head`.
    pub const DIFFERENCE_MEAN: &str = "novastream_shadow_difference_mean";
    /// Largest absolute difference; labels `model`, `head`.
    pub const DIFFERENCE_MAX: &str = "novastream_shadow_difference_max";
    /// Answers on different sides of the threshold; labels `model`, `head`.
    pub const FLIPS: &str = "novastream_shadow_flips_total";
}

/// How versions are swapped.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistryConfig {
    /// The alias file; without one the highest versions run and nothing is swapped.
    pub aliases: Option<PathBuf>,
    /// How often the file is looked at.
    pub poll: Duration,
    /// For how long after a swap the version before stays loaded, and is put back by itself when the
    /// new one fails.
    pub probation: Duration,
    /// The time over which failures are counted.
    pub error_window: Duration,
    /// Share of failed requests beyond which a version does not hold, 0 to 1.
    pub max_error_rate: f64,
    /// Requests of the window below which nothing is concluded.
    pub min_requests: u64,
    /// Requests a second that a shadow looks at, at most.
    pub shadow_per_second: u32,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            aliases: None,
            poll: Duration::from_secs(2),
            probation: Duration::from_mins(10),
            error_window: Duration::from_mins(1),
            max_error_rate: 0.05,
            min_requests: 50,
            shadow_per_second: 20,
        }
    }
}

/// Versions of the models that are one to their callers, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions(pub BTreeMap<String, String>);

impl Versions {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, version)) in self.0.iter().enumerate() {
            let plus = if at == 0 { "" } else { "+" };
            write!(f, "{plus}{name}@{version}")?;
        }
        Ok(())
    }
}

/// Why a version could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct LoadFailure {
    /// A stable identifier.
    pub code: &'static str,
    /// The model that it is about; empty for all of them.
    pub name: String,
    /// What happened.
    pub message: String,
}

impl LoadFailure {
    pub(crate) fn new(code: &'static str, name: &str, message: impl fmt::Display) -> Self {
        Self {
            code,
            name: name.to_owned(),
            message: message.to_string(),
        }
    }
}
