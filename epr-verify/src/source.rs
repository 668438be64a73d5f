//! Where a published ledger or an archive is read from: a folder or a URL.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use crate::finding::Stop;

/// A published ledger or an archive: files by their paths below its root.
pub trait Source {
    /// Returns the beginning of a file, `limit` bytes at most; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Stop>;

    /// Returns the content of a file; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Stop> {
        self.read_at_most(path, u64::MAX)
    }

    /// Returns the names of everything in a folder in their order; `None` when the source has no lists.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn names(&self, _folder: &str) -> Result<Option<Vec<String>>, Stop> {
        Ok(None)
    }
}

/// A folder.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Folder {
    fn unreadable(path: &Path, error: &io::Error) -> Stop {
        Stop::Unreadable(format!("{} cannot be read: {error}", path.display()))
    }
}

impl Source for Folder {
    fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
        let file = self.0.join(path);
        match read_file(&file, limit) {
            Ok(bytes) => Ok(Some(bytes)),
            // Another file may have the name of a folder.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Self::unreadable(&file, &error)),
        }
    }

    fn names(&self, folder: &str) -> Result<Option<Vec<String>>, Stop> {
        let folder = self.0.join(folder);
        let read = || {
            let names = fs::read_dir(&folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
            let mut names = names.collect::<io::Result<Vec<String>>>()?;
            names.sort();
            Ok(Some(names))
        };
        read().map_err(|error| Self::unreadable(&folder, &error))
    }
}

/// Another kind of file, such as a pipe or a device, may have no end, and a pipe waits for a writer already when it is
/// opened.
fn read_file(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A URL that files are below, such as `https://epr.example/api/v1/ledger`.
#[cfg(feature = "http")]
#[derive(Debug)]
pub struct Url {
    base: String,
    token: Option<String>,
    client: reqwest::blocking::Client,
}

#[cfg(feature = "http")]
impl Url {
    /// Reads below `base`, with a bearer token if one is given.
    ///
    /// # Errors
    /// The HTTP client cannot be started.
    pub fn new(base: &str, token: Option<String>) -> Result<Self, Stop> {
        let client = reqwest::blocking::Client::builder().timeout(std::time::Duration::from_secs(30)).build();
        let client = client.map_err(|error| Stop::Unreadable(error.to_string()))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, client })
    }
}

#[cfg(feature = "http")]
impl Source for Url {
    fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
        let url = format!("{}/{path}", self.base);
        let unreadable = |why: String| Stop::Unreadable(format!("{url} cannot be read: {why}"));
        let mut request = self.client.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().map_err(|error| unreadable(error.to_string()))?;
        match response.status().as_u16() {
            200 => {
                let mut bytes = Vec::new();
                let read = response.take(limit).read_to_end(&mut bytes);
                read.map(|_| Some(bytes)).map_err(|error| unreadable(error.to_string()))
            }
            404 => Ok(None),
            status => Err(unreadable(format!("status {status}"))),
        }
    }
}
