//! Where checkpoints, tiles and bundles of the ledger are published: the port, and its adapter for a folder.
//!
//! A file is never overwritten with other content, except for `checkpoint`, which is replaced as a whole. Must never
//! delete anything.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;

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
        fs::create_dir_all(folder).map_err(Self::on_error(folder, "created"))?;
        let beside = path.with_extension(format!("new-{}-{:08x}", std::process::id(), rand::random::<u32>()));
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
}
