// SPDX-License-Identifier: MIT
// A type that counts its instances, copies and moves; it stands in for Python's weak references.
#ifndef CONCURRENT_TESTS_SUPPORT_COUNTED_HPP
#define CONCURRENT_TESTS_SUPPORT_COUNTED_HPP

#include <atomic>

namespace support {

/// What the instances of one test have done. It must outlive them.
struct Counts {
  std::atomic<int> alive{0};   // constructed and not yet destroyed, moved-from ones included
  std::atomic<int> copies{0};  // by construction and by assignment
  std::atomic<int> moves{0};
};

/// A value that tells its Counts about its life. As a callable it returns its value.
class Counted {
 public:
  explicit Counted(Counts& counts, int value = 0) : counts_(&counts), value_(value) {
    counts_->alive.fetch_add(1);
  }

  Counted(const Counted& other) : counts_(other.counts_), value_(other.value_) {
    counts_->alive.fetch_add(1);
    counts_->copies.fetch_add(1);
  }

  Counted(Counted&& other) noexcept : counts_(other.counts_), value_(other.value_) {
    other.value_ = kMovedFrom;
    counts_->alive.fetch_add(1);
    counts_->moves.fetch_add(1);
  }

  Counted& operator=(const Counted& other) {
    move_to(*other.counts_);
    value_ = other.value_;
    counts_->copies.fetch_add(1);
    return *this;
  }

  Counted& operator=(Counted&& other) noexcept {
    move_to(*other.counts_);
    value_ = other.value_;
    if (&other != this) other.value_ = kMovedFrom;
    counts_->moves.fetch_add(1);
    return *this;
  }

  ~Counted() { counts_->alive.fetch_sub(1); }

  static constexpr int kMovedFrom = -1;

  int value() const { return value_; }
  int operator()() const { return value_; }

 private:
  void move_to(Counts& counts) {
    counts_->alive.fetch_sub(1);
    counts_ = &counts;
    counts_->alive.fetch_add(1);
  }

  Counts* counts_;
  int value_;
};

}  // namespace support

#endif  // CONCURRENT_TESTS_SUPPORT_COUNTED_HPP
