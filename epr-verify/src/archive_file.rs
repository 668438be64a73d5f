//! A file with entries of an archive: whole lines, of which the last one ends too and none is empty.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use memchr::memchr_iter;

use crate::blocks::{self, Run};
use crate::finding::{Level, Stop};
use crate::ledger::archive::MAX_CONTENT_BYTES;

/// Calls `take` for each run of the compressed file in order. Whatever is wrong with the file is found, because all of
/// it was read.
pub(crate) fn for_each_run(
    path: &str,
    compressed: &[u8],
    take: impl FnMut(Run) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let unpacking = MultiGzDecoder::new(compressed).take(MAX_CONTENT_BYTES + 1);
    let mut lines = Lines { unpacking, last: b'\n', wrong: None };
    let read = blocks::for_each_run(&mut lines, take);
    match (lines.wrong, read) {
        // Why the lines ended.
        (Some(why), _) | (None, Err(Stop::Unreadable(why))) => Stop::found(Level::Archive, format!("{path}: {why}")),
        (None, read) => read,
    }
}

/// The text of a file.
struct Lines<'a> {
    unpacking: io::Take<MultiGzDecoder<&'a [u8]>>,
    /// The byte before the next one.
    last: u8,
    wrong: Option<String>,
}

impl Lines<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        let read = self.unpacking.read(buffer).map_err(|error| format!("it cannot be unpacked: {error}"))?;
        if self.unpacking.limit() == 0 {
            return Err("it is larger than an archive's file may be".to_owned());
        }
        let text = buffer.get(..read).unwrap_or_default();
        let before = |at: usize| at.checked_sub(1).map_or(Some(&self.last), |before| text.get(before));
        if memchr_iter(b'\n', text).any(|at| before(at) == Some(&b'\n')) {
            return Err("it has an empty line".to_owned());
        }
        match text.last() {
            Some(last) => self.last = *last,
            None if self.last != b'\n' => return Err("its last line does not end".to_owned()),
            None => {}
        }
        Ok(read)
    }
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.next(buffer).map_err(|why| {
            let error = io::Error::other(why.clone());
            self.wrong = Some(why);
            error
        })
    }
}
