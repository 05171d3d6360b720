//! Mistakes in the command line that clap cannot find by itself: two flags that do not fit, or a value that depends on another.

use clap::error::ErrorKind;

/// Ends the process with exit code 2, and shows the message and the usage of the command `name`, as clap does.
pub fn exit(name: &str, message: &str) -> ! {
    let mut command = super::command();
    // The usage gets the name of the program from it.
    command.build();
    match command.find_subcommand_mut(name) {
        Some(command) => command.error(ErrorKind::ValueValidation, message).exit(),
        None => command.error(ErrorKind::ValueValidation, message).exit(),
    }
}
