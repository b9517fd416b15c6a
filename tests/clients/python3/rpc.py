"""A CBOR-RPC client for tests: small, strict, and able to speak as Python 2 would.

Strict: a reply must be tag 24 around a byte string, of definite length, with nothing
else in it than `id` and either `result` or `error`, text keys. What the protocol lets
a server choose is not checked here.
"""
import socket

import cbor2

TAG_CBOR = 24
TAG_TUPLE = 128


class CallError(Exception):
    """The server answered `error`."""


class Client:
    """One connection. `dialect` is 'text' or 'bytes': which string type is sent."""

    def __init__(self, address, dialect='text'):
        host, port = address.rsplit(':', 1)
        self._socket = socket.create_connection((host, int(port)), timeout=120)
        self._replies = self._socket.makefile('rb')
        self._encode = {'text': _as_text, 'bytes': _as_bytes}[dialect]
        self._last_id = 0

    def call(self, method, *params):
        """Calls a method and returns its result."""
        self._last_id += 1
        request = {'id': self._last_id, 'method': method, 'params': list(params)}
        payload = cbor2.dumps(self._encode(request))
        self._socket.sendall(cbor2.dumps(cbor2.CBORTag(TAG_CBOR, payload)))
        reply = self._receive()
        assert reply.get('id') == self._last_id, f'{method}: id of another request: {reply}'
        assert set(reply) in ({'id', 'result'}, {'id', 'error'}), f'{method}: odd reply: {reply}'
        if 'error' in reply:
            raise CallError(f'{method}: {reply["error"]["message"]}')
        return reply['result']

    def pair(self, method, *params):
        """Calls a method that answers (result, message), and returns the result."""
        answer = self.call(method, *params)
        assert isinstance(answer, tuple) and len(answer) == 2, f'{method}: no pair: {answer}'
        return answer[0]

    def close(self):
        """Hangs up."""
        self._replies.close()
        self._socket.close()

    def _receive(self):
        """Reads exactly one frame, never a byte of the next."""
        head = self._read(3)
        assert head[:2] == b'\xd8\x18' and head[2] >> 5 == 2, f'no frame: {head.hex()}'
        length = head[2] & 0x1f
        if length >= 24:
            assert length <= 27, f'frame of indefinite length: {head.hex()}'
            length = int.from_bytes(self._read(1 << (length - 24)), 'big')
        return cbor2.loads(self._read(length), tag_hook=_tag)

    def _read(self, count):
        data = self._replies.read(count)
        if len(data) != count:
            raise ConnectionError('the server hung up')
        return data


def _tag(_decoder, tag):
    """Tuples come as tag 128, and no other tag is ours."""
    return tuple(tag.value) if tag.tag == TAG_TUPLE else tag


def _as_text(value):
    return value


def _as_bytes(value):
    """What a Python 2 program would have sent: byte strings, and tuples as tag 128."""
    if isinstance(value, str):
        return value.encode('utf-8')
    if isinstance(value, tuple):
        return cbor2.CBORTag(TAG_TUPLE, [_as_bytes(item) for item in value])
    if isinstance(value, list):
        return [_as_bytes(item) for item in value]
    if isinstance(value, dict):
        return {_as_bytes(key): _as_bytes(item) for key, item in value.items()}
    return value
