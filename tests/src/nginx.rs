//! Throw-away nginx in front of a service, with the configuration of a test.

use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::process::free_port;
use crate::wait;

/// An nginx of its own on a free port; killed when dropped.
pub struct Nginx {
    _child: Child,
    _folder: TempDir,
    /// The base URL.
    pub url: String,
}

impl Nginx {
    /// Starts an nginx that forwards every request to the base URL `service`. `more` are directives of the location.
    pub async fn start(service: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (port, path) = (free_port(), folder.path().display().to_string());
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {path}/{name};"))
            .join("\n");
        let service = service.trim_start_matches("http://");
        // One process: a master would start workers as another user, who cannot write to the folder.
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {path}/pid;\nerror_log {path}/error.log;\nevents {{}}\n\
             http {{\n{temporary}\n\
             access_log off;\nclient_max_body_size 0;\nupstream service {{ server {service}; keepalive 8; }}\n\
             server {{\nlisten 127.0.0.1:{port};\nlocation / {{\nproxy_pass http://service;\nproxy_http_version 1.1;\n\
             proxy_set_header Connection \"\";\nproxy_next_upstream off;\n{more}\n}}\n}}\n}}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).expect("a file");
        let found = ["/usr/sbin/nginx", "nginx"].into_iter().find(|path| std::path::Path::new(path).exists());
        let child = Command::new(found.unwrap_or("nginx"))
            .args(["-e", &format!("{path}/error.log"), "-c", &format!("{path}/nginx.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("nginx: {error}; install it, as scripts/test.sh does"));
        let address = format!("127.0.0.1:{port}");
        let up = async || TcpStream::connect(&address).await.is_ok();
        wait::until_value("nginx", Duration::from_millis(10), up, |up| *up).await;
        Self { _child: child, _folder: folder, url: format!("http://{address}") }
    }
}
