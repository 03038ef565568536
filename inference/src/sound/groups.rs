//! Which of AudioSet's event classes mean danger.
//!
//! Classes are taken by name, so that a model with another order of labels fails to load instead of
//! scoring the wrong sound. Left out on purpose: `Alarm clock`, `Telephone` and their kin, fireworks,
//! cap guns, thunder, crying and shouting, which everyday streams are full of.

/// Sirens and alarms, shooting, blasts, screams and breaking glass.
const DANGEROUS: [&str; 16] = [
    "Siren",
    "Civil defense siren",
    "Police car (siren)",
    "Ambulance (siren)",
    "Fire engine, fire truck (siren)",
    "Emergency vehicle",
    "Smoke detector, smoke alarm",
    "Fire alarm",
    "Gunshot, gunfire",
    "Machine gun",
    "Fusillade",
    "Artillery fire",
    "Explosion",
    "Screaming",
    "Shatter",
    ALARM,
];

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

/// `dangerous-sound` as indices into a model's labels.
pub(super) struct Group {
    members: Vec<usize>,
    alarm: usize,
    everyday: Vec<usize>,
}

impl Group {
    /// Resolves the names; the error names the first that is missing.
    pub(super) fn dangerous(labels: &[String]) -> Result<Self, String> {
        let find = |name: &&str| {
            labels
                .iter()
                .position(|l| l == name)
                .ok_or_else(|| format!("the labels lack `{name}`"))
        };
        Ok(Self {
            members: DANGEROUS.iter().map(find).collect::<Result<_, _>>()?,
            alarm: find(&ALARM)?,
            everyday: EVERYDAY.iter().map(find).collect::<Result<_, _>>()?,
        })
    }

    /// The group's score (the highest member's) and the index of that member's label.
    pub(super) fn score(&self, events: &[f32]) -> (f32, usize) {
        let explained = self
            .everyday
            .iter()
            .map(|i| events[*i])
            .fold(0.0f32, f32::max);
        let mut best = (0.0f32, self.members[0]);
        for i in &self.members {
            let score = if *i == self.alarm {
                events[*i] - explained
            } else {
                events[*i]
            };
            if score > best.0 {
                best = (score, *i);
            }
        }
        (best.0.clamp(0.0, 1.0), best.1)
    }
}

/// Every label that the group knows, for tests.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    DANGEROUS
        .iter()
        .chain(&EVERYDAY)
        .map(|n| (*n).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(set: &[(&str, f32)]) -> (f32, String) {
        let labels = names();
        let mut events = vec![0.0; labels.len()];
        for (name, value) in set {
            events[labels.iter().position(|l| l == name).unwrap()] = *value;
        }
        let (score, label) = Group::dangerous(&labels).unwrap().score(&events);
        (score, labels[label].clone())
    }

    #[test]
    fn the_strongest_member_gives_score_and_label() {
        assert_eq!(
            score(&[("Siren", 0.5), ("Explosion", 0.7)]),
            (0.7, "Explosion".to_owned())
        );
        assert_eq!(score(&[]).0, 0.0);
    }

    #[test]
    fn a_ringing_telephone_is_no_alarm() {
        let (ringing, _) = score(&[("Alarm", 0.8), ("Telephone", 0.75)]);
        assert!(ringing < 0.1);
        assert_eq!(score(&[("Alarm", 0.8)]), (0.8, "Alarm".to_owned()));
        assert_eq!(
            score(&[("Alarm", 0.8), ("Telephone", 0.7), ("Siren", 0.6)]).0,
            0.6
        );
    }

    #[test]
    fn every_name_is_in_the_catalogue() {
        let Some(yamnet) = novastream_models::catalog::catalog_entry("yamnet") else {
            panic!("the catalogue has yamnet")
        };
        assert!(Group::dangerous(&yamnet.labels).is_ok());
    }
}
