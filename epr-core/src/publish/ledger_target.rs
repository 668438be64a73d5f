//! Where checkpoints, tiles and bundles of the ledger are published: the port, and its adapter for a folder.
//!
//! A file is never overwritten with other content, except for `checkpoint`, which is replaced as a whole. Must never
//! delete anything.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use uuid::Uuid;

/// The target could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct TargetError {
    what: String,
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl TargetError {
    /// An error about `what`.
    #[must_use]
    pub fn new(what: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { what: what.into(), cause: cause.into() }
    }
}

/// What became of a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was written.
    Written,
    /// There is a file of this name already, which was left as it is.
    Exists,
}

/// A place for published files, by paths with `/`.
#[async_trait]
pub trait LedgerTarget: Send + Sync {
    /// Returns the content of a file; `None` when there is none.
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TargetError>;

    /// Returns the beginning of a file, `limit` bytes at most; `None` when there is none. Takes no more memory than
    /// that, whatever another program has put there.
    async fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TargetError>;

    /// Writes a file unless there is one of this name.
    async fn put_new(&self, path: &str, content: &[u8]) -> Result<Put, TargetError>;

    /// Writes a file, or replaces it as a whole.
    async fn replace(&self, path: &str, content: &[u8]) -> Result<(), TargetError>;
}

/// A folder.
#[derive(Debug, Clone)]
pub struct LedgerFolder(pub PathBuf);

impl LedgerFolder {
    fn on_error<'a>(path: &'a Path, doing: &'a str) -> impl Fn(std::io::Error) -> TargetError + 'a {
        move |error| TargetError::new(format!("{} cannot be {doing}", path.display()), error)
    }

    /// Writes and flushes a file beside `path`; returns its name.
    fn write_beside(path: &Path, content: &[u8]) -> Result<PathBuf, TargetError> {
        let folder = path.parent().unwrap_or(path);
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        fs::create_dir_all(folder).map_err(Self::on_error(folder, "created"))?;
        // The names of new folders are in those above them.
        for created in missing {
            Self::flush(created);
        }
        let beside = path.with_extension(format!("new-{}", Uuid::new_v4().simple()));
        let written = OpenOptions::new().write(true).create_new(true).open(&beside).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
        written.map_err(Self::on_error(&beside, "written"))?;
        Ok(beside)
    }

    fn flush(path: &Path) {
        // Some file systems cannot flush a folder; the file itself is flushed.
        let _ = path.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
    }

    fn put(&self, path: &str, content: &[u8]) -> Result<Put, TargetError> {
        let path = self.0.join(path);
        if path.exists() {
            return Ok(Put::Exists);
        }
        let beside = Self::write_beside(&path, content)?;
        // A link fails where a file exists, a rename would replace it; and no reader sees half a file.
        let linked = fs::hard_link(&beside, &path);
        let _ = fs::remove_file(&beside);
        match linked {
            Ok(()) => Self::flush(&path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(Put::Exists),
            Err(error) => return Err(Self::on_error(&path, "written")(error)),
        }
        Ok(Put::Written)
    }
}

/// The first `limit` bytes of a file; `None` when there is none. Another kind of file, such as a pipe or a device, may
/// have no end, and a pipe may wait for a writer already when it is opened.
fn read_file(path: &Path, limit: u64) -> std::io::Result<Option<Vec<u8>>> {
    let opened = match fs::metadata(path) {
        Ok(there) if there.is_file() => File::open(path),
        Ok(_) => return Err(std::io::Error::other("it is not a regular file")),
        Err(error) => Err(error),
    };
    let mut content = Vec::new();
    match opened {
        Ok(file) => file.take(limit).read_to_end(&mut content).map(|_| Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[async_trait]
impl LedgerTarget for LedgerFolder {
    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>, TargetError> {
        let path = self.0.join(path);
        match fs::read(&path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Self::on_error(&path, "read")(error)),
        }
    }

    async fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TargetError> {
        let path = self.0.join(path);
        read_file(&path, limit).map_err(Self::on_error(&path, "read"))
    }

    async fn put_new(&self, path: &str, content: &[u8]) -> Result<Put, TargetError> {
        self.put(path, content)
    }

    async fn replace(&self, path: &str, content: &[u8]) -> Result<(), TargetError> {
        let path = self.0.join(path);
        let beside = Self::write_beside(&path, content)?;
        fs::rename(&beside, &path).map_err(Self::on_error(&path, "written"))?;
        Self::flush(&path);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_written_once_and_a_checkpoint_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let target = LedgerFolder(folder.path().join("a/b"));
        assert_eq!(target.read("tile/0/000").await.unwrap(), None);
        assert_eq!(target.put_new("tile/0/000", b"one").await.unwrap(), Put::Written);
        assert_eq!(target.put_new("tile/0/000", b"two").await.unwrap(), Put::Exists);
        assert_eq!(target.read("tile/0/000").await.unwrap().unwrap(), b"one");
        for content in [b"three".as_slice(), b"four"] {
            target.replace("checkpoint", content).await.unwrap();
            assert_eq!(target.read("checkpoint").await.unwrap().unwrap(), content);
        }
        let left = fs::read_dir(folder.path().join("a/b")).unwrap().count();
        assert_eq!(left, 2, "nothing is left beside the files");
    }

    #[tokio::test]
    async fn no_more_is_read_than_the_limit_and_only_regular_files() {
        let folder = tempfile::tempdir().unwrap();
        let target = LedgerFolder(folder.path().to_owned());
        assert_eq!(target.read_at_most("manifest.json", 4).await.unwrap(), None);
        target.put_new("manifest.json", b"123456").await.unwrap();
        for (limit, content) in [(0, b"".as_slice()), (4, b"1234"), (6, b"123456"), (7, b"123456")] {
            assert_eq!(target.read_at_most("manifest.json", limit).await.unwrap().unwrap(), content);
        }
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("device")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap();
        assert!(made.success());
        for path in ["device", "pipe", "."] {
            let refused = target.read_at_most(path, 4).await.unwrap_err().to_string();
            assert!(refused.contains("it is not a regular file"), "{path}: {refused}");
        }
    }
}
