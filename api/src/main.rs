//! The moderation service and its operator commands.

use std::process::ExitCode;

/// A service that swaps models and takes pictures of all sizes for weeks: glibc's arenas keep what such
/// a mixture frees (docs/benchmarks.md, swaps), this allocator gives it back.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    novastream_api::cli::main()
}
