"""Runs the word-count flow with the programs of the old package, and checks the result.

    old_flow.py ADDRESS PYTHON2_ENVIRONMENT LOG_DIRECTORY

`coordinate flow` and `coordinate load` fill the daemon, `coordinate_worker` with four
processes empties it, `coordinate summary` says when it has. Python 3, standard library
only: just the programs under test are old.
"""
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

CLIENTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, CLIENTS)
import corpus  # noqa: E402
import wordcount  # noqa: E402

WORKERS = 4
SECONDS_MAX = 240


def main(address, environment, logs):
    """Fills the daemon, works, checks; ends the process with a message if that fails."""
    files = corpus.choose()
    expected = corpus.expect(files, wordcount.LETTER_GROUPS)
    with tempfile.TemporaryDirectory(prefix='old-flow-') as folder:
        ledgers = os.path.join(folder, 'ledgers')
        os.mkdir(ledgers)
        write_inputs(folder, address, ledgers, files)
        programs = Programs(environment, folder, logs)
        programs.coordinate('flow', 'flow.yaml')
        programs.coordinate('load', '-w', 'count_words.yaml', '-u', 'units.json')

        started = time.monotonic()
        with programs.worker():
            summary = wait_until_done(programs, started)
        seconds = time.monotonic() - started
        look_around(programs, files)

        wanted = {'count_words': len(files), 'sum_letters': len(corpus.units(expected))}
        wrong = compare(summary, wanted) + corpus.check(ledgers, expected)
    if wrong:
        sys.exit('\n'.join(['the result is wrong:'] + wrong[:40]))
    units = sum(wanted.values())
    words = sum(sum(counts.values()) for counts in expected.values())
    print(f'{len(files)} files, {units} units, {words} words: right; '
          f'{seconds:.1f} s, {units / seconds:.0f} units/s')


def write_inputs(folder, address, ledgers, files):
    """The files that the programs read. JSON is YAML enough for them."""
    step = {'min_gb': 0.01, 'module': 'wordcount'}
    first = dict(step, run_function='count_words', then='sum_letters')
    second = dict(step, run_function='sum_letters', run_params={'directory': ledgers})
    inputs = {
        'config.yaml': {'coordinate': {
            'address': address,
            'fork_worker': {'num_workers': WORKERS, 'poll_interval': 0.2}}},
        'flow.yaml': {'flows': {'count_words': first, 'sum_letters': second}},
        # `load` sets the spec again, so this one must name its successor too.
        'count_words.yaml': dict(first, name='count_words'),
    }
    for name, content in inputs.items():
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            json.dump(content, file)
    with open(os.path.join(folder, 'units.json'), 'w', encoding='utf-8') as file:
        file.writelines(json.dumps({path: {}}) + '\n' for path in files)


class Programs:
    """The package's command lines, with their configuration and logs."""

    def __init__(self, environment, folder, logs):
        self._bin = os.path.join(environment, 'bin')
        self._folder = folder
        self._logs = logs
        self._env = dict(os.environ, PYTHONPATH=CLIENTS, PYTHONDONTWRITEBYTECODE='1',
                         PYTHONWARNINGS='ignore')

    def coordinate(self, command, *arguments):
        """Runs `coordinate COMMAND`, which must succeed, and returns what it printed."""
        with open(os.path.join(self._logs, 'coordinate.log'), 'ab') as log:
            done = subprocess.run(
                [os.path.join(self._bin, 'coordinate'), '-c', 'config.yaml', command, *arguments],
                cwd=self._folder, env=self._env, stdout=subprocess.PIPE, stderr=log, timeout=120)
        if done.returncode != 0:
            sys.exit(f'coordinate {command} ended with {done.returncode}')
        return done.stdout.decode('utf-8')

    def worker(self):
        """Starts `coordinate_worker`; the `with` block's end stops it."""
        with open(os.path.join(self._logs, 'worker.log'), 'ab') as log:
            process = subprocess.Popen(
                [os.path.join(self._bin, 'coordinate_worker'), '-c', 'config.yaml', '--foreground'],
                cwd=self._folder, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        return Worker(process)


class Worker:
    """A running `coordinate_worker`, which never ends by itself: out of work, it polls."""

    def __init__(self, process):
        self._process = process

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        # SIGTERM starts no more children and waits for those there are; the second
        # try takes its session, which is the worker, its children and its logger.
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if error is None:
                sys.exit('coordinate_worker did not stop within 20 s of SIGTERM')
        if error is None and self._process.returncode != 0:
            sys.exit(f'coordinate_worker ended with {self._process.returncode}')


def wait_until_done(programs, started):
    """Asks until nothing is left to do, and returns the last `coordinate summary`.

    The first step is counted before the second in each summary, and a finished unit has
    already chained: so when the first is done, the second's units are all counted.
    """
    while True:
        summary = json.loads(programs.coordinate('summary', '--json'))
        steps = [summary['count_words'], summary['sum_letters']]
        if not any(step['num_available'] + step['num_pending'] for step in steps):
            return summary
        if any(step['num_failed'] for step in steps) or time.monotonic() - started > SECONDS_MAX:
            sys.exit(f'not done after {time.monotonic() - started:.0f} s: {summary}')
        time.sleep(0.5)


def look_around(programs, files):
    """The other commands that only read: each must end well and show what it is about."""
    first = files[0]
    for shown, command in (
            ('count_words', ['summary']),
            ('"num_failed": 0', ['status', '-W', 'count_words']),
            ('sum_letters', ['work_specs']),
            ('"then": "sum_letters"', ['work_spec', '-W', 'count_words', '--json']),
            (min(files), ['work_units', '-W', 'count_words', '-s', 'finished', '-n', '1']),
            ('words', ['work_units', '-W', 'count_words', '-n', '2', '--details']),
            (first + ' (4', ['work_unit', '-W', 'count_words', first]),
            ('num_workers', ['worker_stats']),
            ('', ['workers'])):
        output = programs.coordinate(*command)
        if shown not in output:
            sys.exit(f'coordinate {" ".join(command)}: no {shown!r} in {output[:400]!r}')


def compare(summary, wanted):
    """Every unit there is must be finished, and there must be as many as wanted."""
    wrong = []
    for name, units in wanted.items():
        counts = {state: count for state, count in summary[name].items() if count}
        if counts != {'num_finished': units, 'num_tasks': units}:
            wrong.append(f'{name}: {counts}, should be {units} finished')
    return wrong


if __name__ == '__main__':
    # So that the workers are stopped too when run.sh has waited long enough.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped by SIGTERM'))
    main(*sys.argv[1:])
