#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""compile: what does one submit cost the compiler?

One translation unit for each peer: it includes the peer's header, starts one task and takes its
result. thread_and_future is what everybody pays who uses <thread> and <future>. Fair: the same
compiler and flags, one peer after the other in each round, so that a slow minute hits all of them.
Timed: the compiler, from start to object file; the best of the rounds. lines are the lines after the
preprocessor that are not empty.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

UNITS = {
    "concurrent": """
        #include <concurrent/executor.hpp>
        int main() {
          concurrent::ThreadPoolExecutor executor(2);
          return executor.submit([] { return 0; }).result();
        }""",
    "thread_and_future": """
        #include <future>
        #include <thread>
        int main() {
          std::packaged_task<int()> task([] { return 0; });
          auto future = task.get_future();
          std::thread thread(std::move(task));
          thread.join();
          return future.get();
        }""",
    "std_async": """
        #include <future>
        int main() { return std::async(std::launch::async, [] { return 0; }).get(); }""",
    "tbb": """
        #include <tbb/task_arena.h>
        #include <tbb/task_group.h>
        int main() {
          int result = 1;
          tbb::task_arena arena(2, 0);
          tbb::task_group group;
          arena.enqueue(group.defer([&result] { result = 0; }));
          arena.execute([&group] { group.wait(); });
          return result;
        }""",
    "asio": """
        #include <boost/asio/post.hpp>
        #include <boost/asio/thread_pool.hpp>
        #include <boost/asio/use_future.hpp>
        int main() {
          boost::asio::thread_pool pool(2);
          return boost::asio::post(pool, boost::asio::use_future([] { return 0; })).get();
        }""",
    "eigen": """
        #include <future>
        #include <unsupported/Eigen/CXX11/ThreadPool>
        int main() {
          Eigen::ThreadPool pool(2);
          std::promise<int> promise;
          pool.Schedule([&promise] { promise.set_value(0); });
          return promise.get_future().get();
        }""",
    "std_par": """
        #include <algorithm>
        #include <execution>
        int main() {
          int results[2] = {1, 1};
          std::for_each(std::execution::par, results, results + 2, [](int& i) { i = 0; });
          return results[0] + results[1];
        }""",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compiler", default=os.environ.get("CXX", "c++"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", default=sorted(UNITS), help="peers")
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()

    command = [arguments.compiler, "-std=c++20", "-O3", "-pthread", f"-I{ROOT}/include",
               "-isystem", "/usr/include/eigen3"]
    with tempfile.TemporaryDirectory() as folder:
        lines, times = {}, {}
        for peer in arguments.only:
            source = pathlib.Path(folder, f"{peer}.cpp")
            source.write_text(UNITS[peer])
            text = subprocess.run([*command, "-E", "-P", source], capture_output=True, text=True)
            if text.returncode == 0:
                lines[peer] = sum(1 for line in text.stdout.splitlines() if line.strip())
                times[peer] = []
            elif peer == "concurrent":
                sys.exit(text.stderr)
            else:
                print(f"compile: without {peer}, which is not installed", file=sys.stderr)
        for _ in range(arguments.rounds):
            for peer, measured in times.items():
                begin = time.monotonic()
                subprocess.run([*command, "-c", "-o", f"{folder}/out.o", f"{folder}/{peer}.cpp"],
                               check=True, timeout=60)
                measured.append(time.monotonic() - begin)

    rows = []
    for peer, measured in times.items():
        best = min(measured)
        rows.append({"name": f"compile/{peer}_median", "run_name": f"compile/{peer}",
                     "run_type": "aggregate", "aggregate_name": "median",
                     "repetitions": arguments.rounds, "real_time": best * 1e3, "time_unit": "ms",
                     "best_seconds": best, "lines": lines[peer]})
        print(f"compile/{peer:20} {best:.3f} s  {lines[peer]} lines")
    if arguments.out:
        arguments.out.write_text(json.dumps({"context": {}, "benchmarks": rows}, indent=1))


if __name__ == "__main__":
    main()
