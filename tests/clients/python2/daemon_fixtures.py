"""Points the test modules of the `coordinate` package at a running daemon.

The package's tests reach a `JobQueue` inside their own process, through two
fixtures of `test_job_client`. This pytest plugin swaps those two before anything
is collected, so the tests themselves run as they were published:

    COORDINATED_ADDRESS=127.0.0.1:5932 \
        pytest -p daemon_fixtures --pyargs coordinate.tests.test_job_client

Each test gets a daemon without work specs and workers, and a connection of its own.
"""
from __future__ import absolute_import, print_function

import os

import pytest

# Before the import, or the package's bare asserts would fail without saying why.
pytest.register_assert_rewrite('coordinate.tests.test_job_client')

from coordinate.job_client import TaskMaster  # noqa: E402
from coordinate.tests import test_job_client  # noqa: E402

#: Sockets opened by tests. A run that opened none has tested something else.
connections = []


@pytest.fixture
def job_queue():
    """There is no server in this process; a test that wants one is out of place here."""
    pytest.fail('this test wants a job queue in its own process')


@pytest.fixture
def task_master():
    """A client of the daemon, which is emptied first."""
    client = TaskMaster({'address': os.environ['COORDINATED_ADDRESS'], 'retries': 0})
    # Not clear(): the old Python server hands out nothing after it, and this plugin
    # is tried against that server too.
    for spec in list(client.iter_work_specs()):
        client.del_work_spec(spec['name'])
    for worker_id in client.workers():
        client.worker_unregister(worker_id)
    connections.append(client._local_addr)
    yield client
    client.close()


@pytest.fixture
def namespace_string():
    """Some releases of the package ask for a name of their own per test."""
    return 'coordinated_client_test'


# Python looks fixtures up in the module that defines the tests first, so a conftest
# could not replace them. Modules that import the fixtures from there follow suit.
test_job_client.job_queue = job_queue
test_job_client.task_master = task_master


def pytest_terminal_summary(terminalreporter):
    """Says how many connections were made; run.sh wants one per test."""
    terminalreporter.write_line('connections to the daemon: %d' % len(connections))
