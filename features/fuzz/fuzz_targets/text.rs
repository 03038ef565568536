//! Any text: normalised with sound offsets, hashed, tokenised, and its language looked for.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/text.rs"]
mod body;

fuzz_target!(|raw: &str| body::check(raw));
