"""The word-count flow with a Python 3 client that speaks the protocol itself.

    flow.py ADDRESS

Four worker processes, two in each dialect, so that units are made by one and done by the
other. Same work, same files and same check as the flow of the original client.
"""
import multiprocessing
import os
import signal
import sys
import tempfile
import time

CLIENTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, CLIENTS)
import corpus  # noqa: E402
import wordcount  # noqa: E402
from rpc import Client  # noqa: E402

DIALECTS = ('text', 'bytes', 'text', 'bytes')
FINISHED, FAILED = 4, 5
UNFINISHED = (1, 3)  # available, pending
SECONDS_MAX = 120
ADD_UNITS_MAX = 500


class WorkUnit:
    """What the steps in `wordcount.py` expect: a key and data."""

    def __init__(self, key, data):
        self.key = key
        self.data = data


def main(address):
    """Fills the daemon, works, checks; ends the process with a message if that fails."""
    files = corpus.choose()
    expected = corpus.expect(files, wordcount.LETTER_GROUPS)
    wanted = {'count_words': len(files), 'sum_letters': len(corpus.units(expected))}
    with tempfile.TemporaryDirectory(prefix='flow-') as ledgers:
        client = Client(address)
        fill(client, files, ledgers)
        started = time.monotonic()
        workers = [multiprocessing.Process(target=work, args=(address, name, dialect), daemon=True)
                   for name, dialect in zip(worker_names(), DIALECTS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(max(0, started + SECONDS_MAX - time.monotonic()))
        seconds = time.monotonic() - started
        wrong = [f'a worker ended with {worker.exitcode}'
                 for worker in workers if worker.exitcode != 0]
        for worker in workers:
            worker.kill()

        for name, units in wanted.items():
            counts = client.pair('count_work_units', name)
            if counts != {FINISHED: units}:
                wrong.append(f'{name}: {counts}, should be {units} finished')
        left = sorted(client.pair('list_worker_modes').keys() & set(worker_names()))
        wrong += [f'still registered: {name}' for name in left]
        wrong += corpus.check(ledgers, expected)
        for name in wanted:
            client.pair('del_work_spec', name)
        client.close()
    if wrong:
        sys.exit('\n'.join(['the result is wrong:'] + wrong[:40]))
    units = sum(wanted.values())
    words = sum(sum(counts.values()) for counts in expected.values())
    print(f'{len(files)} files, {units} units, {words} words: right; '
          f'{seconds:.1f} s, {units / seconds:.0f} units/s')


def worker_names():
    """The ids of the worker processes."""
    return [f'flow-{number}' for number in range(len(DIALECTS))]


def fill(client, files, ledgers):
    """Defines the two steps and adds a unit per file."""
    for name in ('count_words', 'sum_letters'):
        client.pair('del_work_spec', name)  # what an earlier flow left on this daemon
    step = {'min_gb': 0.01, 'module': 'wordcount'}
    client.pair('set_work_spec', dict(
        step, name='count_words', run_function='count_words', then='sum_letters'))
    client.pair('set_work_spec', dict(
        step, name='sum_letters', run_function='sum_letters', run_params={'directory': ledgers}))
    for start in range(0, len(files), ADD_UNITS_MAX):
        batch = [(path, {}) for path in files[start:start + ADD_UNITS_MAX]]
        assert client.pair('add_work_units', 'count_words', batch) is True


def work(address, name, dialect):
    """A worker process: does units until both steps have none left."""
    client = Client(address, dialect)
    assert client.pair('worker_heartbeat', name, 'RUN', 300, {'pid': os.getpid()}, None) is True
    while True:
        spec_name, key, data = client.pair('get_work', name, {'max_jobs': 1, 'lease_time': 60})
        if spec_name is not None:
            work_one(client, spec_name, key, data)
        elif all_done(client):
            break
        else:
            time.sleep(0.02)  # another worker's unit may still chain some
    assert client.pair('worker_unregister', name) is True
    client.close()


def work_one(client, spec_name, key, data):
    """One unit, as the worker of the old package does it, but finished only once."""
    unit = WorkUnit(key, as_text(data))
    spec = as_text(client.call('get_work_spec', spec_name))
    try:
        step = getattr(wordcount, spec['run_function'])
        step(unit, **spec.get('run_params', {}))
    except Exception as error:
        unit.data['traceback'] = repr(error)
        client.pair('update_work_unit', spec_name, key, {'status': FAILED, 'data': unit.data})
        raise
    done = client.pair('update_work_unit', spec_name, key, {'status': FINISHED, 'data': unit.data})
    assert done is True, f'finish of {key!r} refused'


def all_done(client):
    """Whether no unit of either step is left to do. In this order: what the first step
    still chains cannot be missed."""
    return not any(client.pair('count_work_units', name).get(status)
                   for name in ('count_words', 'sum_letters') for status in UNFINISHED)


def as_text(value):
    """Data as it would be if nobody spoke bytes: it comes back as whoever made it sent it."""
    if isinstance(value, bytes):
        return value.decode('utf-8')
    if isinstance(value, (list, tuple)):
        return type(value)(as_text(item) for item in value)
    if isinstance(value, dict):
        return {as_text(name): as_text(item) for name, item in value.items()}
    return value


if __name__ == '__main__':
    # So that the workers are stopped too when run.sh has waited long enough.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped by SIGTERM'))
    main(*sys.argv[1:])
