//! Database URLs as other drivers write them, on a real server. Their parsing is tested where it is written.

use epr_testkit::postgres_server::PostgresServer;
use epr_testkit::process::{epr, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn urls_of_other_drivers_reach_the_server() {
    let server = PostgresServer::create(&[("pg_hba.conf", "local all all trust\nhost all epr all trust\n")], "");
    let (folder, port) = (server.folder().display().to_string(), &server.port);
    let encoded = folder.replace('/', "%2F");
    for url in [
        format!("postgresql+psycopg2://epr@/postgres?host={folder}&port={port}"),
        format!("postgresql://epr@{encoded}:{port}/postgres"),
        format!("postgresql:///postgres?user=epr&host={folder}&port={port}&sslmode=require"),
        format!("postgresql+asyncpg://epr@localhost:{port}/postgres?ssl=disable"),
        format!("postgresql://epr@127.0.0.1:{port}/postgres?channel_binding=prefer&gssencmode=disable"),
        format!(
            "postgresql://epr@elsewhere.invalid:{port}/postgres?hostaddr=127.0.0.1&target_session_attrs=read-write"
        ),
    ] {
        let (code, _, err) = epr(&url, &["migrate"]).await;
        assert_eq!(code, 0, "{url}: {err}");
    }
    let url = format!("postgresql://epr@localhost:{port}/postgres?sslcrl=/hunter2");
    let (code, _, err) = epr(&url, &["migrate"]).await;
    assert_eq!(code, 2);
    assert!(err.contains("sslcrl") && !err.contains("hunter2"), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_passwords_come_from_where_libpq_takes_them() {
    let server = PostgresServer::create(
        &[("pg_hba.conf", "local all epr trust\nhost all all all scram-sha-256\n")],
        "-c log_line_prefix=[%a] -c log_connections=on -c log_statement=all",
    );
    let port = &server.port;
    let admin = format!("postgresql://epr@/postgres?host={}&port={port}", server.folder().display());
    let password = std::process::Command::new("psql")
        .args(["-qc", "ALTER ROLE epr PASSWORD 'hunter2'", &admin])
        .status()
        .expect("psql");
    assert!(password.success());
    let passfile = server.folder().join("pgpass");
    std::fs::write(&passfile, format!("localhost:{port}:postgres:epr:hunter2\n")).unwrap();
    std::fs::set_permissions(&passfile, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let passfile = passfile.display().to_string();
    let plain = format!("postgresql://epr@localhost:{port}/postgres?application_name=the-vault");
    for (variables, code) in [
        (vec![], 2),
        (vec![("PGPASSWORD", "wrong")], 2),
        (vec![("PGPASSWORD", "hunter2")], 0),
        (vec![("PGPASSFILE", passfile.as_str())], 0),
        (vec![("PGPASSWORD", "hunter2"), ("PGSSLCRL", "/crl.pem")], 2),
    ] {
        let environment = [&[("EPR_DATABASE_URL", plain.as_str())], variables.as_slice()].concat();
        let (actual, _, stderr) = run("epr", &environment, &["migrate"]).await;
        assert_eq!(actual, code, "{variables:?}: {stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
    }
    assert!(server.log().contains("[the-vault]"), "sessions have the name of the URL");
}
