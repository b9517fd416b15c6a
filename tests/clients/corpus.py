"""Real text files for the word-count flow, and the right answer, found without a queue.

The counting here shares nothing with `wordcount.py`, so that a mistake there shows.
"""
import collections
import gzip
import itertools
import os
import string
import sysconfig

FILES_MIN = 2000
#: Larger files would measure the disk.
FILE_BYTES_MAX = 256 << 10
#: Searched in this order until there are enough.
FOLDERS = (
    '/usr/share/doc',
    '/usr/share/man',
    '/usr/share/perl',
    '/usr/share/perl5',
    '/usr/share/info',
    sysconfig.get_path('stdlib'),
)
#: Maps bytes to lower-case letters, and everything else to a space.
_LETTERS = bytes(
    ord(chr(byte).lower()) if chr(byte) in string.ascii_letters else ord(' ')
    for byte in range(256))


def choose(count=FILES_MIN):
    """The first `count` text files of the documentation folders, in a fixed order."""
    files = list(itertools.islice(filter(_is_text, _walk()), count))
    if len(files) < count:
        raise SystemExit(f'only {len(files)} text files in {", ".join(FOLDERS)}; {count} wanted')
    return files


def expect(files, letter_groups):
    """What must come out: {letter: {unit key: count}}, only the keys that get a unit."""
    totals = collections.defaultdict(dict)
    for path in files:
        counts = collections.Counter(word[0] for word in _read(path).translate(_LETTERS).split())
        for letter, count in counts.items():
            group = next(group for group in letter_groups if chr(letter) in group)
            totals[chr(letter)][f'{group} {path}'] = count
    return dict(totals)


def units(expected):
    """The keys of all units of the second step."""
    return {key for counts in expected.values() for key in counts}


def check(directory, expected):
    """Compares the ledgers with the right answer; returns what is wrong, as text lines."""
    wrong = []
    for letter in sorted(set(expected) | set(os.listdir(directory))):
        wanted = expected.get(letter, {})
        lines = _ledger(os.path.join(directory, letter))
        total = lines[-1][0] if lines else 0
        if total != sum(wanted.values()):
            wrong.append(f'{letter}: total {total}, should be {sum(wanted.values())}')
        if [running for running, _, _ in lines] != list(
                itertools.accumulate(count for _, count, _ in lines)):
            wrong.append(f'{letter}: running totals do not add up')
        times = collections.Counter(key for _, _, key in lines)
        wrong += [f'{letter}: done {n} times: {key}' for key, n in times.items() if n > 1]
        wrong += [f'{letter}: lost: {key}' for key in wanted.keys() - times.keys()]
        wrong += [f'{letter}: nobody asked for: {key}' for key in times.keys() - wanted.keys()]
        wrong += [f'{letter}: {count} instead of {wanted[key]}: {key}'
                  for _, count, key in lines if wanted.get(key, count) != count]
    return wrong


def _walk():
    for folder in FOLDERS:
        for directory, folders, files in os.walk(folder):
            folders.sort()
            yield from (os.path.join(directory, name) for name in sorted(files))


def _is_text(path):
    """A regular file with some words, no NUL byte, and a name that is text."""
    try:
        path.encode('utf-8')  # unit keys come from JSON
        if '\n' in path or os.path.islink(path) or not 0 < os.path.getsize(path) <= FILE_BYTES_MAX:
            return False
        content = _read(path)
    except (OSError, EOFError, UnicodeEncodeError):
        return False
    return b'\0' not in content and any(content.translate(_LETTERS).split())


def _read(path):
    with gzip.open(path) if path.endswith('.gz') else open(path, 'rb') as opened:
        return opened.read()


def _ledger(path):
    """[(running total, count, key)]"""
    if not os.path.exists(path):
        return []
    with open(path, encoding='utf-8') as lines:
        parts = [line.rstrip('\n').split(' ', 2) for line in lines]
    return [(int(total), int(count), key) for total, count, key in parts]
