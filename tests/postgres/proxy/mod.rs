//! A proxy between a daemon's pool and PostgreSQL. Counts round trips, statements,
//! transactions, errors and connections, and can stop all that goes on.
//!
//! A round trip is what makes the daemon wait: it sends something, and can know nothing
//! that the server says to it before the answer is back. So whatever is sent before any of
//! the answers was handed over is one *flight*, however many statements it is, and the next
//! thing that is sent begins another. To make sure of that, answers are held back until
//! the server has given all of them and the daemon has had [`TURNS`] turns in which it sent
//! nothing more. Nothing can be counted too low that way: who sends after an answer has
//! waited for it. On a runtime of one thread, as most tests have, nothing is counted too
//! high either, as every task that is ready runs in each turn.
//!
//! Connecting is no round trip here, but is counted by itself. So is what a daemon asks beside
//! the calls, which is told by its statements. Only what is connected with
//! [`Proxy::connection`] is seen.

mod line;
mod traffic;

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Notify,
    task::{JoinSet, yield_now},
};
use tokio_postgres::config::{Config, Host};

use self::line::Line;
pub use self::traffic::Traffic;
use crate::support::postgres::Schema;

/// Turns of the runtime in which a daemon that has more to send would have sent it.
const TURNS: usize = 16;

/// Bytes that are taken from a socket at once.
const READ_BYTES: usize = 64 << 10;

/// Either end of a connection.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Listens on a port of its own until it is dropped.
pub struct Proxy {
    connection: String,
    watch: Arc<Watch>,
    _tasks: JoinSet<()>,
}

/// What the connections of a proxy have in common.
#[derive(Default)]
struct Watch {
    seen: Mutex<Seen>,
    at_wall: Notify,
}

#[derive(Default)]
struct Seen {
    traffic: Traffic,
    connections: usize,
    connections_peak: usize,
    /// Flights that may pass; all, if `None`.
    until_wall: Option<usize>,
}

impl Proxy {
    /// In front of the server that this schema is on.
    pub async fn start(schema: &Schema) -> Proxy {
        Proxy::before(schema.connection(), schema.name()).await
    }

    /// In front of this server; `name` with `_p` becomes the name of the application.
    pub async fn before(connection: &str, name: &str) -> Proxy {
        let server: Config = connection.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
        let mut connection = format!(
            "host=127.0.0.1 port={port} sslmode=disable application_name={name}_p user='{}' dbname='{}'",
            quoted(server.get_user().unwrap_or("postgres")),
            quoted(server.get_dbname().unwrap_or("postgres")),
        );
        if let Some(password) = server.get_password() {
            let password = quoted(std::str::from_utf8(password).unwrap());
            connection.push_str(&format!(" password='{password}'"));
        }
        let watch = Arc::<Watch>::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, watch.clone()));
        Proxy {
            connection,
            watch,
            _tasks: tasks,
        }
    }

    /// How to connect through this.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// What went through since the last time this was asked.
    pub fn take(&self) -> Traffic {
        std::mem::take(&mut self.watch.seen().traffic)
    }

    /// What goes through while this is done.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> (T, Traffic) {
        self.take();
        let done = work.await;
        (done, self.take())
    }

    /// The most connections that were ever open at once.
    pub fn connections_peak(&self) -> usize {
        self.watch.seen().connections_peak
    }

    /// Lets so many flights pass, and then none: what comes after them waits for ever, as
    /// if the daemon had died before it sent it.
    pub fn wall_after(&self, flights: usize) {
        self.watch.seen().until_wall = Some(flights);
    }

    /// Resolves when something waits at the wall.
    pub async fn at_wall(&self) {
        self.watch.at_wall.notified().await;
    }
}

impl Watch {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Counts a flight that begins; whether it may pass.
    fn may_begin(&self, is_aside: bool) -> bool {
        let mut seen = self.seen();
        match &mut seen.until_wall {
            Some(0) => {
                self.at_wall.notify_one();
                return false;
            }
            Some(left) => *left -= 1,
            None => {}
        }
        match is_aside {
            true => seen.traffic.asides += 1,
            false => seen.traffic.begin_flight(),
        }
        true
    }
}

/// A connection that is open until this is dropped.
struct Open(Arc<Watch>);

impl Open {
    fn new(watch: Arc<Watch>) -> Open {
        let mut seen = watch.seen();
        seen.connections += 1;
        seen.connections_peak = seen.connections_peak.max(seen.connections);
        drop(seen);
        Open(watch)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.seen().connections -= 1;
    }
}

async fn accept(listener: TcpListener, server: Config, watch: Arc<Watch>) {
    // Ends with this.
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        let (server, watch) = (server.clone(), watch.clone());
        connections.spawn(async move {
            let open = Open::new(watch);
            let Some(server) = connect(&server).await else {
                return; // and the daemon is told, by the end of its connection
            };
            relay(client, server, &open.0).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn connect(server: &Config) -> Option<Box<dyn Stream>> {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    Some(match server.get_hosts().first()? {
        Host::Unix(folder) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            Box::new(UnixStream::connect(socket).await.ok()?)
        }
        Host::Tcp(host) => {
            let stream = TcpStream::connect((host.as_str(), port)).await.ok()?;
            stream.set_nodelay(true).ok()?;
            Box::new(stream)
        }
    })
}

/// Carries bytes both ways until either end is gone.
async fn relay(client: TcpStream, server: Box<dyn Stream>, watch: &Watch) {
    let (mut client_reads, mut client_writes) = client.into_split();
    let (mut server_reads, mut server_writes) = tokio::io::split(server);
    let mut line = Line::default();
    let (mut asked, mut answered) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let mut quiet_turns = 0;
    loop {
        tokio::select! {
            biased;
            read = client_reads.read(&mut asked) => match read {
                Ok(bytes @ 1..) => {
                    quiet_turns = 0;
                    if !line.asked(&asked[..bytes], watch) {
                        // Whatever else it says goes nowhere, until it hangs up.
                        while client_reads.read(&mut asked).await.is_ok_and(|bytes| bytes > 0) {}
                        return;
                    }
                }
                _ => return,
            },
            written = server_writes.write(line.to_server()), if !line.to_server().is_empty() => match written {
                Ok(bytes @ 1..) => line.wrote_to_server(bytes),
                _ => return,
            },
            read = server_reads.read(&mut answered) => match read {
                Ok(bytes @ 1..) => line.answered(&answered[..bytes], watch),
                _ => {
                    // Its last words, if it had any.
                    let _ = client_writes.write_all(line.all_to_client()).await;
                    return;
                }
            },
            written = client_writes.write(line.to_client()), if !line.to_client().is_empty() => match written {
                Ok(bytes @ 1..) => line.wrote_to_client(bytes),
                _ => return,
            },
            () = yield_now(), if line.is_answered() => {
                quiet_turns += 1;
                if quiet_turns >= TURNS {
                    line.land();
                }
            }
        }
    }
}
