//! No text is a page token unless it was encoded under the key, and reading one never panics.
//!
//! The input is the text of a token, or with a first byte of 0 the bytes of one, which are encoded here.

#![no_main]

use epr_fuzz::access;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| access::token(bytes));
