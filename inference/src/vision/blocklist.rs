//! Pictures that must not be shown, found again by their PDQ hash.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use novastream_features::pdq::PdqResult;

use super::{
    hash_index::{HashIndex, MAX_DISTANCE, Words},
    hash_list::{About, BlocklistError, HashList, POOR_QUALITY, words},
};

/// How often the files are looked at for changes, at most.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// A picture near one of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The list's name.
    pub list: String,
    /// The entry's label.
    pub label: String,
    /// Who gave the entry, where the list says so.
    pub source: Option<String>,
    /// Differing bits, at most 31, as PDQ's authors recommend (Facebook, "The TMK+PDQF
    /// Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019).
    pub distance: u32,
}

impl Match {
    /// 1 − distance / 64: 1 for the same hash, above 0.5 for every match.
    pub fn score(&self) -> f32 {
        1.0 - self.distance as f32 / 64.0
    }
}

/// What is in use of one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListState {
    /// The list's name.
    pub name: String,
    /// The file or folder.
    pub path: PathBuf,
    /// Entries in use.
    pub entries: usize,
    /// Why a newer file is not in use; the entries are then those of the older one.
    pub problem: Option<String>,
}

/// Hashes of all lists in one index, and whose they are.
#[derive(Default)]
struct Set {
    index: Option<HashIndex>,
    /// Where the owners of each hash begin; one more at the end.
    starts: Vec<u32>,
    /// List and what it says about the entry.
    owners: Vec<(u16, u32)>,
    lists: Vec<(String, Vec<About>)>,
}

impl Set {
    fn build(lists: &[Arc<HashList>]) -> Self {
        let mut all: Vec<(Words, u16, u32)> = Vec::new();
        for (i, list) in lists.iter().enumerate() {
            let own = list.entries.iter();
            all.extend(own.map(|(hash, about)| (*hash, i as u16, *about)));
        }
        if all.is_empty() {
            return Self::default();
        }
        // Of equal hashes the first list's comes first.
        all.sort_unstable();
        let (mut hashes, mut starts, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (hash, list, about) in all {
            if hashes.last() != Some(&hash) {
                hashes.push(hash);
                starts.push(owners.len() as u32);
            }
            owners.push((list, about));
        }
        starts.push(owners.len() as u32);
        Self {
            index: Some(HashIndex::build(hashes)),
            starts,
            owners,
            lists: lists
                .iter()
                .map(|l| (l.name.clone(), l.about.clone()))
                .collect(),
        }
    }

    /// Every entry within reach, nearest first.
    fn matches<'a>(&'a self, query: &PdqResult) -> impl Iterator<Item = Match> + 'a {
        let usable = query.quality > POOR_QUALITY;
        let index = self.index.as_ref().filter(|_| usable);
        let found = index.map_or_else(Vec::new, |index| index.find(&words(&query.hash)));
        found.into_iter().flat_map(move |(distance, hash)| {
            let hash = hash as usize;
            let owners = self.starts[hash] as usize..self.starts[hash + 1] as usize;
            self.owners[owners].iter().map(move |(list, about)| {
                let (name, abouts) = &self.lists[usize::from(*list)];
                let (label, source) = &abouts[*about as usize];
                Match {
                    list: name.clone(),
                    label: label.clone(),
                    source: source.clone(),
                    distance,
                }
            })
        })
    }
}

/// Whether a file is still the one that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    bytes: u64,
    files: usize,
}

impl Stamp {
    /// Of a folder its newest file, the sum of the sizes and the number of files.
    fn of(path: &Path) -> Self {
        let one = |path: &Path| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok(), data.len()))
        };
        let mut stamp = Self {
            changed: one(path).and_then(|(m, _)| m),
            bytes: 0,
            files: 0,
        };
        let files: Vec<PathBuf> = if path.is_dir() {
            let entries = std::fs::read_dir(path).into_iter().flatten();
            entries.filter_map(|e| Some(e.ok()?.path())).collect()
        } else {
            vec![path.to_owned()]
        };
        for (changed, bytes) in files.iter().filter_map(|f| one(f)) {
            stamp.changed = stamp.changed.max(changed);
            stamp.bytes += bytes;
            stamp.files += 1;
        }
        stamp
    }
}

/// One list's file.
struct Source {
    path: PathBuf,
    stamp: Stamp,
    list: Arc<HashList>,
    problem: Option<String>,
}

struct Shared {
    set: RwLock<Arc<Set>>,
    sources: Mutex<Vec<Source>>,
    looked: Mutex<Instant>,
    loading: AtomicBool,
}

/// All lists, exactly searched together, and renewed while the service runs: a file that changed is
/// loaded beside the old one and takes its place at once when it is whole. A file that can't be
/// loaded changes nothing and is reported by [`Blocklists::state`].
#[derive(Clone, Default)]
pub struct Blocklists {
    shared: Option<Arc<Shared>>,
}

impl std::fmt::Debug for Blocklists {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.state()).finish()
    }
}

impl Blocklists {
    /// Loads lists from their files; see [`HashList::load`] for the forms.
    ///
    /// # Errors
    /// [`BlocklistError`] of the first list that can't be loaded: at the start nothing else would
    /// hold in its place.
    pub fn load(paths: &[PathBuf]) -> Result<Self, BlocklistError> {
        let sources = paths
            .iter()
            .map(|path| {
                // Before loading: a change in between is seen later rather than never.
                let stamp = Stamp::of(path);
                Ok(Source {
                    stamp,
                    list: Arc::new(HashList::load(path)?),
                    path: path.clone(),
                    problem: None,
                })
            })
            .collect::<Result<Vec<_>, BlocklistError>>()?;
        Ok(Self::new(sources))
    }

    /// Lists that come from no file and never change.
    pub fn fixed(lists: Vec<HashList>) -> Self {
        let source = |list| Source {
            path: PathBuf::new(),
            stamp: Stamp::of(Path::new("")),
            list: Arc::new(list),
            problem: None,
        };
        Self::new(lists.into_iter().map(source).collect())
    }

    fn new(sources: Vec<Source>) -> Self {
        if sources.is_empty() {
            return Self::default();
        }
        let lists: Vec<_> = sources.iter().map(|s| s.list.clone()).collect();
        Self {
            shared: Some(Arc::new(Shared {
                set: RwLock::new(Arc::new(Set::build(&lists))),
                sources: Mutex::new(sources),
                looked: Mutex::new(Instant::now()),
                loading: AtomicBool::new(false),
            })),
        }
    }

    /// Whether there is no list.
    pub fn is_empty(&self) -> bool {
        self.shared.is_none()
    }

    /// The nearest entry within 31 bits; of equals that of the first list. A picture of poor
    /// quality (49 or less) matches nothing.
    pub fn find(&self, query: &PdqResult) -> Option<Match> {
        self.refresh();
        self.set()?.matches(query).next()
    }

    /// Every entry within 31 bits, nearest first.
    pub fn find_all(&self, query: &PdqResult) -> Vec<Match> {
        self.refresh();
        self.set()
            .map_or_else(Vec::new, |set| set.matches(query).collect())
    }

    fn set(&self) -> Option<Arc<Set>> {
        let set = &self.shared.as_ref()?.set;
        Some(set.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// What is in use, by list in the order given.
    pub fn state(&self) -> Vec<ListState> {
        let Some(shared) = &self.shared else {
            return Vec::new();
        };
        let sources = shared
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let state = |s: &Source| ListState {
            name: s.list.name.clone(),
            path: s.path.clone(),
            entries: s.list.len(),
            problem: s.problem.clone(),
        };
        sources.iter().map(state).collect()
    }

    /// Looks for changed files every now and then, and loads them on a thread of their own.
    fn refresh(&self) {
        let Some(shared) = &self.shared else {
            return;
        };
        {
            // Whoever finds it taken leaves the work to the other.
            let Ok(mut looked) = shared.looked.try_lock() else {
                return;
            };
            if looked.elapsed() < LOOK_EVERY {
                return;
            }
            *looked = Instant::now();
        }
        if shared.loading.swap(true, Ordering::SeqCst) {
            return;
        }
        let shared = shared.clone();
        let worker = std::thread::Builder::new().name("blocklists".to_owned());
        let spawned = worker.spawn({
            let shared = shared.clone();
            move || {
                shared.reload();
                shared.loading.store(false, Ordering::SeqCst);
            }
        });
        if let Err(error) = spawned {
            tracing::warn!(%error, "the blocklists were not looked at");
            shared.loading.store(false, Ordering::SeqCst);
        }
    }

    /// Loads what changed now. Answers whether anything new is in use.
    pub fn reload(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.reload())
    }
}

impl Shared {
    fn reload(&self) -> bool {
        let known: Vec<(PathBuf, Stamp)> = {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            let files = sources.iter().filter(|s| !s.path.as_os_str().is_empty());
            files.map(|s| (s.path.clone(), s.stamp.clone())).collect()
        };
        // Loaded outside the lock; only one thread is ever here with new files.
        let mut fresh: BTreeMap<PathBuf, (Stamp, Result<HashList, String>)> = BTreeMap::new();
        for (path, stamp) in known {
            let now = Stamp::of(&path);
            if now != stamp {
                let loaded = HashList::load(&path).map_err(|e| e.to_string());
                fresh.insert(path, (now, loaded));
            }
        }
        if fresh.is_empty() {
            return false;
        }
        let mut changed = false;
        let lists: Vec<Arc<HashList>> = {
            let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            for source in sources.iter_mut() {
                let Some((stamp, loaded)) = fresh.remove(&source.path) else {
                    continue;
                };
                source.stamp = stamp;
                match loaded {
                    Ok(list) => {
                        tracing::info!(list = %list.name, entries = list.len(), "blocklist renewed");
                        source.list = Arc::new(list);
                        source.problem = None;
                        changed = true;
                    }
                    Err(problem) => {
                        tracing::warn!(list = %source.list.name, problem, "the older blocklist stays in use");
                        source.problem = Some(problem);
                    }
                }
            }
            sources.iter().map(|s| s.list.clone()).collect()
        };
        if changed {
            let set = Arc::new(Set::build(&lists));
            *self.set.write().unwrap_or_else(PoisonError::into_inner) = set;
        }
        changed
    }
}

const _: () = assert!(MAX_DISTANCE < 64, "every match scores above 0.5");

#[cfg(test)]
mod tests {
    use novastream_features::pdq::PdqHash;
    use proptest::prelude::*;

    use super::*;

    fn query(hash: [u8; 32], quality: u8) -> PdqResult {
        PdqResult {
            hash: PdqHash(hash),
            quality,
        }
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known.csv");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn the_nearest_entry_within_reach_is_found() {
        let base = [0x5au8; 32];
        let mut near = base;
        near[0] ^= 0xff; // 8 bits
        let mut far = base;
        far[..4].iter_mut().for_each(|b| *b ^= 0xff); // 32 bits
        let text = format!("{},far\n{} near one\n", PdqHash(far), PdqHash(near));
        let (_dir, path) = file(&text);
        let lists = Blocklists::load(&[path]).unwrap();
        let hit = lists.find(&query(base, 100)).unwrap();
        assert_eq!(
            (hit.list.as_str(), hit.label.as_str(), hit.distance),
            ("known", "near one", 8)
        );
        assert_eq!(hit.score(), 0.875);
        assert_eq!(lists.find(&query(base, 49)), None);
        let mut away = base;
        away[8..16].iter_mut().for_each(|b| *b ^= 0xff);
        assert_eq!(lists.find(&query(away, 100)), None);
        assert!(Blocklists::default().find(&query(base, 100)).is_none());
    }

    #[test]
    fn every_list_that_has_the_hash_is_named() {
        let mut lists = Vec::new();
        for (name, label) in [("a", "one"), ("b", "two"), ("b2", "two")] {
            let mut list = HashList::new(name);
            list.push(&PdqHash([7; 32]), label, Some("exchange"));
            list.push(&PdqHash([7; 32]), "again", None);
            lists.push(list);
        }
        let lists = Blocklists::fixed(lists);
        let all = lists.find_all(&query([7; 32], 90));
        let names: Vec<(&str, &str)> = all
            .iter()
            .map(|m| (m.list.as_str(), m.label.as_str()))
            .collect();
        assert_eq!(
            names,
            [
                ("a", "one"),
                ("a", "again"),
                ("b", "two"),
                ("b", "again"),
                ("b2", "two"),
                ("b2", "again")
            ]
        );
        assert_eq!(all[0].source.as_deref(), Some("exchange"));
        assert!(!lists.reload());
    }

    #[test]
    fn a_changed_file_takes_its_place_and_a_broken_one_does_not() {
        let (first, second) = ([1; 32], [0xf1; 32]);
        let (_dir, path) = file(&format!("{},one\n", PdqHash(first)));
        let lists = Blocklists::load(std::slice::from_ref(&path)).unwrap();
        assert!(!lists.reload(), "nothing changed");
        std::fs::write(
            &path,
            format!("{},two\n{},three\n", PdqHash(second), PdqHash([3; 32])),
        )
        .unwrap();
        assert!(lists.reload());
        assert_eq!(lists.find(&query(first, 100)), None);
        assert_eq!(lists.find(&query(second, 100)).unwrap().label, "two");

        std::fs::write(&path, "this is no list at all\n").unwrap();
        assert!(!lists.reload());
        assert_eq!(lists.find(&query(second, 100)).unwrap().label, "two");
        let state = &lists.state()[0];
        assert_eq!(state.entries, 2);
        assert!(
            state.problem.as_ref().unwrap().contains("line 1"),
            "{state:?}"
        );

        std::fs::remove_file(&path).unwrap();
        assert!(!lists.reload());
        assert!(lists.find(&query(second, 100)).is_some());
        std::fs::write(&path, format!("{},four\n", PdqHash(first))).unwrap();
        assert!(lists.reload());
        assert_eq!(
            (lists.state()[0].problem.clone(), lists.state()[0].entries),
            (None, 1)
        );
    }

    proptest! {
        #[test]
        fn distance_is_that_of_the_hashes(a in any::<[u8; 32]>(), flips in prop::collection::btree_set(0usize..256, 0..40)) {
            let mut b = a;
            for bit in &flips {
                b[bit / 8] ^= 1 << (bit % 8);
            }
            let mut list = HashList::new("x");
            list.push(&PdqHash(a), "", None);
            let hit = Blocklists::fixed(vec![list]).find(&query(b, 90));
            prop_assert_eq!(hit.map(|h| h.distance), (flips.len() <= 31).then_some(flips.len() as u32));
        }
    }
}
