//! libpq's password file, `~/.pgpass`: `host:port:database:user:password`, `*` for any.
//!
//! Must never log a line of it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::store::url::Host;

/// The password for a connection, if a line fits it.
pub(super) fn password(named: Option<&Path>, host: &Host, port: u16, database: &str, user: &str) -> Option<String> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::home_dir()?.join(".pgpass"),
    };
    let text = readable(&path)?;
    let host = match host {
        Host::Network(name) => name.clone(),
        Host::Socket(folder) if is_default(folder) => "localhost".to_owned(),
        Host::Socket(folder) => folder.display().to_string(),
    };
    let port = port.to_string();
    find(&text, [&host, &port, database, user])
}

fn is_default(folder: &Path) -> bool {
    [Path::new("/var/run/postgresql"), Path::new("/tmp")].contains(&folder)
}

fn readable(path: &PathBuf) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    if mode & 0o077 != 0 {
        let path = path.display().to_string();
        tracing::warn!(path, hint = "others can read it: chmod 600", "database_passfile_ignored");
        return None;
    }
    Some(text)
}

fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [keys @ .., password] = fields.as_slice() else { return None };
        let fits = keys.len() == wanted.len()
            && keys.iter().zip(wanted).all(|(key, wanted)| key == "*" || key == wanted)
            && !password.is_empty();
        fits.then(|| password.clone())
    })
}

/// Up to five fields; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(next) = chars.next() {
        let count = fields.len();
        let Some(field) = fields.last_mut() else { break };
        match next {
            '\\' => field.extend(chars.next()),
            ':' if count < 5 => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn the_first_line_that_fits_counts() {
        let text = "# db:5432:epr:epr:comment\nother:*:*:*:no\ndb:5432:epr:epr:a\\:b\\\\c:d\n*:*:*:*:any\nshort:line\n";
        assert_eq!(find(text, ["db", "5432", "epr", "epr"]).as_deref(), Some("a:b\\c:d"));
        assert_eq!(find(text, ["x", "1", "y", "z"]).as_deref(), Some("any"));
        assert_eq!(find("::1:5432:*:*:p", ["::1", "5432", "d", "u"]), None);
        assert_eq!(find("\\:\\:1:5432:*:*:p", ["::1", "5432", "d", "u"]).as_deref(), Some("p"));
    }
}
