// SPDX-License-Identifier: MIT
// map: every kind of input, and how the callable gets the elements.
#include <atomic>
#include <concurrent/executor.hpp>
#include <cstddef>
#include <deque>
#include <forward_list>
#include <functional>
#include <ios>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <numeric>
#include <ranges>
#include <set>
#include <span>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "support/catch.hpp"
#include "support/counted.hpp"
#include "support/gate.hpp"

namespace {

using concurrent::MapOptions;
using concurrent::ThreadPoolExecutor;

const auto plus_one = [](int x) { return x + 1; };

/// An input-only range of the numbers below `count` that remembers in which threads it was read.
class Source {
 public:
  explicit Source(int count) : count_(count) {}

  class Iterator {
   public:
    using value_type = int;
    using difference_type = std::ptrdiff_t;
    using iterator_concept = std::input_iterator_tag;

    explicit Iterator(Source& source) : source_(&source) {}
    Iterator(Iterator&&) = default;
    Iterator& operator=(Iterator&&) = default;

    int operator*() const {
      source_->touch();
      return source_->next_;
    }
    Iterator& operator++() {
      source_->touch();
      ++source_->next_;
      return *this;
    }
    void operator++(int) { ++*this; }
    bool operator==(std::default_sentinel_t) const { return source_->next_ == source_->count_; }

   private:
    Source* source_;
  };

  Iterator begin() { return Iterator(*this); }
  std::default_sentinel_t end() const { return {}; }

  /// Makes reading the number `at` throw.
  void fail_at(int at) { fails_at_ = at; }
  int drawn() const { return next_; }
  bool was_read_only_by(std::thread::id id) const {
    return readers_ == std::set<std::thread::id>{id};
  }

 private:
  void touch() {
    readers_.insert(std::this_thread::get_id());
    if (next_ == fails_at_) throw std::ios_base::failure("the source ran dry");
  }

  int count_;
  int next_ = 0;
  int fails_at_ = -1;
  std::set<std::thread::id> readers_;
};

}  // namespace

TEST_CASE("map takes initializer lists, and keeps them") {
  ThreadPoolExecutor executor(2);
  CHECK(executor.map(plus_one, {1, 2, 3}).result() == std::vector<int>{2, 3, 4});
  auto kept = executor.map([](const std::string& word) { return word + "!"; },
                           {std::string("a word that is longer than a string"), std::string("b")});
  CHECK(kept.result() == std::vector<std::string>{"a word that is longer than a string!", "b!"});
  CHECK(executor.map(MapOptions{.chunksize = 1}, plus_one, {1, 2}).result() ==
        std::vector<int>{2, 3});
}

TEST_CASE("map reads an lvalue container in place") {
  ThreadPoolExecutor executor(2);
  std::vector<int> numbers{1, 2, 3};
  auto addresses = executor.map([](int& number) { return &number; }, numbers).result();
  CHECK(addresses == std::vector<int*>{&numbers[0], &numbers[1], &numbers[2]});
  executor.map([](int& number) { number *= 10; }, numbers).result();
  CHECK(numbers == std::vector<int>{10, 20, 30});
  const std::vector<int>& constant = numbers;
  CHECK(executor.map([](const int& number) { return &number; }, constant).result().at(2) ==
        &numbers[2]);
}

TEST_CASE("map takes arrays, spans, strings, deques, lists and maps") {
  ThreadPoolExecutor executor(2);
  int array[] = {1, 2, 3};
  CHECK(executor.map(plus_one, array).result() == std::vector<int>{2, 3, 4});
  CHECK(executor.map(plus_one, std::span<int>(array)).result() == std::vector<int>{2, 3, 4});
  CHECK(executor.map(plus_one, std::deque<int>{1, 2}).result() == std::vector<int>{2, 3});
  const std::list<int> list{4, 5};
  CHECK(executor.map(plus_one, list).result() == std::vector<int>{5, 6});
  const std::string word = "abc";
  CHECK(executor.map([](char c) { return static_cast<char>(c + 1); }, word).result() ==
        std::vector<char>{'b', 'c', 'd'});
  const std::map<int, std::string> names{{1, "one"}, {2, "two"}};
  CHECK(executor.map([](const auto& entry) { return entry.second; }, names).result() ==
        std::vector<std::string>{"one", "two"});
  CHECK(executor.map(plus_one, names | std::views::keys).result() == std::vector<int>{2, 3});
}

TEST_CASE("map takes forward-only ranges, kept and in place") {
  ThreadPoolExecutor executor(2);
  std::forward_list<int> numbers;
  for (int i = 500; i > 0; --i) numbers.push_front(i);
  std::vector<int> expected(500);
  std::iota(expected.begin(), expected.end(), 2);
  CHECK(executor.map(plus_one, numbers).result() == expected);
  CHECK(executor.map(MapOptions{.chunksize = 7}, plus_one, numbers).result() == expected);
  CHECK(executor.map(plus_one, std::move(numbers)).result() == expected);
}

TEST_CASE("map takes a range of proxies") {
  ThreadPoolExecutor executor(2);
  std::vector<bool> flags{true, false, true};
  CHECK(executor.map([](bool flag) { return flag ? 1 : 0; }, flags).result() ==
        std::vector<int>{1, 0, 1});
}

TEST_CASE("map keeps an rvalue container as long as its elements are needed") {
  support::Gate gate;
  ThreadPoolExecutor executor(1);
  const support::OpenAtExit opened(gate);
  auto mapped = executor.map(
      [&gate](const std::string& word) {
        gate.wait();
        return word;
      },
      std::vector<std::string>{"a word that is longer than a string", "another such long word"});
  gate.open();
  CHECK(mapped.result() ==
        std::vector<std::string>{"a word that is longer than a string", "another such long word"});
}

TEST_CASE("elements of a kept container are passed as rvalues where no lvalue is taken") {
  ThreadPoolExecutor executor(2);
  std::vector<std::unique_ptr<int>> owners;
  for (int i = 0; i < 10; ++i) owners.push_back(std::make_unique<int>(i));
  const auto numbers =
      executor.map([](std::unique_ptr<int> owner) { return *owner; }, std::move(owners)).result();
  std::vector<int> expected(10);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(numbers == expected);
}

TEST_CASE("each kept container decides for itself whether its elements are passed as rvalues") {
  ThreadPoolExecutor executor(2);
  std::vector<std::unique_ptr<int>> owners;
  for (int i = 0; i < 10; ++i) owners.push_back(std::make_unique<int>(i));
  const auto add = [](int& number, std::unique_ptr<int> owner) { return *owner + ++number; };
  const auto sums = executor.map(add, std::vector<int>(10, 99), std::move(owners)).result();
  std::vector<int> expected(10);
  std::iota(expected.begin(), expected.end(), 100);
  CHECK(sums == expected);
}

TEST_CASE("elements of a kept container are passed as lvalues where those are taken") {
  ThreadPoolExecutor executor(1);
  support::Counts counts;
  std::vector<support::Counted> values;
  values.emplace_back(counts, 1);
  values.emplace_back(counts, 2);
  const int moves = counts.moves;
  const auto kinds =
      executor
          .map(
              [](auto&& value) {
                return std::is_lvalue_reference_v<decltype(value)> ? value.value() : -1;
              },
              std::move(values))
          .result();
  CHECK(kinds == std::vector<int>{1, 2});
  CHECK(counts.copies == 0);
  CHECK(counts.moves == moves);
}

TEST_CASE("map takes views: infinite, filtered, transformed, and temporaries of any of them") {
  ThreadPoolExecutor executor(2);
  CHECK(executor.map(plus_one, std::views::iota(0, 5)).result() == std::vector<int>{1, 2, 3, 4, 5});
  CHECK(executor.map(plus_one, std::views::iota(0) | std::views::take(3)).result() ==
        std::vector<int>{1, 2, 3});
  const std::vector<int> numbers{1, 2, 3, 4, 5, 6};
  const auto is_even = [](int x) { return x % 2 == 0; };
  auto filtered = executor.map(plus_one, numbers | std::views::filter(is_even));
  CHECK(filtered.size() == 3);
  CHECK(filtered.result() == std::vector<int>{3, 5, 7});
  auto view = numbers | std::views::filter(is_even);
  CHECK(executor.map(plus_one, view).result() == std::vector<int>{3, 5, 7});
  CHECK(executor
            .map([](std::string&& made) { return made; },
                 numbers | std::views::take(2) |
                     std::views::transform([](int x) { return std::to_string(x); }))
            .result() == std::vector<std::string>{"1", "2"});
  CHECK(executor.map(plus_one, numbers | std::views::reverse).result().front() == 7);
}

TEST_CASE("several ranges are zipped to the shortest") {
  ThreadPoolExecutor executor(2);
  const std::vector<int> bases{2, 3, 4, 5};
  const std::list<int> exponents{5, 2, 1};
  CHECK(executor.map(std::plus<>{}, bases, exponents).result() == std::vector<int>{7, 5, 5});
  CHECK(executor.map(std::plus<>{}, exponents, bases).result() == std::vector<int>{7, 5, 5});
  CHECK(executor.map(std::plus<>{}, bases, std::views::iota(10)).result() ==
        std::vector<int>{12, 14, 16, 18});
  CHECK(executor.map(std::plus<>{}, bases, std::vector<int>{}).result().empty());
  auto three =
      executor.map([](int a, const std::string& b, char c) { return b + c + char('0' + a); }, bases,
                   std::vector<std::string>{"x", "y"}, "pqr");
  CHECK(three.size() == 2);
  CHECK(three.result() == std::vector<std::string>{"xp2", "yq3"});
}

TEST_CASE("an endless range may stand first, and need not show that it is endless") {
  ThreadPoolExecutor executor(2);
  const std::vector<int> numbers{10, 20, 30};
  const auto doubled = std::views::iota(0) | std::views::transform([](int x) { return 2 * x; });
  const auto is_even = [](int x) { return x % 2 == 0; };
  CHECK(executor.map(std::plus<>{}, std::views::iota(0), numbers).result() ==
        std::vector<int>{10, 21, 32});
  CHECK(executor.map(std::plus<>{}, doubled, numbers).result() == std::vector<int>{10, 22, 34});
  CHECK(executor.map(std::plus<>{}, std::views::iota(0) | std::views::filter(is_even), numbers)
            .result() == std::vector<int>{10, 22, 34});
  Source source(2);
  CHECK(executor.map(std::plus<>{}, doubled, source).result() == std::vector<int>{0, 3});
  std::forward_list<int> unsized{1, 1};
  CHECK(executor.map(std::plus<>{}, doubled, unsized).result() == std::vector<int>{1, 3});
}

TEST_CASE("an input-only range is read by the calling thread alone, each element once") {
  ThreadPoolExecutor executor(2);
  Source source(100);
  const auto results = executor.map(MapOptions{.chunksize = 3}, plus_one, source).result();
  std::vector<int> expected(100);
  std::iota(expected.begin(), expected.end(), 1);
  CHECK(results == expected);
  CHECK(source.was_read_only_by(std::this_thread::get_id()));
  CHECK(source.drawn() == 100);
}

TEST_CASE("map reads from a stream") {
  ThreadPoolExecutor executor(2);
  std::istringstream numbers("1 2 3 4");
  CHECK(executor.map(plus_one, std::ranges::istream_view<int>(numbers)).result() ==
        std::vector<int>{2, 3, 4, 5});
  std::istringstream words("some words here");
  CHECK(executor
            .map([](const std::string& word) { return word.size(); },
                 std::ranges::istream_view<std::string>(words))
            .result() == std::vector<std::size_t>{4, 5, 4});
}

TEST_CASE("an input-only range may be zipped with a container") {
  ThreadPoolExecutor executor(2);
  Source source(10);
  const std::vector<int> numbers{100, 200, 300};
  CHECK(executor.map(std::plus<>{}, numbers, source).result() == std::vector<int>{100, 201, 302});
}

TEST_CASE("if drawing the input throws, map throws, and nothing that it scheduled still runs") {
  ThreadPoolExecutor executor(2);
  std::atomic<int> begun{0};
  std::atomic<int> ended{0};
  Source source(1000);
  source.fail_at(500);
  const auto count = [&](int) {
    begun.fetch_add(1);
    ended.fetch_add(1);
  };
  CHECK_THROWS_AS(executor.map(MapOptions{.chunksize = 1}, count, source), std::ios_base::failure);
  const int begun_at_return = begun;
  CHECK(begun == ended);
  executor.shutdown();
  CHECK(begun == begun_at_return);
}

TEST_CASE("the callable is one decayed copy, called as an lvalue") {
  struct LvalueOnly {
    support::Counted counted;
    int operator()(int x) & { return x + counted.value(); }
    int operator()(int x) && = delete;
  };
  support::Counts counts;
  ThreadPoolExecutor executor(2);
  LvalueOnly callable{support::Counted(counts, 5)};
  const int copies = counts.copies;
  CHECK(executor.map(MapOptions{.chunksize = 1}, callable, {1, 2, 3}).result() ==
        std::vector<int>{6, 7, 8});
  CHECK(counts.copies == copies + 1);
  CHECK(executor.map(std::move(callable), {1, 2, 3}).result() == std::vector<int>{6, 7, 8});
  CHECK(counts.copies == copies + 1);
}

TEST_CASE("a move-only callable is moved into the map") {
  ThreadPoolExecutor executor(2);
  auto mapped =
      executor.map([held = std::make_unique<int>(3)](int x) { return x + *held; }, {1, 2});
  CHECK(mapped.result() == std::vector<int>{4, 5});
}

TEST_CASE("the callable and a kept container are destroyed with the map at the latest") {
  support::Counts counts;
  ThreadPoolExecutor executor(2);
  {
    std::vector<support::Counted> values;
    values.emplace_back(counts, 1);
    auto mapped =
        executor.map([held = support::Counted(counts, 2)](
                         const support::Counted& value) { return held.value() + value.value(); },
                     std::move(values));
    CHECK(*mapped.begin() == 3);
  }
  CHECK(counts.alive == 0);
}
