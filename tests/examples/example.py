# SPDX-License-Identifier: MIT
"""What the tests of the examples share: one program, run in an empty folder, and one case.

Status 77: the case cannot be run here.
"""

import os
import subprocess
import sys
import tempfile


def fail(text):
    sys.exit(f"FAILED: {text}")


def skip(text):
    print(f"skipped: {text}")
    sys.exit(77)


def expect_equal(actual, expected, what):
    if actual != expected:
        fail(f"{what}: {actual!r}, not {expected!r}")


def expect_in(part, text):
    if part not in text:
        fail(f"{part!r} is not in: {text}")


class Program:
    def __init__(self, path):
        self.path = os.path.abspath(path)

    def run(self, status, *arguments, **options):
        """Runs it and expects a status; returns what it wrote to stdout and stderr."""
        options.setdefault("stdout", subprocess.PIPE)
        run = subprocess.run(
            [self.path, *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        if run.returncode != status:
            fail(f"status {run.returncode}, not {status}, of {arguments}: {run.stdout}{run.stderr}")
        return run.stdout, run.stderr


def main(cases):
    """SCRIPT PROGRAM CASE, where a case is one of these functions."""
    program, name = Program(sys.argv[1]), sys.argv[2]
    by_name = {case.__name__: case for case in cases}
    if name not in by_name:
        fail(f"there is no case {name!r}")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            by_name[name](program)
        finally:
            os.chdir("/")  # Some systems do not remove the folder that one is in.
