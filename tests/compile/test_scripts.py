#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the checkers: they find each fault of a small header, and no other."""

import contextlib
import io
import pathlib
import shutil
import sys
import tempfile
import unittest

import labels
import sections

RULE = "// " + "=" * 97


def banner(number, title, needs):
    return f"{RULE}\n// [{number}] {title}    needs {needs}\n{RULE}\n"


TITLE = "// SPDX-License-Identifier: MIT\n#ifndef BOOK_HPP\n#define BOOK_HPP\n#include <atomic>\n"
TAIL = f"{RULE}\n// [end]\n{RULE}\n#endif\n"
PLATFORM = """namespace book {
template <class T>
using Atomic = std::atomic<T>;
}  // namespace book
"""
BOX = """// D1: put() -> take(): the value.
namespace book {
struct Box {
  void put(int value) {
    value_.store(value, std::memory_order_relaxed);
    full_.store(true, std::memory_order_release);  // D1: the value, to take().
  }
  bool take(int& value) {
    if (!full_.load(std::memory_order_acquire)) {  // D1: what put() wrote.
      return false;
    }
    value = value_.load(std::memory_order_relaxed);
    return true;
  }
  Atomic<int> value_{0};
  Atomic<bool> full_{false};
};
}  // namespace book
"""
USER = """namespace book {
inline bool try_box(Box& box, int& value) { return box.take(value); }
}  // namespace book
"""


def book(
    platform=PLATFORM, box=BOX, user=USER, box_needs="1", user_needs="2", user_number="3", tail=TAIL
):
    return (
        TITLE
        + banner(1, "platform: all that is not ours.", "-")
        + platform
        + banner(2, "Box: one value.", box_needs)
        + box
        + banner(user_number, "try_box", user_needs)
        + user
        + tail
    )


class ScriptTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, text, name="book.hpp"):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def run_main(self, script, *arguments):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = script.main(list(arguments))
        return status, out.getvalue()

    def expect(self, script, text, status, message, *arguments):
        got_status, out = self.run_main(script, self.write(text), *arguments)
        self.assertEqual(got_status, status, out)
        self.assertRegex(out, message)
        if status == 1:
            self.assertRegex(out, r"\b1 breaches", "one fault is one message")


class SectionsTest(ScriptTest):
    def check(self, text, status, message):
        self.expect(sections, text, status, message, "--check")

    def test_accepts_a_good_book(self):
        self.check(book(), 0, "3 sections checked, 0 breaches")

    def test_reports_a_need_that_stands_behind(self):
        self.check(book(box_needs="3"), 1, "section 2 needs 3, which does not stand before it")

    def test_reports_a_need_of_itself(self):
        self.check(book(box_needs="2"), 1, "section 2 needs 2")

    def test_reports_numbers_that_do_not_ascend(self):
        self.check(book(user_number="2", user_needs="1"), 1, "section 2 stands behind section 2")

    def test_reports_needs_that_are_not_sorted(self):
        self.check(book(user_needs="2, 1"), 1, "ascending order")

    def test_reports_a_banner_without_needs(self):
        self.check(book().replace("    needs 1", ""), 2, "not a banner")

    def test_reports_a_banner_without_rules(self):
        self.check(book().replace(RULE + "\n// [2]", "// [2]"), 2, "not a banner")

    def test_reports_a_missing_end(self):
        self.check(book(tail="#endif\n"), 2, "no `// .end.` banner")

    def test_reports_a_section_behind_the_end(self):
        self.check(book() + banner(4, "Late", "-"), 2, "not a banner")

    def test_reports_too_many_lines(self):
        self.check(book(user=USER + "// more\n" * 6400), 1, "lines, more than 6400")

    def test_reports_other_characters_than_ascii(self):
        self.check(book(user=USER + "// \u00e9\n"), 1, "outside ASCII")

    def test_reports_a_tab(self):
        self.check(book(user=USER + "//\tx\n"), 1, "a tab")

    def test_reports_a_namespace_left_open(self):
        self.check(book(user="namespace book {\n"), 1, "still open at the end of section 3")

    def test_reports_a_brace_too_many(self):
        self.check(book(user=USER + "}\n"), 1, "was not opened")

    def test_reports_a_condition_left_open(self):
        self.check(book(user=USER + "#if 1\n"), 1, "#if and #endif")

    def test_reports_a_long_function(self):
        for head in (
            "inline void f(int a = int{}) noexcept {",
            "template <class T>\n  requires true && A<T>\nauto f(T&&) -> int {",
            "struct S {\nS(int n) noexcept : a_{n}, b_(n) {",
            "struct S {\nS() : a_{1}, b_{2} {",
            "struct S {\nprivate:\n  [[nodiscard]] bool operator()(int) const& {",
        ):
            with self.subTest(head):
                closing = "};\n" if "struct" in head else ""
                self.check(book(user=head + "\n;" * 50 + "\n}\n" + closing), 1, "a function of 5")

    def test_accepts_a_function_of_fifty_lines(self):
        self.check(book(user="inline void f() {" + "\n;" * 48 + "\n}\n"), 0, " 0 breaches")

    def test_reports_a_long_lambda(self):
        text = "inline void f() {\ng([&](int a) mutable {" + "\n;" * 50 + "\n});\n}\n"
        _, out = self.run_main(sections, self.write(book(user=text)), "--check")
        self.assertRegex(out, "a lambda of 52 lines")

    def test_reports_a_long_class(self):
        self.check(
            book(
                user="template <class T>\nclass alignas(64) Long final : Base<T> {"
                + "\nint x_{0};" * 300
                + "\n};\n"
            ),
            1,
            "a class of 303 lines",
        )

    def test_reports_deep_nesting(self):
        deep = "inline void f() {\nif (a) {\nfor (;;) {\nwhile (b) {\n%s}\n}\n}\n}\n"
        self.check(book(user=deep % "g();\n"), 0, " 0 breaches")
        self.check(book(user=deep % "if (c) {\n}\n"), 1, "nested more than 3")
        self.check(book(user=deep % "g([] { if (c) { } });\n"), 0, " 0 breaches")

    def test_counts_no_brace_in_comments_literals_and_other_branches(self):
        text = (
            "// {\nconst char* s = \"{\\\"{\"; const char c = '{'; const int n = 1'000; /* { */\n"
            "#if 1\ninline void f(int a) {\n#else\ninline void f(long a) {\n#endif\n}\n"
        )
        self.check(book(user=text), 0, " 0 breaches")

    def test_lists(self):
        self.expect(sections, book(), 0, r"2 +\d+ lines  needs 1 +Box: one value.", "--list")

    def test_slices_a_section_with_all_its_needs_and_no_more(self):
        four = banner(4, "Other", "1") + "// four\n"
        path = self.write(book(tail=four + TAIL))
        status, out = self.run_main(sections, path, "--slice", "4")
        self.assertEqual(status, 0)
        self.assertIn("#define BOOK_HPP", out)
        self.assertIn("using Atomic", out)
        self.assertIn("// four", out)
        self.assertNotIn("struct Box", out)
        self.assertTrue(out.endswith("#endif\n"))
        _, out = self.run_main(sections, path, "--slice", "try_box")
        self.assertLess(out.index("using Atomic"), out.index("struct Box"))
        self.assertNotIn("// four", out)

    def test_keeps_the_positions(self):
        path = self.write(book())
        _, out = self.run_main(sections, path, "--slice", "3")
        lines = out.splitlines()
        index = lines.index("struct Box {")
        marker = max(i for i, line in enumerate(lines[:index]) if line.startswith("#line"))
        start = int(lines[marker].split()[1])
        self.assertEqual(
            pathlib.Path(path).read_text().splitlines()[start + index - marker - 2], "struct Box {"
        )

    def test_replaces_a_section(self):
        other = self.write("// another platform\n", "other.hpp")
        path, output = self.write(book()), str(self.folder / "out.hpp")
        status, _ = self.run_main(sections, path, "--replace", f"platform={other}", "-o", output)
        self.assertEqual(status, 0)
        text = pathlib.Path(output).read_text()
        self.assertIn("// another platform", text)
        self.assertNotIn("using Atomic", text)
        self.assertIn("try_box", text)

    def test_reports_an_unknown_section(self):
        self.expect(sections, book(), 2, "no section '7'", "--slice", "7")

    @unittest.skipUnless(shutil.which("c++"), "no c++")
    def test_compiles_each_slice(self):
        self.expect(sections, book(), 0, "3 slices compiled, 0 failed", "--compile", "c++")

    @unittest.skipUnless(shutil.which("c++"), "no c++")
    def test_finds_a_need_that_is_not_named(self):
        status, out = self.run_main(sections, self.write(book(user_needs="1")), "--compile", "c++")
        self.assertEqual(status, 1)
        self.assertRegex(out, r"section 3 \(try_box\) does not compile alone")
        self.assertRegex(out, "3 slices compiled, 1 failed")

    @unittest.skipUnless(shutil.which("c++"), "no c++")
    def test_warns_of_a_need_that_is_not_needed(self):
        path = self.write(book(user="inline int three() { return 3; }\n"))
        status, out = self.run_main(sections, path, "--compile", "c++")
        self.assertEqual(status, 0, out)
        self.assertIn("warning: section 3 compiles without its need 2", out)
        self.assertNotIn("section 2 compiles without", out)


class LabelsTest(ScriptTest):
    def check(self, status, message, **parts):
        self.expect(labels, book(**parts), status, message)

    def box(self, old, new):
        self.assertIn(old, BOX)
        return BOX.replace(old, new)

    def test_accepts_a_good_book(self):
        self.check(0, "1 labels checked, 0 breaches")

    def test_reports_an_ordering_without_a_label(self):
        self.check(
            1,
            "ordering without a label: .*swap_",
            user="x = swap_.exchange(1, std::memory_order_acq_rel);\n",
        )
        self.check(
            1,
            "ordering without a label",
            user="x = swap_.load(std::memory_order::seq_cst);  // no label\n",
        )

    def test_reports_a_label_with_one_end(self):
        self.check(
            1,
            "label D2 has one end only",
            user="// D2 is explained.\nx = swap_.load(std::memory_order_acquire);  // D2: whom?\n",
        )

    def test_takes_a_call_of_several_lines_for_one_end(self):
        self.check(
            1,
            "label D2 has one end only",
            user="// D2 is explained.\n"
            "x = swap_.compare_exchange_strong(a, b, std::memory_order_acq_rel,  // D2: one\n"
            "                             std::memory_order_acquire);  // D2: the same\n",
        )

    def test_accepts_one_label_for_a_call_of_several_lines(self):
        self.check(
            0,
            " 0 breaches",
            user="x = swap_.compare_exchange_strong(a, b, std::memory_order_acq_rel,\n"
            "                                  std::memory_order_acquire);  // D1: one\n",
        )

    def test_reports_a_label_that_is_not_explained(self):
        self.check(
            1,
            "label D1 is explained in no comment",
            box=self.box("// D1: put() -> take(): the value.\n", ""),
        )

    def test_reports_a_listed_label_without_code(self):
        self.check(1, "label D7 is listed", user="//   D7   put()   take()   nothing\n")

    def test_accepts_several_labels_on_one_operation(self):
        self.check(0, "2 labels checked, 0 breaches", box=BOX.replace("// D1: ", "// D1, W12: "))

    def test_reports_an_operation_without_an_order(self):
        for line in (
            "x = swap_.load();",
            "swap_.store(f(x));",
            "swap_->fetch_add(\n    1);",
            "swap_.compare_exchange_weak(a,\n    b);",
            "full_ |= x;",
            "++value_;",
        ):
            with self.subTest(line):
                self.check(1, "without a memory order", user=line + "\n")

    def test_accepts_an_order_that_is_passed_on(self):
        self.check(0, " 0 breaches", user="x = value_.load(order);\n")

    def test_reports_a_fence(self):
        self.check(
            1,
            "stand-alone fence",
            user="std::atomic_thread_fence(\n    std::memory_order_relaxed);\n",
            platform="",
        )

    def test_reports_what_the_standard_library_has_and_we_do_not_use(self):
        self.check(1, "a future of", user="std::promise<int> p;\n")
        self.check(1, "a semaphore of", user="std::binary_semaphore s{0};\n")

    def test_reports_a_name_of_the_platform_outside_its_section(self):
        for line in (
            "std::atomic<int> x;",
            "std::atomic_ref x{y};",
            "std::mutex m;",
            "std::thread t;",
            "x = std::chrono::steady_clock::now();",
            "std::scoped_lock lock(m);",
        ):
            with self.subTest(line):
                self.check(1, "outside its section", user=line + "\n")

    def test_reports_a_wait_on_an_atomic(self):
        self.check(1, "a wait or a notification on an atomic", user="full_.wait(false);\n")
        self.check(1, "a wait or a notification on an atomic", user="box.value_.notify_one();\n")

    def test_reads_no_code_in_comments_and_literals(self):
        self.check(
            0, " 0 breaches", user='// std::promise, x.load()\nf("x.load() // std::promise");\n'
        )


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
