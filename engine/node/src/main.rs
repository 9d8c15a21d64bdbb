//! The `senza` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    senza::cli::run()
}
