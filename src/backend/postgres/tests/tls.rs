//! TLS to the database. Takes a second, for a cluster of its own.

use std::{path::Path, process::Command};

use super::{
    super::{connector::Connector, target::Target},
    connector_for,
    support::OwnCluster,
};

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
    certify(&folder, "jobs", Some("trusted"));
    certify(&folder, "stranger", Some("trusted"));
    let cluster = OwnCluster::new(|data| {
        for file in ["localhost.pem", "localhost.key"] {
            std::fs::copy(folder.join(file), data.join(file)).unwrap();
        }
        std::fs::copy(folder.join("trusted.pem"), data.join("clients.pem")).unwrap();
        // Whoever comes as "jobs" has to show a certificate of that name.
        let rules = "local all all trust\nhostssl all jobs all cert\nhost all all all trust\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
        "ssl = on\nssl_cert_file = 'localhost.pem'\nssl_key_file = 'localhost.key'\n\
         ssl_ca_file = 'clients.pem'\n"
            .to_owned()
    });
    let (admin, _task) = connector_for(&cluster.connection())
        .connect()
        .await
        .unwrap();
    admin.batch_execute("create role jobs login").await.unwrap();
    let certificates = |name: &str| folder.join(name).display().to_string();
    let (trusted, other) = (certificates("trusted.pem"), certificates("other.pem"));
    let cases = [
        ("127.0.0.1", "disable", &trusted, Some(false)),
        ("127.0.0.1", "prefer", &other, Some(true)),
        ("127.0.0.1", "require", &trusted, Some(true)),
        ("127.0.0.1", "require", &other, None),
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
    for (name, expected) in [
        (None, None),
        (Some("stranger"), None),
        (Some("jobs"), Some(true)),
    ] {
        let port = cluster.port();
        let mut connection =
            format!("host=127.0.0.1 port={port} user=jobs dbname=postgres sslmode=require");
        if let Some(name) = name {
            let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
            let files = (certificates(&certificate), certificates(&key));
            connection.push_str(&format!(" sslcert={} sslkey={}", files.0, files.1));
        }
        let is_let_in = connector_for(&connection).connect().await.is_ok();
        assert_eq!(is_let_in.then_some(true), expected, "{name:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn require_insists_on_tls_where_the_server_has_none_and_prefer_does_not() {
    let cluster = OwnCluster::new(|_| String::new());
    for (mode, expected) in [("disable", true), ("prefer", true), ("require", false)] {
        let port = cluster.port();
        let connection =
            format!("host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode={mode}");
        let connected = connector_for(&connection).connect().await;
        assert_eq!(connected.is_ok(), expected, "{mode}");
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named_by_their_setting() {
    let refused = |text: &str| {
        let target = Target::parse(text, |_| None).unwrap();
        let outcome = Connector::new(&target, "public");
        outcome.map(drop).unwrap_err().to_string()
    };
    let none = "host=db sslmode=require sslcert=/nowhere/c.pem sslkey=/nowhere/c.key";
    assert_eq!(
        refused(none),
        "cannot read the certificate in sslcert, or it is no PEM file of one"
    );
    let half = Target::parse("host=db sslcert=/nowhere/c.pem", |_| None);
    assert_eq!(
        half.unwrap_err().to_string(),
        "sslcert and sslkey go together"
    );
    let roots = refused("host=db sslmode=verify-full sslrootcert=/nowhere/ca.pem");
    assert_eq!(roots, "cannot read the certificates in sslrootcert");
}
