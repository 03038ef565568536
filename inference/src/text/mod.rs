//! What text is judged by: lists, rules and the chat models.

mod checks;
mod entities;
mod gate;
mod links;
mod lists;
mod rules;
mod shipped;
mod signals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use novastream_features::text::{
    Normalized, Normalizer,
    language::{self, Language},
};

use self::entities::{Entity, EntityKind};
pub use self::lists::TextListError;
pub(crate) use self::{lists::TermList, shipped::lists as shipped_lists};
use crate::{
    backend::{BackendError, guarded},
    category::Category,
    chat::{ChatInput, ChatTier},
    registry::{ChatSlot, ChatVersion, Permit},
    verdict::EvidenceDetail,
};

/// A reference to a minor; a short neutral list, for the conjunction with a sexual score only.
const MINORS: [&str; 3] = ["underage", "minor", "minors"];
/// A head's score from which it is worth showing as evidence.
const TRACE: f32 = 0.2;

/// One reason for a text's score.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Finding {
    pub category: Category,
    pub score: f32,
    pub model: String,
    pub detail: Option<EvidenceDetail>,
}

/// Everything there is to say about one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TextScores {
    /// Every category that was looked for.
    pub scores: BTreeMap<Category, f32>,
    /// Reasons for scores above zero.
    pub findings: Vec<Finding>,
    /// The message's language, where it has a name.
    pub language: Option<&'static str>,
}

impl TextScores {
    fn add(&mut self, finding: Finding) {
        let score = self.scores.entry(finding.category).or_default();
        *score = score.max(finding.score);
        self.findings.push(finding);
    }
}

/// Whether the chat model was trained on a category in a language. English throughout; Russian spam
/// and Bengali violence are in its training data as well, and nothing else is.
fn speaks(category: Category, language: Language) -> bool {
    match language {
        Language::English => true,
        Language::Other("ru") => category == Category::Spam,
        Language::Other("bn") => category == Category::Violence,
        Language::Other(_) | Language::Unknown => false,
    }
}

/// Lists, rules and the model, ready to run from many threads.
pub(crate) struct TextJudge {
    normalizer: Normalizer,
    lists: Vec<TermList>,
    chat: Option<Arc<ChatSlot>>,
}

/// One request's view of it: lists and rules, and the version of the chat models that judges the whole
/// request.
pub(crate) struct Judging<'a> {
    judge: &'a TextJudge,
    model: Option<(&'a ChatSlot, Permit<ChatVersion>)>,
}

impl TextJudge {
    pub(crate) fn new(lists: Vec<TermList>, chat: Option<Arc<ChatSlot>>) -> Self {
        gate::warm_up();
        links::warm_up();
        Self {
            normalizer: Normalizer::new(),
            lists,
            chat,
        }
    }

    /// The chat models.
    pub(crate) fn chat(&self) -> Option<&Arc<ChatSlot>> {
        self.chat.as_ref()
    }

    /// Begins a request. `key` decides which version of the models judges it.
    pub(crate) fn open(&self, key: u64) -> Judging<'_> {
        let chat = self.chat.as_deref();
        Judging {
            judge: self,
            model: chat.and_then(|slot| Some((slot, slot.managed.take(key)?))),
        }
    }

    /// Rules about wording and about links.
    fn rules(&self, raw: &str, normalized: &Normalized, result: &mut TextScores) {
        let link = links::worst(raw, self.normalizer);
        let warns = link.is_some() && rules::warns(raw);
        if let Some(link) = link {
            result.add(Finding {
                category: Category::Scam,
                score: if warns {
                    link.score.min(rules::WARNING_CAP)
                } else {
                    link.score
                },
                model: rules::VERSION.to_owned(),
                detail: Some(EvidenceDetail::Rule {
                    rule: link.rule.to_owned(),
                    start: link.range.start,
                    end: link.range.end,
                    signals: vec![link.host],
                }),
            });
        }
        if let Some(hit) = rules::scam(raw, normalized) {
            result.add(Finding {
                category: Category::Scam,
                score: hit.score,
                model: rules::VERSION.to_owned(),
                detail: Some(EvidenceDetail::Rule {
                    rule: hit.rule.to_owned(),
                    start: hit.range.start,
                    end: hit.range.end,
                    signals: hit.signals.into_iter().map(str::to_owned).collect(),
                }),
            });
        }
    }

    /// `sexual/minors`: the sexual score, where the text refers to a minor as a word of its own.
    fn minors(normalized: &Normalized, result: &mut TextScores) {
        let Some(sexual) = result.scores.get(&Category::Sexual).copied() else {
            return;
        };
        let refers = normalized
            .text
            .split(|c: char| !c.is_alphanumeric())
            .any(|word| MINORS.iter().any(|m| m.eq_ignore_ascii_case(word)));
        if refers {
            result.add(Finding {
                category: Category::SexualMinors,
                score: sexual,
                model: rules::VERSION.to_owned(),
                detail: None,
            });
        }
    }
}

impl Judging<'_> {
    /// Whether a model is loaded; without one a text is not judged in full.
    pub(crate) fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// The categories that are looked for in a message of a language.
    pub(crate) fn evaluated(&self, language: Language) -> BTreeSet<Category> {
        let lists = self.judge.lists.iter().filter(|list| list.is_for(language));
        let mut categories: BTreeSet<Category> = lists.flat_map(TermList::categories).collect();
        categories.insert(Category::Scam);
        if let Some((_, permit)) = &self.model {
            let known = permit.value().model.categories().into_iter();
            categories.extend(known.filter(|c| speaks(*c, language)));
        }
        if categories.contains(&Category::Sexual) {
            categories.insert(Category::SexualMinors);
        }
        categories
    }

    /// Judges one text.
    ///
    /// # Errors
    /// [`BackendError`]: the encoder failed, or the code below did.
    pub(crate) fn judge(&self, raw: &str) -> Result<TextScores, BackendError> {
        self.judge_after(raw, &[])
    }

    /// Judges one text that stands after others, oldest first.
    ///
    /// # Errors
    /// As [`Judging::judge`].
    pub(crate) fn judge_after(
        &self,
        raw: &str,
        previous: &[&str],
    ) -> Result<TextScores, BackendError> {
        guarded(|| self.judge_unguarded(raw, previous))
    }

    fn judge_unguarded(&self, raw: &str, previous: &[&str]) -> Result<TextScores, BackendError> {
        let normalized = self.judge.normalizer.normalize(raw);
        let language = language::detect_undisguised(raw, &normalized);
        let evaluated = self.evaluated(language);
        let mut result = TextScores {
            scores: evaluated.into_iter().map(|c| (c, 0.0)).collect(),
            findings: Vec::new(),
            language: language.code(),
        };
        // A model asked about nothing answers its bias, which says nothing about the message.
        if normalized.text.trim().is_empty() {
            return Ok(result);
        }
        for list in self.judge.lists.iter().filter(|list| list.is_for(language)) {
            for hit in list.find(raw, &normalized) {
                result.add(Finding {
                    category: hit.category,
                    score: hit.score,
                    model: list.model(),
                    detail: Some(EvidenceDetail::TextSpan {
                        start: hit.range.start,
                        end: hit.range.end,
                        form: hit.form,
                        term: hit.term,
                    }),
                });
            }
        }
        self.judge.rules(raw, &normalized, &mut result);
        let mut entities: Option<Vec<Entity>> = None;
        if let Some((slot, permit)) = &self.model {
            let input = ChatInput {
                raw,
                normalized: &normalized,
                previous,
            };
            // The encoder reads English only.
            let tier = match language {
                Language::English => ChatTier::Cascade,
                _ => ChatTier::Fast,
            };
            let scored = slot.score(permit, input, tier)?;
            let id = permit.value().model.id(&scored);
            for (category, score) in scored.scores.iter().copied() {
                if !speaks(category, language) {
                    continue;
                }
                let (score, detail) = if score >= TRACE && gate::guards(category) {
                    let found = entities.get_or_insert_with(|| entities::find(raw));
                    (
                        gate::gated(category, score, raw, found),
                        (category == Category::Doxxing)
                            .then(|| personal_data(found))
                            .flatten(),
                    )
                } else {
                    (score, None)
                };
                let finding = Finding {
                    category,
                    score,
                    model: id.to_owned(),
                    detail,
                };
                if score >= TRACE {
                    result.add(finding);
                } else {
                    let known = result.scores.entry(category).or_default();
                    *known = known.max(score);
                }
            }
        }
        TextJudge::minors(&normalized, &mut result);
        Ok(result)
    }
}

/// Where personal data stand in a text, and of which kinds.
fn personal_data(entities: &[Entity]) -> Option<EvidenceDetail> {
    let personal = || entities.iter().filter(|e| e.kind != EntityKind::Harmless);
    let start = personal().map(|e| e.range.start).min()?;
    let end = personal().map(|e| e.range.end).max()?;
    let kinds: BTreeSet<&str> = personal().map(|e| e.kind.name()).collect();
    Some(EvidenceDetail::Rule {
        rule: "personal-data".to_owned(),
        start,
        end,
        signals: kinds.into_iter().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge_with(list: &str) -> TextJudge {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.tsv");
        std::fs::write(&path, list).unwrap();
        let list = TermList::load(&path, Normalizer::new()).unwrap();
        TextJudge::new(vec![list], None)
    }

    #[test]
    fn without_a_model_only_lists_and_rules_are_scored() {
        let judge = judge_with("harassment\t3\tidiot\n");
        let wanted: BTreeSet<_> = [Category::Harassment, Category::Scam].into();
        assert_eq!(judge.open(0).evaluated(Language::English), wanted);
        let scores = judge.open(0).judge("you idiot").unwrap();
        assert_eq!(scores.scores[&Category::Harassment], 0.85);
        assert_eq!(scores.scores[&Category::Scam], 0.0);
        assert_eq!(scores.findings.len(), 1);
        assert_eq!(scores.findings[0].model, "list:test");
    }

    #[test]
    fn a_minor_is_mentioned_only_together_with_a_sexual_score() {
        let judge = judge_with("sexual\t3\tnude photos\n");
        let both = judge.open(0).judge("nude photos of a minor").unwrap();
        assert_eq!(both.scores[&Category::SexualMinors], 0.85);
        let music = judge.open(0).judge("a sonata in a minor").unwrap();
        assert_eq!(music.scores[&Category::SexualMinors], 0.0);
        let alone = judge.open(0).judge("nude photos").unwrap();
        assert_eq!(alone.scores[&Category::SexualMinors], 0.0);
        let inside = judge.open(0).judge("nude photos, minority report").unwrap();
        assert_eq!(inside.scores[&Category::SexualMinors], 0.0);
    }
}
