//! A memory limit for a program, as in a container: a memory control group of Linux, version 2 or 1.

use std::path::{Path, PathBuf};

/// A memory control group; removed when dropped.
pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// A group with this limit in bytes, or `None` where this process may not create one, as in most CI containers.
    pub fn with_memory(bytes: u64) -> Option<Self> {
        let name = format!("epr-test-{:016x}", rand::random::<u64>());
        for (parent, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let folder = Path::new(parent).join(&name);
            if std::fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self { folder };
            if std::fs::write(group.folder.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// A shell command that moves the shell and the programs it executes into the group.
    pub fn enter(&self) -> String {
        format!("echo $$ > {}", self.folder.join("cgroup.procs").display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Refused while a process is in it, which has just been killed.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
