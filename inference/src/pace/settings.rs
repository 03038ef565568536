//! The numbers behind the pace.

/// When to look more closely, and when less. The interval of a calm stream is the moderator's
/// [`novastream_features::media::Sampling::interval_ms`].
#[derive(Clone, Debug, PartialEq)]
pub struct PaceSettings {
    /// Interval while risk is up, in ms (default 500).
    pub risk_interval_ms: u32,
    /// A score at this share of its category's review threshold, or above, raises risk (default
    /// 0.5).
    pub risk_share: f32,
    /// Stream time after the last such score until risk is down again, in ms (default 10,000).
    pub cooldown_ms: u32,
    /// Stream time for which an unknown stream has an extra picture in every slot, in ms (default
    /// 10,000).
    pub new_ms: u32,
    /// Afterwards one slot in so many has an extra picture, on average (default 4).
    pub extra_every: u32,
    /// Near-identical pictures in a row that make a stream still (default 3).
    pub still_after: u32,
    /// Time between two pictures of a still stream that go to the networks, in ms (default 8,000).
    /// Scores are never carried over for longer.
    pub still_interval_ms: u32,
    /// Time between two readings of the text on a calm stream's changing pictures, in ms (default
    /// 4,000).
    pub read_interval_ms: u32,
    /// The same where the last reading found no text, in ms (default 8,000).
    pub read_idle_interval_ms: u32,
    /// Bits of the perceptual hash (of 256) in which near-identical pictures may differ (default
    /// 12).
    pub near_bits: u32,
    /// Longest interval that load may stretch to, in ms (default 8,000).
    pub max_interval_ms: u32,
}

impl Default for PaceSettings {
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
        }
    }
}
