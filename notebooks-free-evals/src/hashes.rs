//! `hashes`: how fast and how exact the picture blocklists are searched, over hashes made up here.

use std::fmt::Write as _;
use std::time::Instant;

use clap::Args;
use novastream_features::pdq::{PdqHash, PdqResult};
use novastream_inference::{Blocklists, HashList};
use serde::Serialize;

use crate::cpu::CpuClock;
use crate::error::EvalError;
use crate::report::{Head, Report, cell};

/// Queries that are compared with a scan of everything.
const CHECKED: usize = 40;

/// Options of `novastream-eval hashes`.
#[derive(Debug, Clone, Args)]
pub struct HashesOptions {
    /// Hashes in the list
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=200_000_000))]
    pub count: u64,
    /// Look-ups, every second one of a changed copy of a listed hash
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(2..=100_000_000))]
    pub queries: u64,
    /// Seed of the hashes
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// The report of `hashes`.
#[derive(Debug, Clone, Serialize)]
pub struct HashesReport {
    /// Program and machine.
    #[serde(flatten)]
    pub head: Head,
    /// Hashes in the list.
    pub count: u64,
    /// Look-ups.
    pub queries: u64,
    /// Wall-clock seconds that the index took to build.
    pub build_seconds: f64,
    /// Look-ups per CPU second, on one thread.
    pub lookups_per_cpu_second: Option<f64>,
    /// Queries that had to be found, being within 31 bits of a listed hash.
    pub copies: u64,
    /// Those that were.
    pub copies_found: u64,
    /// Queries whose whole answer was compared with a scan.
    pub checked: usize,
    /// Those with another answer.
    pub wrong: usize,
    /// Memory of this process in bytes once the index stands.
    pub rss_bytes: Option<u64>,
    /// Its highest, while building.
    pub peak_rss_bytes: Option<u64>,
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn hash(&mut self) -> PdqHash {
        let mut bytes = [0; 32];
        for part in bytes.as_chunks_mut::<8>().0 {
            *part = self.next().to_be_bytes();
        }
        PdqHash(bytes)
    }

    /// The hash with `bits` different ones flipped.
    fn flip(&mut self, hash: &PdqHash, bits: u32) -> PdqHash {
        let mut out = *hash;
        while out.distance(hash) < bits {
            let bit = (self.next() % 256) as usize;
            out.0[bit / 8] =
                (out.0[bit / 8] & !(1 << (bit % 8))) | (!hash.0[bit / 8] & (1 << (bit % 8)));
        }
        out
    }
}

/// Runs the measurement that `options` describe.
pub fn run(options: &HashesOptions) -> Result<HashesReport, EvalError> {
    let mut random = Random(options.seed);
    let mut list = HashList::new("made-up");
    let hashes: Vec<PdqHash> = (0..options.count).map(|_| random.hash()).collect();
    for hash in &hashes {
        list.push(hash, "", None);
    }
    let queries: Vec<(PdqHash, bool)> = (0..options.queries)
        .map(|i| {
            if i % 2 == 1 {
                return (random.hash(), false);
            }
            let near = &hashes[(random.next() % options.count) as usize];
            let bits = (random.next() % 32) as u32;
            (random.flip(near, bits), true)
        })
        .collect();
    let started = Instant::now();
    let lists = Blocklists::fixed(vec![list]);
    let build_seconds = started.elapsed().as_secs_f64();
    let look_up = |hash: &PdqHash| {
        lists.find(&PdqResult {
            hash: *hash,
            quality: 100,
        })
    };
    // Once, so that the pages are there.
    for (hash, _) in queries.iter().take(1000) {
        let _ = look_up(hash);
    }
    let memory = memory();
    let cpu = CpuClock::start();
    let found: Vec<Option<u32>> = queries
        .iter()
        .map(|(hash, _)| look_up(hash).map(|m| m.distance))
        .collect();
    let cpu_seconds = cpu.elapsed();
    let near = || queries.iter().zip(&found).filter(|((_, near), _)| *near);
    let step = (queries.len() / CHECKED).max(1);
    let checked: Vec<bool> = queries
        .iter()
        .zip(&found)
        .step_by(step)
        .map(|((hash, _), found)| {
            let nearest = hashes.iter().map(|h| h.distance(hash)).min();
            nearest.filter(|d| *d <= 31) == *found
        })
        .collect();
    Ok(HashesReport {
        head: Head::new("hashes", Vec::new()),
        count: options.count,
        queries: options.queries,
        build_seconds,
        lookups_per_cpu_second: cpu_seconds
            .filter(|s| *s > 0.0)
            .map(|s| queries.len() as f64 / s),
        copies: near().count() as u64,
        copies_found: near().filter(|(_, found)| found.is_some()).count() as u64,
        checked: checked.len(),
        wrong: checked.iter().filter(|right| !**right).count(),
        rss_bytes: memory.map(|m| m.0),
        peak_rss_bytes: memory.map(|m| m.1),
    })
}

/// Memory of this process now and at its highest, in bytes.
fn memory() -> Option<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kilobytes = |name: &str| -> Option<u64> {
        let line = status.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((kilobytes("VmRSS:")? * 1024, kilobytes("VmHWM:")? * 1024))
}

impl Report for HashesReport {
    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let megabytes = |bytes: Option<u64>| cell(bytes.map(|b| b as f64 / 1e6), 0);
        writeln!(out, "{}", self.head.line())?;
        writeln!(
            out,
            "{} hashes, built in {:.1} s; {} look-ups per CPU second on one thread",
            self.count,
            self.build_seconds,
            cell(self.lookups_per_cpu_second, 0)
        )?;
        writeln!(
            out,
            "{} of {} changed copies found; {} of {} answers compared with a scan were wrong",
            self.copies_found, self.copies, self.wrong, self.checked
        )?;
        writeln!(
            out,
            "{} MB of memory, {} MB at most while building",
            megabytes(self.rss_bytes),
            megabytes(self.peak_rss_bytes)
        )
    }

    fn done(&self) -> Result<(), EvalError> {
        if self.wrong > 0 || self.copies_found < self.copies {
            return Err(EvalError::internal("the search is not exact"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_copy_is_found_and_every_answer_is_a_scans() {
        let options = HashesOptions {
            count: 3_000,
            queries: 400,
            seed: 1,
            json: false,
        };
        let report = run(&options).unwrap();
        assert_eq!(
            (report.copies, report.copies_found, report.wrong),
            (200, 200, 0)
        );
        assert!(report.checked >= CHECKED && report.done().is_ok());
    }
}
