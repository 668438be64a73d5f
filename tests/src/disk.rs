//! A small file system that a test can fill or make read-only.

use std::path::Path;

use tempfile::TempDir;
use tokio::process::Command;

/// A file system in memory, unmounted when dropped. Mounting needs root.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts a file system of `size`, in the notation of `mount` (`4m`).
    pub async fn mount(size: &str) -> Self {
        let disk = Self(tempfile::tempdir().expect("a temporary folder"));
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], disk.path()).await;
        disk
    }

    /// Remounts it read-only. No file on it may be open for writing.
    pub async fn make_read_only(&self) {
        mount(&["-o", "remount,ro"], self.path()).await;
    }

    /// The mount point.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

async fn mount(arguments: &[&str], target: &Path) {
    let mounted = Command::new("mount").args(arguments).arg(target).status().await;
    assert!(
        mounted.is_ok_and(|status| status.success()),
        "`mount` failed: this test mounts a small disk, run it as root"
    );
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
