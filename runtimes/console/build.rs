//! Brings htmx into the folder of this build: the file that `HTMX_FILE` names, or the one of the npm package. Its
//! version and its SHA-256 are in `htmx.version`.
//!
//! Must never embed a file with another hash. Where the file comes from is therefore no reason to build again.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

const NAME: &str = "htmx.min.js";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=htmx.version");
    if let Err(why) = run() {
        println!("cargo::error={why}");
    }
}

fn run() -> Result<(), String> {
    let pinned = fs::read_to_string("htmx.version").map_err(|error| format!("htmx.version: {error}"))?;
    let (version, expected) = pinned.trim().split_once(' ').ok_or("htmx.version: give the version and the SHA-256")?;
    let folder = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let kept = folder.join(NAME);
    if is_expected(&kept, expected) {
        return Ok(());
    }
    let source = env::var_os("HTMX_FILE").map_or_else(|| from_npm(&folder, version), |named| Ok(named.into()))?;
    if !is_expected(&source, expected) {
        return Err(format!(
            "{} cannot be read or is not htmx {version}: its SHA-256 should be {expected}",
            source.display()
        ));
    }
    // Read again, and compared again: what is embedded is what was compared.
    fs::copy(&source, &kept).map_err(|error| format!("{}: {error}", source.display()))?;
    if is_expected(&kept, expected) { Ok(()) } else { Err(format!("{} has changed meanwhile", source.display())) }
}

/// Whether the file is there and has this SHA-256.
fn is_expected(file: &Path, expected: &str) -> bool {
    fs::read(file).is_ok_and(|bytes| {
        let mut hash = String::new();
        for byte in Sha256::digest(&bytes) {
            // Writing into a string does not fail.
            let _ = write!(hash, "{byte:02x}");
        }
        hash == expected
    })
}

/// The file of the npm package, which is installed into `folder`.
fn from_npm(folder: &Path, version: &str) -> Result<PathBuf, String> {
    let otherwise = format!(
        "Install npm, or name the file dist/{NAME} of the npm package htmx.org {version} by HTMX_FILE, which needs no \
         network"
    );
    let arguments = ["install", "--silent", "--no-fund", "--no-audit", "--no-save", "--no-package-lock"];
    let run = Command::new("npm")
        .args(arguments)
        .args(["--ignore-scripts", "--prefix"])
        .arg(folder)
        .arg(format!("htmx.org@{version}"))
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the console needs htmx, and npm does not run ({error}). {otherwise}"))?;
    if run.status.success() {
        return Ok(folder.join("node_modules/htmx.org/dist").join(NAME));
    }
    let said = String::from_utf8_lossy(&run.stderr).trim().replace('\n', " ");
    Err(format!("npm cannot install htmx {version}: {said}. {otherwise}"))
}
