//! Describes the machine and the measuring process: fsync rate, memory, CPU time.

use std::time::{Duration, Instant};

/// Writes of 8 KiB with fsync per second on the disk of the temporary folder.
pub fn fsync_rate() -> f64 {
    use std::io::{Seek as _, Write as _};
    let mut file = tempfile::tempfile().expect("a temporary file");
    let (begun, mut count) = (Instant::now(), 0.0);
    while begun.elapsed() < Duration::from_secs(2) {
        file.rewind().and_then(|()| file.write_all(&[7; 8192])).and_then(|()| file.sync_data()).expect("a write");
        count += 1.0;
    }
    count / begun.elapsed().as_secs_f64()
}

/// The peak resident memory of this process in KiB.
pub fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// CPU time of this process in seconds; Linux counts a hundred ticks a second.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    ticks.filter_map(|text| text.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The machine: processor, cores, memory, kernel.
pub fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory =
        field(&read("/proc/meminfo"), "MemTotal").replace(" kB", "").parse::<f64>().unwrap_or(0.0) / 1024.0 / 1024.0;
    format!("{}, {cores} cores, {memory:.0} GiB, Linux {}", field(&read("/proc/cpuinfo"), "model name"), kernel.trim())
}
