//! Reads a secret that a user gives to a command: from a file, or typed at a prompt that does not show it.
//!
//! An error names the file and never its content. However the prompt ends, the terminal is as it was before.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::interrupt;
use crate::secret::Secret;

/// The most bytes that a file with a secret may have. A token has at most 16 KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// The secret in a file, without spaces and line ends around it. `what` names it in an error: "token".
///
/// # Errors
/// The file cannot be read, has no text, or is no file of one secret.
pub fn from_file(path: &Path, what: &str) -> Result<Secret, String> {
    let shown = path.display();
    let mut text = Zeroizing::new(String::new());
    let opened = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    opened.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => format!("{shown} is not text: it must hold the {what} and nothing else"),
        _ => format!("cannot read the {what} from {shown}: {error}"),
    })?;
    match text.trim() {
        "" => Err(format!("{shown} is empty: it must hold the {what}")),
        _ if text.len() as u64 > MAX_BYTES => {
            Err(format!("{shown} has more than {MAX_BYTES} bytes: it must hold the {what} and nothing else"))
        }
        secret => Ok(Secret::new(secret)),
    }
}

/// Asks for a secret at the terminal, which does not show it. Without a terminal on stdin, the first line of stdin is the
/// secret.
///
/// # Errors
/// Nothing was typed, or there is no terminal to ask at.
pub fn ask(what: &str) -> Result<Secret, String> {
    let unreadable = |error: io::Error| format!("cannot read the {what}: {error}");
    let mut line = Zeroizing::new(String::new());
    if io::stdin().is_terminal() {
        let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(unreadable)?;
        let hidden = Hidden::new(&terminal).map_err(unreadable)?;
        let prompt = || hidden.hide().and_then(|()| write!(&terminal, "{what}: "));
        // There is nothing to do about a terminal that is gone.
        let leave = || drop(hidden.show().and_then(|()| writeln!(&terminal)));
        let back = || drop(prompt());
        let read = interrupt::leaving(leave, back, || {
            prompt()?;
            BufReader::new(&terminal).take(MAX_BYTES).read_line(&mut line)
        });
        read.flatten().map_err(unreadable)?;
    } else {
        // The rest of stdin may be the input of the command.
        io::stdin().lock().take(MAX_BYTES).read_line(&mut line).map_err(unreadable)?;
    }
    match line.trim() {
        "" => Err(format!("no {what} was given: type it at the prompt, or give a file")),
        secret => Ok(Secret::new(secret)),
    }
}

/// A terminal that can hide what is typed, until this is dropped.
struct Hidden<'a> {
    terminal: &'a File,
    before: Termios,
}

impl<'a> Hidden<'a> {
    fn new(terminal: &'a File) -> io::Result<Self> {
        Ok(Self { terminal, before: tcgetattr(terminal)? })
    }

    fn hide(&self) -> io::Result<()> {
        let mut hidden = self.before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The line end is shown, so that the cursor does not stay behind the prompt.
        hidden.local_modes.insert(LocalModes::ECHONL);
        Ok(tcsetattr(self.terminal, OptionalActions::Flush, &hidden)?)
    }

    /// The modes are as before.
    fn show(&self) -> io::Result<()> {
        Ok(tcsetattr(self.terminal, OptionalActions::Now, &self.before)?)
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // There is nothing to do about a terminal that is gone.
        let _ = self.show();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_one_secret_and_an_error_does_not_show_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            from_file(&path, "token")
        };
        assert!(read(b" s3cret\r\n").is_ok_and(|secret| secret.expose() == "s3cret"));
        let long = [b's'; MAX_BYTES as usize + 1];
        for (bytes, refusal) in
            [(&b""[..], "is empty"), (b"\n \n", "is empty"), (b"s3cret\xff", "is not text"), (&long, "more than 65536")]
        {
            let Err(error) = read(bytes) else { panic!("{bytes:?} was read") };
            assert!(error.contains(refusal) && !error.contains("s3cret") && !error.contains("sss"), "{error}");
        }
        let Err(error) = from_file(&folder.path().join("none"), "token") else { panic!("there is no file") };
        assert!(error.starts_with("cannot read the token from /") && error.contains("No such file"), "{error}");
    }
}
