//! The lines of a file with entries, for those who verify an archive and for those who need an entry of it.
//!
//! Must never unpack more than a file of an archive may have.

use std::io::{BufRead as _, BufReader, Read as _};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use crate::ledger::archive::MAX_CONTENT_BYTES;

/// A line, as `epr audit export` writes it.
#[derive(Deserialize)]
pub(crate) struct Line {
    pub(crate) sequence: u64,
    pub(crate) previous_hash: String,
    pub(crate) entry_hash: String,
    pub(crate) canonical: String,
}

/// Passes each line of a compressed file to `take`: at least one, with consecutive sequences from `first` on. The error
/// says what is wrong with the file.
pub(crate) fn read_lines(
    compressed: &[u8],
    first: u64,
    mut take: impl FnMut(Line) -> Result<(), String>,
) -> Result<(), String> {
    let content = MultiGzDecoder::new(compressed).take(MAX_CONTENT_BYTES + 1);
    let (mut lines, mut line) = (BufReader::with_capacity(1 << 16, content), Vec::new());
    let (mut next, mut read) = (first, 0_u64);
    loop {
        line.clear();
        let bytes = lines.read_until(b'\n', &mut line).map_err(|error| format!("it cannot be unpacked: {error}"))?;
        read += u64::try_from(bytes).unwrap_or(u64::MAX);
        if read > MAX_CONTENT_BYTES {
            return Err("it is larger than an archive's file may be".to_owned());
        }
        if bytes == 0 {
            return if next == first { Err("it has no entry".to_owned()) } else { Ok(()) };
        }
        if line.pop() != Some(b'\n') {
            return Err("its last line does not end".to_owned());
        }
        let entry: Line = serde_json::from_slice(&line)
            .map_err(|error| format!("the line of entry {next} cannot be read: {error}"))?;
        if entry.sequence != next {
            return Err(format!("entry {} is there in place of entry {next}", entry.sequence));
        }
        take(entry)?;
        next += 1;
    }
}
