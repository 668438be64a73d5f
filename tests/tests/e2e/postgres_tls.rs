//! TLS to PostgreSQL: every `sslmode` against every kind of certificate, row by row with `psql` on the same machine.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::process::{Process, epr, run};
use epr_testkit::wait;
use sqlx::{Connection as _, PgConnection};

const MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

fn openssl(folder: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
    let output = output.expect("openssl: scripts/test.sh installs it");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Two authorities, and of the first one certificates for `localhost`: good, expired, without names; of the second a
/// good one.
fn certificates(folder: &Path) {
    for authority in ["ours", "foreign"] {
        openssl(
            folder,
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={authority} \
                 -keyout {authority}-ca.key -out {authority}-ca.pem"
            ),
        );
    }
    std::fs::write(folder.join("named.ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    std::fs::write(folder.join("nameless.ext"), "basicConstraints=CA:FALSE\n").unwrap();
    std::fs::write(folder.join("database"), "").unwrap();
    for (name, authority, extensions, validity) in [
        ("good", "ours", "named", "-days 2"),
        ("foreign", "foreign", "named", "-days 2"),
        ("expired", "ours", "named", "-days -1"),
        ("nameless", "ours", "nameless", "-days 2"),
    ] {
        openssl(
            folder,
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost -keyout {name}.key -out \
                 {name}.csr"
            ),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA {authority}-ca.pem -CAkey {authority}-ca.key -CAcreateserial \
                 -extfile {extensions}.ext {validity} -out {name}.pem"
            ),
        );
    }
}

struct Setup {
    server: PostgresServer,
    folder: PathBuf,
}

impl Setup {
    async fn start() -> Self {
        let server = PostgresServer::create(&[], "");
        let folder = server.folder().to_owned();
        certificates(&folder);
        let setup = Self { server, folder };
        setup.present("good").await;
        setup
    }

    /// Changes the server's certificate (`none`: no TLS) and waits until it is what a connection meets.
    async fn present(&self, name: &str) {
        let admin = format!("postgres://epr@127.0.0.1:{}/postgres?sslmode=disable", self.server.port);
        if name != "none" {
            for (from, to) in [("pem", "server.crt"), ("key", "server.key")] {
                let text = std::fs::read_to_string(self.folder.join(format!("{name}.{from}"))).unwrap();
                self.server.write(to, &text);
            }
        }
        let on = name != "none";
        self.server.write(
            "postgresql.auto.conf",
            &format!("ssl = {on}\ncluster_name = '{name}'\nwork_mem = '{}'\n", work_mem(name)),
        );
        self.server.reload();
        let wanted = work_mem(name);
        wait::until_value(
            "the server's new certificate",
            Duration::from_millis(20),
            async || {
                let mut conn = PgConnection::connect(&admin).await.unwrap();
                sqlx::query_scalar::<_, String>("SHOW work_mem").fetch_one(&mut conn).await.unwrap()
            },
            |seen| *seen == wanted,
        )
        .await;
    }

    fn url(&self, options: &str) -> String {
        format!("postgresql://epr@localhost:{}/postgres?connect_timeout=5&{options}", self.server.port)
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Whether `epr` can connect, and its standard error.
    async fn ours(&self, options: &str) -> (bool, String) {
        let (code, out, err) = epr(&self.url(options), &["migrate"]).await;
        assert!(matches!(code, 0 | 2), "{options}: {code} {out} {err}");
        (code == 0, err)
    }

    fn psql(&self, options: &str) -> bool {
        let mut psql = Command::new("psql");
        psql.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        let output = psql.args(["-Atc", "SELECT 1", &self.url(options)]).output().expect("psql");
        output.status.success()
    }
}

/// A setting that shows which configuration the server has read.
fn work_mem(name: &str) -> String {
    format!("{}kB", 1000 + name.bytes().map(u32::from).sum::<u32>())
}

/// Where EPR differs from libpq: certificate, mode, with the authority named; and whether EPR gets in.
const DIFFERENT: [(&str, &str, bool, bool); 1] = [
    // libpq compares the common name of a certificate without names; no current TLS library of Rust does.
    ("nameless", "verify-full", true, false),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sslmode_accepts_what_psql_accepts() {
    let setup = Setup::start().await;
    let authority = format!("&sslrootcert={}", setup.file("ours-ca.pem"));
    let mut rows = Vec::new();
    for certificate in ["good", "foreign", "expired", "nameless", "none"] {
        setup.present(certificate).await;
        for mode in MODES {
            for named in [false, true] {
                let options = format!("sslmode={mode}{}", if named { &authority } else { "" });
                let (accepted, why) = setup.ours(&options).await;
                let different = DIFFERENT.iter().find(|row| (row.0, row.1, row.2) == (certificate, mode, named));
                let expected = different.map_or_else(|| setup.psql(&options), |row| row.3);
                if accepted != expected {
                    rows.push(format!(
                        "{certificate} {mode} authority={named}: EPR {accepted}, expected {expected}: {why}"
                    ));
                }
            }
        }
    }
    assert!(rows.is_empty(), "{rows:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_named_authorities_are_trusted() {
    let setup = Setup::start().await;
    let ours = setup.file("ours-ca.pem");
    setup.present("foreign").await;
    // The machine's authorities do not help a server whose authority is not in the file; `system` selects them.
    let foreign = setup.file("foreign-ca.pem");
    for (options, accepted) in [
        (format!("sslmode=verify-full&sslrootcert={ours}"), false),
        (format!("sslmode=verify-ca&sslrootcert={ours}"), false),
        (format!("sslmode=require&sslrootcert={ours}"), false),
        ("sslrootcert=system".to_owned(), true),
        ("sslmode=verify-full&sslrootcert=system".to_owned(), true),
        ("sslmode=verify-full".to_owned(), false),
    ] {
        let url = setup.url(&options);
        let environment = [("EPR_DATABASE_URL", url.as_str()), ("SSL_CERT_FILE", foreign.as_str())];
        let (code, _, stderr) = run("epr", &environment, &["migrate"]).await;
        assert_eq!(code, if accepted { 0 } else { 2 }, "{options}: {stderr}");
    }
    setup.present("good").await;
    let (accepted, why) = setup.ours("sslmode=verify-full").await;
    assert!(!accepted && why.contains("sslrootcert=system"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let missing = folder.path().join("missing.pem").display().to_string();
    for path in [
        missing,
        file("empty.pem", ""),
        file("text.pem", "no certificate"),
        file("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB"),
    ] {
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgresql://epr@localhost:1/epr?sslmode={mode}&sslrootcert={path}");
            let (code, _, err) = epr(&url, &["migrate"]).await;
            assert_eq!(code, 2, "{err}");
            assert!(err.contains(&path), "{mode}: {err}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_starts_with_verify_ca_and_ends_at_once_on_a_foreign_certificate() {
    let setup = Setup::start().await;
    let right = setup.url(&format!("sslmode=verify-ca&sslrootcert={}", setup.file("ours-ca.pem")));
    let (process, _) = Process::api(&[("EPR_DATABASE_URL", &right)]).await;
    assert_eq!(process.terminate().await.0.code(), Some(0));
    let wrong = setup.url(&format!("sslmode=require&sslrootcert={}", setup.file("foreign-ca.pem")));
    let process = Process::start("epr-api", &[("EPR_DATABASE_URL", &wrong), ("EPR_DATABASE_START_TIMEOUT", "3600")]);
    let (status, log) = process.wait_for_exit().await;
    assert_eq!(status.code(), Some(1));
    let error = log.last().unwrap()["extra"]["error"].as_str().unwrap();
    assert!(error.contains("certificate"), "{error}");
}
