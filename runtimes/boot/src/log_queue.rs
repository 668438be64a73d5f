//! Log lines on their way to standard output: a bounded queue and the thread that writes it.
//!
//! INVARIANT: a caller never waits for standard output. When its reader stops reading (a log driver that hangs, a full
//! disk), log lines are dropped and counted, and requests are answered. `tracing-appender` has such a queue too, but
//! bounds only the number of lines: a few thousand long ones would use up the memory of a small task.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

/// Maximum number of queued bytes; the writer can hold as many again.
const MAX_QUEUED_BYTES: usize = 4 << 20;
/// Maximum number of queued lines.
const MAX_QUEUED_LINES: usize = 1 << 14;
/// Bytes in one write, the capacity of a pipe.
const WRITE_BYTES: usize = 64 << 10;
/// Time for which the writer waits for more lines after the first one. Under load, waking it for each line took more
/// processor time than the answers that the lines are about.
const GATHER_TIME: Duration = Duration::from_millis(1);
/// Time until the writer retries an output that does not block and takes nothing.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);
/// Time for which [`LogQueue::flush`] waits while nothing is written.
const STALLED_TIMEOUT: Duration = Duration::from_millis(250);
/// Time for which [`LogQueue::flush`] waits at most. The programs promise to end within seconds of a signal.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The queue.
pub(crate) struct LogQueue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    max_bytes: usize,
    max_lines: usize,
    dropped: Counter,
}

#[derive(Default)]
struct State {
    /// Complete lines, each with its line feed.
    bytes: Vec<u8>,
    lines: usize,
    /// Lines that were dropped and not reported yet.
    unreported: u64,
    /// Whether the writer holds lines.
    writing: bool,
    /// Number of writes, by which a flush distinguishes a slow reader from none.
    writes: u64,
}

impl LogQueue {
    /// A queue that counts what it drops in `dropped`.
    pub(crate) fn new(dropped: Counter) -> Arc<Self> {
        Self::bounded(dropped, MAX_QUEUED_BYTES, MAX_QUEUED_LINES)
    }

    fn bounded(dropped: Counter, max_bytes: usize, max_lines: usize) -> Arc<Self> {
        let (state, filled, written) = (Mutex::default(), Condvar::new(), Condvar::new());
        Arc::new(Self { state, filled, written, max_bytes, max_lines, dropped })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues `line`, which has its line end, or drops it when the queue is full.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines >= self.max_lines || state.bytes.len() + line.len() > self.max_bytes {
            state.unreported += 1;
            self.dropped.inc();
            return;
        }
        state.bytes.extend_from_slice(line);
        state.lines += 1;
        if !state.writing {
            self.filled.notify_one();
        }
    }

    /// Starts the thread that writes to standard output. `notice` makes the line that reports how many lines were
    /// dropped.
    ///
    /// # Errors
    /// Standard output cannot be duplicated, or there is no thread.
    pub(crate) fn start(self: &Arc<Self>, notice: impl Fn(u64) -> Vec<u8> + Send + 'static) -> std::io::Result<()> {
        // Not through the standard library's buffer: its lock would be held while a write hangs, and it flushes at
        // exit.
        let mut out = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
        let queue = Arc::clone(self);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || queue.write_to(&mut out, notice))?;
        Ok(())
    }

    fn write_to(&self, out: &mut impl Write, notice: impl Fn(u64) -> Vec<u8>) {
        let mut batch = Batch { bytes: Vec::new(), torn: false };
        loop {
            self.next(&mut batch.bytes);
            let lost = self.write(out, &mut batch);
            if lost > 0 {
                self.dropped.inc_by(lost);
                self.state().unreported += lost;
                continue;
            }
            // Writing works: report what was lost while it did not.
            let unreported = std::mem::take(&mut self.state().unreported);
            if unreported > 0 {
                batch.bytes.clear();
                batch.bytes.extend_from_slice(&notice(unreported));
                if self.write(out, &mut batch) > 0 {
                    self.state().unreported += unreported;
                }
            }
        }
    }

    /// Waits for lines, and moves all of them into `batch`.
    fn next(&self, batch: &mut Vec<u8>) {
        batch.clear();
        batch.shrink_to(WRITE_BYTES);
        let mut state = self.state();
        while state.bytes.is_empty() {
            state.writing = false;
            self.written.notify_all();
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // Nobody wakes a writer that is writing.
        state.writing = true;
        if state.bytes.len() < WRITE_BYTES {
            drop(state);
            std::thread::sleep(GATHER_TIME);
            state = self.state();
        }
        state.lines = 0;
        std::mem::swap(batch, &mut state.bytes);
    }

    /// Writes the batch; returns how many of its lines could not be written.
    fn write(&self, out: &mut impl Write, batch: &mut Batch) -> u64 {
        if std::mem::take(&mut batch.torn) {
            batch.bytes.insert(0, b'\n');
        }
        let mut left = batch.bytes.as_slice();
        while !left.is_empty() {
            match out.write(left.get(..WRITE_BYTES).unwrap_or(left)) {
                Ok(written) if written > 0 => {
                    left = left.get(written..).unwrap_or_default();
                    self.state().writes += 1;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY_INTERVAL),
                _ => {
                    // The rest of a line that was begun is lost; the next one must not continue it.
                    let begun = batch.bytes.len() - left.len();
                    batch.torn =
                        begun.checked_sub(1).and_then(|last| batch.bytes.get(last)).is_some_and(|last| *last != b'\n');
                    let lines = left.split(|byte| *byte == b'\n').skip(1).count();
                    return u64::try_from(lines).unwrap_or(u64::MAX).max(1);
                }
            }
        }
        0
    }

    /// Waits until everything queued is written: a second at most, and a quarter of one while nothing gets written.
    pub(crate) fn flush(&self) {
        let begun = Instant::now();
        let mut state = self.state();
        while (state.writing || !state.bytes.is_empty()) && begun.elapsed() < FLUSH_TIMEOUT {
            let before = state.writes;
            let waited = self.written.wait_timeout(state, STALLED_TIMEOUT);
            let timed_out;
            (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
            if timed_out.timed_out() && state.writes == before {
                return;
            }
        }
    }
}

struct Batch {
    bytes: Vec<u8>,
    /// Whether the last line before it was written only in part.
    torn: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that takes what it is allowed to, piece by piece; an empty permission is an error.
    struct Output {
        permitted: mpsc::Receiver<usize>,
        left: usize,
        text: Arc<Mutex<String>>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.left == 0 {
                self.left = self.permitted.recv().map_err(std::io::Error::other)?;
            }
            if self.left == 0 {
                return Err(std::io::Error::other("full"));
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            self.text.lock().unwrap().push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            Ok(taken)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn queue(max_bytes: usize, max_lines: usize) -> (Arc<LogQueue>, mpsc::Sender<usize>, Arc<Mutex<String>>) {
        let queue = LogQueue::bounded(Counter::default(), max_bytes, max_lines);
        let (permit, permitted) = mpsc::channel();
        let text = Arc::new(Mutex::new(String::new()));
        let mut output = Output { permitted, left: 0, text: Arc::clone(&text) };
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || writer.write_to(&mut output, |count| format!("lost {count}\n").into_bytes()));
        (queue, permit, text)
    }

    /// Waits until the writer has taken the lines so far.
    fn taken(queue: &LogQueue) {
        while !queue.state().bytes.is_empty() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn lines_that_do_not_fit_are_dropped_counted_and_reported() {
        for (max_bytes, max_lines) in [(6, 100), (100, 2)] {
            let (queue, permit, text) = queue(max_bytes, max_lines);
            queue.push(b"a1\n");
            taken(&queue);
            for line in ["b2\n", "c3\n", "d4\n", "e5\n"] {
                queue.push(line.as_bytes());
            }
            assert_eq!(queue.dropped.get(), 2);
            // Without a reader, a flush gives up.
            queue.flush();
            permit.send(usize::MAX).unwrap();
            queue.flush();
            assert_eq!(*text.lock().unwrap(), "a1\nlost 2\nb2\nc3\n");
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next() {
        let (queue, permit, text) = queue(100, 100);
        for permitted in [2, 0] {
            permit.send(permitted).unwrap();
        }
        queue.push(b"abc\n");
        taken(&queue);
        permit.send(usize::MAX).unwrap();
        queue.push(b"d\n");
        queue.flush();
        assert_eq!(*text.lock().unwrap(), "ab\nd\nlost 1\n");
        assert_eq!(queue.dropped.get(), 1);
    }
}
