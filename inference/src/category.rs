//! The taxonomy: what a verdict can be about.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a piece of content may be judged for.
///
/// The first thirteen carry OpenAI's names so that its clients can be answered unchanged; the rest
/// are the platform's own. The serialised name is [`Category::as_str`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Category {
    /// Language that harasses a person.
    #[serde(rename = "harassment")]
    Harassment,
    /// Harassment with a threat of harm.
    #[serde(rename = "harassment/threatening")]
    HarassmentThreatening,
    /// Hate against a protected group.
    #[serde(rename = "hate")]
    Hate,
    /// Hate with a threat of harm.
    #[serde(rename = "hate/threatening")]
    HateThreatening,
    /// Advice on how to break the law.
    #[serde(rename = "illicit")]
    Illicit,
    /// The same, with violence or weapons.
    #[serde(rename = "illicit/violent")]
    IllicitViolent,
    /// Self-harm, promoted or depicted.
    #[serde(rename = "self-harm")]
    SelfHarm,
    /// A person says that they harm or will harm themselves.
    #[serde(rename = "self-harm/intent")]
    SelfHarmIntent,
    /// Instructions for self-harm.
    #[serde(rename = "self-harm/instructions")]
    SelfHarmInstructions,
    /// Sexual content.
    #[serde(rename = "sexual")]
    Sexual,
    /// A sexual score together with a reference to a minor. Always goes to a human.
    #[serde(rename = "sexual/minors")]
    SexualMinors,
    /// Death, violence or injury.
    #[serde(rename = "violence")]
    Violence,
    /// The same, shown graphically.
    #[serde(rename = "violence/graphic")]
    ViolenceGraphic,
    /// Swearing that is aimed at nobody.
    #[serde(rename = "profanity")]
    Profanity,
    /// Unwanted advertising or repetition.
    #[serde(rename = "spam")]
    Spam,
    /// An attempt to take money or accounts by deceit.
    #[serde(rename = "scam")]
    Scam,
    /// Somebody's private data made public.
    #[serde(rename = "doxxing")]
    Doxxing,
    /// A plot given away.
    #[serde(rename = "spoiler")]
    Spoiler,
    /// Weapons shown or traded.
    #[serde(rename = "weapons")]
    Weapons,
    /// Gambling shown or advertised.
    #[serde(rename = "gambling")]
    Gambling,
    /// Gunshots, explosions, sirens, screams.
    #[serde(rename = "dangerous-sound")]
    DangerousSound,
    /// A picture that is on a blocklist.
    #[serde(rename = "blocklisted-media")]
    BlocklistedMedia,
    /// Many senders, one message.
    #[serde(rename = "raid")]
    Raid,
    /// Overall toxicity, the chat model's first head.
    #[serde(rename = "toxicity")]
    Toxicity,
}

impl Category {
    /// Every category, in the order of the taxonomy.
    pub const ALL: [Self; 24] = [
        Self::Harassment,
        Self::HarassmentThreatening,
        Self::Hate,
        Self::HateThreatening,
        Self::Illicit,
        Self::IllicitViolent,
        Self::SelfHarm,
        Self::SelfHarmIntent,
        Self::SelfHarmInstructions,
        Self::Sexual,
        Self::SexualMinors,
        Self::Violence,
        Self::ViolenceGraphic,
        Self::Profanity,
        Self::Spam,
        Self::Scam,
        Self::Doxxing,
        Self::Spoiler,
        Self::Weapons,
        Self::Gambling,
        Self::DangerousSound,
        Self::BlocklistedMedia,
        Self::Raid,
        Self::Toxicity,
    ];

    /// The name used in JSON, in policies and in model heads.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Harassment => "harassment",
            Self::HarassmentThreatening => "harassment/threatening",
            Self::Hate => "hate",
            Self::HateThreatening => "hate/threatening",
            Self::Illicit => "illicit",
            Self::IllicitViolent => "illicit/violent",
            Self::SelfHarm => "self-harm",
            Self::SelfHarmIntent => "self-harm/intent",
            Self::SelfHarmInstructions => "self-harm/instructions",
            Self::Sexual => "sexual",
            Self::SexualMinors => "sexual/minors",
            Self::Violence => "violence",
            Self::ViolenceGraphic => "violence/graphic",
            Self::Profanity => "profanity",
            Self::Spam => "spam",
            Self::Scam => "scam",
            Self::Doxxing => "doxxing",
            Self::Spoiler => "spoiler",
            Self::Weapons => "weapons",
            Self::Gambling => "gambling",
            Self::DangerousSound => "dangerous-sound",
            Self::BlocklistedMedia => "blocklisted-media",
            Self::Raid => "raid",
            Self::Toxicity => "toxicity",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that is no category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no category{}", hint.as_ref().map(|h| format!(" (did you mean `{h}`?)")).unwrap_or_default())]
pub struct UnknownCategory {
    /// The name that was given.
    pub name: String,
    /// The nearest category, if one is near enough to be a slip of the keyboard.
    pub hint: Option<&'static str>,
}

impl UnknownCategory {
    /// A stable identifier.
    pub fn code(&self) -> &'static str {
        "unknown_category"
    }
}

impl FromStr for Category {
    type Err = UnknownCategory;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|c| c.as_str() == name)
            .ok_or_else(|| UnknownCategory {
                name: name.to_owned(),
                hint: nearest(name),
            })
    }
}

/// The category whose name is at most two edits away once `_` and `-` are the same, or `None`.
fn nearest(name: &str) -> Option<&'static str> {
    let wanted = name.to_lowercase().replace(['_', ' '], "-");
    Category::ALL
        .into_iter()
        .map(|c| (edits(&wanted, c.as_str()), c.as_str()))
        .filter(|(d, _)| *d <= 2)
        .min()
        .map(|(_, n)| n)
}

/// Levenshtein distance over characters, one row at a time.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_through_serde_and_from_str() {
        for category in Category::ALL {
            let json = serde_json::to_string(&category).unwrap();
            assert_eq!(json, format!("\"{category}\""));
            assert_eq!(serde_json::from_str::<Category>(&json).unwrap(), category);
            assert_eq!(category.as_str().parse::<Category>().unwrap(), category);
        }
    }

    #[test]
    fn every_category_is_listed_once() {
        let mut sorted = Category::ALL.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), Category::ALL.len());
        assert!(Category::ALL.is_sorted(), "ALL keeps the order of the enum");
    }

    #[test]
    fn a_slip_gets_a_hint_and_nonsense_none() {
        assert_eq!(
            "self_harm".parse::<Category>().unwrap_err().hint,
            Some("self-harm")
        );
        assert_eq!(
            "harrassment".parse::<Category>().unwrap_err().hint,
            Some("harassment")
        );
        assert_eq!("weather".parse::<Category>().unwrap_err().hint, None);
        assert_eq!(edits("kitten", "sitting"), 3);
    }
}
