//! The name under which this program was called, for the commands that its messages suggest.

use std::ffi::OsString;
use std::path::PathBuf;

/// The program as the user called it, as a word of a shell: a suggested command can be pasted.
pub fn called() -> String {
    let name = argument_zero().to_string_lossy().into_owned();
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+@:".contains(letter);
    match !name.is_empty() && name.chars().all(plain) {
        true => name,
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}

/// The same from any working directory. A name without a folder was found by `PATH`.
pub fn from_anywhere() -> String {
    let called = PathBuf::from(argument_zero());
    let absolute = match called.components().count() {
        0 | 1 => called,
        _ => std::env::current_dir().map_or(called.clone(), |folder| folder.join(called)),
    };
    absolute.to_string_lossy().into_owned()
}

fn argument_zero() -> OsString {
    std::env::args_os().next().filter(|name| !name.is_empty()).unwrap_or_else(|| "tidings".into())
}
