# SPDX-License-Identifier: MIT
"""as_completed.py PROGRAM CASE: one test of the example `as_completed`; the cases are below."""

import os
import subprocess

from example import expect_equal, expect_in, main, skip


def write(path, size):
    with open(path, "wb") as file:
        file.write(b"\0\r\n\xff" * (size // 4) + b"x" * (size % 4))


def finds_sizes_and_names_failures(program):
    write("small", 5)
    write("large", 1000003)
    write("empty", 0)
    write("with space", 4096)
    os.mkdir("folder")
    here = os.getcwd()
    output, _ = program.run(
        0, "small", "missing", f"file://{here}/large", "empty", "folder", "with space",
        f"file://{here}/missing", "small", "",
    )
    missing = "generated an exception: No such file or directory"
    expected = [
        "'small' page is 5 bytes",
        f"'missing' {missing}",
        f"'file://{here}/large' page is 1000003 bytes",
        "'empty' page is 0 bytes",
        "'folder' generated an exception: Is a directory",
        "'with space' page is 4096 bytes",
        f"'file://{here}/missing' {missing}",
        "'small' page is 5 bytes",
        f"'' {missing}",
    ]
    expect_equal(sorted(output.splitlines()), sorted(expected), "the lines")


def shows_pages_and_failures_without_arguments(program):
    output, complaints = program.run(0)
    lines = output.splitlines()
    expect_equal(len(lines), 5, "the number of lines")
    expect_equal(complaints, "", "stderr")
    expect_equal(sum(" generated an exception: " in line for line in lines), 3, "the failures")
    expect_in("as_completed.cpp' page is ", output)
    expect_in("pool.svg' page is ", output)
    expect_in("'file:///no/such/page.html' generated an exception: ", output)


# The one that is submitted first can only be read when the other has been reported; through a
# terminal, for there each line comes at once.
def reports_each_as_it_completes(program):
    if not hasattr(os, "mkfifo") or not hasattr(os, "openpty"):
        skip("no named pipes or no terminals")
    try:
        master, terminal = os.openpty()
    except OSError as error:
        skip(f"no terminal: {error}")
    os.mkfifo("slow")
    write("fast", 7)
    process = subprocess.Popen([program.path, "slow", "fast"], stdout=terminal)
    os.close(terminal)
    try:
        with open(master, "rb", buffering=0) as output:
            expect_equal(output.readline(), b"'fast' page is 7 bytes\r\n", "the first line")
            write("slow", 11)
            expect_equal(output.readline(), b"'slow' page is 11 bytes\r\n", "the second line")
        expect_equal(process.wait(), 0, "the status")
    finally:
        process.kill()  # It would wait for its page for ever.


main([
    finds_sizes_and_names_failures,
    shows_pages_and_failures_without_arguments,
    reports_each_as_it_completes,
])
