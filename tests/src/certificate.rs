//! A self-signed certificate for servers behind TLS.

use std::path::Path;

use tokio::process::Command;

/// Writes `cert.pem` for `localhost` and its key `key.pem` into `folder`.
///
/// # Panics
/// Without `openssl`, which scripts/test.sh installs.
pub async fn self_signed(folder: &Path) {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
                     -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE -keyout key.pem \
                     -out cert.pem";
    let made = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output().await;
    let made = made.expect("openssl: scripts/test.sh installs it");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
