//! Peers that speak something else. Nearly every byte begins a CBOR item, and many are one,
//! so such a stream may look like hundreds of messages.

use std::io::Read as _;

use crate::{client::Client, daemon::Daemon};

/// Most bytes that a peer gets back which never sends a request.
const REPLY_BYTES_MAX: usize = 8 << 10;

/// The first flight of a TLS 1.3 client, without some of its extensions.
fn tls_hello() -> Vec<u8> {
    let random: Vec<u8> = (0..64).map(|byte: u8| byte.wrapping_mul(151)).collect();
    let mut hello = b"\x03\x03".to_vec();
    hello.extend(&random[..32]);
    hello.push(32);
    hello.extend(&random[32..]);
    hello.extend(b"\x00\x08\x13\x02\x13\x03\x13\x01\x00\xff\x01\x00");
    let extensions =
        b"\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost\x00\x0b\x00\x04\x03\x00\x01\x02\
        \x00\x0a\x00\x16\x00\x14\x00\x1d\x00\x17\x00\x1e\x00\x19\x00\x18\x01\x00\x01\x01\x01\x02\
        \x01\x03\x01\x04\x00\x23\x00\x00\x00\x16\x00\x00\x00\x17\x00\x00\x00\x0d\x00\x1e\x00\x1c\
        \x04\x03\x05\x03\x06\x03\x08\x07\x08\x08\x08\x09\x08\x0a\x08\x0b\x08\x04\x08\x05\x08\x06\
        \x04\x01\x05\x01\x06\x01\x00\x2b\x00\x03\x02\x03\x04\x00\x2d\x00\x02\x01\x01";
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let length = u16::try_from(hello.len()).unwrap();
    let mut record = b"\x16\x03\x01".to_vec();
    record.extend((length + 4).to_be_bytes());
    record.extend(b"\x01\x00");
    record.extend(length.to_be_bytes());
    record.extend(hello);
    record
}

/// Reads until the reset; how many bytes came.
fn read_to_reset(client: &Client) -> usize {
    let mut received = Vec::new();
    let end = client.socket().read_to_end(&mut received).unwrap_err();
    assert_eq!(end.kind(), std::io::ErrorKind::ConnectionReset);
    received.len()
}

/// Sends `streams`, each over a connection of its own, and checks that each gets something
/// to read, little of it, a reset, and a line in the log.
fn are_turned_away(streams: &[Vec<u8>]) {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let clients: Vec<Client> = streams.iter().map(|_| daemon.connect()).collect();
    for (client, stream) in clients.iter().zip(streams) {
        client.send(stream);
    }
    for client in clients {
        let peer = client.address();
        let reply_bytes = read_to_reset(&client);
        assert!(
            reply_bytes > 0 && reply_bytes <= REPLY_BYTES_MAX,
            "{reply_bytes} bytes"
        );
        let line = daemon.logged(|line| line["peer"] == peer.to_string().as_str());
        assert_eq!(line["level"], "WARN");
    }
    bystander.stays_undisturbed(16);
}

#[test]
fn a_tls_client_is_turned_away() {
    are_turned_away(&[tls_hello()]);
}

#[test]
fn peers_that_send_lines_of_text_are_turned_away() {
    let request =
        b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:5932\r\nUser-Agent: x/1\r\nAccept: */*\r\n\r\n";
    are_turned_away(&[
        request.repeat(50),
        b"EHLO mail.example.org\r\n".repeat(100),
        b"SSH-2.0-OpenSSH_9.6\r\n".repeat(100),
        b"\n".repeat(100_000),
        b" ".repeat(100_000),
    ]);
}

#[test]
fn a_megabyte_of_any_one_byte_gets_few_replies_or_none() {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let clients: Vec<_> = (0..=255u8)
        .map(|byte| {
            let client = daemon.connect();
            // Whoever is turned away meanwhile may meet the reset while still sending.
            let _ = std::io::Write::write_all(&mut client.socket(), &[byte; 1 << 18]);
            let _ = client.socket().shutdown(std::net::Shutdown::Write);
            client
        })
        .collect();
    for client in clients {
        let reply_bytes = read_to_reset(&client);
        assert!(reply_bytes <= REPLY_BYTES_MAX, "{reply_bytes} bytes");
    }
    bystander.stays_undisturbed(64);
}

#[test]
fn random_bytes_get_few_replies_or_none() {
    let daemon = Daemon::start();
    let bystander = daemon.bystander();
    let clients: Vec<_> = (0..400)
        .map(|seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let bytes: Vec<u8> = (0..1 << 14).map(|_| random.u8(..)).collect();
            let client = daemon.connect();
            client.send(&bytes);
            client.send_no_more();
            client
        })
        .collect();
    for client in clients {
        let reply_bytes = read_to_reset(&client);
        assert!(reply_bytes <= REPLY_BYTES_MAX, "{reply_bytes} bytes");
    }
    bystander.stays_undisturbed(64);
}
