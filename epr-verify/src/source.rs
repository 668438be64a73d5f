//! Where a published ledger is read from: a folder or a URL.

use std::fs;
use std::path::PathBuf;

use crate::finding::Stop;

/// A published ledger: files by their paths below its root.
pub trait Source {
    /// Returns the content of a file; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Stop>;
}

/// A folder.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Source for Folder {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Stop> {
        let file = self.0.join(path);
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Stop::Unreadable(format!("{} cannot be read: {error}", file.display()))),
        }
    }
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
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Stop> {
        let url = format!("{}/{path}", self.base);
        let unreadable = |why: String| Stop::Unreadable(format!("{url} cannot be read: {why}"));
        let mut request = self.client.get(&url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().map_err(|error| unreadable(error.to_string()))?;
        match response.status().as_u16() {
            200 => response.bytes().map(|bytes| Some(bytes.to_vec())).map_err(|error| unreadable(error.to_string())),
            404 => Ok(None),
            status => Err(unreadable(format!("status {status}"))),
        }
    }
}
