//! The files of the pages: the style sheet and the scripts, which are part of the program.
//!
//! Must never serve anything else.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};

use crate::Page;
use crate::format::hex;

const STYLE: &str = include_str!("../assets/console.css");
const SCRIPT: &str = include_str!("../assets/console.js");
/// htmx, which `build.rs` brings.
const HTMX: &str = include_str!(concat!(env!("OUT_DIR"), "/htmx.min.js"));
const VERIFY: &str = include_str!("../assets/verify.js");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
/// The addresses below change with the files.
const FOR_GOOD: &str = "public, max-age=31536000, immutable";

static STYLE_ADDRESS: LazyLock<String> = LazyLock::new(|| address("console.css", STYLE));
static SCRIPT_ADDRESS: LazyLock<String> = LazyLock::new(|| address("console.js", SCRIPT));
static HTMX_ADDRESS: LazyLock<String> = LazyLock::new(|| address("htmx.js", HTMX));
static VERIFY_ADDRESS: LazyLock<String> = LazyLock::new(|| address("verify.js", VERIFY));

/// The address of the script that verifies a proof.
pub(crate) fn verify_address() -> &'static str {
    &VERIFY_ADDRESS
}

/// The address of the style sheet.
pub(crate) fn style_address() -> &'static str {
    &STYLE_ADDRESS
}

/// The address of the script.
pub(crate) fn script_address() -> &'static str {
    &SCRIPT_ADDRESS
}

/// The address of htmx.
pub(crate) fn htmx_address() -> &'static str {
    &HTMX_ADDRESS
}

/// The path of a file, with the beginning of its hash.
fn address(name: &str, content: &str) -> String {
    let hash = Sha256::digest(content.as_bytes());
    format!("/console/assets/{name}?v={}", hex(hash.get(..8).unwrap_or_default()))
}

pub(crate) fn pages() -> Vec<Page> {
    vec![
        Page::get("/console/assets/console.css", async || file("text/css; charset=utf-8", STYLE)),
        Page::get("/console/assets/console.js", async || file(JAVASCRIPT, SCRIPT)),
        Page::get("/console/assets/htmx.js", async || file(JAVASCRIPT, HTMX)),
        Page::get("/console/assets/verify.js", async || file(JAVASCRIPT, VERIFY)),
    ]
}

fn file(content_type: &'static str, content: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, FOR_GOOD)], content).into_response()
}
