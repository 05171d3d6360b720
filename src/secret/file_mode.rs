//! Whether other users of the machine may read or change a file that holds a secret.

use std::path::Path;

/// The permissions of the file's group and of all others.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// A warning if others than the owner have any permission for the file. `holds` names the secret: "the private key of TLS".
/// `None` if the owner alone has one, or if there is no such file: whoever reads it says so.
#[cfg(unix)]
pub fn exposed(path: &Path, holds: &str) -> Option<String> {
    use std::os::unix::fs::PermissionsExt;

    // Of the file to which a link leads, since links have no permissions of their own.
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mode = metadata.permissions().mode() & 0o777;
    let shown = path.display();
    (mode & OTHERS != 0).then(|| {
        format!(
            "{shown} holds {holds}, and other users of this machine may read or change it (mode {mode:03o}): chmod 600 {shown}"
        )
    })
}

/// Other systems have other permissions.
#[cfg(not(unix))]
pub fn exposed(_path: &Path, _holds: &str) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_exposed_that_others_than_its_owner_may_use() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("key.pem"), folder.path().join("link.pem"));
        fs::write(&file, "secret").unwrap();
        symlink(&file, &link).unwrap();
        for (mode, is_exposed) in [(0o600, false), (0o400, false), (0o644, true), (0o640, true), (0o602, true)] {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                let warning = exposed(path, "a key");
                assert_eq!(warning.is_some(), is_exposed, "{mode:o}: {warning:?}");
                let command = format!("(mode {mode:03o}): chmod 600 {}", path.display());
                assert!(warning.is_none_or(|text| text.ends_with(&command) && !text.contains("secret,")));
            }
        }
        assert_eq!(exposed(&folder.path().join("none"), "a key"), None);
        assert_eq!(exposed(folder.path(), "a key"), None, "a folder is no file");
    }
}
