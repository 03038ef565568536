//! Which of AudioSet's event classes mean what.
//!
//! Classes are taken by name, so that a model with another order of labels fails to load instead of
//! scoring the wrong sound. Left out of the dangerous groups on purpose: `Alarm clock`, `Telephone`
//! and their kin, cap guns, thunder and shouting, which everyday streams are full of.

/// What is listened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SoundGroup {
    /// Shots.
    Gunshot,
    /// Blasts.
    Explosion,
    /// Screams.
    Scream,
    /// Breaking glass.
    Glass,
    /// Sirens and alarms.
    Siren,
    /// Somebody weeps. No category: told, not acted upon.
    Crying,
    /// Told, and held against shots and blasts.
    Fireworks,
}

impl SoundGroup {
    /// Every group.
    pub(crate) const ALL: [Self; 7] = [
        Self::Gunshot,
        Self::Explosion,
        Self::Scream,
        Self::Glass,
        Self::Siren,
        Self::Crying,
        Self::Fireworks,
    ];

    /// The name in evidence.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gunshot => "gunshot",
            Self::Explosion => "explosion",
            Self::Scream => "scream",
            Self::Glass => "glass",
            Self::Siren => "siren",
            Self::Crying => "crying",
            Self::Fireworks => "fireworks",
        }
    }

    /// Whether it counts for `dangerous-sound`.
    pub(crate) const fn is_dangerous(self) -> bool {
        !matches!(self, Self::Crying | Self::Fireworks)
    }

    /// The group that a label of a model of our own stands for: `004_Baby_cry` is crying.
    pub(crate) fn of_label(label: &str) -> Option<Self> {
        let plain = label.to_lowercase().replace(['_', ' '], "-");
        let plain = plain.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        let same = |words: &[&str]| words.contains(&plain);
        let found = [
            (Self::Gunshot, &["gunshot", "gun-shot", "gunfire"] as &[_]),
            (Self::Explosion, &["explosion"]),
            (Self::Scream, &["scream", "screaming"]),
            (Self::Glass, &["glass", "glass-breaking", "breaking-glass"]),
            (Self::Siren, &["siren", "alarm"]),
            (Self::Crying, &["crying", "cry", "baby-cry", "crying-baby"]),
            (Self::Fireworks, &["fireworks", "firecracker"]),
        ];
        found
            .into_iter()
            .find(|(_, words)| same(words))
            .map(|(group, _)| group)
    }

    /// AudioSet's classes.
    const fn classes(self) -> &'static [&'static str] {
        match self {
            Self::Gunshot => &[
                "Gunshot, gunfire",
                "Machine gun",
                "Fusillade",
                "Artillery fire",
            ],
            Self::Explosion => &["Explosion"],
            Self::Scream => &["Screaming"],
            Self::Glass => &["Shatter"],
            Self::Siren => &[
                "Siren",
                "Civil defense siren",
                "Police car (siren)",
                "Ambulance (siren)",
                "Fire engine, fire truck (siren)",
                "Emergency vehicle",
                "Smoke detector, smoke alarm",
                "Fire alarm",
                ALARM,
            ],
            Self::Crying => &["Crying, sobbing", "Baby cry, infant cry", "Whimper"],
            Self::Fireworks => &["Fireworks", "Firecracker"],
        }
    }
}

/// The parent class of sirens, but of telephones and bells as well.
const ALARM: &str = "Alarm";

/// Everyday sounds that the parent class fires on; it counts only as far as none of them explains
/// it.
const EVERYDAY: [&str; 10] = [
    "Telephone",
    "Telephone bell ringing",
    "Ringtone",
    "Dial tone",
    "Busy signal",
    "Alarm clock",
    "Doorbell",
    "Buzzer",
    "Car alarm",
    "Bicycle bell",
];

/// Groups as indices into a model's labels.
pub(super) struct Groups {
    members: [Vec<usize>; SoundGroup::ALL.len()],
    alarm: usize,
    everyday: Vec<usize>,
}

/// A group's score and the index of the label behind it.
pub(super) type GroupScores = [(f32, usize); SoundGroup::ALL.len()];

impl Groups {
    /// Resolves the names; the error names the first that is missing.
    pub(super) fn resolve(labels: &[String]) -> Result<Self, String> {
        let find = |name: &&str| {
            labels
                .iter()
                .position(|l| l == name)
                .ok_or_else(|| format!("the labels lack `{name}`"))
        };
        let mut members: [Vec<usize>; SoundGroup::ALL.len()] = Default::default();
        for (members, group) in members.iter_mut().zip(SoundGroup::ALL) {
            *members = group.classes().iter().map(find).collect::<Result<_, _>>()?;
        }
        Ok(Self {
            members,
            alarm: find(&ALARM)?,
            everyday: EVERYDAY.iter().map(find).collect::<Result<_, _>>()?,
        })
    }

    /// Each group's score (its highest member's) with that member's label.
    pub(super) fn scores(&self, events: &[f32]) -> GroupScores {
        let explained = self
            .everyday
            .iter()
            .map(|i| events[*i])
            .fold(0.0_f32, f32::max);
        let mut all = [(0.0, 0); SoundGroup::ALL.len()];
        for (best, members) in all.iter_mut().zip(&self.members) {
            best.1 = members.first().copied().unwrap_or_default();
            for i in members {
                let score = if *i == self.alarm {
                    events[*i] - explained
                } else {
                    events[*i]
                };
                if score > best.0 {
                    *best = (score.min(1.0), *i);
                }
            }
        }
        all
    }
}

/// Every label that the groups know, for tests.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    SoundGroup::ALL
        .iter()
        .flat_map(|g| g.classes())
        .chain(&EVERYDAY)
        .map(|n| (*n).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(group: SoundGroup, set: &[(&str, f32)]) -> (f32, String) {
        let labels = names();
        let mut events = vec![0.0; labels.len()];
        for (name, value) in set {
            events[labels.iter().position(|l| l == name).unwrap()] = *value;
        }
        let all = Groups::resolve(&labels).unwrap().scores(&events);
        let at = SoundGroup::ALL.iter().position(|g| *g == group).unwrap();
        (all[at].0, labels[all[at].1].clone())
    }

    #[test]
    fn the_strongest_member_gives_score_and_label() {
        let heard = [
            ("Siren", 0.5),
            ("Machine gun", 0.7),
            ("Gunshot, gunfire", 0.6),
        ];
        assert_eq!(
            score(SoundGroup::Gunshot, &heard),
            (0.7, "Machine gun".to_owned())
        );
        assert_eq!(score(SoundGroup::Siren, &heard).0, 0.5);
        assert_eq!(score(SoundGroup::Scream, &heard).0, 0.0);
    }

    #[test]
    fn a_ringing_telephone_is_no_alarm() {
        let ringing = score(SoundGroup::Siren, &[("Alarm", 0.8), ("Telephone", 0.75)]);
        assert!(ringing.0 < 0.1);
        assert_eq!(
            score(SoundGroup::Siren, &[("Alarm", 0.8)]),
            (0.8, "Alarm".to_owned())
        );
        let both = [("Alarm", 0.8), ("Telephone", 0.7), ("Siren", 0.6)];
        assert_eq!(score(SoundGroup::Siren, &both).0, 0.6);
    }

    #[test]
    fn every_name_is_in_the_catalogue() {
        let Some(yamnet) = novastream_models::catalog::catalog_entry("yamnet") else {
            panic!("the catalogue has yamnet")
        };
        assert!(Groups::resolve(&yamnet.labels).is_ok());
    }

    #[test]
    fn labels_of_our_own_models_are_groups_by_name() {
        for (label, group) in [
            ("004_Baby_cry", Some(SoundGroup::Crying)),
            ("Gunshot", Some(SoundGroup::Gunshot)),
            ("glass breaking", Some(SoundGroup::Glass)),
            ("001_Dog_bark", None),
            ("010_Fire_crackling", None),
        ] {
            assert_eq!(SoundGroup::of_label(label), group, "{label}");
        }
    }
}
