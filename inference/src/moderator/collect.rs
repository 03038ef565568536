//! What the models said about one item, before any policy.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    category::Category,
    crowd::Signs,
    policy::Observation,
    sound::GAP_MS,
    text::{Finding, TextScores},
    verdict::{Degraded, Evidence, EvidenceDetail, Modality, SoundEvent},
    vision::ScreenLine,
};

/// What evidence from messages together is called.
const CROWD: &str = "crowd@1";
/// Reasons kept per verdict.
const MAX_EVIDENCE: usize = 64;
/// Characters of a screen line that a verdict repeats.
const MAX_QUOTE: usize = 200;

/// Observations, reasons and gaps.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub evaluated: BTreeSet<Category>,
    pub observations: Vec<Observation>,
    pub evidence: Vec<Evidence>,
    pub degraded: Vec<Degraded>,
    pub sounds: Vec<SoundEvent>,
}

impl Collected {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.evaluated.extend(other.evaluated);
        self.observations.extend(other.observations);
        self.evidence.extend(other.evidence);
        self.degraded.extend(other.degraded);
        self.sounds.extend(other.sounds);
    }

    pub(super) fn observe(
        &mut self,
        category: Category,
        modality: Modality,
        at_ms: i64,
        score: f32,
    ) {
        self.evaluated.insert(category);
        self.observations.push(Observation {
            category,
            modality,
            at_ms,
            score,
        });
    }

    /// Adds the scores of a message.
    pub(super) fn add_text(&mut self, modality: Modality, at_ms: i64, scores: TextScores) {
        for (category, score) in scores.scores {
            self.observe(category, modality, at_ms, score);
        }
        self.evidence
            .extend(scores.findings.into_iter().map(|f| Evidence {
                category: f.category,
                modality,
                start_ms: None,
                end_ms: None,
                peak_ms: None,
                score: f.score,
                model: f.model,
                carried_ms: None,
                clip: None,
                detail: f.detail,
            }));
    }

    /// Adds what a message says together with those before it.
    pub(super) fn add_signs(&mut self, signs: &Signs) {
        let found = [
            (
                Category::Raid,
                signs.raid,
                vec![format!("senders:{}", signs.senders)],
            ),
            (
                Category::Spam,
                signs.flood,
                vec![
                    format!("repeats:{}", signs.repeats),
                    format!("in-ten-seconds:{}", signs.rate),
                ],
            ),
        ];
        for (category, score, mut signals) in found {
            let Some(score) = score else {
                continue;
            };
            self.observe(category, Modality::Text, 0, score);
            if signs.offender {
                signals.push("repeated-offender".to_owned());
            }
            if score > 0.0 || signs.offender {
                self.evidence.push(Evidence {
                    category,
                    modality: Modality::Text,
                    start_ms: None,
                    end_ms: None,
                    peak_ms: None,
                    score,
                    model: CROWD.to_owned(),
                    carried_ms: None,
                    clip: None,
                    detail: Some(EvidenceDetail::Crowd { signals }),
                });
            }
        }
    }

    /// Adds what is written on one frame: `lines` with the scores of each, and `whole` for all
    /// lines read on. A reason that a single line gives is not repeated for the whole screen.
    pub(super) fn add_screen(
        &mut self,
        at_ms: i64,
        lines: &[(ScreenLine, TextScores)],
        whole: TextScores,
        reader: &str,
    ) {
        let quote = |finding: &Finding, text: &str, area, confidence| {
            screen_evidence(at_ms, finding, text, area, confidence, reader)
        };
        let mut best: BTreeMap<Category, f32> = whole.scores;
        let mut said: BTreeSet<(Category, String)> = BTreeSet::new();
        let mut reasons = Vec::new();
        for (line, scores) in lines {
            for (category, score) in &scores.scores {
                let known = best.entry(*category).or_default();
                *known = known.max(*score);
            }
            for finding in &scores.findings {
                if finding.score >= best.get(&finding.category).copied().unwrap_or(0.0) {
                    said.insert((finding.category, finding.model.clone()));
                }
                reasons.push(quote(finding, &line.text, line.area, line.confidence));
            }
        }
        let text = lines
            .iter()
            .map(|(l, _)| l.text.as_str())
            .collect::<Vec<_>>()
            .join(" ");
        let confidence = lines.iter().map(|(l, _)| l.confidence).fold(1.0, f32::min);
        for finding in &whole.findings {
            if !said.contains(&(finding.category, finding.model.clone())) {
                let area = lines
                    .iter()
                    .map(|(l, _)| l.area)
                    .reduce(around)
                    .unwrap_or_default();
                reasons.push(quote(finding, &text, area, confidence));
            }
        }
        for (category, score) in best {
            self.observe(category, Modality::ScreenText, at_ms, score);
        }
        self.evidence.extend(reasons);
    }

    /// The highest score of pictures, sound and text on screen, as a share of its category's
    /// `review` threshold.
    pub(super) fn risk(&self, review: impl Fn(Category) -> f32) -> f32 {
        let looks = self.observations.iter();
        looks
            .filter(|o| o.modality != Modality::Text)
            .map(|o| o.score / review(o.category).max(f32::MIN_POSITIVE))
            .fold(0.0, f32::max)
    }

    /// Adds what was said between two moments, understood by `reader`.
    pub(super) fn add_speech(
        &mut self,
        (start_ms, end_ms): (i64, i64),
        (text, language): (&str, Option<&str>),
        scores: TextScores,
        reader: &str,
    ) {
        for (category, score) in scores.scores {
            self.observe(category, Modality::Speech, start_ms, score);
        }
        for finding in scores.findings {
            self.evidence.push(Evidence {
                category: finding.category,
                modality: Modality::Speech,
                start_ms: Some(start_ms),
                end_ms: Some(end_ms),
                peak_ms: Some(start_ms.midpoint(end_ms)),
                score: finding.score,
                detail: Some(EvidenceDetail::Speech {
                    text: text.chars().take(MAX_QUOTE).collect(),
                    language: language.map(str::to_owned),
                    reader: reader.to_owned(),
                    matched: matched(&finding),
                }),
                model: finding.model,
                carried_ms: None,
                clip: None,
            });
        }
    }

    /// A single picture has no stream time.
    pub(super) fn forget_times(&mut self) {
        for evidence in &mut self.evidence {
            (evidence.start_ms, evidence.end_ms, evidence.peak_ms) = (None, None, None);
        }
    }

    /// The reasons worth keeping: those that reach `keep(category)`, equal ones of different times
    /// joined into one span (sounds only where they are near in time), strongest first.
    pub(super) fn strongest(&mut self, keep: impl Fn(Category) -> f32) -> Vec<Evidence> {
        let mut joined: Vec<Evidence> = Vec::new();
        for evidence in self
            .evidence
            .drain(..)
            .filter(|e| e.score >= keep(e.category))
        {
            match joined
                .iter_mut()
                .rfind(|known| same(known, &evidence) && near(known, &evidence))
            {
                Some(known) => {
                    known.start_ms = known.start_ms.min(evidence.start_ms);
                    known.end_ms = known.end_ms.max(evidence.end_ms);
                    // What a network saw once in the span need not lean on an earlier picture.
                    let both = known.carried_ms.zip(evidence.carried_ms);
                    known.carried_ms = both.map(|(a, b)| a.min(b));
                    if evidence.score > known.score {
                        (known.score, known.detail) = (evidence.score, evidence.detail);
                        known.peak_ms = evidence.peak_ms;
                    }
                }
                None => joined.push(evidence),
            }
        }
        joined.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| (a.start_ms, a.category).cmp(&(b.start_ms, b.category)))
        });
        joined.truncate(MAX_EVIDENCE);
        joined
    }
}

/// Whether two reasons differ in time and strength only.
fn same(a: &Evidence, b: &Evidence) -> bool {
    let detail = match (&a.detail, &b.detail) {
        (None, None) => true,
        (
            Some(EvidenceDetail::ScreenText { text, matched, .. }),
            Some(EvidenceDetail::ScreenText {
                text: other,
                matched: also,
                ..
            }),
        ) => text == other && matched == also,
        (
            Some(EvidenceDetail::Pdq { list, label, .. }),
            Some(EvidenceDetail::Pdq {
                list: other,
                label: also,
                ..
            }),
        ) => list == other && label == also,
        (
            Some(EvidenceDetail::Sound { group, .. }),
            Some(EvidenceDetail::Sound { group: other, .. }),
        ) => group == other,
        (
            Some(EvidenceDetail::Label { label, .. }),
            Some(EvidenceDetail::Label { label: other, .. }),
        ) => label == other,
        (a, b) => a == b,
    };
    detail && a.category == b.category && a.modality == b.modality && a.model == b.model
}

/// Whether a sound goes on; for anything else times do not matter.
fn near(known: &Evidence, next: &Evidence) -> bool {
    match (known.modality, known.end_ms, next.start_ms) {
        (Modality::Audio, Some(end), Some(start)) => start - end <= GAP_MS,
        _ => true,
    }
}

fn screen_evidence(
    at_ms: i64,
    finding: &Finding,
    text: &str,
    area: [u32; 4],
    confidence: f32,
    reader: &str,
) -> Evidence {
    Evidence {
        category: finding.category,
        modality: Modality::ScreenText,
        start_ms: Some(at_ms),
        end_ms: Some(at_ms),
        peak_ms: Some(at_ms),
        score: finding.score,
        model: finding.model.clone(),
        carried_ms: None,
        clip: None,
        detail: Some(EvidenceDetail::ScreenText {
            text: text.chars().take(MAX_QUOTE).collect(),
            area,
            confidence,
            reader: reader.to_owned(),
            matched: matched(finding),
        }),
    }
}

/// The term or rule behind a finding.
fn matched(finding: &Finding) -> Option<String> {
    match &finding.detail {
        Some(EvidenceDetail::TextSpan { term, .. }) => Some(term.clone()),
        Some(EvidenceDetail::Rule { rule, .. }) => Some(rule.clone()),
        _ => None,
    }
}

/// The box around two boxes.
fn around(a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
    [
        a[0].min(b[0]),
        a[1].min(b[1]),
        a[2].max(b[2]),
        a[3].max(b[3]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(at: i64, score: f32, label: &str) -> Evidence {
        Evidence {
            category: Category::DangerousSound,
            modality: Modality::Audio,
            start_ms: Some(at),
            end_ms: Some(at + 975),
            peak_ms: Some(at + 487),
            score,
            model: "m@1".into(),
            carried_ms: None,
            clip: None,
            detail: Some(EvidenceDetail::Sound {
                group: label.to_lowercase(),
                label: label.into(),
                score,
            }),
        }
    }

    #[test]
    fn equal_reasons_become_one_span() {
        let mut collected = Collected::new();
        collected.evidence = vec![
            label(0, 0.6, "Siren"),
            label(480, 0.9, "Siren"),
            label(960, 0.7, "Explosion"),
            label(1440, 0.1, "Siren"),
        ];
        let kept = collected.strongest(|_| 0.5);
        assert_eq!(kept.len(), 2);
        assert_eq!(
            (kept[0].start_ms, kept[0].end_ms, kept[0].score),
            (Some(0), Some(1455), 0.9)
        );
        assert_eq!(kept[0].peak_ms, Some(480 + 487));
        assert_eq!(kept[1].score, 0.7);
    }

    #[test]
    fn a_sound_that_comes_back_is_another_interval() {
        let mut collected = Collected::new();
        collected.evidence = vec![
            label(0, 0.6, "Siren"),
            label(480, 0.7, "Siren"),
            label(9000, 0.9, "Siren"),
        ];
        let kept = collected.strongest(|_| 0.5);
        let times: Vec<_> = kept.iter().map(|e| (e.start_ms, e.end_ms)).collect();
        assert_eq!(times, [(Some(9000), Some(9975)), (Some(0), Some(1455))]);
    }

    #[test]
    fn reasons_are_bounded() {
        let mut collected = Collected::new();
        collected.evidence = (0..500).map(|i| label(i, 0.9, &format!("{i}"))).collect();
        assert_eq!(collected.strongest(|_| 0.5).len(), MAX_EVIDENCE);
    }
}
