#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds every label of a memory ordering to two ends in the code and one explanation in a comment.

    labels.py HEADER

An atomic operation that is not relaxed ends in `// D3: why` (or `// D3, W1: why`). Each label
stands on at least two operations and in at least one line that is comment alone; a label that a
table of orderings lists (`//   D3   writer ...`) stands in the code. No atomic operation leaves its
order out, and what the library does without is absent: fences, std::promise, semaphores, waits on
atomics, and names of the platform section (atomics, locks, threads, clocks) anywhere
else.
"""

import re
import sys

import sections

LABEL = r"[A-Z]{1,2}\d{1,2}"
ORDER = re.compile(r"memory_order(?:_|::)(?:acquire|release|acq_rel|seq_cst|consume)\b")
TRAILING = re.compile(rf"//\s*({LABEL}(?:, {LABEL})*): \S")
TABLE_ROW = re.compile(rf"\s*//[/|]?\s+({LABEL})\s{{2,}}\S")
OPERATION = re.compile(
    r"(?:\.|->)(?:load|store|exchange|fetch_\w+|compare_exchange_\w+|test_and_set)\s*\("
)
NAMES_ORDER = re.compile(r"memory_order|\b(?:order|success|failure)\b")
DECLARATION = re.compile(r"\b[Aa]tomic(?:_flag\b|<.*?>+)\s+(\w+)\s*(?:[;{=]|\[)")
FORBIDDEN = {
    r"atomic_(thread|signal)_fence": "a stand-alone fence, unknown to ThreadSanitizer",
    r"std::(promise|packaged_task|async)\b": "a future of the standard library",
    r"std::(counting|binary)_semaphore\b": "a semaphore of the standard library",
}
PLATFORM_ONLY = re.compile(
    r"std::(atomic(?!\w*fence)\w*|\w*mutex|condition_variable\w*|j?thread|this_thread|\w+_lock"
    r"|lock_guard|chrono::\w+_clock)\b|\bpthread_|::syscall\b"
)


def split(line):
    """The code of a line, without what its literals say, and the comment behind it."""
    comment = next((m[0] for m in sections.NOT_CODE.finditer(line) if m[0].startswith("//")), "")
    return sections.blank_out(line), comment


def call_at(code, line, start):
    """The text of the call that begins there, and the number of its last line."""
    text, depth = "", 0
    for number in range(line, len(code)):
        for char in code[number][start if number == line else 0 :]:
            text += char
            depth += {"(": 1, ")": -1}.get(char, 0)
            if depth == 0 and char == ")":
                return text, number
    return text, line


def check(path):
    book = sections.parse(path)
    lines = book.title + [line for section in book.sections for line in section.lines] + book.tail
    code, comments = zip(*map(split, lines))
    platform = set()
    for section in book.sections:
        if section.name.startswith("platform"):
            platform.update(
                range(section.first_line - 1, section.first_line - 1 + len(section.lines))
            )
    breaches = []

    def report(index, message):
        breaches.append(f"{path}:{index + 1}: {message}")

    anchors = {}  # line -> first line of the call that it belongs to
    for index, text in enumerate(code):
        for match in OPERATION.finditer(text):
            call, last = call_at(code, index, match.start())
            if not NAMES_ORDER.search(call):
                report(index, f"an atomic operation without a memory order: {text.strip()}")
            for line in range(index, last + 1):
                anchors.setdefault(line, index)

    ends, labelled = {}, set()
    for index, comment in enumerate(comments):
        found = TRAILING.match(comment) if code[index].strip() else None
        if found:
            anchor = anchors.get(index, index)
            labelled.add(anchor)
            for label in found[1].split(", "):
                ends.setdefault(label, set()).add(anchor)
    for index, text in enumerate(code):
        if ORDER.search(text) and anchors.get(index, index) not in labelled:
            report(index, f"an ordering without a label: {text.strip()}")

    prose = [
        (index, comment)
        for index, comment in enumerate(comments)
        if comment and not code[index].strip()
    ]
    explained = {label for _, comment in prose for label in re.findall(rf"\b{LABEL}\b", comment)}
    for label, anchors_of_label in sorted(ends.items()):
        first = min(anchors_of_label)
        if len(anchors_of_label) < 2:
            report(first, f"label {label} has one end only")
        if label not in explained:
            report(first, f"label {label} is explained in no comment")
    letters = {re.match("[A-Z]+", label)[0] for label in ends}
    for index, comment in prose:
        row = TABLE_ROW.match(comment)
        if row and row[1] not in ends and re.match("[A-Z]+", row[1])[0] in letters:
            report(index, f"label {row[1]} is listed but stands nowhere in the code")

    atomics = {name for text in code for name in DECLARATION.findall(text)}
    any_atomic = "|".join(sorted(atomics)) or r"(?!)"
    wait_on_atomic = re.compile(
        rf"\b({any_atomic})(\[.*?\])?\s*(\.|->)\s*(wait|notify_one|notify_all)\s*\("
    )
    plain_use = re.compile(rf"(\+\+|--)\s*({any_atomic})\b|\b({any_atomic})\s*(\+\+|--|[-+|&^]=)")
    for index, text in enumerate(code):
        for pattern, what in FORBIDDEN.items():
            if re.search(pattern, text):
                report(index, f"{what}: {text.strip()}")
        if PLATFORM_ONLY.search(text) and index not in platform:
            report(index, f"a name of the platform outside its section: {text.strip()}")
        if wait_on_atomic.search(text):
            report(index, f"a wait or a notification on an atomic: {text.strip()}")
        if plain_use.search(text):
            report(index, f"an atomic operation without a memory order: {text.strip()}")
    return breaches, len(ends)


def main(arguments):
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        breaches, labels = check(arguments[0])
    except (sections.BookError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for breach in breaches:
        print(breach)
    print(f"{labels} labels checked, {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
