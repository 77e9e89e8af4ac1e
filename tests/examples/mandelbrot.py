# SPDX-License-Identifier: MIT
"""mandelbrot.py PROGRAM CASE: one test of the example `mandelbrot`; the cases are below."""

import os
import re
import struct
import subprocess
import zlib

from example import expect_equal, expect_in, fail, main, skip


def read(path):
    with open(path, "rb") as file:
        return file.read()


def chunks(png):
    """The chunks of a PNG, each held to its checksum."""
    expect_equal(png[:8], b"\x89PNG\r\n\x1a\n", "the signature")
    at = 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        name, body = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack_from(">I", png, at + 8 + length)
        expect_equal(checksum, zlib.crc32(name + body), f"the checksum of {name}")
        yield name, body
        at += 12 + length


def unfilter(filter_type, row, above):
    """Undoes the filter of a row: the PNG specification, chapter 9. Three bytes are a pixel."""
    result = bytearray()
    for i, value in enumerate(row):
        left, up, corner = (result[i - 3], above[i], above[i - 3]) if i >= 3 else (0, above[i], 0)
        estimate = left + up - corner
        nearest = min((left, up, corner), key=lambda x: abs(estimate - x))
        predicted = (0, left, up, (left + up) // 2, nearest)[filter_type]
        result.append((value + predicted) % 256)
    return bytes(result)


def decode(path):
    """Width, height, and the rows of a PNG that has eight bits each of red, green and blue."""
    parts = list(chunks(read(path)))
    expect_equal((parts[0][0], parts[-1]), (b"IHDR", (b"IEND", b"")), "the first and last chunk")
    width, height, *kind = struct.unpack(">IIBBBBB", parts[0][1])
    expect_equal(kind, [8, 2, 0, 0, 0], "the kind of picture")
    data = zlib.decompress(b"".join(body for name, body in parts if name == b"IDAT"))
    stride = 1 + 3 * width
    expect_equal(len(data), height * stride, "the number of bytes in the picture")
    rows = [bytes(3 * width)]
    for at in range(0, len(data), stride):
        rows.append(unfilter(data[at], data[at + 1 : at + stride], rows[-1]))
    return width, height, rows[1:]


def writes_a_png_of_the_size_asked_for(program):
    for size in ((60, 40), (1, 1), (1, 50), (50, 1), (37, 23)):
        program.run(0, "--size", "%dx%d" % size, "--output", "picture.png")
        expect_equal(decode("picture.png")[:2], size, "the size")


def draws_the_set_black_and_smooth_colours_around_it(program):
    program.run(0, "--size", "90x60", "--output", "picture.png")
    _, _, rows = decode("picture.png")
    pixels = [[row[x : x + 3] for x in range(0, len(row), 3)] for row in rows]
    expect_equal(pixels[0][89], bytes(3), "the set, in the upper right corner")
    red, _, blue = pixels[30][0]
    if not blue > red + 50:
        fail(f"the left edge is {pixels[30][0]!r}, not blue")
    # Where the set is far, a colour differs from the one below it by hardly anything: no bands.
    for above, below in zip(rows, rows[1:]):
        if any(abs(a - b) > 2 for a, b in zip(above[:3], below[:3])):
            fail(f"the left edge is not smooth: {above[:3]!r}, then {below[:3]!r}")


def writes_the_same_with_any_number_of_workers(program):
    pictures = set()
    for workers in ("1", "3", "16"):
        output, _ = program.run(0, "--workers", workers, "--size", "90x60", "--output", "picture")
        expect_in(f"\nworkers: {workers} ", output)
        pictures.add(read("picture"))
    expect_equal(len(pictures), 1, "the number of different pictures")


def prints_what_it_took(program):
    output, complaints = program.run(0, "--workers", "2", "--size", "90x60")
    line = r" +(\d+\.\d{3}) s +(\d+) pixels/s\n"
    pattern = (
        r"mandelbrot\.png: 90 x 60 pixels\none thread" + line + "workers: 2" + line
        + r"speed-up over one thread: (\d+\.\d\d)\n"
    )
    match = re.fullmatch(pattern, output)
    if not match:
        fail(f"unexpected output: {output}")
    expect_equal(complaints, "", "stderr")
    expect_equal(decode("mandelbrot.png")[:2], (90, 60), "the size")

    # The three kinds of figures belong together, as far as they were rounded.
    alone, alone_rate, pooled, pooled_rate, speed_up = map(float, match.groups())
    for seconds, rate in ((alone, alone_rate), (pooled, pooled_rate)):
        if not 5400 / (rate + 0.5) - 0.0006 < seconds < 5400 / (rate - 0.5) + 0.0006:
            fail(f"{rate} pixels/s do not make {seconds} s: {output}")
    least = (pooled_rate - 0.5) / (alone_rate + 0.5)
    most = (pooled_rate + 0.5) / (alone_rate - 0.5)
    if not least - 0.006 < speed_up < most + 0.006:
        fail(f"the speed-up is another: {output}")


def explains_wrong_options(program):
    def expect_complaint(complaint, *arguments):
        output, complaints = program.run(2, *arguments)
        expect_equal(output, "", "stdout")
        expect_in(f"mandelbrot: {complaint}\n\nusage: mandelbrot ", complaints)

    for workers in ("0", "-1", "abc", "2x", "1.5", "", " 2", "99999999999999999999"):
        expect_complaint(
            f"--workers takes a whole number from 1 on, not '{workers}'", "--workers", workers
        )
    for size in (
        "0x1", "1x0", "-1x1", "1", "x", "1x", "x1", "", "2x2x2", "2X2", "16385x1", "1x16385",
        "4294967297x1", "a b",
    ):
        expect_complaint(
            f"--size takes width and height from 1 to 16384, like 1200x800, not '{size}'",
            "--size", size,
        )
    for option in ("--workers", "--size", "--output"):
        expect_complaint(f"{option} takes a value", option)
    for option in ("--wrong", "picture.png", ""):
        expect_complaint(f"there is no option '{option}'", option)
    expect_equal(os.listdir(), [], "the files written")
    output, _ = program.run(0, "--help")
    expect_equal(output[:18], "usage: mandelbrot ", "the beginning of the usage")


def fails_where_its_output_cannot_be_written(program):
    def expect_complaint(complaint, *arguments, **options):
        _, complaints = program.run(1, "--size", "9x6", *arguments, **options)
        expect_in(f"mandelbrot: {complaint}", complaints)

    # Before the work begins: at this size nobody would wait for the complaint.
    _, complaints = program.run(1, "--size", "16384x16384", "--output", "missing/picture.png")
    expect_in("mandelbrot: missing/picture.png: No such file or directory", complaints)
    os.mkdir("folder")
    expect_complaint("folder: Is a directory", "--output", "folder")
    if not os.path.exists("/dev/full"):
        skip("no /dev/full")
    expect_complaint("/dev/full: ", "--output", "/dev/full")
    expect_equal(os.path.exists("/dev/full"), True, "that the device is left alone")
    with open("/dev/full", "w") as full:
        expect_complaint("stdout: ", stdout=full)


def draws_its_progress_on_terminals_only(program):
    _, complaints = program.run(0, "--size", "90x60")
    expect_equal(complaints, "", "stderr without a terminal")
    if not hasattr(os, "openpty"):
        skip("no terminals")
    try:
        master, terminal = os.openpty()
    except OSError as error:
        skip(f"no terminal: {error}")
    arguments = [program.path, "--size", "90x60", "--workers", "2"]
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=terminal)
    os.close(terminal)
    drawn = b""
    try:
        while block := os.read(master, 4096):
            drawn += block
    except OSError:
        pass  # What Linux says when the other end is closed.
    os.close(master)
    expect_equal(process.wait(), 0, "the status")
    for who in (b"one thread", b"workers: 2"):
        if not re.search(rb"\r\[#* *\] \d+/60 rows, " + who, drawn):
            fail(f"no progress of {who!r} in: {drawn!r}")
    expect_equal(drawn[-4:], b"\r\x1b[K", "what it ends with")


main([
    writes_a_png_of_the_size_asked_for,
    draws_the_set_black_and_smooth_colours_around_it,
    writes_the_same_with_any_number_of_workers,
    prints_what_it_took,
    explains_wrong_options,
    fails_where_its_output_cannot_be_written,
    draws_its_progress_on_terminals_only,
])
