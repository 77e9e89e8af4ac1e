#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Treats the header as a book of numbered sections: lists, checks, cuts and compiles them.

    sections.py HEADER --list                 numbers, needs and titles
    sections.py HEADER --check                the rules of the book; exit status 1 names each breach
    sections.py HEADER --slice N [-o FILE]    section N and all that it needs, in file order
    sections.py HEADER --replace N=NEW [-o FILE]
                                              with the text of NEW for section N; also with --slice
    sections.py HEADER --compile CXX          compiles each slice alone; names needs that are none

N is a section's number, or its title up to the first colon or full stop ("platform"). What stands
before the first banner (the title) and from the `// [end]` banner on (the tail) is in every slice.
"""

import argparse
import concurrent.futures
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass

MAX_LINES = 6400  # it was to be 4,000; the whole contract takes more, and is in one file
MAX_FUNCTION = 50
MAX_CLASS = 300
MAX_NESTING = 3

RULE = re.compile(r"// ={20,}$")
BANNER = re.compile(r"// \[(\d+)\] (\S.*?)\s+needs (-|\d+(?:, ?\d+)*)$")
END = re.compile(r"// \[end\]")
NOT_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+'""", re.S
)


class BookError(Exception):
    """The header is no book of sections."""


@dataclass
class Section:
    number: int
    title: str
    needs: list
    first_line: int  # 1-based, of the banner's first rule
    lines: list

    @property
    def name(self):
        return re.split(r"[:.]", self.title)[0].strip().lower()


@dataclass
class Book:
    path: str
    title: list
    sections: list
    tail: list

    def find(self, key):
        for section in self.sections:
            if key == str(section.number) or key.lower() == section.name:
                return section
        raise BookError(f"no section {key!r}")

    def closure(self, number):
        """The numbers of the section and of all that it needs."""
        known, open_numbers = set(), [number]
        while open_numbers:
            current = open_numbers.pop()
            if current not in known:
                known.add(current)
                open_numbers += self.find(str(current)).needs
        return known

    def render(self, numbers=None, replacements=None):
        """The text of a header that has the given sections only; `#line` keeps the positions."""
        out = list(self.title)
        for section in self.sections:
            if numbers is not None and section.number not in numbers:
                continue
            new_text = (replacements or {}).get(section.number)
            if new_text is None:
                out += [f'#line {section.first_line} "{self.path}"', *section.lines]
            else:
                out += [f'#line 1 "{new_text}"', *pathlib.Path(new_text).read_text().splitlines()]
        return "\n".join(out + self.tail) + "\n"


def parse(path):
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    title, sections, tail = [], [], []
    target = title
    for index, line in enumerate(lines):
        if line.startswith("// [") and re.match(r"// \[(\d+|end)\]", line):
            banner, end = BANNER.match(line), END.match(line)
            ruled = (
                0 < index < len(lines) - 1
                and RULE.match(lines[index - 1])
                and RULE.match(lines[index + 1])
            )
            if not (banner or end) or not ruled or tail:
                raise BookError(f"{path}:{index + 1}: not a banner with rules and needs: {line}")
            rule = target.pop()
            if end:
                target = tail
            else:
                needs = [] if banner[3] == "-" else [int(n) for n in banner[3].split(",")]
                sections.append(Section(int(banner[1]), banner[2], needs, index, []))
                target = sections[-1].lines
            target.append(rule)
        target.append(line)
    if not sections or not tail:
        raise BookError(f"{path}: no section at all, or no `// [end]` banner")
    return Book(str(path), title, sections, tail)


# -- the rules ------------------------------------------------------------------------------------


def blank_out(text):
    """The text without comments and literals; the line numbers stay."""

    def blank(match):
        kept = '""' if match[0][0] in "\"'" else " "
        return kept + "\n" * match[0].count("\n")

    return NOT_CODE.sub(blank, text)


TERM = r"(\([^()]*\)|!?[\w:]+(<[^<>]*>)?)"  # of a requires-clause


def without_template_head(head):
    """Strips `template <...>`, attributes and access labels from the front of a declaration."""
    while True:
        head = re.sub(
            r"^((public|private|protected)\s*:(?!:)|\[\[.*?\]\]|\s)+", "", head, flags=re.S
        )
        match = re.match(r"template\s*<", head)
        if not match:
            return head
        depth, end = 1, match.end()
        while end < len(head) and depth:
            depth += {"<": 1, ">": -1}.get(head[end], 0) * (head[end - 1] != "-")
            end += 1
        head = re.sub(rf"^\s*requires\s*{TERM}(\s*(&&|\|\|)\s*{TERM})*", "", head[end:])


AFTER_PARAMETERS = (
    r"\)\s*(const\b|noexcept\b(\s*\(.*\))?|override\b|final\b|&{1,2}|->.*|requires\b.*|\s)*$"
)


def kind_of(head, enclosing):
    """What the brace behind `head` opens. Best effort, for code that a formatter has seen."""
    head = without_template_head(head)
    if re.match(r"(inline\s+)?namespace\b|extern\s*\"\"$", head):
        return "namespace"
    if re.match(r"(class|struct|union|enum)\b", head):
        return "class"
    if re.match(r"(if|for|while|switch|do|else|try|catch)\b", head):
        return "control"
    if re.search(
        r"\]\s*(<.*>\s*)?(\(.*\)\s*(mutable\b|noexcept\b|->.*|\s)*)?$", head, re.S
    ) and enclosing in ("function", "lambda", "control", "block"):
        return "lambda"
    if not head or re.match(r"(case\b.*|default\s*):$", head, re.S):
        return "block"
    if enclosing in ("namespace", "class", None):
        if re.search(
            r"\)\s*(noexcept\b(\(.*\))?)?\s*:(?!:).*[^\s)]$", head, re.S
        ) and not head.endswith("try"):
            return "init"  # a member's initialiser in braces
        is_constructor = re.search(r"\)\s*(noexcept\b(\(.*\))?)?\s*:(?!:).*\)$", head, re.S)
        if is_constructor or re.search(AFTER_PARAMETERS, head, re.S):
            return "function"
    return "init"


@dataclass
class Block:
    kind: str
    head: str
    line: int
    outer_parens: int


class BlockScanner:
    """Finds what is too long or nested too deeply, and counts braces."""

    def __init__(self, report):
        self.report = report
        self.stack = []
        self.saved = []  # the stack at each #if that is open: every branch starts with it
        self.head, self.head_line, self.parens = "", 0, 0

    def line(self, number, text):
        directive = re.match(r"\s*#\s*(if|elif|else|endif)", text)
        if directive and directive[1] == "if":
            self.saved.append((list(self.stack), self.head, self.parens))
        elif directive and directive[1] == "endif":
            if self.saved:
                self.saved.pop()
        elif directive and self.saved:
            stack, self.head, self.parens = self.saved[-1]
            self.stack = list(stack)
        if re.match(r"\s*#", text):
            return
        for char in text + "\n":
            self.char(number, char)

    def char(self, number, char):
        if char == "{":
            self.open(number)
        elif char == "}":
            self.close(number)
        elif char == ";" and self.parens == 0:
            self.head = ""
        else:
            self.parens += {"(": 1, ")": -1}.get(char, 0)
            if not self.head.strip():
                self.head_line = number
            self.head += char

    def open(self, number):
        enclosing = self.stack[-1].kind if self.stack else None
        kind = kind_of(self.head.strip(), enclosing)
        line = self.head_line if self.head.strip() else number
        self.stack.append(Block(kind, self.head, line, self.parens))
        self.head, self.parens = "", 0
        nesting = 0
        for block in reversed(self.stack):
            if block.kind in ("function", "lambda"):
                break
            nesting += block.kind == "control"
        if kind == "control" and nesting == MAX_NESTING + 1:
            self.report(line, f"nested more than {MAX_NESTING} deep")

    def close(self, number):
        if not self.stack:
            self.report(number, "a brace is closed that was not opened in this section")
            return
        block = self.stack.pop()
        length = number - block.line + 1
        limit = {"function": MAX_FUNCTION, "lambda": MAX_FUNCTION, "class": MAX_CLASS}.get(
            block.kind
        )
        if limit and length > limit:
            words = " ".join(block.head.split())
            self.report(
                block.line, f"a {block.kind} of {length} lines, more than {limit}: {words[:60]}"
            )
        goes_on = block.kind in ("init", "lambda") or block.outer_parens > 0
        self.parens = block.outer_parens
        self.head = block.head + "()" if goes_on else ""
        self.head_line = block.line if goes_on else number


def check(book):
    """All breaches of the rules, as printable lines."""
    breaches = []

    def report(line, message):
        breaches.append(f"{book.path}:{line}: {message}")

    data = pathlib.Path(book.path).read_bytes()
    lines = data.splitlines()
    if len(lines) > MAX_LINES:
        report(len(lines), f"{len(lines)} lines, more than {MAX_LINES}")
    for index, line in enumerate(lines, 1):
        if not line.isascii() or b"\t" in line:
            report(index, "a tab, or a character outside ASCII")
    seen = []
    for section in book.sections:
        line = section.first_line + 1
        if seen and section.number <= seen[-1]:
            report(line, f"section {section.number} stands behind section {seen[-1]}")
        for need in section.needs:
            if need not in seen:
                report(
                    line, f"section {section.number} needs {need}, which does not stand before it"
                )
        if section.needs != sorted(set(section.needs)):
            report(line, "needs are to be named once each, in ascending order")
        seen.append(section.number)
        check_text(section, report)
    return breaches


def check_text(section, report):
    scanner = BlockScanner(report)
    depth = 0
    for offset, text in enumerate(blank_out("\n".join(section.lines)).split("\n")):
        scanner.line(section.first_line + offset, text)
        depth += bool(re.match(r"\s*#\s*if", text)) - bool(re.match(r"\s*#\s*endif", text))
    last = section.first_line + len(section.lines) - 1
    if scanner.stack:
        report(
            scanner.stack[-1].line, f"a brace is still open at the end of section {section.number}"
        )
    if depth:
        report(last, f"#if and #endif do not match in section {section.number}")


# -- compiling the slices -------------------------------------------------------------------------


def prelude_of(book):
    """What the title includes on all platforms: precompiled, it is read once."""
    depth, includes = 0, []
    for line in book.title:
        depth += bool(re.match(r"\s*#\s*if", line)) - bool(re.match(r"\s*#\s*endif", line))
        if depth <= 1 and re.match(r"#include <", line):
            includes.append(line)
    return "\n".join(includes) + "\n"


class SliceCompiler:
    def __init__(self, book, compiler, folder):
        self.book = book
        self.command = [*shlex.split(compiler), "-std=c++20", "-pthread"]
        self.folder = pathlib.Path(folder)
        self.prelude = self.folder / "prelude.hpp"
        self.prelude.write_text(prelude_of(book))
        header = ["-x", "c++-header", str(self.prelude), "-o", f"{self.prelude}.gch"]
        subprocess.run([*self.command, *header], check=True)

    def errors_of(self, name, numbers, flags):
        """What the compiler says against a header of these sections; nothing if it compiles."""
        text = self.folder / f"{name}.hpp"
        text.write_text(self.book.render(numbers))
        includes = ["-include", str(self.prelude), "-include", str(text)]
        command = [*self.command, "-fsyntax-only", *flags, *includes, "-x", "c++", "/dev/null"]
        run = subprocess.run(command, capture_output=True, text=True)
        return "" if run.returncode == 0 else run.stderr or f"exit status {run.returncode}"

    def errors_of_slice(self, section):
        flags = ["-Wall", "-Wextra", "-Werror"]
        return self.errors_of(section.number, self.book.closure(section.number), flags)

    def is_unneeded(self, section, need):
        numbers = {section.number}
        for other in section.needs:
            if other != need:
                numbers |= self.book.closure(other)
        if need in numbers:
            return False  # Another need brings it along, so it cannot be left out.
        return not self.errors_of(f"{section.number}_without_{need}", numbers, ["-w"])


def compile_slices(book, compiler, jobs):
    """Compiles them all and prints what is wrong; the number of those that do not compile."""
    failed = 0
    pairs = [(section, need) for section in book.sections for need in section.needs]
    with tempfile.TemporaryDirectory() as folder:
        slices = SliceCompiler(book, compiler, folder)
        with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as executor:
            errors_of = executor.map(slices.errors_of_slice, book.sections)
            unneeded = executor.map(slices.is_unneeded, *zip(*pairs)) if pairs else []
            for section, errors in zip(book.sections, errors_of):
                if errors:
                    failed += 1
                    print(f"section {section.number} ({section.name}) does not compile alone:")
                    print(errors)
            for (section, need), is_unneeded in zip(pairs, unneeded):
                if is_unneeded:
                    print(f"warning: section {section.number} compiles without its need {need}")
    print(f"{len(book.sections)} slices compiled, {failed} failed")
    return failed


def main(arguments):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("header")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--slice", metavar="SECTION")
    parser.add_argument("--replace", metavar="SECTION=FILE", action="append", default=[])
    parser.add_argument("--compile", metavar="CXX")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("-o", dest="output", default="-")
    options = parser.parse_args(arguments)
    try:
        book = parse(options.header)
        if options.list:
            for section in book.sections:
                needs = ", ".join(map(str, section.needs)) or "-"
                size = f"{len(section.lines):5} lines"
                print(f"{section.number:3} {size}  needs {needs:20} {section.title}")
        if options.slice or options.replace:
            replacements = {}
            for replacement in options.replace:
                key, _, file_name = replacement.partition("=")
                replacements[book.find(key).number] = file_name
            numbers = book.closure(book.find(options.slice).number) if options.slice else None
            text = book.render(numbers, replacements)
            if options.output == "-":
                sys.stdout.write(text)
            else:
                pathlib.Path(options.output).write_text(text)
        breaches = check(book) if options.check else []
        for breach in breaches:
            print(breach)
        if options.check:
            print(f"{len(book.sections)} sections checked, {len(breaches)} breaches")
        failed = compile_slices(book, options.compile, options.jobs) if options.compile else 0
    except (BookError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 1 if breaches or failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
