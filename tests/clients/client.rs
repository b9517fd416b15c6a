//! A client that sends any bytes, and checks what comes back by hand: neither shares code
//! with the daemon.

use std::{
    io::{self, BufReader, ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_cbor::Value;

use crate::{
    daemon::DEADLINE,
    value::{get, has, text},
};

/// A head of a CBOR item, as wide as can be: nobody need know how long it is.
pub fn head(major: u8, argument: u64) -> Vec<u8> {
    [&[major << 5 | 27][..], &argument.to_be_bytes()].concat()
}

/// A frame around these bytes.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    [&[0xd8, 0x18][..], &head(2, payload.len() as u64), payload].concat()
}

/// The map that a request is; `params` is one item.
pub fn request(id: u64, method: &str, params: &[u8]) -> Vec<u8> {
    let name = |name: &str| [&head(3, name.len() as u64), name.as_bytes()].concat();
    let (id_key, method_key, params_key) = (name("id"), name("method"), name("params"));
    let (id, method) = (head(0, id), name(method));
    [
        &[0xa3][..],
        &id_key,
        &id,
        &method_key,
        &method,
        &params_key,
        params,
    ]
    .concat()
}

/// The frame of a request.
pub fn call<const N: usize>(id: u64, method: &str, params: [Value; N]) -> Vec<u8> {
    let params = serde_cbor::to_vec(&Value::Array(params.into())).unwrap();
    frame(&request(id, method, &params))
}

/// What came back for one request: its id, and its result or its error's message.
pub type Reply = (u64, Result<Value, String>);

/// One connection. Anything that takes longer than it may is an error.
pub struct Client {
    stream: BufReader<TcpStream>,
    id: u64,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Client {
            stream: BufReader::new(stream),
            id: 0,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket().local_addr().unwrap()
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    /// How long it waits for a reply.
    pub fn wait_at_most(&self, time: Duration) {
        self.socket().set_read_timeout(Some(time)).unwrap();
    }

    pub fn send(&self, bytes: &[u8]) {
        self.socket().write_all(bytes).unwrap();
    }

    /// Tells the daemon that nothing more will be sent.
    pub fn send_no_more(&self) {
        self.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// Reads one reply.
    pub fn reply(&mut self) -> Reply {
        self.next().expect("the connection ended before the reply")
    }

    /// Reads one reply, or the reset.
    pub fn next(&mut self) -> Option<Reply> {
        match self.payload() {
            Ok(payload) => Some(read_reply(serde_cbor::from_slice(&payload).unwrap())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
                None
            }
        }
    }

    /// Reads what is in one frame. An error if there is none; half a one is never right.
    pub fn payload(&mut self) -> io::Result<Vec<u8>> {
        let mut tag = [0; 3];
        self.stream.read_exact(&mut tag[..1])?;
        self.stream.read_exact(&mut tag[1..]).unwrap();
        assert_eq!((tag[0], tag[1], tag[2] >> 5), (0xd8, 0x18, 2), "no frame");
        let additional = usize::from(tag[2] & 31);
        let mut length = [0; 8];
        let wide = match additional {
            0..24 => 0,
            24..28 => 1 << (additional - 24),
            _ => panic!("replies have definite lengths"),
        };
        self.stream.read_exact(&mut length[8 - wide..]).unwrap();
        let length = match wide {
            0 => additional,
            _ => usize::try_from(u64::from_be_bytes(length)).unwrap(),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).unwrap();
        Ok(payload)
    }

    /// Checks that nothing more comes, and that the connection ends as it must: old
    /// clients hang on an orderly close (protocol.md §1).
    pub fn meets_reset(mut self) {
        let end = self.stream.read(&mut [0]);
        assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    /// Calls a method that must not answer with an error.
    pub fn call<const N: usize>(&mut self, method: &str, params: [Value; N]) -> Value {
        let result = self.try_call(method, params);
        result.unwrap_or_else(|message| panic!("{method} answered an error: {message}"))
    }

    /// Calls a method; its result, or the message of its error.
    pub fn try_call<const N: usize>(
        &mut self,
        method: &str,
        params: [Value; N],
    ) -> Result<Value, String> {
        self.id += 1;
        self.send(&call(self.id, method, params));
        let (id, result) = self.reply();
        assert_eq!(id, self.id);
        result
    }

    /// Calls a method that must answer with a pair without a message; its value.
    pub fn ok<const N: usize>(&mut self, method: &str, params: [Value; N]) -> Value {
        pair(self.call(method, params))
    }
}

/// The value of a pair, which must be without a message.
pub fn pair(pair: Value) -> Value {
    match pair {
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([value, Value::Null]) => value,
            other => panic!("no pair, or one with a message: {other:?}"),
        },
        other => panic!("no pair: {other:?}"),
    }
}

/// Takes a reply apart, which has an id and either a result or an error.
pub fn read_reply(reply: Value) -> Reply {
    let Value::Integer(id) = get(&reply, "id") else {
        panic!("no id in {reply:?}");
    };
    let result = match (has(&reply, "result"), has(&reply, "error")) {
        (true, false) => Ok(get(&reply, "result")),
        (false, true) => match get(&get(&reply, "error"), "message") {
            Value::Text(message) => Err(message),
            other => panic!("no message: {other:?}"),
        },
        _ => panic!("neither result nor error, or both: {reply:?}"),
    };
    (u64::try_from(id).unwrap(), result)
}

/// A map with text keys.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.map(|(key, value)| (text(key), value)).into())
}

/// A work spec with nothing but a name.
pub fn spec(name: &str) -> Value {
    map([("name", text(name))])
}
