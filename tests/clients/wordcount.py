"""The work of the word-count flow: two chained steps, run by old and new workers.

`count_words` takes a file (the unit's key is its path), counts its words by first
letter, and hands on one unit per group of letters. `sum_letters` adds such a unit to
the totals, of which each letter has one file:

    running-total count unit-key

A unit that is lost leaves the total too small, one that is done twice leaves it too
big, and the line says which it was. Runs on Python 2.7 and 3.
"""
from __future__ import absolute_import, division, print_function

import collections
import fcntl
import gzip
import os
import re

WORD = re.compile(b'[A-Za-z]+')
#: One chained unit per file and group: enough of them to matter, few enough to be quick.
LETTER_GROUPS = ('abcdef', 'ghijklm', 'nopqrs', 'tuvwxyz')


def count_words(work_unit):
    """First step; finishing the unit chains what is left in `output`."""
    path = text(work_unit.key)
    opened = gzip.open(path, 'rb') if path.endswith('.gz') else open(path, 'rb')
    with opened as words:
        letters = collections.Counter(
            word[:1].lower().decode('ascii') for word in WORD.findall(words.read()))
    output = []
    for group in LETTER_GROUPS:
        counts = {letter: letters[letter] for letter in group if letters[letter]}
        if counts:
            output.append((group + ' ' + path, {'counts': counts}))
    work_unit.data['words'] = sum(letters.values())
    work_unit.data['output'] = output


def sum_letters(work_unit, directory):
    """Second step; `directory` comes from the work spec's `run_params`."""
    for letter, count in sorted(work_unit.data['counts'].items()):
        add(os.path.join(text(directory), text(letter)), count, text(work_unit.key))


def add(ledger, count, key):
    """Appends one line to a letter's ledger. The lock makes the total come out right
    whatever the server does; what the server got wrong shows in which lines there are."""
    with open(ledger, 'ab+') as lines:
        fcntl.flock(lines, fcntl.LOCK_EX)
        end = lines.seek(0, os.SEEK_END) or lines.tell()
        lines.seek(max(0, end - 8192))  # longer than any line: paths end at 4,096
        last = lines.read().splitlines()[-1:]
        total = int(last[0].split()[0]) if last else 0
        lines.seek(0, os.SEEK_END)
        lines.write(u'{} {} {}\n'.format(total + count, count, key).encode('utf-8'))


def text(name):
    """A name as text: Python 2 gives and gets byte strings where it can."""
    return name.decode('utf-8') if isinstance(name, bytes) else name
