//! The structure of the code: imports go down only, files do not import each other in circles, the domain does no I/O, and
//! transports reach the log through the application layer alone. `scripts/imports` knows the layers.

use std::path::Path;
use std::process::Command;

#[test]
fn imports_go_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = Command::new(root.join("scripts/imports")).arg("--check").output().expect("python3 runs");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}
