//! The server: a cluster of its own, set up as PostgreSQL is by default, and what it
//! counts.

use std::{path::PathBuf, time::Duration};

use tokio_postgres::{Client, NoTls};

use crate::support::postgres::OwnCluster;

/// Where everything is measured. The server's own connections are to another database, so
/// that they are not counted.
const DATABASE: &str = "bench";

/// What the statistics extension is told, until statements are looked at.
const UNTRACKED: &str = "none";

/// The cluster; gone with this.
pub struct Server {
    cluster: OwnCluster,
    /// To another database than the one that is measured.
    observer: Client,
    /// Whether statements can be looked at.
    pub counts_statements: bool,
}

/// What the server has counted.
#[derive(Clone, Copy)]
pub struct Counters {
    /// Bytes of WAL.
    pub wal: f64,
    /// Transactions committed in the database that is measured.
    pub commits: f64,
}

impl Server {
    pub async fn start() -> Server {
        let cluster = OwnCluster::durable(|_| String::new());
        let observer = connect(&cluster.connection()).await;
        let sql = "select exists (
            select from pg_available_extensions where name = 'pg_stat_statements')";
        let counts_statements = observer.query_one(sql, &[]).await.unwrap().get(0);
        let mut server = Server {
            cluster,
            observer,
            counts_statements,
        };
        if counts_statements {
            server
                .run("alter system set shared_preload_libraries = 'pg_stat_statements'")
                .await;
            server.cluster.stop();
            server.cluster.start();
            server.observer = connect(&server.cluster.connection()).await;
            server.run("create extension pg_stat_statements").await;
            server.track(UNTRACKED).await;
        }
        server.run(&format!("create database {DATABASE}")).await;
        server
    }

    /// What decides how fast it can be, as it says itself.
    ///
    /// # Panics
    /// If a commit does not wait for the disk.
    pub async fn describe(&self) -> String {
        let sql = "select current_setting('server_version'), current_setting('fsync'),
            current_setting('synchronous_commit'), current_setting('full_page_writes'),
            current_setting('shared_buffers'), current_setting('max_wal_size')";
        let row = self.observer.query_one(sql, &[]).await.unwrap();
        let say = |column: usize| row.get::<_, &str>(column);
        for column in 1..=3 {
            assert_eq!(say(column), "on", "settings are as by default");
        }
        format!(
            "PostgreSQL {} in {}: fsync, synchronous_commit and full_page_writes on, \
             shared_buffers {}, max_wal_size {}",
            say(0),
            self.cluster.data().display(),
            say(4),
            say(5)
        )
    }

    /// How to connect to the database that is measured.
    pub fn connection(&self) -> String {
        let connection = self.cluster.connection();
        connection.replace("dbname=postgres", &format!("dbname={DATABASE}"))
    }

    /// A connection to the database that is measured, with this search path.
    pub async fn client(&self, schema: &str) -> Client {
        let client = connect(&self.connection()).await;
        let sql = format!("set search_path to {schema}");
        client.batch_execute(&sql).await.unwrap();
        client
    }

    /// Its program of this name, of the same version; what is in PATH may be links to some.
    pub fn program(&self, name: &str) -> PathBuf {
        let initdb = self.cluster.programs().join("initdb");
        initdb.canonicalize().unwrap().with_file_name(name)
    }

    /// Drops the schema.
    pub async fn drop_schema(&self, schema: &str) {
        let sql = format!("drop schema if exists {schema} cascade");
        self.client(schema).await.batch_execute(&sql).await.unwrap();
    }

    /// Leaves a table as it is when all is quiet: vacuumed, its statistics known, and
    /// nothing to be written to the disk.
    pub async fn settle(&self, schema: &str) {
        let client = self.client(schema).await;
        client.batch_execute("vacuum (analyze) unit").await.unwrap();
        self.checkpoint().await;
    }

    pub async fn checkpoint(&self) {
        self.run("checkpoint").await;
    }

    /// What was counted once all clients have gone.
    pub async fn counters(&self) -> Counters {
        let sql = "select (pg_current_wal_insert_lsn() - '0/0')::float8, xact_commit::float8,
                (select count(*) from pg_stat_activity
                where datname = $1 and backend_type = 'client backend')
            from pg_stat_database where datname = $1";
        // Sessions tell what they counted when they end, or a while later.
        let mut looks = tokio::time::interval(Duration::from_millis(600));
        let mut last = -1.0;
        loop {
            looks.tick().await;
            let row = self.observer.query_one(sql, &[&DATABASE]).await.unwrap();
            let (wal, commits, sessions) = (row.get(0), row.get(1), row.get::<_, i64>(2));
            if sessions == 0 && commits == last {
                return Counters { wal, commits };
            }
            last = commits;
        }
    }

    /// Begins to count statements anew, in sessions that begin after this.
    pub async fn count_statements(&self) {
        self.track("top").await;
        self.run("select pg_stat_statements_reset()").await;
    }

    /// Ends that: the statements that ran, the most frequent first.
    pub async fn counted_statements(&self) -> Vec<Counted> {
        let sql = "select query, calls::float8, rows::float8, wal_bytes::float8, wal_fpi::float8,
                total_exec_time
            from pg_stat_statements
            where dbid = (select oid from pg_database where datname = $1)
            order by calls desc";
        let rows = self.observer.query(sql, &[&DATABASE]).await.unwrap();
        self.track(UNTRACKED).await;
        let counted = |row: &tokio_postgres::Row| Counted {
            text: row.get(0),
            calls: row.get(1),
            rows: row.get(2),
            wal: row.get(3),
            full_pages: row.get(4),
            milliseconds: row.get(5),
        };
        rows.iter().map(counted).collect()
    }

    async fn track(&self, which: &str) {
        self.run(&format!(
            "alter system set pg_stat_statements.track = {which}"
        ))
        .await;
        self.run("select pg_reload_conf()").await;
    }

    async fn run(&self, sql: &str) {
        self.observer.batch_execute(sql).await.unwrap();
    }
}

/// A statement that ran.
#[derive(Default)]
pub struct Counted {
    pub text: String,
    /// How often it ran.
    pub calls: f64,
    /// Rows that were read or changed by it, in all.
    pub rows: f64,
    /// Bytes of WAL.
    pub wal: f64,
    /// Images of whole pages among it.
    pub full_pages: f64,
    /// Time in all.
    pub milliseconds: f64,
}

async fn connect(connection: &str) -> Client {
    let (client, task) = tokio_postgres::connect(connection, NoTls).await.unwrap();
    tokio::spawn(task);
    client
}
