//! TLS to the database. Takes a second, for a cluster of its own.

use std::{path::Path, process::Command};

use super::{connector_for, support::OwnCluster};

const IS_SECURE: &str = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";

/// Makes a certificate for `name` in files of that name, signed by `by`, or by itself.
fn certify(folder: &Path, name: &str, by: Option<&str>) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder);
    openssl.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes".split(' '));
    openssl.args(["-days", "2", "-subj", &format!("/CN={name}")]);
    openssl.args([
        "-keyout",
        &format!("{name}.key"),
        "-out",
        &format!("{name}.pem"),
    ]);
    if let Some(by) = by {
        openssl.args(["-CA", &format!("{by}.pem"), "-CAkey", &format!("{by}.key")]);
        openssl.args(["-addext", &format!("subjectAltName=DNS:{name}")]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    }
    let made = openssl
        .output()
        .expect("openssl comes with PostgreSQL's package");
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

#[tokio::test]
async fn the_server_is_checked_as_far_as_sslmode_says() {
    let folder = std::env::temp_dir().join(format!("coordinated-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    certify(&folder, "trusted", None);
    certify(&folder, "other", None);
    certify(&folder, "localhost", Some("trusted"));
    let cluster = OwnCluster::new(|data| {
        for file in ["localhost.pem", "localhost.key"] {
            std::fs::copy(folder.join(file), data.join(file)).unwrap();
        }
        "ssl = on\nssl_cert_file = 'localhost.pem'\nssl_key_file = 'localhost.key'\n".to_owned()
    });
    let certificates = |name: &str| folder.join(name).display().to_string();
    let (trusted, other) = (certificates("trusted.pem"), certificates("other.pem"));
    let cases = [
        ("127.0.0.1", "disable", &trusted, Some(false)),
        ("127.0.0.1", "prefer", &other, Some(true)),
        ("127.0.0.1", "verify-ca", &trusted, Some(true)),
        ("127.0.0.1", "verify-ca", &other, None),
        ("127.0.0.1", "verify-full", &trusted, None),
        ("localhost", "verify-full", &trusted, Some(true)),
        ("localhost", "verify-full", &other, None),
    ];
    for (host, mode, roots, expected) in cases {
        let port = cluster.port();
        let connection = format!(
            "host={host} port={port} user=postgres dbname=postgres sslmode={mode} sslrootcert={roots}"
        );
        let is_secure = match connector_for(&connection).connect().await {
            Ok((client, _task)) => {
                let row = client.query_one(IS_SECURE, &[]).await.unwrap();
                Some(row.get::<_, bool>(0))
            }
            Err(_) => None,
        };
        assert_eq!(is_secure, expected, "{host} {mode} {roots}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
