//! Which labels of a folder stand for a category of the taxonomy.

use std::collections::BTreeMap;

use novastream_inference::Category;

use crate::error::EvalError;

/// Folder names that stand for a category whose own name they are not. Compared in lower case with
/// `-` for `_` and blanks.
const ALIASES: &[(&str, Category)] = &[
    ("gun", Category::Weapons),
    ("guns", Category::Weapons),
    ("weapon", Category::Weapons),
    ("knives", Category::Weapons),
    ("cards", Category::Gambling),
    ("playing-cards", Category::Gambling),
    ("casino", Category::Gambling),
    ("roulette", Category::Gambling),
    ("nsfw", Category::Sexual),
    ("explicit", Category::Sexual),
    ("alarm", Category::DangerousSound),
    ("explosion", Category::DangerousSound),
    ("gunshot", Category::DangerousSound),
    ("scream", Category::DangerousSound),
    ("siren", Category::DangerousSound),
];

/// Labels that stand for categories: the user's own assignments first, then the taxonomy's names
/// (`/` written as `-`), then a short list of aliases.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    given: BTreeMap<String, Category>,
}

impl Targets {
    /// From `LABEL=CATEGORY` assignments.
    pub fn parse(assignments: &[String]) -> Result<Self, EvalError> {
        let parse = |assignment: &String| {
            let (label, name) = assignment.rsplit_once('=').ok_or_else(|| {
                EvalError::usage(format!(
                    "--category takes LABEL=CATEGORY, not `{assignment}`"
                ))
            })?;
            let category = name
                .parse()
                .map_err(|e| EvalError::usage(format!("--category: {e}")))?;
            Ok((label.to_owned(), category))
        };
        Ok(Self {
            given: assignments
                .iter()
                .map(parse)
                .collect::<Result<_, EvalError>>()?,
        })
    }

    /// The category that `label` stands for, if any.
    pub fn category(&self, label: &str) -> Option<Category> {
        if let Some(category) = self.given.get(label) {
            return Some(*category);
        }
        let plain = label.to_lowercase().replace(['_', ' '], "-");
        let by_name = |c: &Category| c.as_str().replace('/', "-") == plain;
        let by_alias = || {
            ALIASES
                .iter()
                .find(|(alias, _)| *alias == plain)
                .map(|(_, c)| *c)
        };
        Category::ALL.into_iter().find(by_name).or_else(by_alias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_aliases_and_assignments() {
        let targets =
            Targets::parse(&["001_Bang=dangerous-sound".into(), "guns=violence".into()]).unwrap();
        assert_eq!(targets.category("001_Bang"), Some(Category::DangerousSound));
        assert_eq!(targets.category("guns"), Some(Category::Violence));
        assert_eq!(targets.category("playing_cards"), Some(Category::Gambling));
        assert_eq!(targets.category("Self_Harm"), Some(Category::SelfHarm));
        assert_eq!(
            targets.category("violence-graphic"),
            Some(Category::ViolenceGraphic)
        );
        assert_eq!(targets.category("everyday"), None);
        assert_eq!(targets.category(""), None);
    }

    #[test]
    fn a_wrong_assignment_is_refused_with_a_hint() {
        let error = Targets::parse(&["guns".into()]).unwrap_err();
        assert!(error.to_string().contains("LABEL=CATEGORY"));
        let error = Targets::parse(&["guns=weaponss".into()]).unwrap_err();
        assert!(error.to_string().contains("weapons"), "{error}");
    }
}
