//! A way to the database on which one answer gets lost: what was asked is done, and who
//! asked finds its connection ended instead of hearing of it. Or the request gets lost, and
//! who asked cannot tell the difference.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering},
};

use coordinated::backend::{
    Retention,
    postgres::{Options, Postgres, Statements},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UnixStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_postgres::config::Host;

use crate::support::postgres::Schema;

/// A proxy in front of the tests' server.
pub struct Lossy {
    connection: String,
    losses: Arc<Losses>,
    /// Ends with this.
    _accepting: JoinSet<()>,
}

struct Losses {
    /// Transactions that were answered.
    answered: AtomicUsize,
    /// How many answers to transactions come before the one that is lost; negative if none
    /// is.
    answer: AtomicIsize,
    /// The same for requests.
    request: AtomicIsize,
    /// Whether the connection ends only when it is told to.
    is_held: AtomicBool,
    /// One for each loss.
    lost: Semaphore,
    /// One for each connection that is told to end.
    ending: Semaphore,
}

impl Losses {
    /// Whether this one is to be lost.
    async fn comes(&self, which: &AtomicIsize) -> bool {
        if which.load(Ordering::SeqCst) < 0 || which.fetch_sub(1, Ordering::SeqCst) != 0 {
            return false;
        }
        self.lost.add_permits(1);
        if self.is_held.load(Ordering::SeqCst) {
            self.ending.acquire().await.unwrap().forget();
        }
        true
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Lossy {
    /// In front of the server of this schema.
    pub async fn start(schema: &Schema) -> Lossy {
        let target: tokio_postgres::Config = schema.connection().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
        let mut connection = format!(
            "host=127.0.0.1 port={port} sslmode=disable user='{}' dbname='{}' application_name='{}'",
            quoted(target.get_user().unwrap()),
            quoted(target.get_dbname().unwrap_or("postgres")),
            schema.name(),
        );
        if let Some(password) = target.get_password() {
            let password = std::str::from_utf8(password).unwrap();
            connection.push_str(&format!(" password='{}'", quoted(password)));
        }
        let losses = Arc::new(Losses {
            answered: AtomicUsize::new(0),
            answer: AtomicIsize::new(-1),
            request: AtomicIsize::new(-1),
            is_held: AtomicBool::new(false),
            lost: Semaphore::new(0),
            ending: Semaphore::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let losses = losses.clone();
            async move {
                let mut carrying = JoinSet::new();
                loop {
                    let (client, _) = listener.accept().await.unwrap();
                    let server = reach(&target).await;
                    carrying.spawn(carry(client, server, losses.clone()));
                }
            }
        });
        Lossy {
            connection,
            losses,
            _accepting: accepting,
        }
    }

    /// A backend that reaches its database this way, over one connection at a time, and
    /// hears of other daemons by a way on which nothing is lost.
    pub async fn backend(&self, schema: &Schema, retention: Retention) -> Postgres {
        let options = Options {
            connection: self.connection.clone(),
            direct: Some(schema.connection().to_owned()),
            schema: schema.name().parse().unwrap(),
            connections_max: 1,
            statements: Statements::Cached,
            retention,
            random: fastrand::Rng::with_seed(1),
        };
        Postgres::connect(options).await.unwrap()
    }

    /// How many transactions the server has answered.
    pub fn answered(&self) -> usize {
        self.losses.answered.load(Ordering::SeqCst)
    }

    /// Loses one answer to a transaction, after so many that arrive.
    pub fn lose_answer(&self, after: usize) {
        let after = isize::try_from(after).unwrap();
        self.losses.answer.store(after, Ordering::SeqCst);
    }

    /// Loses one request, after so many that arrive.
    pub fn lose_request(&self, after: usize) {
        let after = isize::try_from(after).unwrap();
        self.losses.request.store(after, Ordering::SeqCst);
    }

    /// Loses nothing any more. Whether something was lost.
    pub fn lose_nothing(&self) -> bool {
        self.losses.answer.store(-1, Ordering::SeqCst);
        self.losses.request.store(-1, Ordering::SeqCst);
        self.losses.is_held.store(false, Ordering::SeqCst);
        let lost = self.losses.lost.try_acquire();
        lost.map(tokio::sync::SemaphorePermit::forget).is_ok()
    }

    /// Loses one answer, after so many that arrive. Once it is lost, `meanwhile` is done
    /// before who waits for it finds out.
    pub async fn lose_while<T, U>(
        &self,
        after: usize,
        call: impl Future<Output = T>,
        meanwhile: impl Future<Output = U>,
    ) -> T {
        self.losses.is_held.store(true, Ordering::SeqCst);
        self.lose_answer(after);
        let during = async {
            self.losses.lost.acquire().await.unwrap().forget();
            meanwhile.await;
            self.losses.is_held.store(false, Ordering::SeqCst);
            self.losses.ending.add_permits(1);
        };
        tokio::join!(call, during).0
    }
}

async fn reach(target: &tokio_postgres::Config) -> Box<dyn Stream> {
    let port = target.get_ports().first().copied().unwrap_or(5432);
    match &target.get_hosts()[0] {
        Host::Tcp(host) => Box::new(TcpStream::connect((host.as_str(), port)).await.unwrap()),
        Host::Unix(folder) => {
            let socket = folder.join(format!(".s.PGSQL.{port}"));
            Box::new(UnixStream::connect(socket).await.unwrap())
        }
    }
}

/// Passes on what both say, until one of them is silent for good or something is to be
/// lost. Then both connections end.
async fn carry(client: TcpStream, server: Box<dyn Stream>, losses: Arc<Losses>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let asked = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from_client.read(&mut buffer).await.unwrap_or(0);
            if count == 0 || losses.comes(&losses.request).await {
                return;
            }
            if to_server.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    };
    let answered = async {
        let mut answer = Answer::default();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = from_server.read(&mut buffer).await.unwrap_or(0);
            if count == 0 {
                return;
            }
            answer.bytes.extend(&buffer[..count]);
            while let Some(end) = answer.end() {
                if answer.is_of_transaction {
                    losses.answered.fetch_add(1, Ordering::SeqCst);
                    if losses.comes(&losses.answer).await {
                        return;
                    }
                }
                let whole: Vec<u8> = answer.bytes.drain(..end).collect();
                if to_client.write_all(&whole).await.is_err() {
                    return;
                }
                answer = Answer {
                    bytes: answer.bytes,
                    ..Answer::default()
                };
            }
            // What authenticates is no answer yet, and has to be passed on.
            if answer.is_greeting() {
                let read = std::mem::take(&mut answer.read);
                let whole: Vec<u8> = answer.bytes.drain(..read).collect();
                if to_client.write_all(&whole).await.is_err() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = asked => {}
        () = answered => {}
    }
}

/// What the server has said since it was last ready.
#[derive(Default)]
struct Answer {
    bytes: Vec<u8>,
    read: usize,
    has_done_something: bool,
    /// Whether a transaction is over with this.
    is_of_transaction: bool,
}

impl Answer {
    /// Where it ends, once it is whole: the server is ready again.
    fn end(&mut self) -> Option<usize> {
        while let [kind, a, b, c, d, rest @ ..] = &self.bytes[self.read..] {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            if rest.len() + 4 < length {
                return None;
            }
            self.has_done_something |= *kind == b'C';
            self.read += 1 + length;
            if *kind == b'Z' {
                self.is_of_transaction = self.has_done_something && rest[0] == b'I';
                return Some(self.read);
            }
        }
        None
    }

    fn is_greeting(&self) -> bool {
        self.bytes.first() == Some(&b'R')
    }
}
