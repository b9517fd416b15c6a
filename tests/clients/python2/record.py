"""Records what the original client sends, one real frame per file, for the golden tests.

    PYTHON2_ENVIRONMENT/bin/python record.py [DIRECTORY]      (default: recorded/ beside this)

The client talks to a server in this process that knows just enough answers to keep it
going. Every run writes the same bytes. A file is one comment line and the frame in hex:
first the wrapper (tag 24 and the length), then what is in it, 32 bytes a line.
"""
from __future__ import absolute_import, print_function

import collections
import os
import socket
import sys
import threading
import uuid

import cbor

from coordinate.base_client import cbor_return, make_cbor_tagmapper
from coordinate.job_client import TaskMaster, WorkUnit

#: Answers of the methods whose answer is not a pair; the others get (True, None).
ANSWERS = {
    'get_work_spec': None,
    'list_work_specs': ([], None),
    'clear': 0,
    'worker_stats': {'num_workers': 0, 'num_children': 0, 'num_expirable': 0},
    'get_work': ((None, None, None), None),
    'get_work_units': ([], None),
    'get_work_unit_status': ([None], None),
    'get_child_work_units': ({}, None),
}

#: What psutil gives a worker to report: a named tuple, and so tag 128 on the wire.
Memory = collections.namedtuple('Memory', 'total available percent used free')

SPEC = {
    'name': 'count_words',
    'min_gb': 0.5,
    'module': 'wordcount',
    'run_function': 'count_words',
    'run_params': ['a', 1],
    'then': 'sum_letters',
    'nice': 0,
}


#: What a worker says of itself, with the types and the keys of a real one.
ENVIRONMENT = {
    'worker_id': 'child',
    'parent': 'parent',
    'pid': 4711,
    'hostname': 'host',
    'fqdn': 'host.example',
    'aliases': (),
    'ipaddrs': ('192.0.2.1',),
    'version': '0.1.5',
    'working_set': [('cbor', '1.0.0'), ('six', '1.17.0')],
    'memory': Memory(2 ** 34, 2 ** 33, 50.0, 2 ** 33, 2 ** 32),
}


def calls(client):
    """(file name, what it is, function that makes the client send one request)."""
    unit = WorkUnit(client, 'count_words', 'doc/a.txt', {'size': 12}, 'worker-1')

    def finish_with_data():
        unit.data['output'] = [('a doc/a.txt', {'counts': {'a': 3}}), 'b doc/a.txt']
        unit.finish()

    yield ('set_work_spec', 'a spec as a YAML file gives it: byte strings',
           lambda: client.set_work_spec(SPEC))
    yield ('set_work_spec_text', 'a spec as JSON gives it: the values are text',
           lambda: client.set_work_spec({
               'name': u'se\xf1al', u'min_gb': 1, u'continuous': True, u'interval': 0.5,
               u'weight': 7, u'config': {u'x': None, u'y': [1, 2.5, True]}}))
    yield ('get_work_spec', 'the definition of a spec',
           lambda: client.get_work_spec('count_words'))
    yield ('control_work_spec', 'pause a spec', lambda: client.pause_work_spec('count_words'))
    yield ('list_work_specs', 'all specs', client.list_work_specs)
    yield ('list_work_specs_page', 'a page of specs',
           lambda: client.list_work_specs(limit=2, start='b'))
    yield ('del_work_spec', 'delete a spec', lambda: client.del_work_spec('count_words'))
    yield ('clear', 'delete everything', client.clear)

    yield ('add_work_units', 'pairs as tuples; keys and data of both string types',
           lambda: client.add_work_units('count_words', [
               ('a', {'x': (1, 'y')}), (u'b', {u'x': u'\xfc'}), ('c\xff\x00', {})]))
    yield ('add_work_units_meta', 'a triple with metadata, and a list in place of a tuple',
           lambda: client.add_work_units('count_words', [
               ('a', {}, {'priority': 3}), ['b', {}, {'delay': 1.5}]]))
    yield ('add_work_units_values', 'values that Python can hold: large numbers, a UUID',
           lambda: client.add_work_units('count_words', [('a', {
               'big': 2 ** 64, 'long': 2 ** 63, 'negative': -2 ** 40, 'float': 1e300,
               'id': uuid.UUID('01234567-89ab-cdef-0123-456789abcdef'),
               'mixed': [1, (2, [3, 4])]})]))
    yield ('count_work_units', 'counts of a spec',
           lambda: client.count_work_units('count_words'))
    yield ('prioritize_work_units', 'to the front: priority 1, adjustment nil',
           lambda: client.prioritize_work_units('count_words', ['a', u'b']))
    yield ('prioritize_work_units_adjust', 'by adjustment, priority nil',
           lambda: client.prioritize_work_units('count_words', ['a'], adjustment=-2.5))
    yield ('get_work_units', 'units by key',
           lambda: client.get_work_units('count_words', work_unit_keys=['a', 'zz']))
    yield ('get_work_units_states', 'a page of the unfinished units: the states are a tuple',
           lambda: client.get_work_units('count_words', state=(1, 3), limit=10, start='a'))
    yield ('get_work_unit_status', 'status of one unit',
           lambda: client.get_work_unit_status('count_words', 'a'))
    yield ('del_work_units', 'by key and state',
           lambda: client.del_work_units('count_words', work_unit_keys=['a'], state=5))
    yield ('del_work_units_all', 'all of a spec',
           lambda: client.del_work_units('count_words', all=True))

    yield ('get_work', 'what a test or a simple program asks for',
           lambda: client.get_work('worker-1'))
    yield ('get_work_worker', 'what a worker asks for',
           lambda: client.get_work('worker-1', available_gb=3.25, lease_time=300,
                                   work_spec_names=['count_words']))
    yield ('get_work_any_count', 'max_jobs absent',
           lambda: client.get_work('worker-1', max_jobs=None))
    yield ('update_work_unit_lease', 'a longer lease', lambda: unit.update(lease_time=600))
    yield ('update_work_unit_release', 'give the unit back: a lease of -1 s',
           lambda: unit.update(-1))
    yield ('update_work_unit_finish', 'finished, with data that chains', finish_with_data)
    yield ('update_work_unit_finish_again', 'finished, as the worker says a second time',
           unit.finish)
    yield ('update_work_unit_fail', 'failed, with a traceback', lambda: unit.fail('broken'))
    yield ('update_work_unit_retry', 'try again',
           lambda: client.retry('count_words', 'doc/a.txt'))

    yield ('worker_heartbeat', 'a test registers: all but the id and the lifetime is nil',
           lambda: client.worker_register('parent'))
    yield ('worker_heartbeat_child', 'a worker process registers, with its environment',
           lambda: client.worker_heartbeat('child', 'RUN', 6000, ENVIRONMENT, parent='parent'))
    yield ('get_child_work_units', 'what the children of a worker do',
           lambda: client.get_child_work_units('parent'))
    yield ('get_worker_info', 'what a worker said of itself',
           lambda: client.get_heartbeat('child'))
    yield ('list_worker_modes', 'all workers', client.workers)
    yield ('mode_counts', 'workers by mode', client.mode_counts)
    yield ('worker_stats', 'as the command line asks', lambda: client._rpc('worker_stats', []))
    yield ('worker_unregister', 'a worker leaves', lambda: client.worker_unregister('child'))
    yield ('get_config', 'the configuration of the server', client.get_server_config)


def receive(connection):
    """One frame: tag 24, then a byte string with at most four bytes of length."""
    frame = connection.recv(3)
    if frame:
        more = {24: 1, 25: 2, 26: 4}.get(ord(frame[2]) & 0x1f, 0)
        frame += exactly(connection, more)
        length = int(frame[3:].encode('hex'), 16) if more else ord(frame[2]) & 0x1f
        frame += exactly(connection, length)
    return frame


def exactly(connection, count):
    """`recv`, but all of it."""
    data = b''
    while len(data) < count:
        data += connection.recv(count - len(data))
    return data


def serve(listener, frames):
    """Answers one client, and keeps what it sent."""
    mapper = make_cbor_tagmapper()
    connection, _ = listener.accept()
    while True:
        frame = receive(connection)
        if not frame:
            return
        frames.append(frame)
        request = mapper.loads(frame)
        result = ANSWERS.get(request['method'], (True, None))
        connection.sendall(cbor_return(mapper, {'id': request['id'], 'result': result}))


def write(path, comment, frame):
    """Comment line, wrapper, payload."""
    payload = cbor.loads(frame).value
    assert frame.endswith(payload)
    parts = [frame[:-len(payload)]]
    parts += [payload[start:start + 32] for start in range(0, len(payload), 32)]
    with open(path, 'wb') as recorded:
        recorded.write('# %s\n' % comment)
        for part in parts:
            recorded.write(' '.join('%02x' % ord(byte) for byte in part) + '\n')


def main(directory):
    """Sends everything, and writes what was sent."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    frames = []
    server = threading.Thread(target=serve, args=(listener, frames))
    server.start()
    client = TaskMaster({'address': listener.getsockname()})
    if not os.path.isdir(directory):
        os.makedirs(directory)
    for name, comment, send in calls(client):
        del frames[:]
        send()
        assert len(frames) == 1, name
        method = make_cbor_tagmapper().loads(frames[0])['method']
        assert name.startswith(method), name
        write(os.path.join(directory, name + '.hex'), '%s: %s' % (method, comment), frames[0])
    client.close()
    server.join()


if __name__ == '__main__':
    main(sys.argv[1] if len(sys.argv) > 1
         else os.path.join(os.path.dirname(os.path.abspath(__file__)), 'recorded'))
