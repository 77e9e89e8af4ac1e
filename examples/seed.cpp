// SPDX-License-Identifier: MIT
//
// seed: the two programs that every Python tutorial on threads shows.
//
//   import threading
//
//   def print_numbers():
//       for number in range(5):
//           print("thread:", number)
//
//   thread = threading.Thread(target=print_numbers)
//   thread.start()
//   thread.join()
//
// and
//
//   from concurrent.futures import ThreadPoolExecutor
//
//   def print_number(number):
//       print("pool:", number)
//
//   with ThreadPoolExecutor(max_workers=3) as executor:
//       executor.map(print_number, range(5))
//
//   print("done")

#include <concurrent/executor.hpp>

#include <cstdio>
#include <ranges>
#include <thread>

namespace {

void print_numbers() {
  for (const int number : std::views::iota(0, 5)) { std::printf("thread: %d\n", number); }
}

// One printf is one line: C streams are locked for the length of a call, so lines never mix.
void print_number(int number) { std::printf("pool: %d\n", number); }

}  // namespace

int main() {
  std::thread thread(print_numbers);
  thread.join();

  {
    concurrent::ThreadPoolExecutor executor({.max_workers = 3});
    executor.map(print_number, std::views::iota(0, 5));
  }  // All five are printed here, in an order that the three workers make among themselves.
  std::puts("done");
}
