//! The program; everything is in [`tidings::cli`].

use std::process::ExitCode;

/// Many small allocations that live shortly, on many threads: what the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidings::cli::main()
}
