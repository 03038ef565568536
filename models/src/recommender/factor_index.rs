//! Whole-catalogue lists from factors, several users at a time.

// What is dispatched to an instruction set uses it only as far as it is inlined.
#![allow(clippy::inline_always)]

use pulp::{Arch, Simd, WithSimd};

use super::{Factors, top_n};

/// Users scored together: their sums and one tile of items stay in registers.
const USERS: usize = 4;
/// Items in a tile: two registers of the widest instruction set.
const TILE: usize = 32;

/// Item factors laid out for scoring the whole catalogue.
#[derive(Clone, Debug)]
pub struct FactorIndex {
    dims: usize,
    items: usize,
    /// Tile after tile: for each dimension, its value for the tile's items (0 past the last).
    tiles: Vec<[f32; TILE]>,
}

impl FactorIndex {
    /// Lays the factors out; as much memory again as the factors take.
    pub fn new(factors: &Factors) -> Self {
        let dims = factors.dims();
        let items = factors.vectors().len() / dims;
        let mut tiles = vec![[0.0; TILE]; items.div_ceil(TILE) * dims];
        for (item, vector) in factors.vectors().chunks_exact(dims).enumerate() {
            let tile = &mut tiles[item / TILE * dims..][..dims];
            for (lanes, value) in tile.iter_mut().zip(vector) {
                lanes[item % TILE] = *value;
            }
        }
        Self { dims, items, tiles }
    }

    /// The `n` best items of every user, best first, without the items that `seen` lists for the
    /// user. User vectors follow one another in `users`, each as long as the factors' dims.
    pub fn top<'a>(
        &self,
        users: &[f32],
        n: usize,
        seen: impl Fn(usize) -> &'a [u32],
    ) -> Vec<Vec<(u32, f32)>> {
        let padded = self.tiles.len() / self.dims.max(1) * TILE;
        let mut scores = vec![vec![0.0_f32; padded]; USERS];
        let mut lists = Vec::with_capacity(users.len() / self.dims);
        for (block, vectors) in users.chunks(self.dims * USERS).enumerate() {
            // A last block that is not full is filled with zeros.
            let mut filled = vec![[0.0_f32; USERS]; self.dims];
            for (user, vector) in vectors.chunks_exact(self.dims).enumerate() {
                for (lanes, value) in filled.iter_mut().zip(vector) {
                    lanes[user] = *value;
                }
            }
            Arch::new().dispatch(Block {
                index: self,
                users: &filled,
                scores: &mut scores,
            });
            for (user, scores) in scores
                .iter_mut()
                .enumerate()
                .take(vectors.len() / self.dims)
            {
                for item in seen(block * USERS + user) {
                    if let Some(score) = scores.get_mut(*item as usize) {
                        *score = f32::NEG_INFINITY;
                    }
                }
                lists.push(top_n(&scores[..self.items], n));
            }
        }
        lists
    }
}

/// Scores of all items for one block of users.
struct Block<'a> {
    index: &'a FactorIndex,
    users: &'a [[f32; USERS]],
    scores: &'a mut [Vec<f32>],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let zero = simd.splat_f32s(0.0);
        for (at, tile) in self.index.tiles.chunks_exact(self.index.dims).enumerate() {
            for pair in 0..TILE / S::F32_LANES / 2 {
                // The sums of two registers of items for each user never leave the registers.
                let mut sums = [[zero; 2]; USERS];
                for (lanes, user) in tile.iter().zip(self.users) {
                    let (items, _) = S::as_simd_f32s(lanes);
                    let (first, second) = (items[2 * pair], items[2 * pair + 1]);
                    for (sums, value) in sums.iter_mut().zip(user) {
                        let value = simd.splat_f32s(*value);
                        sums[0] = simd.mul_add_f32s(value, first, sums[0]);
                        sums[1] = simd.mul_add_f32s(value, second, sums[1]);
                    }
                }
                for (sums, scores) in sums.iter().zip(self.scores.iter_mut()) {
                    let (out, _) = S::as_mut_simd_f32s(&mut scores[at * TILE..][..TILE]);
                    out[2 * pair..2 * pair + 2].copy_from_slice(sums);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommender_factor_index_lists_what_dot_products_say() {
        let (items, dims) = (37, 8);
        let value = |at: usize| ((at * 2_654_435_761) % 1000) as f32 / 500.0 - 1.0;
        let vectors: Vec<f32> = (0..items * dims).map(value).collect();
        let users: Vec<f32> = (0..5 * dims).map(|at| value(at + 7919)).collect();
        let factors = Factors::new(dims, vectors.clone(), 0.1, 0.1, 1.0).expect("fits");
        let lists = FactorIndex::new(&factors)
            .top(&users, 4, |user| if user == 4 { &[3, 99] } else { &[] });
        assert_eq!(lists.len(), 5);
        for (user, list) in users.chunks_exact(dims).zip(&lists) {
            for (item, score) in list {
                let vector = &vectors[*item as usize * dims..][..dims];
                let dot: f32 = vector.iter().zip(user).map(|(a, b)| a * b).sum();
                assert!((dot - score).abs() < 1e-4);
            }
            assert!(list.is_sorted_by(|a, b| a.1 >= b.1) && list.len() == 4);
        }
        assert!(lists[4].iter().all(|(item, _)| *item != 3));
    }
}
