// SPDX-License-Identifier: MIT
//
// cancel: several tasks look for one thing, and the first that finds it stops the others.
//
// What is sought is the one key that `scramble` turns into kWanted. The search that comes across it
// ends by itself; the others would go on for years. Those that run are asked to stop, and look at
// their stop token before each key; those that have not begun are cancelled and never run. The gate
// holds the searches until main() has shown the same by hand, so the output never varies.

#include <concurrent/executor.hpp>

#include <cstdint>
#include <iostream>
#include <latch>
#include <optional>
#include <vector>
#include <version>

#if defined(__cpp_lib_jthread)
#include <stop_token>
using StopToken = std::stop_token;
#else
// A library without stop tokens cancels pending tasks all the same; this is for those that run.
#include <atomic>
static std::atomic<bool> must_stop = false;
struct StopToken {
  bool stop_requested() const { return must_stop; }
};
#endif

namespace {

using Key = std::uint64_t;
using Search = concurrent::Future<std::optional<Key>>;
constexpr int kWorkers = 3;
constexpr int kSearches = 7;
constexpr Key kWanted = 0x94ef31561bfcdbbb;
std::latch begun(kWorkers);
std::latch gate(1);

/// The last step of SplitMix64, which turns no two keys into the same value.
Key scramble(Key key) {
  key = (key ^ key >> 30) * 0xbf58476d1ce4e5b9;
  key = (key ^ key >> 27) * 0x94d049bb133111eb;
  return key ^ key >> 31;
}

/// Tries all keys from `number` * 2^56 on. Without a value if it was stopped before it found any.
std::optional<Key> search(StopToken stop, int number) {
  begun.count_down();
  gate.wait();
  for (Key key = static_cast<Key>(number) << 56; !stop.stop_requested(); ++key) {
    if (scramble(key) == kWanted) return key;
  }
  return std::nullopt;
}

}  // namespace

int main() {
  std::vector<Search> searches;
  concurrent::ThreadPoolExecutor executor({.max_workers = kWorkers});

  const auto stop_others = [&](const Search& search) {
    if (search.cancelled() || !search.result()) return;
    executor.shutdown({.wait = false, .cancel_futures = true});  // Those that wait, ...
    for (const Search& other : searches) other.request_stop();   // ... those that run.
#if !defined(__cpp_lib_jthread)
    must_stop = true;
#endif
  };

  for (int number = 0; number < kSearches; ++number) {
    if (number == kWorkers) begun.wait();  // Each worker has one to run: the others wait.
#if defined(__cpp_lib_jthread)
    searches.push_back(executor.submit(search, number));  // It puts a token in front.
#else
    searches.push_back(executor.submit(search, StopToken{}, number));
#endif
  }
  for (const Search& search : searches) search.add_done_callback(stop_others);

  std::cout << std::boolalpha << "cancel() of search 2, which runs: " << searches[2].cancel()
            << "\ncancel() of search 3, which waits: " << searches[3].cancel()
            << "\nrequest_stop() of search 4, which waits: " << searches[4].request_stop() << '\n';
  gate.count_down();
  concurrent::wait(searches);

  for (int number = 0; const Search& search : searches) {
    std::cout << "search " << number++ << ": ";
    if (search.cancelled()) {
      std::cout << "cancelled, has never run\n";
    } else if (search.result()) {
      std::cout << "has found the key " << *search.result() << '\n';
    } else {
      std::cout << "stopped\n";
    }
  }
}
