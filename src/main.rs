//! The executable `tidings`. The command line is in [`tidings::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tidings::cli::main()
}
