//! What PostgreSQL does without us: pgbench on a plain queue, and COPY.

use std::{
    fs,
    path::PathBuf,
    pin::pin,
    process::Command,
    time::{Duration, Instant},
};

use coordinated::model::NewUnit;
use tokio_postgres::{Client, binary_copy::BinaryCopyInWriter, types::Type};

use crate::{
    server::Server,
    work::{ADDED_AT_A_TIME, units},
};

const SCHEMA: &str = "reference";

/// The table, made anew for each measurement.
pub struct Reference<'a> {
    server: &'a Server,
}

/// How units are copied.
#[derive(Clone, Copy)]
pub enum Copying {
    /// All by one statement.
    Whole,
    /// [`ADDED_AT_A_TIME`], each in a transaction of its own, over so many connections.
    Batches { connections: usize },
}

/// What one client does, again and again.
#[derive(Clone, Copy)]
pub enum Script {
    /// Claims one unit, and finishes it in another transaction.
    One,
    /// Claims a hundred, and finishes them in another transaction.
    Hundred,
}

/// What pgbench did.
pub struct Run {
    /// Units that are finished.
    pub jobs: f64,
    /// How many in a second.
    pub rate: f64,
}

impl<'a> Reference<'a> {
    /// An empty one.
    pub async fn fresh(server: &'a Server) -> Reference<'a> {
        server.drop_schema(SCHEMA).await;
        let client = server.client(SCHEMA).await;
        let sql = format!(
            "create schema {SCHEMA}; {}",
            include_str!("sql/reference.sql")
        );
        client.batch_execute(&sql).await.unwrap();
        server.checkpoint().await;
        Reference { server }
    }

    /// Adds this many units; how many in a second.
    pub async fn add(&self, count: usize, copying: Copying) -> f64 {
        let (connections, at_a_time) = match copying {
            Copying::Whole => (1, count),
            Copying::Batches { connections } => (connections, ADDED_AT_A_TIME),
        };
        let mut shares = vec![Vec::new(); connections];
        for (number, from) in (0..count).step_by(at_a_time).enumerate() {
            let some = units(from, (count - from).min(at_a_time));
            shares[number % connections].push(some);
        }
        let mut clients = Vec::new();
        for share in shares {
            clients.push((self.server.client(SCHEMA).await, share));
        }
        let begun = Instant::now();
        let copies = clients.into_iter().map(|(client, share)| {
            tokio::spawn(async move {
                for some in share {
                    copy_in(&client, &some).await;
                }
            })
        });
        for copy in copies.collect::<Vec<_>>() {
            copy.await.unwrap();
        }
        count as f64 / begun.elapsed().as_secs_f64()
    }

    /// As [`Server::settle`].
    pub async fn settle(&self) {
        self.server.settle(SCHEMA).await;
    }

    /// Has pgbench claim and finish for a while.
    pub async fn pgbench(&self, script: Script, clients: usize, span: Duration) -> Run {
        let text = match script {
            Script::One => include_str!("sql/one.sql"),
            Script::Hundred => include_str!("sql/hundred.sql"),
        };
        let file = ScriptFile::write(text);
        let mut pgbench = Command::new(self.server.program("pgbench"));
        pgbench
            .args(["-n", "-M", "prepared"])
            .args(["-j", &clients.min(2).to_string()])
            .args(["-c", &clients.to_string()])
            .args(["-T", &span.as_secs().max(1).to_string()])
            .arg("-f")
            .arg(&file.0)
            .arg(self.server.connection())
            .env("PGOPTIONS", format!("-c search_path={SCHEMA}"));
        let output = tokio::task::spawn_blocking(move || pgbench.output().unwrap());
        let output = output.await.unwrap();
        drop(file);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "pgbench failed; are there too few units (--units)?\n{complained}"
        );
        let seconds = figure(&said, "transactions actually processed: ")
            / figure(said.rsplit("tps").next().unwrap_or_default(), " = ");
        let client = self.server.client(SCHEMA).await;
        let sql = "select count(*)::float8 from unit where status = 4";
        let jobs: f64 = client.query_one(sql, &[]).await.unwrap().get(0);
        let rate = jobs / seconds;
        Run { jobs, rate }
    }
}

/// Copies rows into the table, in one statement.
async fn copy_in(client: &Client, units: &[NewUnit]) {
    let sql = "copy unit (spec_id, name, status, priority, data) from stdin (format binary)";
    let sink = client.copy_in(sql).await.unwrap();
    let types = [
        Type::INT8,
        Type::BYTEA,
        Type::INT2,
        Type::FLOAT8,
        Type::BYTEA,
    ];
    let mut rows = pin!(BinaryCopyInWriter::new(sink, &types));
    for unit in units {
        let (key, data) = (unit.key.as_bytes(), &unit.data[..]);
        let row = rows.as_mut();
        row.write(&[&1_i64, &key, &1_i16, &unit.priority.get(), &data])
            .await
            .unwrap();
    }
    let copied = rows.finish().await.unwrap();
    assert_eq!(copied, units.len() as u64);
}

/// The number after these words.
fn figure(said: &str, words: &str) -> f64 {
    let after = said.split(words).nth(1).unwrap_or_default();
    let number = after.split([' ', '\n', '/']).next().unwrap_or_default();
    let number = number.parse();
    number.unwrap_or_else(|_| panic!("pgbench does not say \"{words}\" in {said:?}"))
}

/// A script for pgbench; gone with this.
struct ScriptFile(PathBuf);

impl ScriptFile {
    fn write(text: &str) -> ScriptFile {
        let name = format!("coordinated-bench-{}.sql", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        ScriptFile(path)
    }
}

impl Drop for ScriptFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
