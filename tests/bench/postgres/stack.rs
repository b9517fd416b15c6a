//! The whole way: workers on TCP connections to a daemon, each of which asks for a unit,
//! reports that it is finished, and asks again.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use coordinated::{
    cbor::{Reader, Writer, field},
    limits::FRAME_BYTES_MAX,
    wire::{Frame, FrameCodec},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    ours::{Drained, Works, drain},
    server::Server,
    work::{LEASE, SPEC},
};

/// The status of a unit that is finished, as clients send it.
const FINISHED: u64 = 4;

/// The built daemon; killed when dropped.
pub struct Daemon {
    process: Child,
    address: SocketAddr,
}

impl Daemon {
    /// On this schema, with all settings as by default.
    pub fn start(server: &Server, schema: &str) -> Daemon {
        let mut process = Command::new(env!("CARGO_BIN_EXE_coordinated"))
            .args(["--listen=127.0.0.1:0", "--log-format=json"])
            .arg(format!("--backend=postgres:{}", server.connection()))
            .arg(format!("--postgres-schema={schema}"))
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            line["listen"].as_str()?.parse().ok()
        });
        // To the end, so that the daemon never waits for its log to be read.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                eprintln!("the daemon says: {line}");
            }
        });
        let address = address.expect("the daemon says where it listens");
        Daemon { process, address }
    }

    /// Claims and finishes one unit at a time over so many connections, for a while or
    /// until so many units are done; there must be as many.
    pub async fn drain(&self, workers: usize, span: Duration, jobs_max: usize) -> Drained {
        let mut clients = Vec::new();
        for number in 0..workers {
            clients.push(Worker::connect(self.address, number).await);
        }
        drain(clients, span, jobs_max).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A worker on a connection of its own.
struct Worker {
    stream: TcpStream,
    frames: FrameCodec,
    received: BytesMut,
    to_send: BytesMut,
    name: String,
    id: u64,
}

impl Worker {
    async fn connect(address: SocketAddr, number: usize) -> Worker {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Worker {
            stream,
            frames: FrameCodec::new(FRAME_BYTES_MAX),
            received: BytesMut::new(),
            to_send: BytesMut::new(),
            name: format!("worker {number}"),
            id: 0,
        }
    }

    /// Sends a request and reads its reply.
    async fn call(&mut self, method: &str, params: impl FnOnce(&mut Writer<'_>)) -> Frame {
        self.id += 1;
        self.to_send.clear();
        Writer::new(&mut self.to_send).frame(|request| {
            request.map(3).text("id").u64(self.id);
            request.text("method").text(method).text("params");
            params(request);
        });
        self.stream.write_all(&self.to_send).await.unwrap();
        loop {
            if let Some(reply) = self.frames.decode(&mut self.received).unwrap() {
                return reply;
            }
            let count = self.stream.read_buf(&mut self.received).await.unwrap();
            assert!(count > 0, "the daemon hung up");
        }
    }
}

impl Works for Worker {
    async fn work(&mut self, drained: &mut Drained) {
        let asked = Instant::now();
        let name = self.name.clone();
        let job = self.call("get_work", |params| {
            params.array(2).text(&name).map(2);
            params.text("work_spec_names").array(1).text(SPEC);
            params.text("lease_time").u64(LEASE.as_secs());
        });
        let job = job.await;
        drained.claims.push(asked.elapsed());
        let (key, data) = key_and_data(&job);
        let asked = Instant::now();
        let answer = self.call("update_work_unit", |params| {
            params.array(3).text(SPEC).raw(key).map(2);
            params.text("status").u64(FINISHED).text("data").raw(data);
        });
        let answer = answer.await;
        drained.finishes.push(asked.elapsed());
        assert!(first(&answer).bool().unwrap(), "{answer:?}");
        drained.jobs += 1;
    }
}

/// The first item of the pair that a reply's result is.
fn first(reply: &[u8]) -> Reader<'_> {
    let result = field(reply, b"result").unwrap_or_else(|| panic!("an error: {reply:?}"));
    let mut reader = Reader::new(result);
    reader.array().unwrap();
    reader
}

/// The unit's key and data in a reply of `get_work`, as items.
fn key_and_data(reply: &[u8]) -> (&[u8], &[u8]) {
    let mut job = first(reply);
    job.array().unwrap();
    job.raw().unwrap();
    let (key, data) = (job.raw().unwrap(), job.raw().unwrap());
    assert!(
        !Reader::new(key).null(),
        "there are too few units (--units)"
    );
    (key, data)
}
