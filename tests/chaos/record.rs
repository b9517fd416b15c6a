//! What the clients write down, and what they know of the run.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::time::Instant;

use crate::checker::history::{Event, Fault, Micros};

/// Writes a history, and counts some of what is in it.
pub struct Recorder {
    begun: Instant,
    file: Mutex<BufWriter<File>>,
    path: PathBuf,
    is_over: AtomicBool,
    lost_replies: AtomicUsize,
    /// Units that were added, not chained, and whose finish was acknowledged.
    pub sources_finished: AtomicUsize,
    /// Units whose finish was acknowledged.
    pub finished: AtomicUsize,
    /// Finishes that were refused.
    pub stale_finishes: AtomicUsize,
    /// Replies that said no more than that there is trouble.
    pub errors: AtomicUsize,
    pub locks: AtomicUsize,
    events: AtomicU64,
}

impl Recorder {
    /// Begins a history in a new file.
    pub fn new(path: PathBuf) -> Recorder {
        let file = File::create(&path).unwrap();
        Recorder {
            begun: Instant::now(),
            file: Mutex::new(BufWriter::with_capacity(1 << 20, file)),
            path,
            is_over: AtomicBool::new(false),
            lost_replies: AtomicUsize::new(0),
            sources_finished: AtomicUsize::new(0),
            finished: AtomicUsize::new(0),
            stale_finishes: AtomicUsize::new(0),
            errors: AtomicUsize::new(0),
            locks: AtomicUsize::new(0),
            events: AtomicU64::new(0),
        }
    }

    /// Time since the run began, by a clock that never steps back.
    pub fn now(&self) -> Micros {
        Micros::try_from(self.begun.elapsed().as_micros()).unwrap()
    }

    pub fn write(&self, event: &Event) {
        let mut line = serde_json::to_vec(event).unwrap();
        line.push(b'\n');
        self.file.lock().unwrap().write_all(&line).unwrap();
        self.events.fetch_add(1, Relaxed);
    }

    pub fn fault(&self, what: String) {
        let at = self.now();
        println!("{:8.3} s: {what}", at as f64 / 1e6);
        self.write(&Event::Fault(Fault { at, what }));
    }

    pub fn lost_reply(&self) {
        self.lost_replies.fetch_add(1, Relaxed);
    }

    pub fn lost_replies(&self) -> usize {
        self.lost_replies.load(Relaxed)
    }

    pub fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Whether everybody is to stop.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    pub fn end(&self) {
        self.is_over.store(true, Relaxed);
    }

    /// Where the history is, once all of it is there.
    pub fn written(&self) -> PathBuf {
        self.file.lock().unwrap().flush().unwrap();
        self.path.clone()
    }
}
