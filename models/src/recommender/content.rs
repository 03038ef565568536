//! What channels say of themselves: TF-IDF vectors over titles, tags and categories.
//!
//! G. Salton, C. Buckley, "Term-weighting approaches in automatic text retrieval", 1988. A user is
//! the weighted sum of the vectors of what was taken; a candidate scores the cosine to it. It knows
//! nothing of who takes what, so it can place a channel that nobody has started yet.

use std::collections::HashMap;

use super::SparseRows;

/// A vector as (term, value) pairs, sorted by term, of length 1; empty where nothing is known.
pub type TermVector = Vec<(u32, f32)>;

/// Terms and the vectors of items.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    terms: Vec<String>,
    numbers: HashMap<String, u32>,
    rarity: Vec<f32>,
    items: SparseRows,
}

impl Content {
    /// Joins terms, their rarity (inverse document frequency, above 0) and one row of term values
    /// an item. `None` when they do not fit together.
    pub fn new(terms: Vec<String>, rarity: Vec<f32>, items: SparseRows) -> Option<Self> {
        let fits = terms.len() == rarity.len()
            && items.width() == terms.len()
            && rarity.iter().all(|value| value.is_finite() && *value > 0.0);
        let numbers: HashMap<String, u32> = terms.iter().cloned().zip(0..).collect();
        (fits && numbers.len() == terms.len()).then_some(Self {
            terms,
            numbers,
            rarity,
            items,
        })
    }

    /// The terms by number.
    pub fn terms(&self) -> &[String] {
        &self.terms
    }

    /// Rarity of each term.
    pub fn rarity(&self) -> &[f32] {
        &self.rarity
    }

    /// The vectors of the items.
    pub fn items(&self) -> &SparseRows {
        &self.items
    }

    /// The vector of weighted terms, each of which comes once; unknown terms are left out.
    pub fn vector(&self, terms: &[(String, f32)]) -> TermVector {
        let known = terms.iter().filter_map(|(term, weight)| {
            let number = *self.numbers.get(term)?;
            Some((number, weight * self.rarity[number as usize]))
        });
        let mut vector: TermVector = known.collect();
        vector.sort_unstable_by_key(|(term, _)| *term);
        let length = vector.iter().map(|(_, value)| value * value).sum::<f32>();
        let length = length.sqrt();
        for (_, value) in &mut vector {
            *value /= length.max(f32::MIN_POSITIVE);
        }
        vector
    }

    /// Writes the cosine of each candidate to the history. `said` holds vectors that replace
    /// those of training, or place items that training did not have.
    pub fn score(
        &self,
        history: &[(u32, f32)],
        candidates: &[u32],
        said: &HashMap<u32, TermVector>,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        let mut profile = vec![0.0_f32; self.terms.len()];
        for &(item, weight) in history {
            self.each(item, said, |term, value| {
                profile[term as usize] += weight * value;
            });
        }
        let length = profile.iter().map(|value| value * value).sum::<f32>();
        if length <= 0.0 {
            return;
        }
        let scale = 1.0 / length.sqrt();
        for (score, item) in out.iter_mut().zip(candidates) {
            let mut sum = 0.0;
            self.each(*item, said, |term, value| {
                sum += profile[term as usize] * value;
            });
            *score = sum * scale;
        }
    }

    fn each(&self, item: u32, said: &HashMap<u32, TermVector>, mut take: impl FnMut(u32, f32)) {
        if let Some(vector) = said.get(&item) {
            let known = vector
                .iter()
                .filter(|(term, _)| (*term as usize) < self.terms.len());
            known.for_each(|(term, value)| take(*term, *value));
            return;
        }
        let (terms, values) = self.items.row(item as usize);
        for (term, value) in terms.iter().zip(values) {
            take(*term, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content() -> Content {
        let terms = ["blitz", "chess", "piano"].map(str::to_owned).to_vec();
        let rows = [vec![(0, 0.6), (1, 0.8)], vec![(2, 1.0)], Vec::new()];
        let rows = SparseRows::from_rows(3, rows).unwrap();
        Content::new(terms, vec![2.0, 1.0, 1.5], rows).unwrap()
    }

    #[test]
    fn recommender_content_places_what_nobody_started() {
        let content = content();
        let vector = content.vector(&[
            ("blitz".to_owned(), 1.0),
            ("chess".to_owned(), 2.0),
            ("unknown".to_owned(), 9.0),
        ]);
        let half = 0.5_f32.sqrt();
        assert!((vector[0].1 - half).abs() < 1e-6 && (vector[1].1 - half).abs() < 1e-6);
        let said: HashMap<u32, TermVector> = [(7, vector)].into_iter().collect();
        let mut out = [9.0; 4];
        content.score(&[(0, 2.0)], &[1, 7, 2, 0], &said, &mut out);
        assert!((out[1] - 1.4 * half).abs() < 1e-6 && (out[3] - 1.0).abs() < 1e-6);
        assert_eq!((out[0], out[2]), (0.0, 0.0));
        content.score(&[(2, 1.0)], &[0, 1], &said, &mut out[..2]);
        assert_eq!(out[..2], [0.0, 0.0]);
    }

    #[test]
    fn recommender_content_that_does_not_fit_is_refused() {
        let good = content();
        let rows = good.items().clone();
        let twice = vec!["a".to_owned(), "a".to_owned(), "b".to_owned()];
        assert!(Content::new(twice, vec![1.0; 3], rows.clone()).is_none());
        let terms = good.terms().to_vec();
        assert!(Content::new(terms.clone(), vec![1.0, 0.0, 1.0], rows.clone()).is_none());
        assert!(Content::new(terms[..2].to_vec(), vec![1.0; 2], rows).is_none());
    }
}
