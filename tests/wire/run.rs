//! Plays a scenario against a job server, as the daemon would: frames are cut from what
//! a client sends, answered in order, and a connection is dropped where the protocol
//! says so.

use std::{collections::HashMap, fmt::Write};

use bytes::BytesMut;
use coordinated::{
    backend::{Retention, memory::Memory},
    jobserver::Answered,
    limits::FRAME_BYTES_MAX,
    wire::{FrameCodec, FrameError},
};
use tokio::task::JoinHandle;

use crate::{
    notation::{hex, show},
    script::{Action, Frames, Script},
    support::{Client, World, settings},
};

/// How often tasks get a chance before a request counts as waiting; each of a
/// request's steps on the memory backend needs one.
const TURNS: usize = 100;

/// Most steps of upkeep after the clock was moved.
const UPKEEP_STEPS_MAX: usize = 10_000;

/// What became of a scenario.
#[derive(Debug, Default)]
pub struct Outcome {
    pub exchanges: Vec<Exchange>,
    pub failures: Vec<String>,
}

/// What was sent, and what was answered.
#[derive(Debug)]
pub struct Exchange {
    pub request: Vec<u8>,
    pub reply: Vec<u8>,
    /// Both were written as bytes in the scenario.
    pub is_hex: bool,
}

/// What a request came to: the replies, and whether the connection goes on.
struct Replies {
    client: Client<Memory>,
    bytes: Vec<u8>,
    is_closed: bool,
}

enum Connection {
    /// Nothing is under way.
    Idle(Client<Memory>),
    /// The request from this line is being answered.
    Busy {
        line: usize,
        request: Frames,
        replies: JoinHandle<Replies>,
    },
    /// Dropped by the server over the request from this line.
    Closed { line: usize, is_said: bool },
}

struct Player {
    world: World<Memory>,
    connections: HashMap<String, Connection>,
    current: String,
    outcome: Outcome,
}

/// Plays the scenario; whatever is not as it says is a failure in the outcome.
pub async fn run(script: &Script) -> Outcome {
    let mut steps = script.steps.iter().peekable();
    let (mut settings, mut retention) = (settings(), Retention::default());
    while let Some(step) = steps.peek() {
        match &step.action {
            Action::Config(config) => settings.global_config = Some(config.clone()),
            Action::EnforceMinGb => settings.enforce_min_gb = true,
            Action::KeepCompleted(units) => retention.completed_count = Some(*units),
            _ => break,
        }
        steps.next();
    }
    let mut player = Player {
        world: World::memory_with(1024, retention, settings).await,
        connections: HashMap::new(),
        current: "main".to_owned(),
        outcome: Outcome::default(),
    };
    for step in steps {
        if let Err(why) = player.play(step.line, &step.action).await {
            player
                .outcome
                .failures
                .push(format!("{}:{}: {why}", script.name, step.line));
        }
    }
    let Player {
        connections,
        mut outcome,
        ..
    } = player;
    for connection in connections.into_values() {
        let (line, why) = match connection {
            Connection::Busy { line, .. } => (line, "the scenario ends without its answer"),
            Connection::Closed {
                line,
                is_said: false,
            } => (line, "dropped the connection, unsaid"),
            _ => continue,
        };
        outcome
            .failures
            .push(format!("{}:{line}: {why}", script.name));
    }
    outcome
}

impl Player {
    async fn play(&mut self, line: usize, action: &Action) -> Result<(), String> {
        match action {
            Action::Connection(name) => self.current.clone_from(name),
            Action::Advance(seconds) => {
                self.world.advance(*seconds);
                self.turns().await;
                self.world.server.upkeep(UPKEEP_STEPS_MAX).await.unwrap();
            }
            Action::Send(frames) => {
                let Connection::Idle(client) = self.connection() else {
                    return Err("the request before it is not answered".to_owned());
                };
                let request = Frames {
                    bytes: frames.bytes.clone(),
                    is_hex: frames.is_hex,
                };
                let server = self.world.server.clone();
                let refuse = move |error: FrameError, out: &mut BytesMut| {
                    server.refuse(&error.to_string(), out)
                };
                let replies = tokio::spawn(answer(client, frames.bytes.clone(), refuse));
                self.set(Connection::Busy {
                    line,
                    request,
                    replies,
                });
                self.turns().await;
            }
            Action::Expect(frames) => self.expect(frames).await?,
            Action::ExpectWaiting => {
                self.turns().await;
                let connection = self.connection();
                let is_waiting = matches!(&connection, Connection::Busy { replies, .. } if !replies.is_finished());
                self.set(connection);
                if !is_waiting {
                    return Err("nothing waits".to_owned());
                }
            }
            Action::ExpectClosed => {
                let mut connection = self.connection();
                let is_closed = matches!(connection, Connection::Closed { .. });
                if let Connection::Closed { is_said, .. } = &mut connection {
                    *is_said = true;
                }
                self.set(connection);
                if !is_closed {
                    return Err("the connection goes on".to_owned());
                }
            }
            Action::Config(_) | Action::EnforceMinGb | Action::KeepCompleted(_) => {
                return Err("settings come first".to_owned());
            }
        }
        Ok(())
    }

    /// Takes the current connection out; it must be put back.
    fn connection(&mut self) -> Connection {
        match self.connections.remove(&self.current) {
            Some(connection) => connection,
            None => Connection::Idle(self.world.client()),
        }
    }

    fn set(&mut self, connection: Connection) {
        self.connections.insert(self.current.clone(), connection);
    }

    /// Lets everything that can go on go on.
    async fn turns(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }

    async fn expect(&mut self, expected: &Frames) -> Result<(), String> {
        self.turns().await;
        let connection = self.connection();
        let (line, request, replies) = match connection {
            Connection::Busy {
                line,
                request,
                replies,
            } if replies.is_finished() => (line, request, replies),
            other => {
                self.set(other);
                return Err("there is no answer".to_owned());
            }
        };
        let Replies {
            client,
            bytes,
            is_closed,
        } = replies.await.map_err(|error| error.to_string())?;
        self.set(match is_closed {
            true => Connection::Closed {
                line,
                is_said: false,
            },
            false => Connection::Idle(client),
        });
        let result = compare(&expected.bytes, &bytes);
        let is_hex = request.is_hex && expected.is_hex;
        self.outcome.exchanges.push(Exchange {
            request: request.bytes,
            reply: bytes,
            is_hex,
        });
        result
    }
}

/// Answers what a client sends as the daemon does.
async fn answer(
    mut client: Client<Memory>,
    sent: Vec<u8>,
    refuse: impl Fn(FrameError, &mut BytesMut),
) -> Replies {
    let (mut codec, mut sent) = (FrameCodec::new(FRAME_BYTES_MAX), BytesMut::from(&sent[..]));
    let (mut replies, mut is_closed) = (BytesMut::new(), false);
    while !is_closed {
        match codec.decode(&mut sent) {
            Ok(None) => {
                assert!(
                    sent.is_empty(),
                    "a scenario sends whole frames: {sent:02x?}"
                );
                break;
            }
            Ok(Some(frame)) => {
                let (answered, reply) = client.answered(&frame).await;
                replies.extend_from_slice(&reply);
                is_closed = matches!(answered, Answered::Malformed(_));
            }
            Err(error) => {
                refuse(error, &mut replies);
                is_closed = true;
            }
        }
    }
    Replies {
        client,
        bytes: replies.to_vec(),
        is_closed,
    }
}

fn compare(expected: &[u8], actual: &[u8]) -> Result<(), String> {
    if expected == actual {
        return Ok(());
    }
    let same = expected
        .iter()
        .zip(actual)
        .take_while(|(one, other)| one == other)
        .count();
    let mut why = format!("the replies differ from byte {same} on");
    for (name, bytes) in [("expected", expected), ("actual  ", actual)] {
        write!(
            why,
            "\n  {name} {}\n           {}",
            hex(bytes),
            shown(bytes)
        )
        .unwrap();
    }
    Err(why)
}

/// Each frame in notation.
fn shown(mut bytes: &[u8]) -> String {
    let mut shown = Vec::new();
    let mut codec = FrameCodec::new(FRAME_BYTES_MAX);
    let mut rest = BytesMut::from(bytes);
    while let Ok(Some(_)) = codec.decode(&mut rest) {
        let (frame, after) = bytes.split_at(bytes.len() - rest.len());
        shown.push(show(frame));
        bytes = after;
    }
    if !bytes.is_empty() {
        shown.push(show(bytes));
    }
    shown.join(" ")
}
