// SPDX-License-Identifier: MIT
//
// concurrent/executor.hpp: Python's concurrent.futures for C++20.
//
//     {                                                 // with ThreadPoolExecutor(3) as executor:
//       concurrent::ThreadPoolExecutor executor(3);
//       auto answer = executor.submit(std::plus<>(), 20, 22);
//       for (int& square : executor.map([](int i) { return i * i; }, std::views::iota(0, 5))) {
//         use(square);
//       }
//       use(answer.result());
//     }                                                 // leaving the scope: all has run
//
// Synopsis
// ========
//
// namespace concurrent {
//   class Error;                                 // : std::runtime_error, the base of these:
//   class CancelledError; class TimeoutError; class InvalidStateError; class BrokenPromise;
//   class ShutdownError; class DeadlockError; class BrokenExecutor;
//   class BrokenThreadPool;                      // : BrokenExecutor, std::nested_exception
//   std::function<void(std::exception_ptr)>
//     set_unhandled_exception_handler(std::function<void(std::exception_ptr)>);
//
//   class Timeout;                               // from any std::chrono::duration
//   int usable_cpus();
//   void release_memory() noexcept;
//
//   template <class T> class Future {            // copyable; ==, <=>, std::hash
//     const T& result(Timeout = {}) const&;      // T result(Timeout = {}) &&;
//     T get(Timeout = {});
//     std::exception_ptr exception(Timeout = {}) const;
//     bool valid() const noexcept;  bool done() const noexcept;
//     bool running() const noexcept;  bool cancelled() const noexcept;
//     bool cancel() const;  bool request_stop() const;
//     void wait() const;  std::future_status wait_for(Timeout) const;
//     std::future_status wait_until(std::chrono::time_point<C, D>) const;
//     void add_done_callback(fn) const;          // fn(Future<T>)
//   };
//
//   template <class T> class Promise {           // move-only
//     Future<T> future() const;
//     bool set_running_or_notify_cancel();
//     void set_result(T);  void set_exception(std::exception_ptr);
//   };
//
//   enum class ReturnWhen { all_completed, first_completed, first_exception };
//   struct WaitOptions { Timeout timeout; ReturnWhen return_when; };
//   template <class T> struct WaitResult { std::vector<Future<T>> done, not_done; };
//   WaitResult<T> wait(range of Future<T>, WaitOptions = {});  void wait(Future<T1>, Future<T2>, ...);
//   struct AsCompletedOptions { Timeout timeout; };
//   AsCompleted<T> as_completed(range of Future<T>, AsCompletedOptions = {});
//
//   struct MapOptions { Timeout timeout; std::optional<std::size_t> chunksize, buffersize; };
//   template <class R> class MapFuture {         // move-only; an input range; a scope
//     iterator begin();  iterator end();
//     std::vector<R> result();                   // void for a map of void
//     void wait() const;  std::future_status wait_for(Timeout) const;
//     bool valid() const noexcept;  bool done() const noexcept;  bool cancel() const noexcept;
//     std::size_t size() const;  std::size_t completed() const;
//     Future<R> future(std::size_t i) &;  std::vector<Future<R>> futures() &;
//     void add_done_callback(fn) const;          // fn()
//   };
//
//   struct ShutdownOptions { bool wait = true; bool cancel_futures = false; };
//   class ThreadPoolExecutor {                   // neither copyable nor movable
//     struct Options {
//       int max_workers; std::string thread_name_prefix; std::function<void()> initializer;
//     };
//     ThreadPoolExecutor();  explicit ThreadPoolExecutor(Options);
//     explicit ThreadPoolExecutor(std::integral auto max_workers);
//     auto submit(fn, args...) -> Future<R>;     // fn(args...) or fn(std::stop_token, args...)
//     void post(fn, args...);
//     auto map(fn, ranges...) -> MapFuture<R>;  auto map(MapOptions, fn, ranges...);
//     auto map(fn, {...});  auto map(MapOptions, fn, {...});
//     void shutdown(ShutdownOptions = {});
//     int worker_count() const noexcept;  int max_workers() const noexcept;
//   };
// }
//
// How it works
// ============
//
//                         submit in a task
//                     .--------------------------.
//                     |                          v
//     submit --> ProducerQueue --batch--> WorkDeque of worker 0 <--.
//     (other     (one a thread)  \-batch-> WorkDeque of worker 1 <--+-- steal, when idle
//     threads)                                  |                    |
//            --> InjectionQueue              run the task -----------'
//                (one, a mutex)                 |
//     Future ---- waits on -------------> the task's state word
//
// The life of one task:
//  1. submit copies callable and arguments into one node of memory (CallTask::make, allocate_node)
//     with two references: the queue's and the handle's.
//  2. Pool::submit puts the node's address into a queue. For a worker of this pool that is its own
//     deque. For another thread it is the injection queue while not all workers have been started
//     (and always, if there is one only): there a thread is started first if more tasks wait than
//     workers are idle. Afterwards it is a queue of that thread's own (this_producer), without a
//     lock. Then notify_behind wakes a worker if some sleep and none searches.
//  3. A worker finds it (PoolSearch::next): own deque, newest first; from outside, oldest first and
//     in batches; the deques of others, oldest first. Every 61st turn it looks at the old ones first.
//  4. Task::try_claim decides who runs it, by one atomic operation: the worker, a waiter in a task
//     of the same pool (adopt), or nobody, if cancel_task was first.
//  5. Task::run_and_finish calls the callable, destroys it, builds the result in its place, and
//     publishes that and drops the queue's reference in one operation (Task::finish). A get() that
//     finds its task on top of its own deque, and has the only handle, needs no such operation at
//     all (join_newest, Task::try_claim_alone).
//  6. Who waits sees the word change (Task::wait): after a spin (Spinner) it sleeps on the word itself,
//     and only then does finish make a system call. Callbacks, and the entries of those who wait
//     for several tasks, hang on the task and are run by finish (Task::add, run_continuations).
//  7. The last reference destroys result and node (Task::release); the memory goes to the free
//     nodes of the thread that dropped it.
//
// The state of a task is drawn in section 7, that of a chunk of a map in section 15. A worker is
// starting (running its initializer), busy, searching, or asleep: section 10.
//
// Waiting inside a task. An untimed wait for a task of the own pool that nobody has begun runs it
// there and then (adopt), and never anything else: a stranger might need a lock that the waiter
// holds. If somebody runs it already, the worker sleeps until it is done. A wait that cannot adopt
// (for any of several, with a limit, for another pool's task or a promise, or with a short stack)
// sleeps too, and says so (Blocked): its pool admits a spare worker meanwhile (section 11). The wait
// that would close a cycle of sleeping workers throws DeadlockError instead (WaitGraph).
//
// Who may call what: section 16 for executors, 12 for futures, 13 for promises, 15 for maps. In short: everything
// from everywhere, but iteration of one map from one thread, and assignment, get() and destructors
// of one object as for any object.
//
// Orderings. Each label stands at both ends in the code, and is explained above its class.
//
//   label  written by                    read by                     what the edge carries
//   T1     Task::finish                  Task::state, wait           the outcome, the task's writes
//   T2     Task::release, finish         release, try_claim_alone    all uses by others, before
//   T3     Task::wait, add               Task::finish                that somebody waits
//   T4     Task::set_runner              Task::runner                the worker that runs it
//   D1     WorkDeque::push               steal_by_force, size        the task and its slot
//   D2     WorkDeque::pop, take_private  take_private, pop           who gets the task; seq_cst
//   D3     WorkDeque::unlock             WorkDeque::try_lock         the public part
//   D4     WorkDeque::take_oldest        WorkDeque::make_room        that the slot was read
//   Q1     InjectionQueue::push, drop    has_tasks                   that there are tasks
//   Q2     ProducerQueue::push           ProducerQueue::size         the task and its slot
//   Q3     ProducerQueue::drop           ProducerQueue::size         that what left is in a deque
//   Q4     ProducerQueue::unlock         ProducerQueue::try_lock     the old end
//   Q5     SegmentReader::drop           SegmentWriter::extend       that the segment was read
//   Q6     ProducerQueue::leave          Pool::release               all uses by that submit
//   Q7     leave_to_next                 ProducerQueue::adopt        the producer's end
//   Q8     ProducerQueue::release        ProducerQueue::release      all uses, before the end
//   P1     queues, IdleWorkers           IdleWorkers, queues         a task or a sleeper; seq_cst
//   P2     Parker::unpark                Parker::park                that the sleeper is chosen
//   M1     begin_shutdown, break_down    submit, workers             closed; broken, and why
//   M2     StableTable::add              StableTable::count          the object behind an index
//   M3     Pool::release                 Pool::release               all uses, before the end
//   W1     CompletionGroup::run          take_finished               the entries that are done
//   W2     CompletionGroup::run          wait_for_more               that there is something
//   B1     begin_next, end_chunk         is_ready, cancel            the results below `progress`
//   B2     wait_for_element, begin_next  announce, is_ready          that somebody waits; seq_cst
//   B3     end_chunk                     is_over, sleep_until_left   all results; no element runs
//   B4     sleep_until_left, end_chunk   end_chunk, is_over          that somebody waits; seq_cst
//   B5     wake                          sleep_until                 that something has changed
//   B6     MapBase::release              MapBase::release            all uses, before the end
//   B7     MapHandles::set; begin_next   MapHandles::find; has_begun  a handle, a begin; seq_cst
//
// Where the pairs marked seq_cst are between something that happens for every task and something
// rare, the frequent side is a release store and a plain look, and the rare side makes all threads
// execute a barrier (platform::process_barrier; Linux's membarrier). Without it, or with
// CONCURRENT_NO_MEMBARRIER=1 in the environment, both sides are seq_cst: the same code with other
// orderings, which is what the tests and models check too.
//
// Locks: Pool::join_mutex_ before Pool::mutex_; the mutexes of IdleWorkers, Depot, WaitGraph, of
// continuations and of the handler of unhandled exceptions are leaves. No user code runs under any
// of them: no callable, no callback, no destructor of a capture, no handler.
// The locks of a WorkDeque and of a ProducerQueue are leaves too: workers only try them, and who has
// to wait for one, its owner or a drain, yields.
//
// Shared objects: the library's globals are one for the process where symbols are visible. Where an
// object has its own, nothing that two objects share is reached through them: a pool and a task know
// those of their maker (fork_count_, TaskOperations::mutexes), threads run their pool's maker's code
// (start_worker), and a callable tells its object which worker it runs in (WorkerHere). Not shared
// then: the WaitGraph, so that a cycle across such objects is not seen.
//
// fork(): the process-wide mutexes are held across it, so they are free in the child. Pools are not
// touched there: submit throws BrokenExecutor, the destructor leaves the copy as it is.
//
// Shutdown:
//  1. begin_shutdown sets kClosed under mutex_. A submit into the injection queue checks it under the
//     same mutex: it has put its task in before, or throws. One into a queue of its own looks after
//     its push, and takes the task back if no worker has it. A worker's submit looks before: its
//     worker runs what it has pushed in any case.
//  2. After a barrier all that was accepted can be seen, and kSealed is set. With cancel_futures, all
//     queues are emptied and each task is cancelled, under no lock.
//  3. All sleepers are woken. A worker ends when it sees kSealed and then all queues empty
//     (may_leave); what runs goes on, and its worker looks again after it.
//  4. join waits for the threads, one joiner at a time. The destructor does the same, and in one of
//     the pool's own tasks it detaches the threads instead: the last one deletes the Pool. Spares
//     that have retired are woken like sleepers (3), and end.
//
// What may throw: submit, post and map, before anything is scheduled: bad_alloc (node, deque,
// segment of a queue, slots of a map), system_error (no thread at all), ShutdownError,
// BrokenThreadPool, and what copies throw. Waits throw what their comments say. Inside the workers
// nothing throws: a destructor of a callable, argument or result that does ends the process.
// A task that ends its thread (pthread_exit, pthread_cancel) unwinds it: the tasks on that stack fail
// (Task::fail_unwound), and another thread takes the worker's place (PoolThreads::replace).
//
// Tried and dropped, with the bench that decided: one injection queue under a mutex for all threads
// (submit_get, producers); the deque of Chase and Lev, whose pop needs a read-modify-write (nested);
// claiming, finishing and taking by read-modify-write in every join (nested, skynet); free nodes that
// name the next one (detached); a queue that is copied when it grows (pending); searchers that all
// spin for as long as the first (idle); asking for the lines of tasks where the worker keeps up, and a
// pause behind a producer's heels (submit_get: either slows the producer down).
//
// Sections: foundations 1-7 (configuration, platform, errors, time, processors, node memory, task),
// queues 8-10 (work deque, injection queue, parking), machine 11 (pool), surface 12-16 (Future,
// Promise, wait and as_completed, MapFuture, ThreadPoolExecutor).
#if defined(CONCURRENT_EXECUTOR_HPP)
#if CONCURRENT_VERSION_MAJOR != 0 || CONCURRENT_VERSION_MINOR != 1 || CONCURRENT_VERSION_PATCH != 0
#error "Two versions of concurrent/executor.hpp in one translation unit: check the include paths."
#endif
#else
#define CONCURRENT_EXECUTOR_HPP

#define CONCURRENT_VERSION_MAJOR 0
#define CONCURRENT_VERSION_MINOR 1
#define CONCURRENT_VERSION_PATCH 0

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <compare>
#include <concepts>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>
#include <version>
#if defined(__cpp_lib_jthread)
#include <stop_token>
#endif
#if defined(__linux__)
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if !defined(_WIN32)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

// =================================================================================================
// [1] Configuration: compilers, exceptions, node recycling, the inline namespace.          needs -
// =================================================================================================

#if defined(__clang__) && !defined(__apple_build_version__)
#if __clang_major__ < 16
#error "concurrent needs clang 16 or newer: older ones lack parts of C++20."
#endif
#elif defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ < 12
#error "concurrent needs g++ 12 or newer: older ones lack parts of C++20."
#endif
#endif

#if !defined(__cpp_exceptions) && !(defined(_MSC_VER) && defined(_CPPUNWIND))
#error "concurrent needs exceptions: futures carry them. Compile without -fno-exceptions."
#endif

// Recycled nodes hide a use after free from AddressSanitizer and a race from ThreadSanitizer, so
// under them (and where CONCURRENT_PLAIN_NODES is defined) a node is one operator new and delete.
// The choice is part of the inline namespace's name: two translation units that disagree do not
// link, where they would otherwise corrupt each other.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CONCURRENT_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
    __has_feature(memory_sanitizer)
#define CONCURRENT_SANITIZED
#endif
#endif

#if defined(CONCURRENT_PLAIN_NODES) || defined(CONCURRENT_SANITIZED)
#define CONCURRENT_ABI v1_plain_nodes
#define CONCURRENT_RECYCLES_NODES false
#else
#define CONCURRENT_ABI v1
#define CONCURRENT_RECYCLES_NODES true
#endif

// What all shared objects of a program must have in common is visible even where everything else
// is hidden.
#if defined(__GNUC__) && !defined(_WIN32)
#define CONCURRENT_VISIBLE __attribute__((visibility("default")))
#define CONCURRENT_PER_OBJECT __attribute__((visibility("hidden")))
#else
#define CONCURRENT_VISIBLE
#define CONCURRENT_PER_OBJECT
#endif

// What stays out of line, so that its callers stay small; and what is rarely called as well.
#if defined(_MSC_VER)
#define CONCURRENT_NOINLINE __declspec(noinline)
#define CONCURRENT_COLD __declspec(noinline)
#else
#define CONCURRENT_NOINLINE __attribute__((noinline))
#define CONCURRENT_COLD __attribute__((cold, noinline))
#endif

// The mutex of mingw's libstdc++ has no constexpr constructor.
#if defined(_WIN32)
#define CONCURRENT_CONSTINIT
#else
#define CONCURRENT_CONSTINIT constinit
#endif

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

inline constexpr bool kRecycleNodes = CONCURRENT_RECYCLES_NODES;

// The unit of sharing between cores. A fixed number, for it is part of the layout:
// std::hardware_destructive_interference_size changes with -mtune.
inline constexpr std::size_t kCacheLine = 64;

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [2] Platform: the one seam. Atomics, locks, threads, sleeping, names, signals.           needs 1
// =================================================================================================
//
// Everything below this section reaches atomics, mutexes, threads, the clock and the operating
// system through these names alone, so that a model or a delay build can put another text in here.

namespace concurrent::inline CONCURRENT_ABI {
namespace detail::platform {

template <class T> using Atomic = std::atomic<T>;
using Mutex = std::mutex;
using Lock = std::lock_guard<std::mutex>;
using AdoptLock = std::adopt_lock_t;
using Thread = std::thread;
using Clock = std::chrono::steady_clock;

inline constexpr Clock::time_point kForever = Clock::time_point::max();

/// Where counters begin that only grow. Tests put a number here behind which they soon wrap.
inline constexpr std::uint64_t kFirstCount = 0;

/// A hint to the core that this thread spins.
inline void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) && defined(__GNUC__)
  __asm__ __volatile__("yield");
#else
  std::this_thread::yield();
#endif
}

inline void yield() noexcept { std::this_thread::yield(); }

/// Asks for the cache line at `address`, which is about to be written and may be another core's.
inline void prefetch_to_write(const void* address) noexcept {
#if defined(__x86_64__)
  // The builtin asks for a line to read where -march does not promise this instruction; where it is
  // missing it does nothing.
  __asm__ __volatile__("prefetchw (%0)" : : "r"(address));
#elif defined(__GNUC__)
  __builtin_prefetch(address, 1);
#else
  static_cast<void>(address);
#endif
}

/// Paces a thread that looks for something again and again before it sleeps: for about as long as a
/// sleep and a wake-up may cost, so that it costs twice the best choice at most. Where others want
/// the core it lets them have it at every step, and the time that they take counts.
class Spinner {
 public:
  static constexpr std::chrono::microseconds kSleepAndWake{60};  // measured: bench round_trip

  explicit Spinner(std::chrono::microseconds budget, Clock::time_point until = kForever) noexcept
      : end_(std::min(Clock::now() + budget, until)) {}

  /// A short while. False if it has been long enough.
  bool spin() noexcept {
    constexpr unsigned between_yields = 16;                    // picked: two microseconds
    constexpr std::chrono::nanoseconds longest_of_none{2500};  // a yield to nobody takes less
    for (int i = 0; i < 4; ++i) pause();
    if (!is_crowded_ && ++round_ % between_yields != 0) return true;
    const Clock::time_point before = Clock::now();
    yield();
    const Clock::time_point after = Clock::now();
    is_crowded_ = after - before > longest_of_none;
    return after < end_;
  }

 private:
  const Clock::time_point end_;
  unsigned round_ = 0;
  bool is_crowded_ = false;
};

/// A lock for a few instructions: spins a little before it sleeps.
class ShortLock {
 public:
  explicit ShortLock(Mutex& mutex) : mutex_(mutex) {
    constexpr int spins = 50;  // picked: a microsecond or two
    for (int i = 0; i < spins; ++i) {
      if (mutex.try_lock()) return;
      pause();
    }
    mutex.lock();
  }
  ShortLock(const ShortLock&) = delete;
  ShortLock& operator=(const ShortLock&) = delete;
  ~ShortLock() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

inline Thread::id this_thread_id() noexcept { return std::this_thread::get_id(); }

/// What pthread_exit and pthread_cancel unwind a thread with. Whoever catches it throws it on; other
/// standard libraries than GNU's run destructors alone.
#if defined(__GLIBCXX__)
using ForcedUnwind = abi::__forced_unwind;
#else
struct ForcedUnwind {};
#endif

/// How often this process has forked, counted in the child by the handlers that `at_fork` installs.
CONCURRENT_VISIBLE inline constinit Atomic<std::uint64_t> fork_count = kFirstCount;

/// Installs handlers around fork(): locks before, unlocks after it in both processes.
CONCURRENT_PER_OBJECT inline void at_fork([[maybe_unused]] void (*lock)(),
                                          [[maybe_unused]] void (*unlock)(),
                                          [[maybe_unused]] void (*unlock_in_child)()) noexcept {
#if !defined(_WIN32)
  pthread_atfork(lock, unlock, unlock_in_child);
#endif
}

/// The Worker that the calling thread is, or null. Set and cleared by the worker itself.
CONCURRENT_VISIBLE inline thread_local constinit void* this_worker = nullptr;

/// Asks for pages as large as can be under a block of memory that is aligned to them.
inline void prefer_large_pages([[maybe_unused]] void* memory,
                               [[maybe_unused]] std::size_t size) noexcept {
#if defined(__linux__)
  ::madvise(memory, size, MADV_HUGEPAGE);
#endif
}

// ---- one-sided barriers ----------------------------------------------------------------------------
//
// Where one side of a handshake runs all the time and the other hardly ever, the rare side can pay
// for both: process_barrier() makes every thread of the process execute a full barrier, so that the
// frequent side needs none between its store and its load, but for the compiler's. Whether it is
// there is known at the start, and the same for all threads. CONCURRENT_NO_MEMBARRIER=1 in the
// environment turns it off.

#if defined(__linux__) && defined(SYS_membarrier)

/// Keeps the compiler from moving anything across it.
inline void compiler_barrier() noexcept { __asm__ __volatile__("" : : : "memory"); }

/// Needed once in a process, and once more in the child of a fork.
inline bool register_process_barrier() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

CONCURRENT_COLD inline bool has_process_barrier() noexcept {
  static const bool has =
      std::getenv("CONCURRENT_NO_MEMBARRIER") == nullptr && register_process_barrier();
  return has;
}

inline void process_barrier() noexcept {
  if (::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0) return;
  std::fputs(
      "concurrent: the membarrier system call was there and is not any more, perhaps for a seccomp "
      "filter; set CONCURRENT_NO_MEMBARRIER=1 before the program starts\n",
      stderr);
  std::terminate();
}

#else

inline void compiler_barrier() noexcept {}
inline bool register_process_barrier() noexcept { return false; }
inline bool has_process_barrier() noexcept { return false; }
inline void process_barrier() noexcept {}

#endif

// ---- sleeping on a word --------------------------------------------------------------------------
//
// sleep_while_equal(word, value, until) returns when woken, when `until` has passed, when the word
// is not `value` any more, or for no reason: callers loop. Of a 64-bit word the low half is meant.

#if defined(__linux__)

inline std::uint32_t* futex_address(Atomic<std::uint32_t>& word) noexcept {
  return reinterpret_cast<std::uint32_t*>(&word);
}

inline std::uint32_t* futex_address(Atomic<std::uint64_t>& word) noexcept {
  constexpr std::size_t low_half = std::endian::native == std::endian::little ? 0 : 1;
  return reinterpret_cast<std::uint32_t*>(&word) + low_half;
}

template <class Word>
void sleep_while_equal(Atomic<Word>& word, std::uint32_t value, Clock::time_point until) noexcept {
  // The kernel's timespec for this call is two longs, whatever the C library's time_t is.
  struct KernelTime {
    long seconds;
    long nanoseconds;
  } time = {};
  KernelTime* limit = nullptr;
  if (until != kForever) {
    const auto since_epoch = until.time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
    if (seconds.count() < 0) return;
    time.seconds = static_cast<long>(seconds.count());
    time.nanoseconds = static_cast<long>(std::chrono::nanoseconds(since_epoch - seconds).count());
    limit = &time;
  }
  // An absolute time on CLOCK_MONOTONIC, which is what steady_clock reads: an interrupted call
  // can simply be made again.
  ::syscall(SYS_futex, futex_address(word), FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, value, limit,
            nullptr, FUTEX_BITSET_MATCH_ANY);
}

template <class Word> void wake_all(Atomic<Word>& word) noexcept {
  ::syscall(SYS_futex, futex_address(word), FUTEX_WAKE | FUTEX_PRIVATE_FLAG,
            std::numeric_limits<int>::max(), nullptr, nullptr, 0);
}

#else

// Elsewhere: a fixed table of mutexes and condition variables, chosen by the word's address. The
// table is never destroyed, for threads may sleep while static objects are being destroyed.
struct SleepBucket {
  std::mutex mutex;
  std::condition_variable changed;
};

inline SleepBucket& sleep_bucket(const void* word) {
  constexpr std::size_t buckets = 64;
  static SleepBucket* const table = new SleepBucket[buckets];
  return table[(reinterpret_cast<std::uintptr_t>(word) >> 4) % buckets];
}

template <class Word>
void sleep_while_equal(Atomic<Word>& word, std::uint32_t value, Clock::time_point until) {
  SleepBucket& bucket = sleep_bucket(&word);
  std::unique_lock lock(bucket.mutex);
  if (static_cast<std::uint32_t>(word.load(std::memory_order_relaxed)) != value) return;
  if (until == kForever) {
    bucket.changed.wait(lock);
  } else {
    bucket.changed.wait_until(lock, until);
  }
}

template <class Word> void wake_all(Atomic<Word>& word) {
  SleepBucket& bucket = sleep_bucket(&word);
  // Whoever has seen the old value is asleep, or holds the mutex and is about to be.
  { const std::lock_guard lock(bucket.mutex); }
  bucket.changed.notify_all();
}

#endif

// ---- threads -------------------------------------------------------------------------------------

/// Blocks all signals but the synchronous ones in the calling thread while it lives: a thread that
/// is started meanwhile inherits the mask, so that a program's signals reach its own threads.
class SignalsBlocked {
 public:
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

#if defined(_WIN32)
  SignalsBlocked() noexcept {}
  ~SignalsBlocked() {}
#else
  CONCURRENT_COLD SignalsBlocked() noexcept {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int synchronous : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT}) {
      sigdelset(&blocked, synchronous);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_ = {};
#endif
};

/// Names the calling thread `prefix_number` for the debugger. Where names are short (Linux: 15
/// bytes) the prefix is cut, at a character of UTF-8, and the number stays.
CONCURRENT_COLD inline void name_this_thread(const std::string& prefix, int number) {
#if defined(__linux__) || defined(__APPLE__)
  // Not by concatenating strings, which every translation unit would compile.
  constexpr int size = 16;
  char name[size];
  const char* const text = prefix.c_str();
  const auto is_continuation = [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
  };
  const int longest = size - 1 - std::snprintf(nullptr, 0, "_%d", number);
  int length = 0;
  while (length < longest && text[length] != '\0') ++length;
  while (length > 0 && is_continuation(text[length])) --length;
  std::snprintf(name, size, "%.*s_%d", length, text, number);
#if defined(__linux__)
  pthread_setname_np(pthread_self(), name);
#else
  pthread_setname_np(name);
#endif
#else
  static_cast<void>(prefix);
  static_cast<void>(number);
#endif
}

/// The lowest address of the calling thread's stack, or null where nobody tells.
CONCURRENT_COLD inline const std::byte* stack_limit() noexcept {
#if defined(__linux__)
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return nullptr;
  void* lowest = nullptr;
  std::size_t size = 0;
  const bool known = pthread_attr_getstack(&attributes, &lowest, &size) == 0;
  pthread_attr_destroy(&attributes);
  return known ? static_cast<const std::byte*>(lowest) : nullptr;
#else
  return nullptr;
#endif
}

/// Bytes between this frame and `limit`, an address of its stack or null; zero if it is below that.
inline std::size_t stack_left(const std::byte* limit) noexcept {
#if defined(__GNUC__)
  const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
#else
  const char frame = 0;
  const auto here = reinterpret_cast<std::uintptr_t>(&frame);
#endif
  const auto lowest = reinterpret_cast<std::uintptr_t>(limit);
  return here > lowest ? here - lowest : 0;
}

/// CPUs in the calling thread's affinity mask; at least 1.
CONCURRENT_COLD inline int affinity_cpus() noexcept {
#if defined(__linux__)
  // The mask of a large machine does not fit in a cpu_set_t: try with more room until it does.
  for (std::size_t cpus = 1024; cpus <= (std::size_t{1} << 20U); cpus *= 2) {
    cpu_set_t* const set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return std::max(count, 1);
    if (errno != EINVAL) break;
  }
#endif
  const unsigned cores = std::thread::hardware_concurrency();
  return cores == 0 ? 1 : static_cast<int>(cores);
}

}  // namespace detail::platform
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [3] Errors, and the handler for exceptions that no future carries.                     needs 1, 2
// =================================================================================================

namespace concurrent::inline CONCURRENT_ABI {

/// The base of all errors of this library.
struct CONCURRENT_VISIBLE Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// clang-format off
/// The task of a future was cancelled before it began.
struct CONCURRENT_VISIBLE CancelledError : Error { using Error::Error; };
/// A time limit passed before the thing waited for was done.
struct CONCURRENT_VISIBLE TimeoutError : Error { using Error::Error; };
/// The call does not fit the state: an empty handle, a result that was taken.
struct CONCURRENT_VISIBLE InvalidStateError : Error { using Error::Error; };
/// A promise was dropped before it was kept.
struct CONCURRENT_VISIBLE BrokenPromise : Error { using Error::Error; };
/// Work was given to an executor after its shutdown.
struct CONCURRENT_VISIBLE ShutdownError : Error { using Error::Error; };
/// The wait would never end, or would need a thread that cannot start.
struct CONCURRENT_VISIBLE DeadlockError : Error { using Error::Error; };
/// The executor cannot run work any more.
struct CONCURRENT_VISIBLE BrokenExecutor : Error { using Error::Error; };
/// An initializer threw; the exception it threw is nested.
struct CONCURRENT_VISIBLE BrokenThreadPool : BrokenExecutor, std::nested_exception {
  using BrokenExecutor::BrokenExecutor;
};
// clang-format on

namespace detail {

/// An object that is never destroyed: static executors and futures work until the process ends.
template <class T> union NeverDestroyed {
  T object;
  constexpr NeverDestroyed() : object() {}
  constexpr ~NeverDestroyed() {}
};

using UnhandledExceptionHandler = std::function<void(std::exception_ptr)>;

struct HandlerSlot {
  platform::Mutex mutex;
  std::shared_ptr<UnhandledExceptionHandler> handler;  // guarded by mutex; null is the default

  std::shared_ptr<UnhandledExceptionHandler> get() {
    const platform::Lock lock(mutex);
    return handler;
  }
};

CONCURRENT_VISIBLE inline CONCURRENT_CONSTINIT NeverDestroyed<HandlerSlot>
    unhandled_exception_handler;

CONCURRENT_COLD inline void print_unhandled_exception(const std::exception_ptr& error) noexcept {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "concurrent: exception that no future carries: %s\n", exception.what());
  } catch (...) {
    std::fprintf(stderr, "concurrent: exception that no future carries, not a std::exception\n");
  }
}

/// Calls the handler in this thread, under no lock. A handler that throws ends the process.
CONCURRENT_COLD inline void report_unhandled_exception(const std::exception_ptr& error) noexcept {
  const std::shared_ptr<UnhandledExceptionHandler> handler =
      unhandled_exception_handler.object.get();
  if (handler == nullptr) {
    print_unhandled_exception(error);
  } else {
    (*handler)(error);
  }
}

}  // namespace detail

/// Sets what is called with an exception that no future carries (out of `post`), in the thread
/// where it happened. Returns the handler before it; an empty one is the default, which prints
/// one line on stderr. If a handler throws, std::terminate is called. Thread-safe.
/// @throws std::bad_alloc, and what copying the former handler throws; then it is still set
CONCURRENT_COLD inline std::function<void(std::exception_ptr)> set_unhandled_exception_handler(
    std::function<void(std::exception_ptr)> handler) {
  detail::HandlerSlot& slot = detail::unhandled_exception_handler.object;
  std::shared_ptr<detail::UnhandledExceptionHandler> next;
  if (handler) next = std::make_shared<detail::UnhandledExceptionHandler>(std::move(handler));
  for (;;) {
    const std::shared_ptr<detail::UnhandledExceptionHandler> former = slot.get();
    // Copied under no lock, and before anything is changed.
    std::function<void(std::exception_ptr)> copy;
    if (former != nullptr) copy = *former;
    const detail::platform::Lock lock(slot.mutex);
    if (slot.handler != former) continue;  // somebody else was faster
    slot.handler.swap(next);
    return copy;
  }
}

}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [4] Time: limits that saturate instead of overflowing.                                 needs 1, 2
// =================================================================================================

namespace concurrent::inline CONCURRENT_ABI {

namespace detail {
class Deadline;
}

/// How long a call may wait. Made from any std::chrono::duration; `Timeout{}`, and a duration that
/// is too long for the clock, mean no limit; zero and less only test. Measured on the steady clock.
class Timeout {
 public:
  /// No limit.
  constexpr Timeout() noexcept = default;

  /// @throws std::invalid_argument if the duration is not a number
  template <class Rep, class Period>
  constexpr Timeout(std::chrono::duration<Rep, Period> limit) : nanoseconds_(rounded_up(limit)) {}

 private:
  friend class detail::Deadline;

  // A century: far beyond every wait, and far from the end of the clock.
  static constexpr std::int64_t kNoLimit = std::int64_t{100} * 366 * 24 * 3600 * 1'000'000'000;

  template <class Rep, class Period>
  static constexpr std::int64_t rounded_up(std::chrono::duration<Rep, Period> limit) {
    using Seconds = std::chrono::duration<long double>;
    using Nanoseconds = std::chrono::duration<std::int64_t, std::nano>;
    const long double seconds = std::chrono::duration_cast<Seconds>(limit).count();
    if (seconds != seconds) {
      throw std::invalid_argument("concurrent::Timeout: the time limit is not a number (NaN)");
    }
    if (seconds <= 0) return 0;
    if (seconds >= static_cast<long double>(kNoLimit) / 1e9L) return kNoLimit;
    if constexpr (std::ratio_divide<Period, std::nano>::den == 1 && std::is_integral_v<Rep>) {
      return std::chrono::duration_cast<Nanoseconds>(limit).count();
    } else {
      // Units that are no whole nanoseconds: in integers the conversion could overflow.
      const auto down = static_cast<std::int64_t>(seconds * 1e9L);
      return static_cast<long double>(down) < seconds * 1e9L ? down + 1 : down;
    }
  }

  std::int64_t nanoseconds_ = kNoLimit;
};

namespace detail {

// A point in time until which a call may wait: a Timeout that has begun to run.
class Deadline {
 public:
  /// Begins now. Reads the clock only if there is a limit above zero.
  explicit Deadline(Timeout timeout) : time_(end_of(timeout.nanoseconds_)) {}
  explicit Deadline(platform::Clock::time_point time) noexcept : time_(time) {}

  static Deadline never() noexcept { return Deadline(platform::kForever); }
  static bool is_never(Timeout timeout) noexcept {
    return timeout.nanoseconds_ >= Timeout::kNoLimit;
  }

  bool is_limited() const noexcept { return time_ != platform::kForever; }
  bool only_tests() const noexcept { return time_ == platform::Clock::time_point::min(); }
  bool has_passed() const noexcept {
    return is_limited() && (only_tests() || platform::Clock::now() >= time_);
  }
  platform::Clock::time_point time() const noexcept { return time_; }

 private:
  static platform::Clock::time_point end_of(std::int64_t nanoseconds) {
    if (nanoseconds >= Timeout::kNoLimit) return platform::kForever;
    if (nanoseconds == 0) return platform::Clock::time_point::min();
    return platform::Clock::now() +
           std::chrono::ceil<platform::Clock::duration>(std::chrono::nanoseconds(nanoseconds));
  }

  platform::Clock::time_point time_;
};

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [5] Processors: how many of them this process may use.                                 needs 1, 2
// =================================================================================================

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

// The lines of a small file; none if it cannot be read.
CONCURRENT_COLD inline std::vector<std::string> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  std::FILE* const file = std::fopen(path.c_str(), "r");
  if (file == nullptr) return lines;
  std::string line;
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) {
    if (c != '\n') {
      line.push_back(static_cast<char>(c));
    } else {
      lines.push_back(std::move(line));
      line.clear();
    }
  }
  if (!line.empty()) lines.push_back(std::move(line));
  std::fclose(file);
  return lines;
}

inline std::string first_line(const std::string& path) {
  const std::vector<std::string> lines = read_lines(path);
  return lines.empty() ? std::string() : lines.front();
}

// quota / period in CPUs, rounded up; the largest int where there is no quota.
inline int cpus_of_quota(const std::string& quota, const std::string& period) {
  const double allowed = std::strtod(quota.c_str(), nullptr);
  const double whole = std::strtod(period.c_str(), nullptr);
  if (!(allowed > 0) || !(whole > 0)) return std::numeric_limits<int>::max();  // "max", -1, none
  const double cpus = allowed / whole;
  if (!(cpus < 1e6)) return std::numeric_limits<int>::max();
  const int rounded_down = static_cast<int>(cpus);
  return rounded_down + (rounded_down < cpus ? 1 : 0);
}

// The quota that one control group sets itself. `version` is that of the hierarchy.
CONCURRENT_COLD inline int quota_of_group(const std::string& folder, int version) {
  if (version == 2) {
    const std::string line = first_line(folder + "/cpu.max");  // "150000 100000" or "max 100000"
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) return std::numeric_limits<int>::max();
    return cpus_of_quota(line.substr(0, space), line.substr(space + 1));
  }
  return cpus_of_quota(first_line(folder + "/cpu.cfs_quota_us"),
                       first_line(folder + "/cpu.cfs_period_us"));
}

// The tightest quota from `group` up to the root of the hierarchy mounted at `mount`.
CONCURRENT_COLD inline int quota_of_path(const std::string& mount, std::string group, int version) {
  int tightest = quota_of_group(mount, version);
  while (group.size() > 1) {
    tightest = std::min(tightest, quota_of_group(mount + group, version));
    const std::size_t slash = group.rfind('/');
    if (slash == std::string::npos) break;
    group.resize(slash);
  }
  return tightest;
}

// Whether the comma-separated list of controllers names `cpu`.
inline bool names_cpu_controller(const std::string& controllers) {
  return ("," + controllers + ",").find(",cpu,") != std::string::npos;
}

// CPUs that the control groups of this process grant; the largest int where they set no limit.
// `root` is put before /proc and /sys, for tests on folders that look like a machine.
CONCURRENT_COLD inline int cgroup_cpus(const std::string& root) {
  int tightest = std::numeric_limits<int>::max();
  for (const std::string& line : read_lines(root + "/proc/self/cgroup")) {
    // "0::/group" is version 2; "4:cpu,cpuacct:/group" is version 1.
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    const std::string folder = root + "/sys/fs/cgroup";
    if (controllers.empty()) {
      tightest = std::min(tightest, quota_of_path(folder, group, 2));
      tightest = std::min(tightest, quota_of_path(folder + "/unified", group, 2));
    } else if (names_cpu_controller(controllers)) {
      tightest = std::min(tightest, quota_of_path(folder + "/cpu", group, 1));
      tightest = std::min(tightest, quota_of_path(folder + "/" + controllers, group, 1));
    }
  }
  return tightest;
}

}  // namespace detail

/// CPUs that this process may use: its affinity mask, capped by the CPU quota of its control groups
/// (versions 1 and 2; 1.5 CPUs count as 2); at least 1. Reads files: not for inner loops.
/// Thread-safe. @throws std::bad_alloc
inline int usable_cpus() {
  return std::min(detail::platform::affinity_cpus(), detail::cgroup_cpus(""));
}

}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [6] Node memory: thread-local stacks over a shared depot.                           needs 1, 2, 3
// =================================================================================================
//
// A task is made on one thread and freed on another, which general allocators do worst. Here a
// thread takes nodes from a stack of its own and frees them onto a stack of its own; nodes pass
// through the depot many at a time (magazines), one lock for all of them. They are carved from slabs
// that belong to no pool, for futures may outlive theirs.
//
//   thread A:  stack  <--magazine--  Depot  <--magazine--  stack  :thread B
//                                      | carves
//                                    slabs
//
// I1 A free node is in exactly one stack or magazine. I2 A node's slab is the one at its address
// rounded down. I3 The stacks of a thread are touched by that thread alone; the depot is guarded by
// its mutex (leaf).

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

inline constexpr std::size_t kNodeUnit = kCacheLine;
inline constexpr std::size_t kNodeClasses = 8;         // nodes of 1..8 units are recycled
inline constexpr std::size_t kSlabSize = 2U << 20U;    // a large page of x86 and ARM
inline constexpr std::size_t kHighWater = 96U << 20U;  // bytes free in the depot; picked

// Some free nodes, in one of them. The cache lines of free nodes are with the thread that used them
// last; were each to name the next, whoever takes them would wait for one after the other. Here it
// waits twice for all, and no node but these is touched:
//
//     magazine --> kGroups nodes --> kOthers nodes each
struct Magazine {
  static constexpr std::size_t kGroups = 6;
  static constexpr std::size_t kOthers = 8;
  static constexpr std::size_t kMost = 1 + kGroups * (1 + kOthers);

  struct Group {
    void* others[kOthers];
  };

  Magazine* next;  // on its shelf
  std::size_t count;
  Group* groups[kGroups];

  static Magazine& pack(void* const* nodes, std::size_t count) noexcept {
    auto* const magazine = ::new (nodes[0]) Magazine{nullptr, count, {}};
    std::size_t at = 1;
    for (Group*& group : magazine->groups) {
      if (at == count) break;
      group = ::new (nodes[at++]) Group;
      for (void*& other : group->others) {
        if (at == count) break;
        other = nodes[at++];
      }
    }
    return *magazine;
  }

  /// Writes the addresses of all its nodes; returns how many.
  std::size_t unpack(void** nodes) noexcept {
    nodes[0] = this;
    std::size_t at = 1;
    for (Group* const group : groups) {
      if (at == count) break;
      nodes[at++] = group;
      for (void* const other : group->others) {
        if (at == count) break;
        nodes[at++] = other;
      }
    }
    return count;
  }
};
static_assert(sizeof(Magazine) <= kNodeUnit && sizeof(Magazine::Group) <= kNodeUnit);

struct Slab {
  Slab* next;
  std::size_t carved;  // nodes handed out of it so far
  std::size_t free;    // scratch of Depot::trim
};
static_assert(sizeof(Slab) <= kNodeUnit);

inline Slab& slab_of(void* node) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(node);
  return *reinterpret_cast<Slab*>(static_cast<std::byte*>(node) - address % kSlabSize);
}

// Free nodes that no thread holds, by class. All members are guarded by mutex_.
class Depot {
 public:
  /// Writes the addresses of at least one and at most Magazine::kMost nodes of `units` units; returns
  /// how many. @throws std::bad_alloc, and nothing has changed
  std::size_t take(std::size_t units, void** nodes) {
    Magazine* magazine = nullptr;
    {
      const platform::ShortLock lock(mutex_);
      Shelf& shelf = shelves_[units - 1];
      if (shelf.magazines == nullptr) return carve(shelf, units, nodes);
      magazine = take_from(shelf);
    }
    return magazine->unpack(nodes);
  }

  /// Gives nodes back, at most Magazine::kMost; above the high-water mark, memory goes back to the
  /// system.
  void give(std::size_t units, void* const* nodes, std::size_t count) noexcept {
    if (count == 0) return;
    Magazine& magazine = Magazine::pack(nodes, count);
    const platform::ShortLock lock(mutex_);
    Shelf& shelf = shelves_[units - 1];
    put_onto(shelf, magazine);
    shelf.given += count;
    if (shelf.free_nodes * units * kNodeUnit < kHighWater || shelf.given < shelf.stuck) return;
    trim(shelf);
    // Not again before as many were given as could not be freed: so it stays cheap per node.
    shelf.stuck = shelf.free_nodes;
    shelf.given = 0;
  }

  /// Gives every slab back of which all nodes are in the depot.
  void release() noexcept {
    const platform::Lock lock(mutex_);
    for (Shelf& shelf : shelves_) trim(shelf);
  }

  platform::Mutex& mutex() noexcept { return mutex_; }

 private:
  struct Shelf {
    Magazine* magazines = nullptr;
    std::size_t free_nodes = 0;
    std::size_t stuck = 0;  // free nodes that the last trim had to leave
    std::size_t given = 0;  // nodes given since then
    Slab* slabs = nullptr;  // the first is the one being carved
  };

  static void put_onto(Shelf& shelf, Magazine& magazine) noexcept {
    magazine.next = std::exchange(shelf.magazines, &magazine);
    shelf.free_nodes += magazine.count;
  }
  static Magazine* take_from(Shelf& shelf) noexcept {
    Magazine* const magazine = std::exchange(shelf.magazines, shelf.magazines->next);
    shelf.free_nodes -= magazine->count;
    return magazine;
  }

  static std::size_t carve(Shelf& shelf, std::size_t units, void** nodes) {
    const std::size_t node_size = units * kNodeUnit;
    const std::size_t capacity = (kSlabSize - kNodeUnit) / node_size;
    if (shelf.slabs == nullptr || shelf.slabs->carved == capacity) {
      void* const memory = ::operator new(kSlabSize, std::align_val_t{kSlabSize});
      // A program that fills one slab will fill others. The first one grows page by page.
      if (shelf.slabs != nullptr) platform::prefer_large_pages(memory, kSlabSize);
      shelf.slabs = ::new (memory) Slab{shelf.slabs, 0, 0};
    }
    Slab& slab = *shelf.slabs;
    const std::size_t count = std::min(Magazine::kMost, capacity - slab.carved);
    std::byte* at = reinterpret_cast<std::byte*>(&slab) + kNodeUnit + slab.carved * node_size;
    slab.carved += count;
    // The last is taken first.
    for (std::size_t i = count; i-- > 0; at += node_size) nodes[i] = at;
    return count;
  }

  CONCURRENT_COLD static void trim(Shelf& shelf) noexcept {
    for (Slab* slab = shelf.slabs; slab != nullptr; slab = slab->next) slab->free = 0;
    void* nodes[2 * Magazine::kMost];
    for (Magazine* magazine = shelf.magazines; magazine != nullptr; magazine = magazine->next) {
      for (std::size_t i = magazine->unpack(nodes); i-- > 0;) ++slab_of(nodes[i]).free;
    }
    // Those whose slabs stay go back onto the shelf.
    Magazine* magazine = std::exchange(shelf.magazines, nullptr);
    shelf.free_nodes = 0;
    std::size_t kept = 0;  // less than a magazine
    while (magazine != nullptr) {
      Magazine* const next = magazine->next;
      void** const these = nodes + kept;
      const std::size_t count = magazine->unpack(these);
      for (std::size_t i = 0; i < count; ++i) {
        if (slab_of(these[i]).free != slab_of(these[i]).carved) nodes[kept++] = these[i];
      }
      if (kept >= Magazine::kMost) {
        kept -= Magazine::kMost;
        put_onto(shelf, Magazine::pack(nodes + kept, Magazine::kMost));
      }
      magazine = next;
    }
    if (kept != 0) put_onto(shelf, Magazine::pack(nodes, kept));
    free_slabs(shelf);
  }

  static void free_slabs(Shelf& shelf) noexcept {
    Slab** link = &shelf.slabs;
    while (*link != nullptr) {
      Slab* const slab = *link;
      if (slab->free == slab->carved) {
        *link = slab->next;
        ::operator delete(slab, std::align_val_t{kSlabSize});
      } else {
        link = &slab->next;
      }
    }
  }

  platform::Mutex mutex_;
  Shelf shelves_[kNodeClasses];
};

CONCURRENT_VISIBLE inline CONCURRENT_CONSTINIT NeverDestroyed<Depot> depot;

// The free nodes of one thread, by class.
struct NodeCache {
  struct Stack {
    static constexpr std::size_t kMost = 2 * Magazine::kMost;

    std::size_t count = 0;
    std::size_t limit = 0;
    void* nodes[kMost];
  };

  Stack stacks[kNodeClasses];

  /// Gives everything back to the depot.
  CONCURRENT_COLD void flush() noexcept {
    for (std::size_t i = 0; i < kNodeClasses; ++i) {
      while (stacks[i].count != 0) give(i + 1);
    }
  }
  void give(std::size_t units) noexcept {
    Stack& stack = stacks[units - 1];
    const std::size_t count = std::min(stack.count, Magazine::kMost);
    stack.count -= count;
    depot.object.give(units, stack.nodes + stack.count, count);
  }
};

// That of threads which have none yet, or none any more: always empty and always full.
CONCURRENT_VISIBLE inline constinit NodeCache no_node_cache = {};

CONCURRENT_VISIBLE inline thread_local constinit NodeCache* node_cache = &no_node_cache;
CONCURRENT_VISIBLE inline thread_local constinit bool thread_nodes_have_ended = false;

// That of the calling thread, made if need be, and given back when the thread ends. Null behind that,
// for futures may still be dropped by other thread_local destructors, and where memory is short.
inline NodeCache* this_node_cache() noexcept {
  struct ThreadEnd {
    ~ThreadEnd() {
      thread_nodes_have_ended = true;
      NodeCache* const cache = std::exchange(node_cache, &no_node_cache);
      cache->flush();
      delete cache;
    }
  };
  if (node_cache != &no_node_cache) return node_cache;
  if (thread_nodes_have_ended) return nullptr;
  auto* const cache = new (std::nothrow) NodeCache;
  if (cache == nullptr) return nullptr;
  for (NodeCache::Stack& stack : cache->stacks) stack.limit = NodeCache::Stack::kMost;
  node_cache = cache;
  thread_local const ThreadEnd thread_end;
  static_cast<void>(thread_end);
  return cache;
}

CONCURRENT_COLD inline void* allocate_node_slowly(std::size_t units) {
  if (NodeCache* const cache = this_node_cache()) {
    NodeCache::Stack& stack = cache->stacks[units - 1];
    stack.count = depot.object.take(units, stack.nodes);
    return stack.nodes[--stack.count];
  }
  void* nodes[Magazine::kMost];
  const std::size_t others = depot.object.take(units, nodes) - 1;
  depot.object.give(units, nodes, others);
  return nodes[others];
}

CONCURRENT_COLD inline void free_node_slowly(void* node, std::size_t units) noexcept {
  if (NodeCache* const cache = this_node_cache()) {
    NodeCache::Stack& stack = cache->stacks[units - 1];
    if (stack.count == stack.limit) cache->give(units);
    stack.nodes[stack.count++] = node;
  } else {
    depot.object.give(units, &node, 1);
  }
}

constexpr bool is_recycled(std::size_t size, std::size_t alignment) noexcept {
  return kRecycleNodes && size <= kNodeClasses * kNodeUnit && alignment <= kNodeUnit;
}

/// Memory for `size` bytes, on a cache line of its own.
/// @throws std::bad_alloc
template <std::size_t size, std::size_t alignment> void* allocate_node() {
  if constexpr (is_recycled(size, alignment)) {
    constexpr std::size_t units = (size + kNodeUnit - 1) / kNodeUnit;
    NodeCache::Stack& stack = node_cache->stacks[units - 1];
    if (stack.count == 0) return allocate_node_slowly(units);
    return stack.nodes[--stack.count];
  } else {
    return ::operator new(size, std::align_val_t{std::max(alignment, kNodeUnit)});
  }
}

template <std::size_t size, std::size_t alignment> void free_node(void* memory) noexcept {
  if constexpr (is_recycled(size, alignment)) {
    constexpr std::size_t units = (size + kNodeUnit - 1) / kNodeUnit;
    NodeCache::Stack& stack = node_cache->stacks[units - 1];
    if (stack.count == stack.limit) {
      free_node_slowly(memory, units);
    } else {
      stack.nodes[stack.count++] = memory;
    }
  } else {
    ::operator delete(memory, std::align_val_t{std::max(alignment, kNodeUnit)});
  }
}

}  // namespace detail

/// Gives all memory of finished tasks back that is free and that the calling thread or no thread
/// holds. Without it, memory is kept for the next tasks up to a high-water mark. Thread-safe.
inline void release_memory() noexcept {
  if constexpr (detail::kRecycleNodes) {
    detail::node_cache->flush();
    detail::depot.object.release();
  }
}

}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [7] Task: one node, one state word.                                              needs 2, 3, 4, 6
// =================================================================================================
//
// A task is one node of memory: this header, then the callable with its arguments, in the place of
// which the result or the exception is built later. Everything that can happen to it is a bit of
// one 64-bit word; the word's upper half counts references.
//
//     pending --try_claim--> claimed (running) --finish--> claimed|done [|failed]      --take--> |taken
//        |
//        +---try_begin_cancel--> claimed|cancelled --finish--> claimed|cancelled|done
//
// I1 kClaimed is set once; who sets it alone touches the payload until kDone is set. I2 kDone is set
// once, after the callable is destroyed and the outcome is built; from then on the payload is read
// only, but for the one who sets kTaken. I3 A queue entry and a handle are one reference each; the
// node is destroyed by who drops the last.
//
// I4 Continuations are linked into a task under the mutex of its address (a leaf); who sets kDone and
// sees kContinuations takes them all off. Those of waiters run under that mutex, so that a waiter
// who finds its own unlinked knows that it has run; callbacks of users run under none.
//
//   T1  kDone:     finish            -> is_done, state   the outcome, and all that the task wrote
//   T2  reference: release, finish   -> release, try_claim_alone, run_and_finish_alone, try_take
//                                                        all uses by others come before
//   T3  kWaiter, kContinuations:  wait, add <-> finish   one word: one of the two sees the other
//   T4  owner_:    set_runner        -> runner           the worker behind the pointer

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

class Task;
struct Worker;

// Something to be called once when a task is done: a callback, or the entry of somebody who waits
// for several tasks. Linked into a ring, oldest first.
struct Continuation {
  void (*run)(Continuation&, Task&) noexcept = nullptr;
  bool is_waiter = false;            // run under the mutex
  platform::Mutex* mutex = nullptr;  // that of the task, once linked
  Continuation* next = nullptr;
  Continuation* previous = nullptr;
};

// The mutexes of continuations, by the address of the task.
struct ContinuationMutexes {
  static constexpr std::size_t kCount = 16;  // picked; fork() holds them all
  platform::Mutex mutexes[kCount];
};

CONCURRENT_VISIBLE inline CONCURRENT_CONSTINIT NeverDestroyed<ContinuationMutexes>
    continuation_mutexes;

// What differs by the type of callable and result.
struct TaskOperations {
  std::uint64_t (*run)(Task&);  // returns 0 or Task::kFailed, or unwinds: see Task::run
  // Destroys the callable of a claimed task that does not return; stores the error, if there is one.
  std::uint64_t (*abandon)(Task&, const std::exception_ptr* error) noexcept;
  void (*destroy)(Task&,
                  std::uint64_t state) noexcept;  // what is left of the payload, and the node
  bool (*request_stop)(Task&);                    // null where the callable takes no token
  // Those of the object that made the task, should others have their own.
  NeverDestroyed<ContinuationMutexes>* mutexes = &continuation_mutexes;
};

class Task {
 public:
  static constexpr std::uint64_t kClaimed = 1U << 0U;
  static constexpr std::uint64_t kDone = 1U << 1U;
  static constexpr std::uint64_t kCancelled = 1U << 2U;
  static constexpr std::uint64_t kFailed = 1U << 3U;
  static constexpr std::uint64_t kTaken = 1U << 4U;
  static constexpr std::uint64_t kWaiter = 1U << 5U;
  static constexpr std::uint64_t kContinuations = 1U << 6U;
  static constexpr std::uint64_t kKept = 1U << 7U;  // of a promise: somebody sets its outcome
  static constexpr std::uint64_t kReference = std::uint64_t{1} << 32U;

  /// `owner` is the identity of the pool that will run it, null for a promise.
  Task(const TaskOperations& operations, const void* owner, std::uint64_t references) noexcept
      : word_(references * kReference),
        operations_(&operations),
        owner_(reinterpret_cast<std::uintptr_t>(owner)) {}
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;

  /// The pool's identity: compared, never followed. Null once the task has begun.
  const void* owner() const noexcept {
    // Relaxed: a pending task was handed over with it, and the runner is a hint (see WaitGraph).
    const std::uintptr_t owner = owner_.load(std::memory_order_relaxed);
    return (owner & kIsRunner) == 0 ? reinterpret_cast<const void*>(owner) : nullptr;
  }
  /// The worker that runs it, if that is known. Follow it under the mutex of the WaitGraph only.
  Worker* runner() const noexcept {
    const std::uintptr_t owner = owner_.load(std::memory_order_acquire);  // T4: the worker's making
    return (owner & kIsRunner) != 0 ? reinterpret_cast<Worker*>(owner & ~kIsRunner) : nullptr;
  }
  void set_owner(const void* owner) noexcept {
    owner_.store(reinterpret_cast<std::uintptr_t>(owner), std::memory_order_relaxed);
  }
  void set_runner(Worker* runner) noexcept {
    owner_.store(reinterpret_cast<std::uintptr_t>(runner) | kIsRunner,
                 std::memory_order_release);  // T4: it runs this task
  }

  /// The word, its outcome bits readable if kDone is among them.
  std::uint64_t state() const noexcept {
    return word_.load(std::memory_order_acquire);  // T1: the outcome, read by whoever asks
  }
  bool is_done() const noexcept { return (state() & kDone) != 0; }
  bool is_cancelled() const noexcept {
    return (state() & (kDone | kCancelled)) == (kDone | kCancelled);
  }
  bool is_running() const noexcept {
    return (state() & (kClaimed | kDone | kCancelled)) == kClaimed;
  }

  /// True for exactly one caller, who must run or abandon the task and then finish() it.
  bool try_claim() noexcept {
    // Relaxed: the node came to the caller through a queue or a handle, which ordered its contents.
    return (word_.fetch_or(kClaimed, std::memory_order_relaxed) & kClaimed) == 0;
  }

  /// Like try_claim, and from then on the task is neither done nor running.
  bool try_begin_cancel() noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & kClaimed) == 0) {
      // Relaxed, as in try_claim.
      if (word_.compare_exchange_weak(word, word | kClaimed | kCancelled,
                                      std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  /// For a promise: claims the task for its outcome, whether it is pending or running. Returns the
  /// word before; the caller has the right to finish it if that has neither kKept nor kCancelled.
  std::uint64_t keep() noexcept {
    // Relaxed, as in try_claim.
    return word_.fetch_or(kClaimed | kKept, std::memory_order_relaxed);
  }
  /// Gives that right back.
  void unkeep() noexcept { word_.fetch_and(~kKept, std::memory_order_relaxed); }

  /// The same for a caller that has all references there are: the queue's entry, which it took off,
  /// and the one handle, which it has to itself. Nobody else can reach the task, and new references
  /// are made from that handle, so it needs no read-modify-write. False if that is not so.
  bool try_claim_alone() noexcept {
    if (word_.load(std::memory_order_acquire) != 2 * kReference) return false;  // T2: the only two
    word_.store(2 * kReference | kClaimed, std::memory_order_relaxed);
    return true;
  }

  /// True for exactly one caller, who then owns the value. Call only on a done task, with a handle
  /// that no other thread uses.
  bool try_take() noexcept {
    const std::uint64_t word = word_.load(std::memory_order_acquire);  // T2: the only one left
    if (word < 2 * kReference) {
      word_.store(word | kTaken, std::memory_order_relaxed);
      return (word & kTaken) == 0;
    }
    // Relaxed: the caller has seen kDone (T1), and takers pass nothing on to each other.
    return (word_.fetch_or(kTaken, std::memory_order_relaxed) & kTaken) == 0;
  }

  /// Runs a claimed task in this thread and finishes it. Does not throw, but is unwound by a task
  /// that ends its thread: then the task has failed.
  void run_and_finish(bool drops_reference) { finish(run(drops_reference), drops_reference); }

  /// The same behind try_claim_alone(): both references are still the caller's, or the callable
  /// has copied the handle, and then the word tells.
  void run_and_finish_alone() {
    const std::uint64_t outcome = run(true);
    constexpr std::uint64_t claimed = 2 * kReference | kClaimed;
    if (word_.load(std::memory_order_acquire) == claimed) {  // T2: copies are gone again
      word_.store(kReference | kClaimed | kDone | outcome,
                  std::memory_order_release);  // T1: nobody waits
    } else {
      finish(outcome, true);
    }
  }

  /// Ends a claimed task without running it.
  std::uint64_t abandon(const std::exception_ptr* error) noexcept {
    return operations_->abandon(*this, error);
  }

  /// Publishes the outcome, wakes who waits and runs the continuations. Without a reference of the
  /// caller's to drop, the caller must have a handle.
  CONCURRENT_NOINLINE void finish(std::uint64_t outcome, bool drops_reference) noexcept {
    const std::uint64_t dropped = drops_reference ? kReference : 0;
    std::uint64_t word = word_.load(std::memory_order_relaxed);
    while ((word & (kWaiter | kContinuations)) == 0) {
      const std::uint64_t next = (word | kDone | outcome) - dropped;
      if (word_.compare_exchange_weak(word, next,
                                      std::memory_order_acq_rel,  // T1, T2, T3: nobody waits
                                      std::memory_order_relaxed)) {
        if (next < kReference) operations_->destroy(*this, next);
        return;
      }
    }
    // The reference is kept until the end: a waiter that is the last to hold a handle must not free
    // the word under wake_all, nor a callback the task.
    if (!drops_reference) retain();
    word = word_.fetch_or(kDone | outcome, std::memory_order_acq_rel);  // T1, T3: somebody waits
    if ((word & kWaiter) != 0) platform::wake_all(word_);
    if ((word & kContinuations) != 0) run_continuations();
    release();
  }

  /// Links `continuation` in, to be run when the task is done. False if it is done already.
  bool add(Continuation& continuation) noexcept {
    continuation.mutex = &mutex();
    const platform::Lock lock(mutex());
    const std::uint64_t word =
        word_.fetch_or(kContinuations, std::memory_order_acq_rel);  // T1, T3: something to run
    if ((word & kDone) != 0) return false;
    if (continuations_ == nullptr) {
      continuations_ = continuation.next = continuation.previous = &continuation;
    } else {
      continuation.next = continuations_;
      continuation.previous = std::exchange(continuations_->previous, &continuation);
      continuation.previous->next = &continuation;
    }
    return true;
  }

  /// Takes out the entry of a waiter, if it has not run; afterwards nobody touches it. If it has,
  /// the task need not exist any more.
  static void remove(Task* task, Continuation& continuation) noexcept {
    const platform::Lock lock(*continuation.mutex);
    if (continuation.next != nullptr) task->unlink(continuation);
  }

  /// True if the task is done, now or after a while.
  bool spin_until_done(std::chrono::microseconds budget,
                       platform::Clock::time_point until) const noexcept {
    if (is_done()) return true;
    platform::Spinner spinner(budget, until);
    while (spinner.spin()) {
      if (is_done()) return true;
    }
    return is_done();
  }

  /// Sleeps until the task is done. False if the time limit passed first.
  CONCURRENT_NOINLINE bool wait(Deadline deadline) noexcept {
    if (deadline.only_tests()) return is_done();
    if (spin_until_done(platform::Spinner::kSleepAndWake, deadline.time())) return true;
    for (;;) {
      const std::uint64_t word =
          word_.fetch_or(kWaiter, std::memory_order_acq_rel) | kWaiter;  // T1, T3: I wait
      if ((word & kDone) != 0) return true;
      if (deadline.has_passed()) return false;
      platform::sleep_while_equal(word_, static_cast<std::uint32_t>(word), deadline.time());
    }
  }

  void retain() noexcept {
    // Relaxed: a new reference is made from one that the caller has.
    word_.fetch_add(kReference, std::memory_order_relaxed);
  }

  void release() noexcept {
    std::uint64_t word = word_.load(std::memory_order_acquire);  // T2: the only one left
    if (word >= 2 * kReference) {
      word = word_.fetch_sub(kReference, std::memory_order_acq_rel);  // T2: one of several
      if (word >= 2 * kReference) return;
    }
    operations_->destroy(*this, word);
  }

  /// Undoes the construction of a task that was never given to a queue.
  void destroy_unscheduled() noexcept { operations_->destroy(*this, 0); }

  /// Whether this call was the first to ask the callable to stop.
  bool request_stop() {
    return operations_->request_stop != nullptr && operations_->request_stop(*this);
  }

 private:
  static constexpr std::uintptr_t kIsRunner = 1;  // a tag in owner_

  std::uint64_t run(bool drops_reference) {
    try {
      return operations_->run(*this);
    } catch (...) {
      fail_unwound(drops_reference);
      throw;
    }
  }

  // Finishes a task that is left by unwinding, which its operations do not do otherwise.
  CONCURRENT_COLD void fail_unwound(bool drops_reference) noexcept {
    const std::exception_ptr error = std::make_exception_ptr(
        BrokenPromise("the task ended its thread, by pthread_exit or pthread_cancel, before it "
                      "returned: it has no result"));
    finish(abandon(&error), drops_reference);
  }

  platform::Mutex& mutex() const noexcept {
    const auto line = reinterpret_cast<std::uintptr_t>(this) / kCacheLine;
    return operations_->mutexes->object.mutexes[line % ContinuationMutexes::kCount];
  }

  /// Needs the mutex.
  void unlink(Continuation& continuation) noexcept {
    if (continuation.next == &continuation) {
      continuations_ = nullptr;
    } else {
      continuation.previous->next = continuation.next;
      continuation.next->previous = continuation.previous;
      if (continuations_ == &continuation) continuations_ = continuation.next;
    }
    continuation.next = continuation.previous = nullptr;
  }

  CONCURRENT_NOINLINE void run_continuations() noexcept {
    Continuation* callbacks = nullptr;
    Continuation** end = &callbacks;
    {
      const platform::Lock lock(mutex());
      while (continuations_ != nullptr) {
        Continuation& continuation = *continuations_;
        unlink(continuation);
        if (continuation.is_waiter) {
          continuation.run(continuation, *this);
        } else {
          *end = &continuation;
          end = &continuation.next;
        }
      }
    }
    while (callbacks != nullptr) {
      Continuation& callback = *std::exchange(callbacks, callbacks->next);
      callback.run(callback, *this);
    }
  }

  platform::Atomic<std::uint64_t> word_;
  const TaskOperations* operations_;
  platform::Atomic<std::uintptr_t> owner_;
  Continuation* continuations_ = nullptr;  // the oldest; guarded by mutex()
};

// ---- cancelling ----------------------------------------------------------------------------------

// The tasks whose captures this thread is destroying just now, innermost first: such a destructor
// may call cancel() again, which must not wait for itself.
struct CancelFrame {
  const Task* task;
  const CancelFrame* outer;
};

CONCURRENT_VISIBLE inline thread_local constinit const CancelFrame* cancel_frames = nullptr;

inline bool is_cancelling_here(const Task& task) noexcept {
  for (const CancelFrame* frame = cancel_frames; frame != nullptr; frame = frame->outer) {
    if (frame->task == &task) return true;
  }
  return false;
}

enum class Cancelled : unsigned char { now, before, too_late };

/// Cancels a pending task. Unless too late, the task is done when this returns. The captures are
/// destroyed here, under no lock. The caller holds a reference.
CONCURRENT_NOINLINE inline Cancelled cancel_task(Task& task) noexcept {
  if (task.try_begin_cancel()) {
    task.retain();  // the caller's handle may be among the captures
    const CancelFrame frame{&task, cancel_frames};
    cancel_frames = &frame;
    task.abandon(nullptr);
    cancel_frames = frame.outer;
    task.finish(Task::kCancelled, true);
    return Cancelled::now;
  }
  if ((task.state() & Task::kCancelled) == 0) return Cancelled::too_late;
  if (!is_cancelling_here(task)) task.wait(Deadline::never());
  return Cancelled::before;
}

/// Ends a pending task with `error`. False if somebody else has claimed it.
CONCURRENT_COLD inline bool fail_task(Task& task, const std::exception_ptr& error) noexcept {
  if (!task.try_claim()) return false;
  task.finish(task.abandon(&error), false);
  return true;
}

// While a callable runs: tells the object that it belongs to in which worker that is, should that
// object have a this_worker of its own.
class WorkerHere {
 public:
  explicit WorkerHere(const Task& task) noexcept : before_(platform::this_worker) {
    void* const worker = task.runner();
    differs_ = worker != before_;
    if (differs_) platform::this_worker = worker;
  }
  WorkerHere(const WorkerHere&) = delete;
  WorkerHere& operator=(const WorkerHere&) = delete;
  ~WorkerHere() {
    if (differs_) platform::this_worker = before_;
  }

 private:
  void* before_;
  bool differs_;
};

// ---- the payload ---------------------------------------------------------------------------------

// One of the callable and its arguments; an empty one takes no room.
template <std::size_t index, class T> struct BoundPart {
  template <class U> explicit BoundPart(std::in_place_t, U&& from) : value(std::forward<U>(from)) {}

#if defined(_MSC_VER)
  [[msvc::no_unique_address]] T value;
#else
  [[no_unique_address]] T value;
#endif
};

template <class Indices, class... Parts> class BoundParts;

// A callable with its arguments, decay-copied as std::thread does, to be called once.
template <std::size_t... indices, class F, class... Args>
class BoundParts<std::index_sequence<indices...>, F, Args...> : BoundPart<0, F>,
                                                                BoundPart<indices + 1, Args>... {
 public:
  template <class G, class... From>
  explicit BoundParts(std::in_place_t, G&& f, From&&... from)
      : BoundPart<0, F>(std::in_place, std::forward<G>(f)),
        BoundPart<indices + 1, Args>(std::in_place, std::forward<From>(from))... {}

  template <class... First> decltype(auto) call(First&&... first) {
    return std::invoke(std::move(this->BoundPart<0, F>::value), std::forward<First>(first)...,
                       std::move(this->BoundPart<indices + 1, Args>::value)...);
  }
};

template <class F, class... Args>
using BoundCall =
    BoundParts<std::index_sequence_for<Args...>, std::decay_t<F>, std::decay_t<Args>...>;

// How a result is kept: a reference as a pointer, nothing as an empty struct.
struct NoResult {};
template <class R>
using StoredResult =
    std::conditional_t<std::is_void_v<R>, NoResult,
                       std::conditional_t<std::is_reference_v<R>, std::remove_reference_t<R>*, R>>;

constexpr std::size_t round_up(std::size_t size, std::size_t alignment) noexcept {
  return (size + alignment - 1) / alignment * alignment;
}

// An object of the payload that every task with this object has in the same place.
template <class T> T& payload_at(Task& task, std::size_t offset) noexcept {
  return *std::launder(reinterpret_cast<T*>(reinterpret_cast<std::byte*>(&task) + offset));
}

// The outcome stands first behind the header, whatever the callable is: a handle knows only R.
template <class T> inline constexpr std::size_t kOutcomeOffset = round_up(sizeof(Task), alignof(T));

template <class R> StoredResult<R>& result_of(Task& task) noexcept {
  return payload_at<StoredResult<R>>(task, kOutcomeOffset<StoredResult<R>>);
}

// Where the outcome of type T is to be built.
template <class T> void* outcome_place(Task& task) noexcept {
  return reinterpret_cast<std::byte*>(&task) + kOutcomeOffset<T>;
}

inline std::exception_ptr& error_of(Task& task) noexcept {
  return payload_at<std::exception_ptr>(task, kOutcomeOffset<std::exception_ptr>);
}

// As everywhere, a destructor that throws ends the process.
template <class T> void destroy_object(T& object) noexcept {
  std::destroy_at(std::addressof(object));
}

template <class R> void destroy_outcome(Task& task, std::uint64_t state) noexcept {
  if ((state & Task::kFailed) != 0) {
    std::destroy_at(&error_of(task));
  } else if ((state & (Task::kCancelled | Task::kTaken)) == 0) {
    std::destroy_at(std::addressof(result_of<R>(task)));
  }
}

// Takes the place of the stop source where the callable takes no token.
struct NoStopSource {};

// A callable that will be run as a task, and where in the node its parts stand.
//
//     | header | callable, later result or exception |  stop source |      kOverlaid
//     | header | result or exception | callable      |  stop source |      where moving R may throw
template <class R, class Call, class StopSource> struct TaskLayout {
  using Result = StoredResult<R>;

  // The result is made before the callable dies: to take its place it must then move there.
  static constexpr bool kOverlaid = std::is_nothrow_move_constructible_v<Result>;

  static constexpr std::size_t kOutcomeEnd =
      std::max(kOutcomeOffset<Result> + sizeof(Result),
               kOutcomeOffset<std::exception_ptr> + sizeof(std::exception_ptr));
  static constexpr std::size_t kCallOffset =
      round_up(kOverlaid ? sizeof(Task) : kOutcomeEnd, alignof(Call));
  static constexpr std::size_t kPayloadEnd = std::max(kOutcomeEnd, kCallOffset + sizeof(Call));
  static constexpr std::size_t kStopOffset = round_up(kPayloadEnd, alignof(StopSource));
  static constexpr bool kTakesToken = !std::is_same_v<StopSource, NoStopSource>;
  static constexpr std::size_t kSize = kTakesToken ? kStopOffset + sizeof(StopSource) : kPayloadEnd;
  static constexpr std::size_t kAlignment =
      std::max({alignof(Task), alignof(Result), alignof(std::exception_ptr), alignof(Call),
                alignof(StopSource)});

  static Call& call(Task& task) noexcept { return payload_at<Call>(task, kCallOffset); }
  static StopSource& stop_source(Task& task) noexcept {
    return payload_at<StopSource>(task, kStopOffset);
  }
};

// The operations of tasks that futures see.
template <class R, class Call, class StopSource> class CallTask {
 public:
  /// A new task with `references` references.
  /// @throws std::bad_alloc, and what the copies of the callable and its arguments throw
  template <class... From>
  static Task& make(const void* owner, std::uint64_t references, From&&... from) {
    void* const memory = allocate_node<Layout::kSize, Layout::kAlignment>();
    std::byte* const bytes = static_cast<std::byte*>(memory);
    try {
      if constexpr (Layout::kTakesToken) ::new (bytes + Layout::kStopOffset) StopSource();
      try {
        ::new (bytes + Layout::kCallOffset) Call(std::in_place, std::forward<From>(from)...);
      } catch (...) {
        if constexpr (Layout::kTakesToken) {
          std::destroy_at(std::launder(reinterpret_cast<StopSource*>(bytes + Layout::kStopOffset)));
        }
        throw;
      }
    } catch (...) {
      free_node<Layout::kSize, Layout::kAlignment>(memory);
      throw;
    }
    return *::new (memory) Task(kOperations, owner, references);
  }

 private:
  using Layout = TaskLayout<R, Call, StopSource>;
  using Result = typename Layout::Result;

  static decltype(auto) call(Task& task) {
    if constexpr (Layout::kTakesToken) {
      return Layout::call(task).call(Layout::stop_source(task).get_token());
    } else {
      return Layout::call(task).call();
    }
  }

  static std::uint64_t run(Task& task) {
    const WorkerHere here(task);
    std::exception_ptr error;
    try {
      if constexpr (std::is_void_v<R>) {
        call(task);
        destroy_object(Layout::call(task));
        ::new (outcome_place<Result>(task)) Result();
      } else if constexpr (std::is_reference_v<R>) {
        Result pointer = std::addressof(static_cast<R>(call(task)));
        destroy_object(Layout::call(task));
        ::new (outcome_place<Result>(task)) Result(pointer);
      } else if constexpr (Layout::kOverlaid) {
        R result(call(task));
        destroy_object(Layout::call(task));
        ::new (outcome_place<Result>(task)) R(std::move(result));
      } else {
        ::new (outcome_place<Result>(task)) R(call(task));
        destroy_object(Layout::call(task));
      }
      return 0;
    } catch (const platform::ForcedUnwind&) { throw; } catch (...) {
      error = std::current_exception();
    }
    return abandon(task, &error);
  }

  static std::uint64_t abandon(Task& task, const std::exception_ptr* error) noexcept {
    destroy_object(Layout::call(task));
    if (error == nullptr) return 0;
    ::new (outcome_place<std::exception_ptr>(task)) std::exception_ptr(*error);
    return Task::kFailed;
  }

  static void destroy(Task& task, std::uint64_t state) noexcept {
    if ((state & Task::kDone) == 0) {
      destroy_object(Layout::call(task));
    } else {
      destroy_outcome<R>(task, state);
    }
    if constexpr (Layout::kTakesToken) std::destroy_at(&Layout::stop_source(task));
    std::destroy_at(&task);
    free_node<Layout::kSize, Layout::kAlignment>(&task);
  }

  static bool request_stop([[maybe_unused]] Task& task) {
    if constexpr (Layout::kTakesToken) {
      return Layout::stop_source(task).request_stop();
    } else {
      return false;
    }
  }

  static constexpr TaskOperations kOperations = {&run, &abandon, &destroy,
                                                 Layout::kTakesToken ? &request_stop : nullptr};
};

// A call whose exceptions go to the handler: what `post` makes of a callable.
template <class Call> class PostedCall {
 public:
  template <class... From>
  explicit PostedCall(std::in_place_t, From&&... from)
      : call_(std::in_place, std::forward<From>(from)...) {}

  void call() {
    try {
      static_cast<void>(call_.call());
    } catch (const platform::ForcedUnwind&) { throw; } catch (...) {
      report_unhandled_exception(std::current_exception());
    }
  }

 private:
  Call call_;
};

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [8] WorkDeque: one owner, many thieves.                                                needs 2, 7
// =================================================================================================
//
// A split deque: the older part is public, thieves take it from the old end under a lock that they
// only try; the newer part is private, and the owner pushes and pops there without lock, fence or
// read-modify-write.
//
//         top_            split_             bottom_
//          |                |                   |
//    ... [ oldest | public  | private ... | newest ] ...
//
// The split moves up when the owner sees that somebody is idle (offer), or when a thief finds only
// private tasks (steal_by_force); it moves down when the owner pops into the public part.
//
// I1 bottom_ and the slots from split_ on are the owner's. I2 top_, public_end_, ring_ and the slots
// below split_ belong to who has the lock; split_ is written under it. I3 public_end_ <= split_: it
// is split_ as thieves see it, on a line that the owner's pushes and pops do not touch.
//
// Two may want the same task: the owner that pops slot b, and the thief that moves split_ to s > b.
//
//     owner                                     thief, under the lock
//     O1  bottom_ = b                           T1  split_ = s
//     O2  look at split_                        T2  look at bottom_
//
// All four are seq_cst, or, with process_barrier(), the thief calls it between T1 and T2 and so makes
// the owner execute a full barrier somewhere. One of O1 and T1 is first. If it is O1, T2 sees
// bottom_ <= b < s, and the thief puts split_ back and takes nothing. If it is T1, O2 sees split_ > b,
// and the owner asks for the lock, and under it looks whether top_ has passed b.
//
//   D1  bottom_:     push             -> steal_by_force, size   the slot and the task in it
//   D2  bottom_, split_:  pop        <-> steal_by_force         above
//   D3  is_locked_:  unlock           -> try_lock               all that is written under the lock
//   D4  top_:        take_oldest      -> make_room              the thief has read the slot

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

/// Stores what another thread must not miss, before a load of what that thread has stored. With
/// `has_barrier` the order of the two is the other side's affair: it calls process_barrier().
template <class T>
void store_then_look(platform::Atomic<T>& at, T value, bool has_barrier) noexcept {
  if (has_barrier) {
    at.store(value, std::memory_order_release);  // D1, D2, Q2, P1: the rare side pays
    platform::compiler_barrier();
  } else {
    at.store(value, std::memory_order_seq_cst);  // D1, D2, Q2, P1: both sides pay
  }
}

/// Behind store_then_look(): orders that store before a second look, whatever the other side does.
template <class T> void order_store(platform::Atomic<T>& at) noexcept {
  // Relaxed: written by the caller.
  at.exchange(at.load(std::memory_order_relaxed), std::memory_order_seq_cst);  // P1: as before
}

class alignas(kCacheLine) WorkDeque {
 public:
  /// @throws std::bad_alloc
  explicit WorkDeque(bool has_barrier)
      : has_barrier_(has_barrier), slots_(std::make_unique<Slot[]>(kFirstCapacity)) {}
  WorkDeque(const WorkDeque&) = delete;
  WorkDeque& operator=(const WorkDeque&) = delete;

  // ---- the owner's ----

  /// Makes room for `count` more tasks. @throws std::bad_alloc, and nothing has changed
  void reserve(std::size_t count) {
    const std::int64_t needed = bottom_.load(std::memory_order_relaxed) + to_signed(count);
    if (needed > limit_) make_room(needed);
  }

  /// Puts at(count - 1), ..., at(0) in, so that pop takes at(0) first.
  /// @throws std::bad_alloc, and nothing has changed
  template <class At> void push_all(std::size_t count, At at) {
    reserve(count);
    std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
    for (std::size_t i = count; i-- > 0; ++bottom) put(bottom, at(i));
    store_then_look(bottom_, bottom, has_barrier_);  // D1, P1: there, then look who sleeps
  }
  void push(Task& task) {
    push_all(1, [&](std::size_t) -> Task& { return task; });
  }

  /// Orders the last push before a second look at who sleeps.
  void order_push() noexcept { order_store(bottom_); }

  /// Puts some tasks where a searcher finds them, if there are none.
  void offer() noexcept {
    // A hint: something is there already.
    if (public_end_.load(std::memory_order_relaxed) > top_.load(std::memory_order_relaxed)) return;
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
    lock();
    const std::int64_t split = split_.load(std::memory_order_relaxed);
    move_split(split + (bottom - split + 1) / 2);
    unlock();
  }

  /// The newest task, or null.
  Task* pop() noexcept { return pop_at(bottom_.load(std::memory_order_relaxed) - 1); }

  /// Takes `task` out if it is the newest.
  bool pop_if_newest(const Task& task) noexcept {
    // What stands there in an empty deque was popped before, and may be any task that is no more.
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
    return get(bottom) == &task && pop_at(bottom) != nullptr;
  }

  /// Asks for the cache line of the task that is to be popped after `between` others.
  void prefetch(std::int64_t between) const noexcept {
    const std::int64_t at = bottom_.load(std::memory_order_relaxed) - 1 - between;
    if (at >= top_.load(std::memory_order_relaxed)) platform::prefetch_to_write(get(at));
  }

  /// The oldest task, or null.
  Task* pop_oldest() noexcept {
    if (size() == 0) return nullptr;
    lock();
    const std::int64_t top = top_.load(std::memory_order_relaxed);
    Task* task = nullptr;
    if (top < bottom_.load(std::memory_order_relaxed)) {
      if (split_.load(std::memory_order_relaxed) == top) move_split(top + 1);
      task = take_oldest();
    }
    unlock();
    return task;
  }

  // ---- anybody's ----

  /// The oldest public task; null if there is none, or if somebody else is at it.
  Task* steal() noexcept {
    if (!has_public() || !try_lock()) return nullptr;
    Task* const task = has_public() ? take_oldest() : nullptr;
    unlock();
    return task;
  }

  /// The oldest task, even if it is private. Null if there is none, if somebody else is at it, or if
  /// the owner took it just now.
  Task* steal_by_force() noexcept {
    if (size() == 0 || !try_lock()) return nullptr;
    if (!has_public()) take_private();
    Task* const task = has_public() ? take_oldest() : nullptr;
    unlock();
    return task;
  }

  /// Tasks in it, at some moment during the call.
  std::size_t size() const noexcept {
    const std::int64_t top = top_.load(std::memory_order_seq_cst);        // P1: after: I sleep
    const std::int64_t bottom = bottom_.load(std::memory_order_seq_cst);  // D1, P1: the same
    return bottom > top ? static_cast<std::size_t>(bottom - top) : 0;
  }

 private:
  using Slot = platform::Atomic<Task*>;

  // Relaxed: bottom_ (D1), the lock (D3) and top_ (D4) order the slots.
  Slot& slot(std::int64_t at) const noexcept {
    return slots_[static_cast<std::size_t>(at) & mask_];
  }
  Task* get(std::int64_t at) const noexcept { return slot(at).load(std::memory_order_relaxed); }
  void put(std::int64_t at, Task& task) noexcept {
    slot(at).store(&task, std::memory_order_relaxed);
  }

  static constexpr std::size_t kFirstCapacity = 256;  // picked; at least one batch (section 11)

  static constexpr auto kFirst = static_cast<std::int64_t>(platform::kFirstCount);

  static std::int64_t to_signed(std::size_t count) noexcept {
    return static_cast<std::int64_t>(count);
  }

  bool try_lock() noexcept {
    if (is_locked_.load(std::memory_order_relaxed)) return false;
    return !is_locked_.exchange(true, std::memory_order_acquire);  // D3: mine
  }
  void lock() noexcept {
    while (!try_lock()) platform::yield();
  }
  void unlock() noexcept { is_locked_.store(false, std::memory_order_release); }  // D3: yours

  bool has_public() const noexcept {
    return top_.load(std::memory_order_relaxed) < public_end_.load(std::memory_order_relaxed);
  }

  /// Needs the lock; for a thief more than that: see take_private.
  void move_split(std::int64_t split) noexcept {
    split_.store(split, std::memory_order_relaxed);
    public_end_.store(split, std::memory_order_relaxed);
  }

  /// Needs the lock, and a public task.
  Task* take_oldest() noexcept {
    const std::int64_t top = top_.load(std::memory_order_relaxed);
    Task* const task = get(top);
    top_.store(top + 1, std::memory_order_release);  // D4: the slot is read
    return task;
  }

  /// A thief moves the split up, if the owner is not just popping there. Needs the lock.
  CONCURRENT_NOINLINE void take_private() noexcept {
    const std::int64_t split = split_.load(std::memory_order_relaxed);
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
    if (bottom <= split) return;
    const std::int64_t wanted = split + (bottom - split + 1) / 2;
    split_.store(wanted, std::memory_order_seq_cst);  // D2: T1
    if (has_barrier_) platform::process_barrier();
    if (bottom_.load(std::memory_order_seq_cst) < wanted) {  // D1, D2: T2
      split_.store(split, std::memory_order_relaxed);        // who sees this one late asks the lock
    } else {
      public_end_.store(wanted, std::memory_order_relaxed);
    }
  }

  /// Takes the slot below bottom_, which is `bottom`.
  Task* pop_at(std::int64_t bottom) noexcept {
    if (top_.load(std::memory_order_relaxed) > bottom) return nullptr;         // top_ only grows
    store_then_look(bottom_, bottom, has_barrier_);                            // D2: O1
    if (bottom >= split_.load(std::memory_order_seq_cst)) return get(bottom);  // D2: O2
    return pop_public(bottom);
  }

  /// The owner has claimed slot `bottom`, and the split is behind it.
  CONCURRENT_COLD Task* pop_public(std::int64_t bottom) noexcept {
    lock();
    const std::int64_t top = top_.load(std::memory_order_relaxed);
    Task* task = nullptr;
    if (top <= bottom) {
      task = get(bottom);
      // The next pops find private ones again.
      move_split(std::min(split_.load(std::memory_order_relaxed), top + (bottom - top) / 2));
    } else {
      bottom_.store(top, std::memory_order_release);  // D1: as before; nothing new in it
      move_split(top);
    }
    unlock();
    return task;
  }

  CONCURRENT_COLD void make_room(std::int64_t needed) {
    const std::int64_t top = top_.load(std::memory_order_acquire);  // D4: slots below are free
    if (needed - top > to_signed(mask_ + 1)) {
      const std::size_t capacity = std::bit_ceil(static_cast<std::size_t>(needed - top));
      auto larger = std::make_unique<Slot[]>(capacity);
      lock();
      const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
      for (std::int64_t at = top; at < bottom; ++at) {
        larger[static_cast<std::size_t>(at) & (capacity - 1)].store(get(at),
                                                                    std::memory_order_relaxed);
      }
      slots_.swap(larger);
      mask_ = capacity - 1;
      unlock();
    }
    limit_ = top + to_signed(mask_ + 1);
  }

  const bool has_barrier_;
  platform::Atomic<std::int64_t> bottom_ = kFirst;  // written by the owner
  platform::Atomic<std::int64_t> split_ = kFirst;   // written under the lock
  std::unique_ptr<Slot[]> slots_;                   // a ring: written by the owner, under the lock
  std::size_t mask_ = kFirstCapacity - 1;           // the same: capacity - 1
  std::int64_t limit_ = kFirst + to_signed(kFirstCapacity);  // the owner's: there is room below it
  alignas(kCacheLine) platform::Atomic<std::int64_t> top_ = kFirst;  // written under the lock
  platform::Atomic<std::int64_t> public_end_ = kFirst;               // the same
  platform::Atomic<bool> is_locked_ = false;
};

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [9] InjectionQueue and ProducerQueue: what comes from outside.                      needs 2, 7, 8
// =================================================================================================
//
// InjectionQueue: a list of segments, one for the pool. All of it is guarded by the
// pool's mutex, but for has_tasks(). It keeps the order of all submits, which a pool of one worker
// promises, and it is where threads are started from.
//
// ProducerQueue: once all workers of a larger pool are there, every outside thread has a queue of
// its own, so that a submit takes no lock and no read-modify-write. One thread writes it, one worker
// at a time reads it, under a lock that workers only try.
//
//     head_                     tail_
//      |                          |
//      [ oldest | ...    | ] -> [ | newest |      ]         segments of pointers, linked
//
// I1 tail_, the slots behind it and writer_ are the producer's. I2 head_, reader_ and the segments up
// to it belong to who has the lock. I3 The queue lives as long as its pool or its thread; a thread
// that ends leaves it to the next one. I4 A pool does not end while a submit is inside.
//
//   Q1  size_:       push, drop (under the mutex) <-> has_tasks, by a worker that has said: I sleep
//   Q2  tail_:       push          -> size             the slot and the task in it
//   Q3  head_:       drop          -> size             what was taken is in the taker's deque by then
//   Q4  is_locked_:  unlock        -> try_lock         head_ and the segments
//   Q5  spare_:      drop          -> extend           the segment is not read any more
//   Q6  is_inside_:  leave         -> is_inside        all uses of the pool by that submit
//   Q7  has_owner_:  leave_to_next -> adopt            the producer's fields
//   Q8  references_: release       -> release          all uses come before the end

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

/// A piece of a queue.
struct Segment {
  static constexpr std::size_t kSlots = 1022;  // picked: with `next` and what malloc adds two pages

  Task* slots[kSlots];
  Segment* next = nullptr;
};

/// One that was emptied, for the writer to take: so a queue in use allocates nothing.
using SpareSegment = platform::Atomic<Segment*>;

/// The end of a list of segments where tasks are put in.
class SegmentWriter {
 public:
  explicit SegmentWriter(Segment* first) noexcept : last_(first) {}

  /// Makes room for `count` more tasks. @throws std::bad_alloc, and nothing has changed
  void reserve(std::size_t count, SpareSegment& spare) {
    if (count > Segment::kSlots - used_) extend(count - (Segment::kSlots - used_), spare);
  }
  /// Call reserve() before.
  void push(Task& task) noexcept {
    if (used_ == Segment::kSlots) {
      last_ = last_->next;
      used_ = 0;
    }
    last_->slots[used_++] = &task;
  }
  /// Undoes the last push().
  void take_back() noexcept { --used_; }

 private:
  CONCURRENT_COLD void extend(std::size_t count, SpareSegment& spare) {
    for (Segment** link = &last_->next;; link = &(*link)->next) {
      if (*link == nullptr) {
        Segment* segment = spare.exchange(nullptr, std::memory_order_acquire);  // Q5: free
        if (segment == nullptr) segment = new Segment;
        segment->next = nullptr;
        *link = segment;
      }
      if (count <= Segment::kSlots) return;
      count -= Segment::kSlots;
    }
  }

  Segment* last_;         // that has tasks; those behind it are reserved
  std::size_t used_ = 0;  // its slots
};

/// The other end. It owns the segments.
class SegmentReader {
 public:
  SegmentReader() : first_(new Segment) {}
  SegmentReader(const SegmentReader&) = delete;
  SegmentReader& operator=(const SegmentReader&) = delete;
  ~SegmentReader() {
    while (first_ != nullptr) { delete std::exchange(first_, first_->next); }
  }

  Segment* first() const noexcept { return first_; }

  /// The task that stands `i` behind the oldest; less than a segment.
  Task& peek(std::size_t i) const noexcept {
    const std::size_t at = passed_ + i;
    if (at < Segment::kSlots) return *first_->slots[at];
    return *first_->next->slots[at - Segment::kSlots];
  }
  /// Drops the oldest `count`; less than a segment.
  void drop(std::size_t count, SpareSegment& spare) noexcept {
    passed_ += count;
    if (passed_ <= Segment::kSlots) return;
    passed_ -= Segment::kSlots;
    Segment* const used = std::exchange(first_, first_->next);
    delete spare.exchange(used, std::memory_order_acq_rel);  // Q5: to be written again
  }

 private:
  Segment* first_;
  std::size_t passed_ = 0;  // its slots; all of them where the next segment may not exist
};

class InjectionQueue {
 public:
  /// @throws std::bad_alloc
  InjectionQueue() : writer_(reader_.first()) {}
  InjectionQueue(const InjectionQueue&) = delete;
  InjectionQueue& operator=(const InjectionQueue&) = delete;
  ~InjectionQueue() { delete spare_.load(std::memory_order_relaxed); }  // not shared any more

  /// Makes room for `count` more tasks. @throws std::bad_alloc, and nothing has changed
  void reserve(std::size_t count) { writer_.reserve(count, spare_); }

  /// Call reserve() before.
  void push(Task& task) noexcept {
    writer_.push(task);
    size_.store(size() + 1, std::memory_order_seq_cst);  // Q1, P1: one more, then look who sleeps
  }

  /// The task that stands `i` behind the oldest; less than a segment.
  Task& peek(std::size_t i) const noexcept { return reader_.peek(i); }

  /// Drops the oldest `count`; less than a segment.
  void drop(std::size_t count) noexcept {
    reader_.drop(count, spare_);
    size_.store(size() - count, std::memory_order_seq_cst);  // Q1: fewer
  }

  std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }  // under it

  /// May be called without the mutex.
  bool has_tasks() const noexcept {
    return size_.load(std::memory_order_seq_cst) != 0;  // Q1, P1: after saying: I sleep
  }

 private:
  SegmentReader reader_;
  SegmentWriter writer_;
  SpareSegment spare_ = nullptr;
  platform::Atomic<std::size_t> size_ = 0;
};

/// The tasks that one outside thread gives to one pool.
class ProducerQueue {
 public:
  /// @throws std::bad_alloc
  ProducerQueue(const void* pool, bool has_barrier)
      : pool_(pool), has_barrier_(has_barrier), writer_(reader_.first()) {}
  ProducerQueue(const ProducerQueue&) = delete;
  ProducerQueue& operator=(const ProducerQueue&) = delete;

  /// Whether it is that of the pool which exists at this address now.
  bool belongs_to(const void* pool) const noexcept { return pool_ == pool && !is_closed(); }

  // ---- the producer's ----

  /// Around every use of the pool. Relaxed: a task that ends the pool is pushed behind it.
  void enter() noexcept { is_inside_.store(true, std::memory_order_relaxed); }
  void leave() noexcept {
    is_inside_.store(false, std::memory_order_release);  // Q6: the pool may go
  }

  /// @throws std::bad_alloc, and nothing has changed
  void push(Task& task) {
    writer_.reserve(1, spare_);
    writer_.push(task);
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed) + 1;
    store_then_look(tail_, tail, has_barrier_);  // Q2, P1: there it is, then look who sleeps
  }
  /// Orders the last push before a second look at who sleeps.
  void order_push() noexcept { order_store(tail_); }
  /// Takes the newest task out again. False if a worker has it.
  CONCURRENT_COLD bool take_back() noexcept {
    while (!try_lock()) platform::yield();
    const bool is_there = size() != 0;
    if (is_there) {
      writer_.take_back();
      // Relaxed: it shows less than before, and the lock keeps readers out.
      tail_.store(tail_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }
    unlock();
    return is_there;
  }

  /// The thread ends: another may adopt the queue.
  void leave_to_next() noexcept {
    has_owner_.store(false, std::memory_order_release);  // Q7: the next may write it
    release();
  }

  // ---- anybody's ----

  /// Takes over the queue of a thread that has ended.
  bool adopt() noexcept {
    if (has_owner_.load(std::memory_order_relaxed)) return false;
    if (has_owner_.exchange(true, std::memory_order_acquire)) return false;  // Q7: mine
    references_.fetch_add(1, std::memory_order_relaxed);                     // the pool has one
    return true;
  }
  bool is_inside() const noexcept {
    return is_inside_.load(std::memory_order_acquire);  // Q6: has it gone?
  }

  /// Tasks in it, at some moment during the call.
  std::size_t size() const noexcept {
    const std::uint64_t head = head_.load(std::memory_order_seq_cst);  // Q3, P1: after: I sleep
    const std::uint64_t tail = tail_.load(std::memory_order_seq_cst);  // Q2, P1: the same
    return static_cast<std::size_t>(tail - head);
  }

  bool try_lock() noexcept {
    if (is_locked_.load(std::memory_order_relaxed)) return false;
    return !is_locked_.exchange(true, std::memory_order_acquire);  // Q4: mine
  }
  void unlock() noexcept { is_locked_.store(false, std::memory_order_release); }  // Q4: yours

  // ---- under the lock ----

  /// The task that stands `i` behind the oldest; less than a segment.
  Task& peek(std::size_t i) const noexcept { return reader_.peek(i); }
  /// Drops the oldest `count`; less than a segment.
  void drop(std::size_t count) noexcept {
    reader_.drop(count, spare_);
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    head_.store(head + count, std::memory_order_release);  // Q3: they are gone
  }

  // ---- life: the pool has a reference, and its thread ----

  void release() noexcept {
    if (references_.load(std::memory_order_acquire) == 1 ||          // Q8: the only one left
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {  // Q8: the last of two
      delete this;
    }
  }
  /// By the pool, when it ends.
  void close() noexcept {
    // Relaxed: a hint, but to who submits to another pool at that address, which was made later.
    is_closed_.store(true, std::memory_order_relaxed);
    release();
  }
  bool is_closed() const noexcept { return is_closed_.load(std::memory_order_relaxed); }

  ProducerQueue* next_of_thread = nullptr;  // the producer's

 private:
  ~ProducerQueue() { delete spare_.load(std::memory_order_relaxed); }  // not shared any more

  const void* const pool_;
  const bool has_barrier_;
  platform::Atomic<bool> has_owner_ = true;
  platform::Atomic<bool> is_closed_ = false;
  platform::Atomic<int> references_ = 2;
  SpareSegment spare_ = nullptr;

  // Used under the lock:
  alignas(kCacheLine) platform::Atomic<bool> is_locked_ = false;
  platform::Atomic<std::uint64_t> head_ = platform::kFirstCount;
  SegmentReader reader_;

  // The producer's:
  alignas(kCacheLine) platform::Atomic<std::uint64_t> tail_ = platform::kFirstCount;
  platform::Atomic<bool> is_inside_ = false;
  SegmentWriter writer_;
};

/// The queues of one thread. Trivial, as NodeCache; its end hangs on what find() makes.
struct ThreadProducers {
  ProducerQueue* queue;  // the one used last, or null
  ProducerQueue* all;
  bool thread_has_ended;

  /// The queue for a pool, or null. Lets go of those whose pools have ended.
  ProducerQueue* find(const void* pool) noexcept {
    queue = nullptr;
    for (ProducerQueue** link = &all; *link != nullptr;) {
      ProducerQueue* const at = *link;
      if (at->is_closed()) {
        *link = at->next_of_thread;
        at->release();
        continue;
      }
      if (at->belongs_to(pool)) queue = at;
      link = &at->next_of_thread;
    }
    return queue;
  }

  void add(ProducerQueue& more) noexcept {
    more.next_of_thread = std::exchange(all, &more);
    queue = &more;
  }

  void end() noexcept {
    queue = nullptr;
    thread_has_ended = true;
    while (all != nullptr) {
      // Not touched once it is left.
      ProducerQueue* const next = all->next_of_thread;
      std::exchange(all, next)->leave_to_next();
    }
  }
};

CONCURRENT_VISIBLE inline thread_local constinit ThreadProducers thread_producers = {};

/// Makes sure that the queues of the calling thread are left to others when it ends.
inline void prepare_producer_end() noexcept {
  struct ThreadEnd {
    ~ThreadEnd() { thread_producers.end(); }
  };
  thread_local const ThreadEnd thread_end;
  static_cast<void>(thread_end);
}

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [10] Parking: who is idle, and whom to wake.                                             needs 2
// =================================================================================================
//
// An idle worker searches for a while and then sleeps. Who publishes a task wakes a sleeper only if
// nobody searches; who finds a task as the last searcher wakes the next one if there is more. So a
// flood of tasks costs one wake-up, not one each, and no task is left to a pool asleep:
//
//     who publishes                               who goes to sleep
//     S1  store the task in a queue               P1  count myself as asleep, no more as searching
//     S2  load the counts                         P2  look into every queue again
//
// S1, S2, P1 and P2 are seq_cst, so one order holds them all. If P1 comes before S2, S2 sees a
// sleeper. If not, then S1, S2, P1, P2 is the order, and P2 sees the task. If S2 saw a searcher
// and therefore woke nobody, then that searcher will either look again itself as it goes to sleep
// (P1, P2 after S1), or will stop searching because it found another task, and then looks into
// every queue (after S1) and wakes the next.
//
// With process_barrier() S1 is a release store and S2 relaxed, and the sleeper calls it between P1
// and P2. The publisher then executes a full barrier somewhere: behind S1, and P2 sees the task; or
// before S1, so before S2 too, and S2 sees the sleeper. That is enough to see that nobody sleeps,
// and so nobody can be woken. Who sees a sleeper stores again, now seq_cst (order_push), and looks
// again: for a searcher that finds another task calls no barrier.
//
//   P1  counts_, queues: above
//   P2  Parker::token_: unpark -> park   all that the waker did

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

/// Where one thread sleeps until it gets a token.
class Parker {
 public:
  void park() noexcept {
    while (token_.load(std::memory_order_acquire) == 0) {  // P2: awake, with what the waker did
      platform::sleep_while_equal(token_, 0, platform::kForever);
    }
    token_.store(0, std::memory_order_relaxed);  // no second token comes before the next sleep
  }

  void unpark() noexcept {
    token_.store(1, std::memory_order_release);  // P2: the token
    platform::wake_all(token_);
  }

 private:
  friend class IdleWorkers;

  platform::Atomic<std::uint32_t> token_ = 0;
  Parker* next_ = nullptr;  // in the list of sleepers; guarded by IdleWorkers::mutex_
  bool is_listed_ = false;  // guarded by the same
};

/// Counts searchers and sleepers, and lists the sleepers, the last to sleep first.
class IdleWorkers {
 public:
  struct Counts {
    std::uint32_t searching;
    std::uint32_t sleeping;
    std::size_t total() const noexcept { return std::size_t{searching} + sleeping; }
  };

  /// Nobody searches or sleeps.
  bool are_none() const noexcept {
    return counts_.load(std::memory_order_seq_cst) == 0;  // P1: S2, after S1
  }

  Counts counts() const noexcept {
    const std::uint64_t both = counts_.load(std::memory_order_seq_cst);  // P1: S2, after S1
    return {static_cast<std::uint32_t>(both >> 32U), static_cast<std::uint32_t>(both)};
  }

  void begin_search() noexcept {
    counts_.fetch_add(kSearching, std::memory_order_seq_cst);  // P1: one more searcher
  }

  /// True if the caller was the last searcher.
  bool end_search() noexcept {
    const std::uint64_t before =
        counts_.fetch_sub(kSearching, std::memory_order_seq_cst);  // P1: one searcher fewer
    return before >> 32U == 1;
  }

  /// From searching to asleep: the caller must look into the queues again, and then either
  /// withdraw() or park.
  void begin_sleep(Parker& parker) noexcept {
    const platform::Lock lock(mutex_);
    parker.next_ = std::exchange(sleepers_, &parker);
    parker.is_listed_ = true;
    counts_.fetch_add(kSleeping - kSearching, std::memory_order_seq_cst);  // P1: then P2
  }

  /// From asleep back to searching. False if somebody has woken the caller already: then its token
  /// is on the way and must be consumed by park().
  bool withdraw(Parker& parker) noexcept {
    const platform::Lock lock(mutex_);
    if (!parker.is_listed_) return false;
    Parker** link = &sleepers_;
    while (*link != &parker) link = &(*link)->next_;
    *link = parker.next_;
    parker.is_listed_ = false;
    counts_.fetch_add(kSearching - kSleeping, std::memory_order_seq_cst);  // P1: back again
    return true;
  }

  /// Makes the last sleeper a searcher: the caller must unpark() it. Null if nobody sleeps.
  Parker* pick_sleeper() noexcept {
    const platform::Lock lock(mutex_);
    if (sleepers_ == nullptr) return nullptr;
    Parker* const parker = std::exchange(sleepers_, sleepers_->next_);
    parker->is_listed_ = false;
    // Counted here and not by the woken, so that a second waker leaves it at that.
    counts_.fetch_add(kSearching - kSleeping, std::memory_order_seq_cst);  // P1: it searches
    return parker;
  }

  bool wake_one() noexcept {
    Parker* const parker = pick_sleeper();
    if (parker != nullptr) parker->unpark();
    return parker != nullptr;
  }

 private:
  static constexpr std::uint64_t kSleeping = 1;
  static constexpr std::uint64_t kSearching = std::uint64_t{1} << 32U;

  alignas(kCacheLine) platform::Atomic<std::uint64_t> counts_ = 0;
  alignas(kCacheLine) platform::Mutex mutex_;  // a leaf; guards the list
  Parker* sleepers_ = nullptr;
};

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [11] Pool: the machine that runs tasks, whatever their types.              needs 3, 4, 6, 7, 8, 9, 10
// =================================================================================================
//
// Shared by the executor and its workers (references_), so that an executor may go away inside one
// of its own tasks. Only the pool's own workers run its tasks.
//
// mutex_ guards injection_, starting_, broken_, detached_, the start of threads and the accounts of
// spares. join_mutex_ is taken before it, never after; the mutex in idle_ and those of the node
// depot, of continuations and of the WaitGraph are leaves. No user code runs under any of them.
//
// Spares. A worker in a wait that cannot adopt says so (Blocked); for each such worker one spare is
// admitted, so that max_workers others can be awake. Spares search, run and sleep like the others.
// When a blocked worker goes on there is one too many awake: the first that looks for a task, spare
// or not, retires, and sleeps until one is admitted again or one ends.
//
//   awake = present_ - blocked_ = threads that have not ended, retired or said that they block
//   awake + base workers not yet started >= max_workers_    (but for failures to start)
//   a worker begins a task only while awake <= max_workers_ (so one worker is a serialiser)
//
//   M1  state_:       begin_shutdown, break_down -> submit, workers   closed, or broken and why
//   M2  count_:       StableTable::add -> count                       the object behind each index
//   M3  references_:  release -> release                              all uses come before the end

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

class PoolState;

/// What one thread of a pool owns.
struct Worker {
  Worker(PoolState& of_pool, int at, int in_name, bool spare, bool has_barrier)
      : pool(of_pool),
        index(at),
        number(in_name),
        is_spare(spare),
        deque(has_barrier),
        random(static_cast<std::uint64_t>(at) * 2 + 1) {}

  PoolState& pool;
  const int index;   // in the table
  const int number;  // in its name
  const bool is_spare;
  WorkDeque deque;
  Parker parker;
  std::uint64_t random;  // the worker's: where it begins to steal
  // The worker's: tasks taken.
  std::uint32_t turns = static_cast<std::uint32_t>(platform::kFirstCount);
  int next_producer = 0;                     // the worker's: whose queue it looks into first
  bool is_searching = false;                 // the worker's: counted so in IdleWorkers
  bool is_behind = false;                    // the worker's: see move_batch
  const std::byte* stack_reserve = nullptr;  // the worker's: below this the stack is short
  const Task* awaited = nullptr;             // it sleeps until that is done; see WaitGraph
  Worker* next_retired = nullptr;            // guarded by the pool's mutex_
  platform::Thread thread;                   // set by who starts it; then under join_mutex_
};

inline Worker* this_worker() noexcept { return static_cast<Worker*>(platform::this_worker); }

/// Who sleeps until which task is done: so that the wait that would close a cycle is refused. One
/// mutex for the process (a leaf), taken by workers about to sleep only. Under it a task that is
/// not done has a runner that exists, for pools take it before they destroy their workers.
class WaitGraph {
 public:
  enum class Edge : unsigned char { same_pool, other_pool };

  /// The waiter is about to sleep, without a limit, until `task` is done. Says whether a worker of
  /// the waiter's own pool runs it. @throws DeadlockError if the task waits for the waiter
  CONCURRENT_COLD Edge add(Worker& waiter, const Task& task) {
    const platform::Lock lock(mutex_);
    const Worker* const runner = runner_of(task);
    const Worker* at = runner;
    while (at != nullptr) {
      if (at == &waiter) {
        throw DeadlockError(
            "this task waits, perhaps through others, for itself: the wait would never end");
      }
      at = at->awaited == nullptr ? nullptr : runner_of(*at->awaited);
    }
    waiter.awaited = &task;
    const bool is_own = runner != nullptr ? &runner->pool == &waiter.pool
                                          : task.owner() == static_cast<const void*>(&waiter.pool);
    return is_own ? Edge::same_pool : Edge::other_pool;
  }

  void remove(Worker& waiter) noexcept {
    const platform::Lock lock(mutex_);
    waiter.awaited = nullptr;
  }

  platform::Mutex& mutex() noexcept { return mutex_; }

 private:
  // The worker that runs the task, if it has begun and is not done.
  static const Worker* runner_of(const Task& task) noexcept {
    const Worker* const runner = task.runner();
    return task.is_done() ? nullptr : runner;
  }

  platform::Mutex mutex_;
};

CONCURRENT_VISIBLE inline CONCURRENT_CONSTINIT NeverDestroyed<WaitGraph> wait_graph;

// ---- fork ----
//
// The child has one thread, so every mutex of the process's own state must be free in it; those of
// pools are not touched there (PoolState::is_forked_copy).

template <class Each> void each_global_mutex(Each each) noexcept {
  each(wait_graph.object.mutex());
  for (platform::Mutex& mutex : continuation_mutexes.object.mutexes) each(mutex);
  each(unhandled_exception_handler.object.mutex);
  each(depot.object.mutex());
}

inline void unlock_after_fork() noexcept {
  each_global_mutex([](platform::Mutex& mutex) { mutex.unlock(); });
}

// Each object of a program (the executable, a shared library) installs handlers of its own, for
// those of an object go with it. Of several that share these mutexes only the first to be called
// locks, and the last unlocks.
CONCURRENT_VISIBLE inline thread_local constinit int fork_depth = 0;
CONCURRENT_PER_OBJECT inline constinit platform::Atomic<bool> forks_are_watched = false;

CONCURRENT_COLD CONCURRENT_PER_OBJECT inline void prepare_fork() noexcept {
  if (fork_depth++ == 0) each_global_mutex([](platform::Mutex& mutex) { mutex.lock(); });
}
CONCURRENT_COLD CONCURRENT_PER_OBJECT inline void end_fork() noexcept {
  if (--fork_depth == 0) unlock_after_fork();
}
CONCURRENT_COLD CONCURRENT_PER_OBJECT inline void begin_child() noexcept {
  if (--fork_depth != 0) return;
  unlock_after_fork();
  platform::this_worker = nullptr;  // in a task: its pool is a copy now
  if (platform::has_process_barrier()) platform::register_process_barrier();
  // Relaxed: there is one thread.
  platform::fork_count.fetch_add(1, std::memory_order_relaxed);
}

/// Counts forks from here on. Thread-safe.
CONCURRENT_PER_OBJECT inline void watch_forks() {
  // Relaxed: nothing is passed on.
  if (forks_are_watched.load(std::memory_order_relaxed)) return;
  if (forks_are_watched.exchange(true, std::memory_order_relaxed)) return;
  platform::at_fork(&prepare_fork, &end_fork, &begin_child);
}

/// Objects by index, in blocks of doubling size, so that they never move. It does not own them.
template <class T> class StableTable {
 public:
  StableTable() = default;
  StableTable(const StableTable&) = delete;
  StableTable& operator=(const StableTable&) = delete;

  int count() const noexcept {
    return count_.load(std::memory_order_seq_cst);  // M2, P1: the objects below it
  }
  T& operator[](int index) const noexcept {
    const auto [block, at] = place(index);
    return *blocks_[block][at];
  }

  /// Makes room for the object `count()`. @throws std::bad_alloc
  void reserve() {
    const auto [block, at] = place(count());
    if (at == 0) blocks_[block] = std::make_unique<T*[]>(std::size_t{1} << block);
  }
  /// Call reserve() before; one caller at a time.
  void add(T& object) noexcept {
    const int index = count();
    const auto [block, at] = place(index);
    blocks_[block][at] = &object;
    count_.store(index + 1, std::memory_order_seq_cst);  // M2, P1: one more, before it is used
  }

 private:
  struct Place {
    std::size_t block;
    std::size_t at;
  };
  static Place place(int index) noexcept {
    const std::size_t from_one = static_cast<std::size_t>(index) + 1;
    const auto block = static_cast<std::size_t>(std::bit_width(from_one)) - 1;
    return {block, from_one - (std::size_t{1} << block)};
  }

  std::unique_ptr<T*[]> blocks_[31];
  platform::Atomic<int> count_ = 0;
};

/// What the threads of a pool share, and what can be asked of it.
class PoolState {
 public:
  PoolState(const PoolState&) = delete;
  PoolState& operator=(const PoolState&) = delete;

  int max_workers() const noexcept { return max_workers_; }
  int worker_count() const noexcept { return live_workers_.load(std::memory_order_relaxed); }
  /// What its tasks have as their owner.
  const void* identity() const noexcept { return this; }
  bool runs_this_thread() const noexcept {
    return this_worker() != nullptr && &this_worker()->pool == this;
  }

  /// @throws ShutdownError, BrokenThreadPool; BrokenExecutor in the child of a fork
  void require_open() const {
    if (is_forked_copy()) throw_forked();
    const std::uint32_t state = state_.load(std::memory_order_seq_cst);  // M1: closed, broken?
    if (state != 0) throw_not_open(state);
  }

  /// Whether this is the copy in the child of a fork: its threads do not exist, its mutexes may be
  /// locked for ever. Nothing else of it may be touched.
  bool is_forked_copy() const noexcept {
    // Relaxed: it changes only where there is one thread.
    return generation_ != fork_count_->load(std::memory_order_relaxed);
  }

  void retain() noexcept {
    // Relaxed: a new reference is made from one that the caller has.
    references_.fetch_add(1, std::memory_order_relaxed);
  }
  CONCURRENT_NOINLINE void release() noexcept {
    if (references_.load(std::memory_order_acquire) == 1 ||          // M3: the only one left
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {  // M3: the last of several
      // A submit whose task has led to this may still be looking whom to wake.
      for (int i = 0; i < producers_.count(); ++i) {
        while (producers_[i].is_inside()) platform::yield();
      }
      delete this;
    }
  }

 protected:
  static constexpr std::uint32_t kClosed = 1;
  static constexpr std::uint32_t kBroken = 2;
  static constexpr std::uint32_t kSealed = 4;  // closed, and all accepted tasks can be seen
  static constexpr std::size_t kBatch = 64;    // measured: bench submit_get

  CONCURRENT_COLD PoolState(int max_workers, std::string thread_name_prefix,
                            std::function<void()> initializer)
      : max_workers_(max_workers),
        thread_name_prefix_(std::move(thread_name_prefix)),
        initializer_(std::move(initializer)) {}
  CONCURRENT_COLD virtual ~PoolState() {
    for (int i = 0; i < producers_.count(); ++i) producers_[i].close();
    { const platform::Lock lock(wait_graph.object.mutex()); }  // nobody follows a runner into here
    for (int i = 0; i < workers_.count(); ++i) delete &workers_[i];
  }

  /// Starts workers for what is in all queues: called where nobody is idle and some may start.
  virtual void grow() noexcept = 0;
  /// Keeps the balance of spares. Needs mutex_. @throws what starting a thread throws
  virtual void admit_spares() = 0;
  /// Needs mutex_. Virtual, so that threads run the code of the object that made the pool: another
  /// one may be unloaded before. @throws std::bad_alloc, std::system_error
  virtual void start_worker(bool is_spare, int number) = 0;

  /// Whether all base workers have been started. Elsewhere than under mutex_ a hint.
  bool has_all_workers() const noexcept {
    return base_workers_.load(std::memory_order_relaxed) == max_workers_;
  }

  bool is_sealed() const noexcept {
    return (state_.load(std::memory_order_seq_cst) & kSealed) != 0;  // M1: closed?
  }

  CONCURRENT_NOINLINE bool has_tasks() const noexcept {
    if (injection_.has_tasks()) return true;
    const int producers = producers_.count();
    for (int i = 0; i < producers; ++i) {
      if (producers_[i].size() != 0) return true;
    }
    const int count = workers_.count();
    for (int i = 0; i < count; ++i) {
      if (workers_[i].deque.size() != 0) return true;
    }
    return false;
  }

  /// After a task was published: wakes or starts a worker if nobody looks for work.
  CONCURRENT_NOINLINE void notify() noexcept {
    const IdleWorkers::Counts idle = idle_.counts();
    if (idle.searching != 0) return;
    if (idle.sleeping != 0 && idle_.wake_one()) return;
    if (!has_all_workers()) grow();
  }
  /// The same for the one who has pushed into this queue.
  template <class Queue> void notify_behind(Queue& queue) noexcept {
    if (!has_all_workers() || !idle_.are_none()) notify_slowly(queue);
  }
  template <class Queue> CONCURRENT_COLD void notify_slowly(Queue& queue) noexcept {
    // Where nobody can be woken or started, it does not matter who searches.
    if (!has_all_workers() || idle_.counts().sleeping != 0) {
      queue.order_push();
      notify();
    }
    if constexpr (std::is_same_v<Queue, WorkDeque>) queue.offer();
  }

  /// Between a change of state_ and a look into the queues: who has pushed without seeing the change
  /// is seen.
  void wait_for_pushes() const noexcept {
    if (has_barrier_) platform::process_barrier();
  }

  Task* take_oldest_injected() noexcept {
    const platform::Lock lock(mutex_);
    if (injection_.size() == 0) return nullptr;
    Task& task = injection_.peek(0);
    injection_.drop(1);
    return &task;
  }

  /// Takes every task out of every queue, and drops the queue's reference behind each(task).
  CONCURRENT_COLD void drain(void (*each)(Task&, const std::exception_ptr&) noexcept,
                             const std::exception_ptr& error) noexcept {
    while (Task* const task = take_oldest_injected()) {
      each(*task, error);
      task->release();
    }
    for (int i = 0; i < producers_.count(); ++i) {
      while (Task* const task = take_oldest_of(producers_[i])) {
        each(*task, error);
        task->release();
      }
    }
    for (int i = 0; i < workers_.count(); ++i) {
      WorkDeque& deque = workers_[i].deque;
      while (deque.size() != 0) {
        Task* const task = deque.steal_by_force();
        if (task == nullptr) {
          platform::yield();
          continue;
        }
        each(*task, error);
        task->release();
      }
    }
  }

  static Task* take_oldest_of(ProducerQueue& queue) noexcept {
    while (queue.size() != 0) {
      if (!queue.try_lock()) {
        platform::yield();
        continue;
      }
      Task* task = nullptr;
      if (queue.size() != 0) {
        task = &queue.peek(0);
        queue.drop(1);
      }
      queue.unlock();
      return task;
    }
    return nullptr;
  }

  const bool has_barrier_ = platform::has_process_barrier();
  const int max_workers_;
  const std::string thread_name_prefix_;
  const std::function<void()> initializer_;

  platform::Atomic<std::uint32_t> state_ = 0;
  platform::Atomic<int> live_workers_ = 0;  // that exist, without spares
  platform::Atomic<int> base_workers_ = 0;  // that were started, without spares
  platform::Atomic<int> blocked_ = 0;       // written under mutex_; read elsewhere as a hint
  platform::Atomic<int> present_ = 0;       // the same: threads that have not ended or retired
  // That of the object which made the pool, should others have their own. Relaxed, as above.
  const platform::Atomic<std::uint64_t>* const fork_count_ = &platform::fork_count;
  const std::uint64_t generation_ = fork_count_->load(std::memory_order_relaxed);
  platform::Atomic<std::size_t> references_ = 1;
  StableTable<Worker> workers_;           // added to under mutex_
  StableTable<ProducerQueue> producers_;  // the same
  // Whether outside threads have queues of their own: all workers are there, and the order of
  // submission is not promised. Written under mutex_; read elsewhere as a hint.
  platform::Atomic<bool> uses_producers_ = false;
  IdleWorkers idle_;

  platform::Mutex join_mutex_;
  alignas(kCacheLine) platform::Mutex mutex_;
  InjectionQueue injection_;   // guarded by mutex_
  std::size_t starting_ = 0;   // guarded by mutex_: threads that have not run their initializer
  Worker* retired_ = nullptr;  // guarded by mutex_: those that sleep until they are admitted
  int named_spares_ = 0;       // guarded by mutex_: started so far
  int spares_ = 0;             // guarded by mutex_: that exist
  std::exception_ptr broken_;  // written once, under mutex_, before kBroken
  bool detached_ = false;      // guarded by mutex_

 private:
  [[noreturn]] CONCURRENT_COLD void throw_not_open(std::uint32_t state) const {
    // The error was written before kBroken was set (M1) and does not change.
    if ((state & kBroken) != 0) std::rethrow_exception(broken_);
    throw ShutdownError("cannot schedule new futures after shutdown");
  }
  [[noreturn]] CONCURRENT_COLD static void throw_forked() {
    throw BrokenExecutor(
        "this executor was made before fork(): its threads do not exist in this process; make a "
        "new executor here");
  }
};

/// How a worker finds its next task.
class PoolSearch : public PoolState {
 protected:
  using PoolState::PoolState;

  /// The next task for this worker; null when the pool is closed and all queues are empty.
  Task* next(Worker& worker) noexcept {
    retire_if_surplus(worker);
    if (!worker.is_searching) {
      if (++worker.turns % kFairnessTurn == 0) {
        if (Task* const task = take_fairly(worker)) return task;
      }
      if (Task* const task = worker.deque.pop()) {
        if (worker.is_behind) worker.deque.prefetch(kPrefetchAhead - 1);
        return task;
      }
      if (Task* const task = take_from_outside(worker, kBatch)) return task;
      idle_.begin_search();
      worker.is_searching = true;
    }
    for (;;) {
      // Its own: from the initializer, or from before it retired.
      if (Task* const task = worker.deque.pop()) {
        end_search(worker, idle_.end_search());
        return task;
      }
      if (Task* const task = search(worker)) return task;
      if (is_sealed() && may_leave(worker)) return nullptr;
      sleep(worker);
      retire_if_surplus(worker);
    }
  }

  /// Wakes a worker that has retired, as a searcher. Needs mutex_.
  bool readmit() noexcept {
    if (retired_ == nullptr) return false;
    Worker& worker = *std::exchange(retired_, retired_->next_retired);
    count(present_, 1);
    idle_.begin_search();
    worker.parker.unpark();
    return true;
  }

  /// For the counters that mutex_ guards. Relaxed: whoever reads them without it takes a hint.
  static void count(platform::Atomic<int>& counter, int more) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + more, std::memory_order_relaxed);
  }
  bool has_surplus() const noexcept {
    return present_.load(std::memory_order_relaxed) - blocked_.load(std::memory_order_relaxed) >
           max_workers_;
  }

 private:
  static constexpr std::uint32_t kFairnessTurn = 61;  // picked, prime: see take_fairly
  static constexpr std::int64_t kPrefetchAhead = 3;   // picked: bench detached
  static constexpr int kForceRound = 30;              // picked: some microseconds

  /// Between two tasks: sleeps while more workers are awake than may be.
  void retire_if_surplus(Worker& worker) noexcept {
    while (has_surplus() && retire(worker)) {
      // It may have been woken for a task, and its own deque may hold some: pass that on.
      if (worker.is_searching) idle_.end_search();
      worker.is_searching = false;
      if (has_tasks()) notify();
      worker.parker.park();
      worker.is_searching = true;  // counted by who has woken it
    }
  }

  CONCURRENT_COLD bool retire(Worker& worker) noexcept {
    const platform::Lock lock(mutex_);
    if (!has_surplus()) return false;
    count(present_, -1);
    worker.next_retired = std::exchange(retired_, &worker);
    return true;
  }

  /// From outside, or the oldest of its own: so that a worker that always has newer tasks, its own,
  /// does not leave the others behind for ever.
  CONCURRENT_NOINLINE Task* take_fairly(Worker& worker) noexcept {
    const bool own_first = worker.turns / kFairnessTurn % 2 == 0;
    if (own_first) {
      if (Task* const task = worker.deque.pop_oldest()) return task;
    }
    if (Task* const task = take_from_outside(worker, 1)) return task;
    return own_first ? nullptr : worker.deque.pop_oldest();
  }

  /// The oldest task of a queue for those from outside, and behind it a batch for the worker's own
  /// deque, where others can steal it. With a batch that deque must be empty.
  CONCURRENT_NOINLINE Task* take_from_outside(Worker& worker, std::size_t limit) noexcept {
    const bool injected_first = worker.turns % 2 == 0;  // so that neither starves the other
    Task* task = injected_first ? take_injected(worker, limit) : take_produced(worker, limit);
    if (task != nullptr) return task;
    return injected_first ? take_produced(worker, limit) : take_injected(worker, limit);
  }

  CONCURRENT_NOINLINE Task* take_produced(Worker& worker, std::size_t limit) noexcept {
    const int count = producers_.count();
    for (int i = 0; i < count; ++i) {
      if (worker.next_producer >= count) worker.next_producer = 0;
      ProducerQueue& queue = producers_[worker.next_producer++];
      // Who has the lock takes from it and will see what is left.
      if (queue.size() == 0 || !queue.try_lock()) continue;
      const std::size_t found = queue.size();
      if (found == 0) {
        queue.unlock();
        continue;
      }
      Task& task = queue.peek(0);
      const std::size_t share = found / static_cast<std::size_t>(max_workers_) + 1;
      move_batch(worker, queue, std::min({limit, kBatch, share, found}));
      queue.unlock();
      if (worker.is_searching) end_search(worker, idle_.end_search());
      return &task;
    }
    return nullptr;
  }

  /// Drops `count` tasks from a queue, all but the first one of them into the worker's deque. Does
  /// not throw: that is empty, and its ring has room for a batch. The tasks' lines are still with the
  /// thread that made them, so a worker that is behind asks for them some tasks ahead. One that keeps
  /// up does not: it would run at the producer's heels, and each push would wait for its looks.
  template <class Queue>
  static void move_batch(Worker& worker, Queue& queue, std::size_t count) noexcept {
    // Into the deque before they leave the queue: has_tasks() and drain() look in that order, so
    // they cannot miss one.
    if (count > 1) {
      worker.deque.push_all(count - 1, [&](std::size_t i) -> Task& { return queue.peek(i + 1); });
    }
    worker.is_behind = count >= kBatch / 2;
    for (std::int64_t i = 0; worker.is_behind && i < kPrefetchAhead; ++i) worker.deque.prefetch(i);
    queue.drop(count);
  }

  CONCURRENT_NOINLINE Task* take_injected(Worker& worker, std::size_t limit) noexcept {
    // Not a lock: a submit that holds it is about to be done, and the caller looks again.
    if (!injection_.has_tasks() || !mutex_.try_lock()) return nullptr;
    Task* task = nullptr;
    bool was_last_searcher = false;
    {
      const platform::Lock lock(mutex_, platform::AdoptLock());
      const std::size_t count = std::min({limit, batch_size(), injection_.size()});
      if (count == 0) return nullptr;
      task = &injection_.peek(0);
      move_batch(worker, injection_, count);
      // Under the mutex, so that a submit that sees the task gone sees its taker busy.
      if (worker.is_searching) was_last_searcher = idle_.end_search();
    }
    end_search(worker, was_last_searcher);
    return task;
  }

  /// How many tasks from outside a worker takes at once. Needs mutex_.
  std::size_t batch_size() const noexcept {
    // One worker keeps the order of submission. And while threads are still to be started, every
    // waiting task must stay in sight of submit, which counts them.
    if (max_workers_ == 1 || !has_all_workers()) return 1;
    return std::min(kBatch, injection_.size() / static_cast<std::size_t>(max_workers_) + 1);
  }

  /// Behind idle_.end_search(): the last searcher passes the search on if there is more to do.
  void end_search(Worker& worker, bool was_last_searcher) noexcept {
    worker.is_searching = false;
    if (was_last_searcher && has_tasks()) notify();
  }

  /// Looks into all queues for a while: the shorter, the more do so already, so that all of them
  /// together spin little more than one.
  Task* search(Worker& worker) noexcept {
    const std::uint32_t searching = std::max<std::uint32_t>(idle_.counts().searching, 1);
    platform::Spinner spinner(platform::Spinner::kSleepAndWake / searching);
    bool is_over = false;
    for (int round = 1;; ++round) {
      if (Task* const task = take_from_outside(worker, kBatch)) return task;
      // By force now and then: who has tasks to himself may be in a long one. At the end at once.
      const bool is_last_round = is_over || is_sealed();
      if (Task* const task = steal(worker, is_last_round || round % kForceRound == 0)) {
        end_search(worker, idle_.end_search());
        return task;
      }
      if (is_last_round) {
        platform::yield();  // somebody may hold one of the locks that were only tried
        return nullptr;
      }
      is_over = !spinner.spin();
    }
  }

  CONCURRENT_NOINLINE Task* steal(Worker& thief, bool by_force) noexcept {
    // xorshift64: where to begin, so that thieves do not all run to the same victim.
    thief.random ^= thief.random << 13U;
    thief.random ^= thief.random >> 7U;
    thief.random ^= thief.random << 17U;
    const int count = workers_.count();
    const int first = static_cast<int>(thief.random % static_cast<std::uint64_t>(count));
    for (int i = 0; i < count; ++i) {
      const int at = first < count - i ? first + i : first - (count - i);
      if (at == thief.index) continue;
      WorkDeque& deque = workers_[at].deque;
      if (Task* const task = by_force ? deque.steal_by_force() : deque.steal()) return task;
    }
    return nullptr;
  }

  /// For a searcher of a closed pool: true if it may end, and then it is no searcher any more.
  CONCURRENT_COLD bool may_leave(Worker& worker) noexcept {
    if (has_tasks()) return false;
    idle_.end_search();
    worker.is_searching = false;
    // Who published a task and saw this searcher has woken nobody: look again.
    if (!has_tasks()) return true;
    idle_.begin_search();
    worker.is_searching = true;
    return false;
  }

  /// From searching to asleep to searching.
  CONCURRENT_NOINLINE void sleep(Worker& worker) noexcept {
    idle_.begin_sleep(worker.parker);
    wait_for_pushes();
    const bool stays_awake = has_tasks() || is_sealed();
    if (!stays_awake || !idle_.withdraw(worker.parker)) worker.parker.park();
  }
};

/// How workers start, run and end.
class PoolThreads : public PoolSearch {
 protected:
  using PoolSearch::PoolSearch;

  /// Starts workers while there are more tasks than idle workers. If one cannot start, those that
  /// are there will do it. Needs mutex_.
  CONCURRENT_COLD void start_workers(std::size_t tasks) noexcept {
    while (!has_all_workers() && tasks > starting_ + idle_.counts().total()) {
      try {
        start_worker(false, base_workers_.load(std::memory_order_relaxed));
        admit_spares();
      } catch (...) { return; }
    }
  }

  void start_worker(bool is_spare, int number) override {
    workers_.reserve();
    auto worker = std::make_unique<Worker>(*this, workers_.count(), number, is_spare, has_barrier_);
    // Relaxed: the starter has a reference or is a worker.
    references_.fetch_add(1, std::memory_order_relaxed);
    ++starting_;
    try {
      const platform::SignalsBlocked inherited;
      worker->thread = platform::Thread(&PoolThreads::work, worker.get());
    } catch (...) {
      --starting_;
      references_.fetch_sub(1, std::memory_order_relaxed);
      throw;
    }
    count(present_, 1);
    if (is_spare) {
      ++spares_;
    } else {
      count(base_workers_, 1);
      live_workers_.fetch_add(1, std::memory_order_relaxed);
    }
    if (detached_) worker->thread.detach();
    workers_.add(*worker.release());
    // Relaxed: a hint.
    if (max_workers_ > 1 && has_all_workers()) {
      uses_producers_.store(true, std::memory_order_relaxed);
    }
  }

  CONCURRENT_COLD void admit_spares() override {
    for (;;) {
      const int startable = max_workers_ - base_workers_.load(std::memory_order_relaxed);
      const int awake =
          present_.load(std::memory_order_relaxed) - blocked_.load(std::memory_order_relaxed);
      if (awake + startable >= max_workers_) return;
      if (readmit()) continue;
      if (spares_ >= kMostSpares) {
        throw Error("256 spare workers of this executor are blocked in waits already");
      }
      start_worker(true, max_workers_ + named_spares_);
      ++named_spares_;
    }
  }

  CONCURRENT_COLD void grow() noexcept override {
    const platform::Lock lock(mutex_);
    // Relaxed: written under the mutex.
    if ((state_.load(std::memory_order_relaxed) & kBroken) != 0) return;
    std::size_t tasks = injection_.size();
    for (int i = 0; i < producers_.count(); ++i) tasks += producers_[i].size();
    for (int i = 0; i < workers_.count(); ++i) tasks += workers_[i].deque.size();
    start_workers(tasks);
  }

 private:
  static constexpr int kMostSpares = 256;  // part of the contract

  static void work(Worker* worker) {
    PoolThreads& pool = static_cast<PoolThreads&>(worker->pool);
    End end(pool, *worker);
    platform::this_worker = worker;
    worker->stack_reserve = stack_reserve();
    if (pool.initialize(*worker)) {
      while (Task* const task = pool.next(*worker)) {
        if (task->try_claim()) {
          task->set_runner(worker);
          task->run_and_finish(true);
        } else {
          task->release();
        }
      }
    }
    end.is_unwound = false;
  }

  // The end of a worker's thread, if it is unwound too.
  struct End {
    End(PoolThreads& of, Worker& ending) noexcept : pool(of), worker(ending) {}
    End(const End&) = delete;
    End& operator=(const End&) = delete;
    ~End() {
      platform::this_worker = nullptr;
      pool.count_out(worker);
      if (is_unwound) pool.replace(worker);
      pool.release();
    }
    PoolThreads& pool;
    Worker& worker;
    bool is_unwound = true;
  };

  /// A task has ended this worker's thread: another one takes its place and its name. If it cannot
  /// start, the others carry on, and if there are none, the pool is broken.
  void replace(Worker& worker) noexcept {
    try {
      const platform::Lock lock(mutex_);
      // Relaxed: written under the mutex.
      if ((state_.load(std::memory_order_relaxed) & kBroken) != 0) return;
      if (!worker.is_spare) count(base_workers_, -1);
      start_worker(worker.is_spare, worker.number);
    } catch (...) {
      if (!worker.is_spare && worker_count() == 0) {
        break_down(
            "a task ended the last thread of this pool, and no other can be started; the reason is "
            "nested");
      }
    }
  }

  /// A worker ends. One that has retired takes its place: it has to end too.
  CONCURRENT_COLD void count_out(Worker& worker) noexcept {
    const platform::Lock lock(mutex_);
    if (worker.is_spare) {
      --spares_;
    } else {
      live_workers_.fetch_sub(1, std::memory_order_relaxed);
    }
    count(present_, -1);
    readmit();
  }

  /// The address below which a wait does not run another task on top of this stack.
  CONCURRENT_COLD static const std::byte* stack_reserve() noexcept {
    constexpr std::size_t most = 256U << 10U;  // picked
    const std::byte* const limit = platform::stack_limit();
    if (limit == nullptr) return nullptr;
    return limit + std::min(most, platform::stack_left(limit) / 4);
  }

  /// Names the thread and runs the initializer. If that throws, the pool is broken.
  bool initialize(Worker& worker) {
    try {
      platform::name_this_thread(thread_name_prefix_, worker.number);
      if (initializer_) initializer_();
    } catch (const platform::ForcedUnwind&) {
      fail_to_start();
      throw;
    } catch (...) {
      fail_to_start();
      return false;
    }
    const platform::Lock lock(mutex_);
    --starting_;
    idle_.begin_search();
    worker.is_searching = true;
    return true;
  }

  /// Call in the handler of the initializer's exception.
  void fail_to_start() noexcept {
    {
      const platform::Lock lock(mutex_);
      --starting_;
    }
    break_down(
        "a thread initializer failed, the thread pool is not usable anymore; the initializer's "
        "exception is nested in this one");
  }

  /// Fails all that is queued, now and later. Call in the handler of the exception that is why.
  void break_down(const char* why) noexcept {
    std::exception_ptr error;
    try {
      throw BrokenThreadPool(why);
    } catch (...) { error = std::current_exception(); }  // std::bad_alloc, if that is all there is
    {
      const platform::Lock lock(mutex_);
      if ((state_.load(std::memory_order_relaxed) & kBroken) == 0) {
        broken_ = error;
        state_.fetch_or(kBroken, std::memory_order_seq_cst);  // M1: broken, and why
      }
    }
    wait_for_pushes();
    drain([](Task& task, const std::exception_ptr& cause) noexcept { fail_task(task, cause); },
          error);
  }
};

/// The whole: submitting, blocking, shutdown. Not final, so that start_worker() stays virtual.
class Pool : public PoolThreads {
 public:
  /// With one reference, the executor's. Starts no thread.
  CONCURRENT_COLD Pool(int max_workers, std::string thread_name_prefix,
                       std::function<void()> initializer)
      : PoolThreads(max_workers, std::move(thread_name_prefix), std::move(initializer)) {
    watch_forks();
  }

  /// Gives a task to the pool, with one of its references. What this throws has scheduled nothing.
  /// @throws ShutdownError, BrokenThreadPool, std::bad_alloc; std::system_error if the pool has no
  /// thread and none can start
  void submit(Task& task) {
    if (runs_this_thread()) {
      // Even if the pool has been closed meanwhile: this worker looks into its deque before it ends.
      WorkDeque& deque = this_worker()->deque;
      deque.push(task);
      notify_behind(deque);
    } else {
      submit_elsewhere(task);
    }
  }

  /// The same for tasks at(0), ..., at(count - 1): all of them or none.
  template <class At> void submit_all(std::size_t count, At at) {
    if (runs_this_thread()) {
      require_open();
      WorkDeque& deque = this_worker()->deque;
      deque.push_all(count, at);
      notify_behind(deque);
    } else {
      submit_outside(count, at);
    }
  }

  // ---- shutdown: see the essay ----

  CONCURRENT_COLD void begin_shutdown(bool cancels) noexcept {
    {
      const platform::Lock lock(mutex_);
      state_.fetch_or(kClosed, std::memory_order_seq_cst);  // M1: closed
    }
    wait_for_pushes();
    state_.fetch_or(kSealed, std::memory_order_seq_cst);  // M1: and all that was accepted is seen
    if (cancels) {
      drain([](Task& task, const std::exception_ptr&) noexcept { cancel_task(task); }, nullptr);
    }
    while (idle_.wake_one()) {}
  }

  /// Waits until all workers have ended. May be called by several threads.
  CONCURRENT_COLD void join() noexcept {
    const platform::Lock lock(join_mutex_);
    // Only a worker that has not ended starts another one, and its index is then below count().
    for (int i = 0; i < workers_.count(); ++i) {
      platform::Thread& thread = workers_[i].thread;
      if (!thread.joinable()) continue;
      if (thread.get_id() == platform::this_thread_id()) {
        thread.detach();  // in a destructor of a thread_local of this very worker
      } else {
        thread.join();
      }
    }
  }

  /// Leaves the workers to themselves: the last one to end destroys the pool.
  CONCURRENT_COLD void detach() noexcept {
    const platform::Lock join_lock(join_mutex_);
    const platform::Lock lock(mutex_);
    detached_ = true;
    for (int i = 0; i < workers_.count(); ++i) {
      if (workers_[i].thread.joinable()) workers_[i].thread.detach();
    }
  }

  // ---- waits of workers that cannot adopt ----

  /// @throws DeadlockError, if `is_required` and no spare can start
  CONCURRENT_COLD void begin_blocking(bool is_required) {
    const platform::Lock lock(mutex_);
    count(blocked_, 1);
    try {
      admit_spares();
    } catch (...) {
      if (!is_required) return;
      count(blocked_, -1);
      throw_no_spare();
    }
  }

  CONCURRENT_COLD void end_blocking() noexcept {
    const platform::Lock lock(mutex_);
    count(blocked_, -1);
  }

 private:
  ~Pool() override = default;

  [[noreturn]] CONCURRENT_COLD static void throw_no_spare() {
    struct NoSpare : DeadlockError, std::nested_exception {
      using DeadlockError::DeadlockError;
    };
    throw NoSpare(
        "this wait blocks a worker, and no spare worker can start to run the other tasks; the "
        "reason is nested");
  }

  // ---- submitting ----

  CONCURRENT_NOINLINE void submit_elsewhere(Task& task) {
    if (ProducerQueue* const queue = this_producer()) {
      submit_produced(*queue, task);
    } else {
      submit_outside(1, [&](std::size_t) -> Task& { return task; });
    }
  }

  /// Touches nothing of the pool once the tasks are published and mutex_ is released: one of them
  /// may destroy the executor. So whom to wake is decided before.
  template <class At> void submit_outside(std::size_t count, At at) {
    Parker* sleeper = nullptr;
    {
      const platform::ShortLock lock(mutex_);
      require_open();
      injection_.reserve(count);
      // The only thing that may throw for a thread.
      if (workers_.count() == 0) start_worker(false, 0);
      for (std::size_t i = 0; i < count; ++i) injection_.push(at(i));
      // Only now is it decided who is needed: the idle are counted behind the push, as in P1.
      if (idle_.counts().searching == 0) sleeper = idle_.pick_sleeper();
      start_workers(injection_.size());
    }
    // It cannot end before it has this token.
    if (sleeper != nullptr) sleeper->unpark();
  }

  /// The calling thread's own queue, or null where it has to use the common one.
  /// @throws std::bad_alloc
  ProducerQueue* this_producer() {
    ThreadProducers& mine = thread_producers;
    if (mine.queue != nullptr && mine.queue->belongs_to(this)) return mine.queue;
    return find_producer(mine);
  }
  /// The same for a thread that has not just used it.
  CONCURRENT_NOINLINE ProducerQueue* find_producer(ThreadProducers& mine) {
    if (!uses_producers_.load(std::memory_order_relaxed) || mine.thread_has_ended) return nullptr;
    if (ProducerQueue* const queue = mine.find(this)) return queue;
    prepare_producer_end();
    const platform::Lock lock(mutex_);
    for (int i = 0; i < producers_.count(); ++i) {
      if (!producers_[i].adopt()) continue;
      mine.add(producers_[i]);
      return mine.queue;
    }
    producers_.reserve();
    mine.add(*new ProducerQueue(this, has_barrier_));
    producers_.add(*mine.queue);
    return mine.queue;
  }

  /// The task may end the pool as soon as it is pushed, but for leave().
  void submit_produced(ProducerQueue& queue, Task& task) {
    struct Inside {
      explicit Inside(ProducerQueue& in) : queue(in) { queue.enter(); }
      Inside(const Inside&) = delete;
      Inside& operator=(const Inside&) = delete;
      ~Inside() { queue.leave(); }
      ProducerQueue& queue;
    } const inside(queue);
    queue.push(task);
    // Closed meanwhile: either the workers have been able to see the task, or it is taken back.
    if (state_.load(std::memory_order_seq_cst) != 0 && queue.take_back()) {  // M1: still open?
      require_open();
    }
    notify_behind(queue);
  }
};

// ---- waiting -------------------------------------------------------------------------------------

/// While it lives, the calling thread sleeps in a wait that cannot adopt. If it is a worker, its
/// pool lets a spare run meanwhile.
class Blocked {
 public:
  /// Nothing happens unless `applies`. @throws DeadlockError, if `is_required` and no spare can start
  Blocked(bool applies, bool is_required) {
    if (!applies || this_worker() == nullptr) return;
    Pool& pool = static_cast<Pool&>(this_worker()->pool);
    pool.begin_blocking(is_required);
    pool_ = &pool;
  }
  Blocked(const Blocked&) = delete;
  Blocked& operator=(const Blocked&) = delete;
  ~Blocked() {
    if (pool_ != nullptr) pool_->end_blocking();
  }

 private:
  Pool* pool_ = nullptr;
};

/// Runs a pending task that the calling worker has just taken off its own deque, or drops it if
/// somebody else has claimed it. With `has_handle_alone` the caller has a handle that no other thread
/// uses.
inline void run_popped(Worker& worker, Task& task, bool has_handle_alone) {
  if (has_handle_alone && task.try_claim_alone()) {
    task.set_runner(&worker);
    task.run_and_finish_alone();
  } else if (task.try_claim()) {
    task.set_runner(&worker);
    task.run_and_finish(true);
  } else {
    task.release();
  }
}

inline bool has_stack_left(const Worker& worker) noexcept {
  return platform::stack_left(worker.stack_reserve) != 0;
}

/// The common case of adopt: the task is the newest of the calling worker, and its handle is the
/// caller's alone. True if the task is done.
inline bool join_newest(Task& task) {
  Worker* const worker = this_worker();
  if (worker == nullptr || !has_stack_left(*worker)) return false;
  if (!worker->deque.pop_if_newest(task)) return false;
  run_popped(*worker, task, true);
  return task.is_done();
}

/// Runs `task` in this thread if that is a worker of its pool and nobody has begun it: the waiter
/// cannot go on before it anyway. It never runs anything else, for a stranger, even a child of the
/// awaited task, might need a lock that the waiter holds. The caller has a reference. False if it
/// would have run the task, but for a stack that is too short.
inline bool adopt(Task& task) {
  Worker* const worker = this_worker();
  if (worker == nullptr || task.owner() != worker->pool.identity()) return true;
  if ((task.state() & Task::kClaimed) != 0) return true;
  if (!has_stack_left(*worker)) return false;
  // Taken off the deque if it is on top, so that no finished tasks pile up in it.
  if (worker->deque.pop_if_newest(task)) {
    run_popped(*worker, task, false);
  } else if (task.try_claim()) {
    task.set_runner(worker);
    task.run_and_finish(false);
  }
  return true;
}

/// The wait of a worker, without a limit, for a task that it could not adopt.
/// @throws DeadlockError
inline void sleep_until_done(Worker& worker, Task& task, bool stack_is_short) {
  struct Edge {
    Edge(Worker& of, const Task& task) : worker(of), kind(wait_graph.object.add(of, task)) {}
    Edge(const Edge&) = delete;
    Edge& operator=(const Edge&) = delete;
    ~Edge() { wait_graph.object.remove(worker); }
    Worker& worker;
    const WaitGraph::Edge kind;
  } const edge(worker, task);
  const Blocked blocked(stack_is_short || edge.kind == WaitGraph::Edge::other_pool, true);
  task.wait(Deadline::never());
}

/// Waits for one task: the only way to do so. False if the time limit passed first.
/// @throws DeadlockError
CONCURRENT_NOINLINE inline bool wait_for_task(Task& task, Deadline deadline) {
  if (task.is_done()) return true;
  if (deadline.only_tests()) return false;
  Worker* const worker = this_worker();
  if (worker == nullptr) return task.wait(deadline);
  const bool stack_is_short = !deadline.is_limited() && !adopt(task);
  constexpr std::chrono::microseconds shortly{5};  // picked: before a spare is asked for
  if (task.spin_until_done(shortly, deadline.time())) return true;
  if (!deadline.is_limited()) {
    sleep_until_done(*worker, task, stack_is_short);
    return true;
  }
  const Blocked blocked(true, false);
  return task.wait(deadline);
}

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [12] Future: a handle on the outcome of a task.                                  needs 3, 4, 7, 11
// =================================================================================================

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

// What a postfix increment of a single-pass iterator returns.
template <class T> struct Passed {
  T value;
  T& operator*() noexcept { return value; }
};

struct FutureAccess;

/// What a Future can do without knowing the type of its result.
class FutureBase {
 public:
  /// Whether this handle refers to a task. An empty one can be copied, compared, hashed and asked
  /// valid(), done(), running(), cancelled(); all else throws InvalidStateError.
  bool valid() const noexcept { return task_ != nullptr; }

  /// Returned, failed or cancelled: final. What the task wrote happens before a true answer.
  bool done() const noexcept { return task_ != nullptr && task_->is_done(); }

  /// Begun and not done.
  bool running() const noexcept { return task_ != nullptr && task_->is_running(); }

  bool cancelled() const noexcept { return task_ != nullptr && task_->is_cancelled(); }

  /// Cancels the task if nobody has begun it: then it is done at once, and its captures have been
  /// destroyed in this thread. True if it is cancelled, now or before. Thread-safe.
  /// @throws InvalidStateError if the handle is empty
  bool cancel() const { return cancel_task(task()) != Cancelled::too_late; }

  /// Cancels a pending task, or asks a running one to stop through its std::stop_token. True if it
  /// cancelled the task, or was the first to ask. Thread-safe; stop callbacks run in this thread.
  /// @throws InvalidStateError if the handle is empty
  bool request_stop() const {
    const Cancelled cancelled = cancel_task(task());
    if (cancelled != Cancelled::too_late) return cancelled == Cancelled::now;
    return !task_->is_done() && task_->request_stop();
  }

  /// Waits until done. In a task of the same pool it runs the awaited task itself if nobody has
  /// begun it; where that cannot be, a spare worker runs other tasks meanwhile.
  /// @throws InvalidStateError if the handle is empty; DeadlockError if the awaited task waits for
  /// the calling one, or if a spare worker is needed and cannot start
  void wait() const { wait_for_task(task(), Deadline::never()); }

  /// `ready` once done, for every final state; `timeout` if the limit passed first; never
  /// `deferred`. @throws as wait()
  std::future_status wait_for(Timeout limit) const { return wait_to(Deadline(limit)); }

  /// The same until a point in time, of any clock.
  template <class Clock, class Duration>
  std::future_status wait_until(const std::chrono::time_point<Clock, Duration>& time) const {
    using Seconds = std::chrono::duration<long double>;
    using Fine = std::common_type_t<Duration, typename Clock::duration>;
    // Another clock may be set while this waits: look at it from time to time.
    constexpr auto slice = std::chrono::milliseconds(100);  // picked
    for (;;) {
      // In floating point first: far points overflow the units of either side.
      const auto now = Clock::now();
      const Seconds about = Seconds(time.time_since_epoch()) - Seconds(now.time_since_epoch());
      if (about <= std::chrono::seconds(-1)) return wait_for(about);
      if (about >= std::chrono::years(100)) return wait_for(Timeout());
      const Fine left = Fine(time.time_since_epoch()) - Fine(now.time_since_epoch());
      if (std::is_same_v<Clock, platform::Clock> || left <= slice) return wait_for(left);
      if (wait_for(slice) == std::future_status::ready) return std::future_status::ready;
    }
  }

  /// The exception that the task threw; null if it returned, even if the value was taken. Waits.
  /// @throws CancelledError, TimeoutError; InvalidStateError if the handle is empty; as wait()
  std::exception_ptr exception(Timeout timeout = {}) const {
    await(timeout);
    if (task_->is_cancelled()) throw_cancelled();
    return (task_->state() & Task::kFailed) != 0 ? error_of(*task_) : nullptr;
  }

 protected:
  FutureBase() noexcept = default;
  friend struct FutureAccess;

  explicit FutureBase(Task* task) noexcept : task_(task) {}
  FutureBase(const FutureBase& other) noexcept : task_(other.task_) {
    if (task_ != nullptr) task_->retain();
  }
  // By hand: g++ 12 warns about std::exchange in a std::optional that is emptied.
  FutureBase(FutureBase&& other) noexcept : task_(other.task_) { other.task_ = nullptr; }
  FutureBase& operator=(const FutureBase& other) noexcept {
    if (other.task_ != nullptr) other.task_->retain();
    reset(other.task_);
    return *this;
  }
  FutureBase& operator=(FutureBase&& other) noexcept {
    Task* const task = other.task_;
    other.task_ = nullptr;
    reset(task);
    return *this;
  }
  ~FutureBase() {
    if (task_ != nullptr) task_->release();
  }

  void reset(Task* task) noexcept {
    Task* const before = task_;
    task_ = task;
    if (before != nullptr) before->release();
  }

  [[noreturn]] CONCURRENT_COLD static void throw_cancelled() {
    throw CancelledError("the future was cancelled before its task began; it has no result");
  }
  [[noreturn]] CONCURRENT_COLD static void throw_taken() {
    throw InvalidStateError(
        "the result was already taken, by get() or result() on an rvalue; share it by calling "
        "result() on an lvalue");
  }

  Task& task() const {
    if (task_ == nullptr) {
      throw InvalidStateError(
          "the future is empty: default-constructed, moved from, or emptied by get(); use one "
          "that submit returned");
    }
    return *task_;
  }

  std::future_status wait_to(Deadline deadline) const {
    const bool done = wait_for_task(task(), deadline);
    return done ? std::future_status::ready : std::future_status::timeout;
  }

  /// @throws TimeoutError, and as wait()
  void await(Timeout timeout) const {
    if (task_ == nullptr || !task_->is_done()) await_slowly(timeout);
  }
  CONCURRENT_COLD void await_slowly(Timeout timeout) const {
    if (wait_for_task(task(), Deadline(timeout))) return;
    throw TimeoutError(
        "the future was not done within the time limit; wait longer, or cancel() it");
  }

  /// Of a done task. @throws CancelledError, and what the task threw
  void rethrow_failure() const {
    const std::uint64_t state = task_->state();
    if ((state & (Task::kCancelled | Task::kFailed)) != 0) rethrow_failure_of(state);
  }
  [[noreturn]] CONCURRENT_COLD void rethrow_failure_of(std::uint64_t state) const {
    if ((state & Task::kCancelled) != 0) throw_cancelled();
    std::rethrow_exception(error_of(*task_));
  }

  Task* task_ = nullptr;
};

struct FutureAccess {
  /// Takes over one reference.
  template <class Handle> static Handle make(Task& task) noexcept { return Handle(&task); }
  static Task* task(const FutureBase& future) noexcept { return future.task_; }
};

/// A callback of a user: owns itself until it has run.
template <class Handle, class F> struct Callback : Continuation {
  template <class G>
  explicit Callback(G&& g) : Continuation{&run_and_delete}, callable(std::forward<G>(g)) {}

  static void run_and_delete(Continuation& continuation, Task& task) noexcept {
    const std::unique_ptr<Callback> self(static_cast<Callback*>(&continuation));
    task.retain();
    try {
      std::invoke(self->callable, FutureAccess::make<Handle>(task));
    } catch (const platform::ForcedUnwind&) {
      std::terminate();  // nobody here can pass it on
    } catch (...) { report_unhandled_exception(std::current_exception()); }
  }

  F callable;
};

template <class T> struct ReferenceTo {
  using type = const T&;
};
template <class T> struct ReferenceTo<T&> {
  using type = T&;
};
template <> struct ReferenceTo<void> {
  using type = void;
};
template <class T> using ResultReference = typename ReferenceTo<T>::type;

}  // namespace detail

/// A handle on the result of a task: what `submit` returns. Handles may be copied; all of them see
/// the same outcome. Dropping one neither waits nor cancels, and a future outlives its executor.
/// Equality, order and hash are by identity. All members are const but get(), result() on an rvalue
/// and assignment; const members may be called on one object by several threads at once.
template <class T> class Future : public detail::FutureBase {
  static_assert(!std::is_rvalue_reference_v<T> && std::is_same_v<T, std::remove_cv_t<T>>,
                "concurrent::Future<T>: T is void, an lvalue reference, or an object type "
                "without const or volatile");

 public:
  /// Empty.
  Future() noexcept = default;
  Future(const Future&) noexcept = default;
  Future(Future&&) noexcept = default;
  Future& operator=(const Future&) noexcept = default;
  Future& operator=(Future&&) noexcept = default;
  ~Future() = default;

  /// Waits, and then refers to the value or rethrows what the task threw; may be repeated. The
  /// reference lives until the last handle is dropped or the value is taken.
  /// @throws CancelledError; TimeoutError; InvalidStateError if the handle is empty or the value
  /// was taken; DeadlockError as wait(); and what the task threw
  detail::ResultReference<T> result(Timeout timeout = {}) const& {
    await(timeout);
    rethrow_failure();
    if ((task_->state() & detail::Task::kTaken) != 0) throw_taken();
    if constexpr (std::is_reference_v<T>) {
      return *detail::result_of<T>(*task_);
    } else if constexpr (!std::is_void_v<T>) {
      return detail::result_of<T>(*task_);
    }
  }

  /// The same as get().
  T result(Timeout timeout = {}) && { return get(timeout); }

  /// Waits, and then takes the value from all handles and empties this one. Of several takers one
  /// gets it; afterwards result() and get() of the other handles throw InvalidStateError. Failures
  /// and cancellation are never taken. Ends every reference that result() gave out.
  /// @throws TimeoutError or DeadlockError, and this handle is as before; CancelledError,
  /// InvalidStateError and what the task threw, and this handle is empty
  T get(Timeout timeout = {}) {
    const bool is_unlimited = detail::Deadline::is_never(timeout);
    if (task_ == nullptr || !is_unlimited || !detail::join_newest(*task_)) await(timeout);
    return Future(std::move(*this)).take();
  }

  /// Calls fn(future) once the task is done: in the thread that completes or cancels it, in the order
  /// added; here and now if it is done already. Under no lock: it may submit, cancel, shut down.
  /// What it throws goes to the handler of unhandled exceptions. A waiter may return before it has
  /// run. Thread-safe.
  /// @throws InvalidStateError if the handle is empty; std::bad_alloc, and what copying fn throws:
  /// then it will not be called
  template <class F>
    requires std::is_invocable_v<std::decay_t<F>&, Future>
  void add_done_callback(F&& fn) const {
    using Callback = detail::Callback<Future, std::decay_t<F>>;
    detail::Task& task = this->task();
    auto callback = std::make_unique<Callback>(std::forward<F>(fn));
    if (task.add(*callback)) {
      static_cast<void>(callback.release());
    } else {
      Callback::run_and_delete(*callback.release(), task);
    }
  }

  friend bool operator==(const Future& a, const Future& b) noexcept { return a.task_ == b.task_; }
  friend std::strong_ordering operator<=>(const Future& a, const Future& b) noexcept {
    return std::compare_three_way()(a.task_, b.task_);
  }

 private:
  friend struct detail::FutureAccess;
  friend struct std::hash<Future>;

  explicit Future(detail::Task* task) noexcept : FutureBase(task) {}

  T take() {
    rethrow_failure();
    if (!task_->try_take()) throw_taken();
    if constexpr (std::is_reference_v<T>) {
      return *detail::result_of<T>(*task_);
    } else if constexpr (!std::is_void_v<T>) {
      struct Owned {
        T& value;
        ~Owned() { std::destroy_at(std::addressof(value)); }
      } owned{detail::result_of<T>(*task_)};
      return T(std::move(owned.value));
    }
  }
};

}  // namespace concurrent::inline CONCURRENT_ABI

template <class T> struct std::hash<concurrent::Future<T>> {
  std::size_t operator()(const concurrent::Future<T>& future) const noexcept {
    return std::hash<const void*>()(future.task_);
  }
};

// =================================================================================================
// [13] Promise: a future whose outcome somebody sets.                              needs 3, 7, 11, 12
// =================================================================================================

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

// The node of a promise: a task without a callable.
template <class R> class PromiseTask {
 public:
  /// With one reference. @throws std::bad_alloc
  static Task& make() {
    watch_forks();  // there need not be an executor
    void* const memory = allocate_node<kSize, kAlignment>();
    return *::new (memory) Task(kOperations, nullptr, 1);
  }

 private:
  using Result = StoredResult<R>;
  static constexpr std::size_t kSize =
      std::max(kOutcomeOffset<Result> + sizeof(Result),
               kOutcomeOffset<std::exception_ptr> + sizeof(std::exception_ptr));
  static constexpr std::size_t kAlignment =
      std::max({alignof(Task), alignof(Result), alignof(std::exception_ptr)});

  static std::uint64_t run(Task&) noexcept { return 0; }
  static std::uint64_t abandon(Task& task, const std::exception_ptr* error) noexcept {
    if (error == nullptr) return 0;
    ::new (outcome_place<std::exception_ptr>(task)) std::exception_ptr(*error);
    return Task::kFailed;
  }
  static void destroy(Task& task, std::uint64_t state) noexcept {
    if ((state & Task::kDone) != 0) destroy_outcome<R>(task, state);
    std::destroy_at(&task);
    free_node<kSize, kAlignment>(&task);
  }

  static constexpr TaskOperations kOperations = {&run, &abandon, &destroy, nullptr};
};

// What set_result takes; for void it is never named.
template <class T> using PromisedValue = std::conditional_t<std::is_void_v<T>, NoResult, T>;

}  // namespace detail

/// The other end of a future, for code that completes it by its own means. Move-only; dropping one
/// that was not kept completes its future with BrokenPromise. Members may be called by several
/// threads at once, but for moves and the destructor.
template <class T> class Promise {
 public:
  /// @throws std::bad_alloc
  Promise() : future_(detail::FutureAccess::make<Future<T>>(detail::PromiseTask<T>::make())) {}
  Promise(Promise&&) noexcept = default;
  Promise& operator=(Promise&& other) noexcept {
    if (this != &other) {
      drop();
      future_ = std::move(other.future_);
    }
    return *this;
  }
  ~Promise() { drop(); }

  /// A handle on its future; may be repeated. @throws InvalidStateError if it was moved from
  Future<T> future() const {
    static_cast<void>(task());
    return future_;
  }

  /// From pending to running, so that cancel() comes too late. False if it was cancelled.
  /// @throws InvalidStateError if it runs or is final already, or was moved from
  bool set_running_or_notify_cancel() {
    if (task().try_claim()) return true;
    if ((task().state() & detail::Task::kCancelled) != 0) return false;
    throw InvalidStateError("set_running_or_notify_cancel(): the promise runs or is final already");
  }

  /// Completes the future. @throws InvalidStateError if it is final, or the promise moved from;
  /// what moving the value throws, and then the promise is as before, but for running
  void set_result(detail::PromisedValue<T> value)
    requires(!std::is_void_v<T>)
  {
    if constexpr (std::is_reference_v<T>) {
      set(std::addressof(value));
    } else {
      set(std::move(value));
    }
  }
  void set_result()
    requires std::is_void_v<T>
  {
    set(detail::NoResult());
  }

  /// Completes the future with a failure. @throws InvalidStateError as set_result();
  /// std::invalid_argument if the pointer is null
  void set_exception(std::exception_ptr error) {
    if (error == nullptr) {
      throw std::invalid_argument("Promise::set_exception: the exception_ptr is null");
    }
    detail::Task& task = keep();
    task.finish(task.abandon(&error), false);
  }

 private:
  detail::Task& task() const {
    detail::Task* const task = detail::FutureAccess::task(future_);
    if (task == nullptr) throw InvalidStateError("the promise is empty: it was moved from");
    return *task;
  }

  detail::Task& keep() {
    constexpr std::uint64_t kFinal = detail::Task::kKept | detail::Task::kCancelled;
    detail::Task& task = this->task();
    if ((task.keep() & kFinal) != 0) {
      throw InvalidStateError("the promise is final already: it was kept or cancelled");
    }
    return task;
  }

  void set(detail::StoredResult<T> result) {
    using Result = detail::StoredResult<T>;
    detail::Task& task = keep();
    try {
      ::new (detail::outcome_place<Result>(task)) Result(std::move(result));
    } catch (...) {
      task.unkeep();
      throw;
    }
    task.finish(0, false);
  }

  void drop() noexcept {
    if (!future_.valid()) return;
    try {
      set_exception(std::make_exception_ptr(
          BrokenPromise("the promise was dropped before it was kept; no result will come")));
    } catch (const InvalidStateError&) {
      // It was kept, or cancelled.
    }
  }

  Future<T> future_;
};

}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [14] wait and as_completed: several futures at once.                       needs 2, 3, 4, 7, 11, 12
// =================================================================================================
//
// Who waits for any of several links one entry into each task. A task that ends pushes its entry
// onto a stack and wakes the waiter; so each future costs the same, however many there are.
//
//   W1  finished_: run -> take_finished           which entries are done
//   W2  signal_:   run <-> wait_for_more          one word: something is done, or somebody sleeps

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

class CompletionGroup {
 public:
  struct Entry : Continuation {
    Task* task = nullptr;
    CompletionGroup* group = nullptr;
    std::size_t index = 0;
    Entry* next_finished = nullptr;
  };

  explicit CompletionGroup(std::size_t capacity) : entries_(std::make_unique<Entry[]>(capacity)) {}
  CompletionGroup(const CompletionGroup&) = delete;
  CompletionGroup& operator=(const CompletionGroup&) = delete;
  ~CompletionGroup() {
    for (std::size_t i = 0; i < used_; ++i) Task::remove(entries_[i].task, entries_[i]);
  }

  /// The caller keeps a handle on the task. False if it is done already, and then no entry remains.
  bool add(Task& task, std::size_t index) noexcept {
    Entry& entry = entries_[used_];
    entry.run = &run;
    entry.is_waiter = true;
    entry.task = &task;
    entry.group = this;
    entry.index = index;
    if (!task.add(entry)) return false;
    ++used_;
    return true;
  }

  /// All entries that have finished since the last call, oldest first.
  Entry* take_finished() noexcept {
    Entry* stack = finished_.exchange(nullptr, std::memory_order_acquire);  // W1: these are done
    Entry* oldest = nullptr;
    while (stack != nullptr) {
      Entry* const next = std::exchange(stack->next_finished, oldest);
      oldest = std::exchange(stack, next);
    }
    return oldest;
  }

  /// Sleeps until there is something to take, perhaps. One thread. False if the limit has passed.
  bool wait_for_more(Deadline deadline) noexcept {
    platform::Spinner spinner(platform::Spinner::kSleepAndWake, deadline.time());
    while (signal_.load(std::memory_order_relaxed) != kSomething && spinner.spin()) {}
    if (deadline.has_passed()) return false;
    const std::uint32_t before = signal_.exchange(kSleeper, std::memory_order_acq_rel);  // W2: look
    if (before == kSomething) return true;
    while (signal_.load(std::memory_order_acquire) == kSleeper) {  // W2: until somebody says so
      if (deadline.has_passed()) return false;
      platform::sleep_while_equal(signal_, kSleeper, deadline.time());
    }
    return true;
  }

 private:
  static constexpr std::uint32_t kSomething = 1;
  static constexpr std::uint32_t kSleeper = 2;

  // Under the mutex of the task's continuations: the group lives at least until it is released.
  static void run(Continuation& continuation, Task&) noexcept {
    Entry& entry = static_cast<Entry&>(continuation);
    CompletionGroup& group = *entry.group;
    Entry* top = group.finished_.load(std::memory_order_relaxed);
    do {
      entry.next_finished = top;
    } while (!group.finished_.compare_exchange_weak(top, &entry,
                                                    std::memory_order_release,  // W1: one more
                                                    std::memory_order_relaxed));
    if (group.signal_.exchange(kSomething, std::memory_order_acq_rel) == kSleeper) {  // W2: it is
      platform::wake_all(group.signal_);
    }
  }

  std::unique_ptr<Entry[]> entries_;
  std::size_t used_ = 0;
  platform::Atomic<Entry*> finished_ = nullptr;
  platform::Atomic<std::uint32_t> signal_ = 0;
};

/// The handles in a range, in order, each once. @throws InvalidStateError if one is empty
template <class T, class Range> std::vector<Future<T>> distinct_futures(Range&& range) {
  std::vector<Future<T>> all;
  for (auto&& future : range) {
    if (!future.valid()) {
      throw InvalidStateError("one of the futures to wait for is empty; leave it out");
    }
    all.push_back(future);
  }
  // An open hash table of indices, from one; zero is free.
  std::vector<std::size_t> table(std::bit_ceil(2 * all.size() + 1));
  std::vector<Future<T>> distinct;
  distinct.reserve(all.size());
  for (Future<T>& future : all) {
    std::size_t at = (std::hash<Future<T>>()(future) / kNodeUnit) & (table.size() - 1);
    while (table[at] != 0 && distinct[table[at] - 1] != future) at = (at + 1) & (table.size() - 1);
    if (table[at] != 0) continue;
    distinct.push_back(std::move(future));
    table[at] = distinct.size();
  }
  return distinct;
}

template <class T> inline constexpr bool kIsFuture = false;
template <class T> inline constexpr bool kIsFuture<Future<T>> = true;

template <class Range>
concept RangeOfFutures = std::ranges::input_range<Range> &&
                         kIsFuture<std::remove_cvref_t<std::ranges::range_reference_t<Range>>>;

template <class FutureType> struct FutureTraits;
template <class T> struct FutureTraits<Future<T>> {
  using Result = T;
};
template <class Range>
using ResultOfRange =
    typename FutureTraits<std::remove_cvref_t<std::ranges::range_reference_t<Range>>>::Result;

}  // namespace detail

enum class ReturnWhen : unsigned char { all_completed, first_completed, first_exception };

struct WaitOptions {
  /// When it passes, wait returns what is done by then.
  Timeout timeout = {};
  /// A cancelled future is done, and is no exception.
  ReturnWhen return_when = ReturnWhen::all_completed;
};

template <class T> struct WaitResult {
  std::vector<Future<T>> done;
  std::vector<Future<T>> not_done;
};

namespace detail {

inline bool has_failed(const Task& task) noexcept { return (task.state() & Task::kFailed) != 0; }

// Waits until the first is done, or the first has failed, or all are done.
template <class T>
void wait_for_first(const std::vector<Future<T>>& futures, bool failure_only, Deadline deadline) {
  CompletionGroup group(futures.size());
  std::size_t pending = 0;
  for (const Future<T>& future : futures) {
    Task& task = *FutureAccess::task(future);
    if (group.add(task, 0)) {
      ++pending;
    } else if (!failure_only || has_failed(task)) {
      return;
    }
  }
  if (pending == 0 || deadline.only_tests()) return;
  const Blocked blocked(true, !deadline.is_limited());
  while (pending != 0) {
    for (auto* entry = group.take_finished(); entry != nullptr; entry = entry->next_finished) {
      --pending;
      if (!failure_only || has_failed(*entry->task)) return;
    }
    if (pending != 0 && !group.wait_for_more(deadline)) return;
  }
}

template <class T>
WaitResult<T> wait_for_all(std::vector<Future<T>> futures, const WaitOptions& options) {
  const Deadline deadline(options.timeout);
  if (options.return_when != ReturnWhen::all_completed) {
    wait_for_first(futures, options.return_when == ReturnWhen::first_exception, deadline);
  } else {
    for (const Future<T>& future : futures) {
      if (!wait_for_task(*FutureAccess::task(future), deadline)) break;
    }
  }
  WaitResult<T> result;
  for (Future<T>& future : futures) {
    (future.done() ? result.done : result.not_done).push_back(std::move(future));
  }
  return result;
}

}  // namespace detail

/// Waits for futures, of any executors, until `return_when` or the time limit, and says which are
/// done: in the order of the input, each once. An empty input returns at once.
/// @throws InvalidStateError, before waiting, if one of the handles is empty; std::bad_alloc;
/// DeadlockError as Future::wait()
template <detail::RangeOfFutures Range>
auto wait(Range&& futures, WaitOptions options = {}) -> WaitResult<detail::ResultOfRange<Range>> {
  using T = detail::ResultOfRange<Range>;
  return detail::wait_for_all(detail::distinct_futures<T>(futures), options);
}

template <class T>
WaitResult<T> wait(std::initializer_list<Future<T>> futures, WaitOptions options = {}) {
  return detail::wait_for_all(detail::distinct_futures<T>(futures), options);
}

/// Waits for all of them, whatever their types. @throws as Future::wait(), before waiting if a
/// handle is empty
template <class... Ts>
  requires(sizeof...(Ts) > 0)
void wait(const Future<Ts>&... futures) {
  if (!(futures.valid() && ...)) {
    throw InvalidStateError("one of the futures to wait for is empty; leave it out");
  }
  (futures.wait(), ...);
}

struct AsCompletedOptions {
  /// Counted from the call of as_completed: when it passes, going on throws TimeoutError.
  Timeout timeout = {};
};

/// Futures in the order in which they complete: a move-only, single-pass range. One thread.
template <class T> class AsCompleted {
  class State;

 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using iterator_concept = std::input_iterator_tag;
    using value_type = Future<T>;
    using difference_type = std::ptrdiff_t;
    using reference = Future<T>&;
    using pointer = Future<T>*;

    iterator() noexcept = default;

    /// The next future, once it is done. @throws TimeoutError, and it may be asked again;
    /// DeadlockError if a spare worker is needed and cannot start
    reference operator*() const { return state_->current(); }
    pointer operator->() const { return &state_->current(); }
    iterator& operator++() {
      state_->advance();
      return *this;
    }
    /// For `*it++`: what it left.
    detail::Passed<Future<T>> operator++(int) {
      detail::Passed<Future<T>> passed{state_->current()};
      state_->advance();
      return passed;
    }
    friend bool operator==(const iterator& a, const iterator& b) noexcept {
      return a.is_at_end() == b.is_at_end();
    }

   private:
    friend class AsCompleted;
    explicit iterator(AsCompleted* state) noexcept : state_(state->state_.get()) {}
    bool is_at_end() const noexcept { return state_ == nullptr || state_->is_at_end(); }

    State* state_ = nullptr;
  };

  AsCompleted(std::vector<Future<T>> futures, detail::Deadline deadline)
      : state_(std::make_unique<State>(std::move(futures), deadline)) {}

  iterator begin() noexcept { return iterator(this); }
  iterator end() noexcept { return iterator(); }

 private:
  class State {
   public:
    State(std::vector<Future<T>> futures, detail::Deadline deadline)
        : futures_(std::move(futures)), deadline_(deadline), group_(futures_.size()) {
      ready_.reserve(futures_.size());
      for (std::size_t i = 0; i < futures_.size(); ++i) {
        if (!group_.add(*detail::FutureAccess::task(futures_[i]), i)) ready_.push_back(i);
      }
    }

    bool is_at_end() const noexcept { return yielded_ == futures_.size(); }

    Future<T>& current() {
      if (yielded_ == ready_.size()) collect();
      if (yielded_ == ready_.size()) wait_for_one();
      return futures_[ready_[yielded_]];
    }

    void advance() {
      static_cast<void>(current());
      ++yielded_;
    }

   private:
    void collect() noexcept {
      for (auto* entry = group_.take_finished(); entry != nullptr; entry = entry->next_finished) {
        ready_.push_back(entry->index);  // reserved
      }
    }

    void wait_for_one() {
      const detail::Blocked blocked(!deadline_.only_tests(), !deadline_.is_limited());
      while (yielded_ == ready_.size()) {
        const bool in_time = group_.wait_for_more(deadline_);
        collect();
        if (!in_time && yielded_ == ready_.size()) throw_timeout();
      }
    }

    [[noreturn]] void throw_timeout() const {
      throw TimeoutError(std::to_string(futures_.size() - yielded_) + " (of " +
                         std::to_string(futures_.size()) + ") futures unfinished");
    }

    std::vector<Future<T>> futures_;
    detail::Deadline deadline_;
    std::vector<std::size_t> ready_;  // indices of what is done, in that order
    std::size_t yielded_ = 0;
    detail::CompletionGroup group_;
  };

  std::unique_ptr<State> state_;
};

/// Yields each future once, as it completes; those that are done come first. Copies the handles.
/// @throws InvalidStateError, before waiting, if one of the handles is empty; std::bad_alloc
template <detail::RangeOfFutures Range>
auto as_completed(Range&& futures, AsCompletedOptions options = {})
    -> AsCompleted<detail::ResultOfRange<Range>> {
  using T = detail::ResultOfRange<Range>;
  const detail::Deadline deadline(options.timeout);
  return AsCompleted<T>(detail::distinct_futures<T>(futures), deadline);
}

template <class T>
AsCompleted<T> as_completed(std::initializer_list<Future<T>> futures,
                            AsCompletedOptions options = {}) {
  const detail::Deadline deadline(options.timeout);
  return AsCompleted<T>(detail::distinct_futures<T>(futures), deadline);
}

}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [15] MapFuture: the results of a map, and the scope in which it runs.    needs 3, 4, 7, 11, 12, 13
// =================================================================================================
//
// A map is one block: inputs, callable, one slot per element, and one task per chunk of elements.
// The word `progress` of a running chunk counts the elements that have ended; its element
// `progress` has begun. So one operation ends an element, publishes it, begins the next and sees
// whether that one was cancelled:
//
//     chunk   [ ended | ended | running | not begun | not begun ]        progress == 2
//
// A thread that waits for element i says so in awaited_ and then looks at the element; who ends an
// element publishes it and then looks at awaited_. All four are seq_cst, so one of the two sees the
// other. With open_chunks_ and whole_waiters_ it is the same.
//
//   B1  progress:       run_chunk, end_chunk -> is_ready     the slots below it
//   B2  awaited_:       wait_for_element    <-> announce     above
//   B3  open_chunks_:   end_chunk            -> is_over      all slots; no element runs any more
//   B4  whole_waiters_: sleep_until_left    <-> end_chunk    above
//   B5  event_:         wake                 -> waiters      changes whenever somebody is woken
//   B6  references_:    release              -> release      all uses come before the end
//
// Handles on single elements (future(i)) are promises, made by the thread that iterates. It stores
// the handle and then looks how far the chunk is; who runs the chunk says how far it is and then
// looks for a handle. So an element that begins sees the handle, or the maker of the handle sees
// that it has begun; and whoever sees that it has ended moves the result into the handle: one of
// them does (Task::keep).
//
//   B7  progress, MapHandles: handle <-> run, begin_next, end_chunk    above

namespace concurrent::inline CONCURRENT_ABI {

/// How `map` runs.
struct MapOptions {
  /// For results, counted from the call of map: iteration and result() throw TimeoutError when it
  /// has passed.
  Timeout timeout = {};
  /// Elements per task. Without it, chosen so that many short and few long elements run well.
  std::optional<std::size_t> chunksize = {};
  /// At most so many elements are drawn from the ranges and not yet handed out: for single-pass or
  /// endless input. Input is drawn in map, `++` and result() only, by the calling thread.
  std::optional<std::size_t> buffersize = {};
};

namespace detail {

class MapBase;

// A chunk of a map, as the pool sees it.
struct alignas(kCacheLine) MapChunk : Task {
  MapChunk() noexcept;

  static constexpr std::uint64_t kStop = std::uint64_t{1} << 63U;   // no further element begins
  static constexpr std::uint64_t kBegun = std::uint64_t{1} << 62U;  // the first one has begun
  static constexpr std::uint64_t kCount = kBegun - 1;               // elements that have ended

  MapBase* map = nullptr;
  std::size_t index = 0;
  platform::Atomic<std::uint64_t> progress = 0;
};

struct MapFrame;
CONCURRENT_VISIBLE inline thread_local constinit const MapFrame* map_frames = nullptr;

// The maps whose elements run in this thread just now, innermost first.
struct MapFrame {
  explicit MapFrame(MapChunk& runs) noexcept : chunk(&runs), outer(map_frames) {
    map_frames = this;
  }
  MapFrame(const MapFrame&) = delete;
  MapFrame& operator=(const MapFrame&) = delete;
  ~MapFrame() { map_frames = outer; }

  MapChunk* const chunk;
  const MapFrame* const outer;
};

// What is to be run when all elements of a map have ended, in the order added.
class MapCallbacks {
 public:
  /// False if all is over. The last to end must call run() behind that.
  template <class IsOver> bool add(Continuation& callback, IsOver is_over) noexcept {
    const platform::Lock lock(mutex_);
    if (is_over()) return false;
    *end_ = &callback;
    end_ = &callback.next;
    return true;
  }

  void run(Task& last) noexcept {
    Continuation* callbacks = nullptr;
    {
      const platform::Lock lock(mutex_);
      callbacks = std::exchange(first_, nullptr);
    }
    while (callbacks != nullptr) {
      Continuation& callback = *std::exchange(callbacks, callbacks->next);
      callback.run(callback, last);
    }
  }

 private:
  platform::Mutex mutex_;          // a leaf
  Continuation* first_ = nullptr;  // guarded by mutex_
  Continuation** end_ = &first_;   // guarded by mutex_
};

// The handles on single elements of a map. Made by one thread, looked up by all.
class MapHandles {
 public:
  /// None has been made. A hint: it saves looking for them.
  bool are_none() const noexcept { return all_.load(std::memory_order_relaxed) == nullptr; }

  /// The handle of an element, or null.
  Task* find(std::size_t i) const noexcept {
    const auto* const handles = all_.load(std::memory_order_seq_cst);  // B7: then look
    if (handles == nullptr) return nullptr;
    return handles[i].load(std::memory_order_seq_cst);  // B7: then look
  }

  /// @throws std::bad_alloc
  void set(std::size_t i, std::size_t size, Task& task) {
    if (store_ == nullptr) {
      store_ = std::make_unique<Handle[]>(size);
      all_.store(store_.get(), std::memory_order_seq_cst);  // B7: there may be some
    }
    store_[i].store(&task, std::memory_order_seq_cst);  // B7: say it, then look
  }

  /// When nobody else uses the map any more.
  void drop(std::size_t size) noexcept {
    for (std::size_t i = 0; store_ != nullptr && i < size; ++i) {
      Task* const handle = store_[i].exchange(nullptr, std::memory_order_relaxed);  // not shared
      if (handle != nullptr) handle->release();
    }
  }

 private:
  using Handle = platform::Atomic<Task*>;

  std::unique_ptr<Handle[]> store_;  // of the thread that makes them
  platform::Atomic<Handle*> all_ = nullptr;
};

enum class SlotState : unsigned char { pending, value, failed, cancelled, gone };

// The part of a map's block that does not depend on types.
class MapBase {
 public:
  MapBase(const MapBase&) = delete;
  MapBase& operator=(const MapBase&) = delete;

  std::size_t size() const noexcept { return size_; }
  /// Elements that have ended. Never behind one that the caller has seen ready.
  std::size_t completed() const noexcept {
    std::size_t count = 0;
    for (std::size_t i = 0; i < chunk_count_; ++i) count += progress(chunks_[i]);
    return count;
  }
  bool is_over() const noexcept {
    return open_chunks_.load(std::memory_order_seq_cst) == 0;  // B3, B4: all have ended
  }

  /// Gives the chunks to the pool. @throws as Pool::submit, and nothing is scheduled
  void start(Pool& pool, std::size_t size, std::size_t chunk_size) {
    size_ = size;
    chunk_size_ = chunk_size;
    const std::size_t chunks = size / chunk_size + (size % chunk_size != 0 ? 1 : 0);
    if (chunks == 0) return;
    chunks_ = std::make_unique<MapChunk[]>(chunks);
    for (std::size_t i = 0; i < chunks; ++i) {
      chunks_[i].map = this;
      chunks_[i].index = i;
      chunks_[i].set_owner(pool.identity());
    }
    // Relaxed: not shared yet.
    open_chunks_.store(chunks, std::memory_order_relaxed);
    references_.store(1 + chunks, std::memory_order_relaxed);
    pool.submit_all(chunks, [&](std::size_t i) -> Task& { return chunks_[i]; });
    chunk_count_ = chunks;
    pool_ = pool.identity();
  }

  /// Cancels what has not begun. True if that was anything.
  bool cancel() noexcept {
    bool any = false;
    for (std::size_t i = chunk_count_; i-- > 0;) {
      MapChunk& chunk = chunks_[i];
      const Cancelled cancelled = cancel_task(chunk);
      if (cancelled == Cancelled::now) any = true;
      if (cancelled != Cancelled::too_late) continue;
      const std::uint64_t before =
          chunk.progress.fetch_or(MapChunk::kStop, std::memory_order_acq_rel);  // B1: stop there
      const std::uint64_t ended = before & MapChunk::kCount;
      if ((before & MapChunk::kStop) == 0 && ended + 1 < length(chunk)) any = true;
    }
    return any;
  }

  bool is_ready(std::size_t i) const noexcept {
    const MapChunk& chunk = chunks_[i / chunk_size_];
    return progress(chunk) > i - first(chunk);
  }

  /// Waits for one element; a worker of the pool runs its whole chunk if nobody has begun it.
  /// One thread at a time. @throws DeadlockError if a spare worker is needed and cannot start
  bool wait_for_element(std::size_t i, Deadline deadline) {
    if (is_ready(i)) return true;
    if (deadline.only_tests()) return false;
    const bool stack_is_short = !deadline.is_limited() && !adopt(chunks_[i / chunk_size_]);
    if (is_ready(i)) return true;
    const Blocked blocked(needs_spare(deadline, stack_is_short), !deadline.is_limited());
    awaited_.store(i + 1, std::memory_order_seq_cst);  // B2: say it, then look
    const bool ready = sleep_until([&] { return is_ready(i); }, deadline);
    awaited_.store(0, std::memory_order_relaxed);  // a hint from here on
    return ready;
  }

  /// Waits until all chunks have ended; a worker of the pool runs those that nobody has begun. Any
  /// thread. @throws as wait_for_element
  bool wait_for_all(Deadline deadline) {
    if (is_over()) return true;
    if (deadline.only_tests()) return false;
    const bool stack_is_short = !deadline.is_limited() && !adopt_all();
    if (is_over()) return true;
    const Blocked blocked(needs_spare(deadline, stack_is_short), !deadline.is_limited());
    return sleep_until_left(0, deadline);
  }

  /// The wait of the scope: for all chunks but those that run in the calling thread itself. True if
  /// there are none of these.
  bool wait_to_leave(bool runs_all) noexcept {
    const bool stack_is_short = runs_all && !adopt_all();
    const std::size_t mine = stop_those_here();
    if (open_chunks_.load(std::memory_order_seq_cst) > mine) {  // B3: some run elsewhere
      const Blocked blocked(needs_spare(Deadline::never(), stack_is_short), false);
      sleep_until_left(mine, Deadline::never());
    }
    return mine == 0;
  }

  /// Links a callback in, to be run when all elements have ended. False if they have.
  bool add(Continuation& callback) noexcept {
    return callbacks_.add(callback, [&] { return is_over(); });
  }

  void retain() noexcept {
    // Relaxed: a new reference is made from one that the caller has.
    references_.fetch_add(1, std::memory_order_relaxed);
  }
  void release() noexcept {
    if (references_.load(std::memory_order_acquire) == 1 ||          // B6: the only one left
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {  // B6: the last of several
      delete this;
    }
  }

  /// Destroys results, callable and inputs. Call once, when all chunks have ended.
  virtual void clear() noexcept = 0;

 protected:
  MapBase() noexcept = default;
  virtual ~MapBase() = default;

  std::size_t first(const MapChunk& chunk) const noexcept { return chunk.index * chunk_size_; }
  std::size_t length(const MapChunk& chunk) const noexcept {
    return std::min(chunk_size_, size_ - first(chunk));
  }

  /// After `ended` elements of a chunk: publishes them. False if the next must not begin.
  bool begin_next(MapChunk& chunk, std::size_t ended) noexcept {
    if (ended == length(chunk)) return false;
    const std::uint64_t before =
        chunk.progress.fetch_add(1, std::memory_order_seq_cst);  // B1, B2: publish, then look
    announce(first(chunk) + ended - 1, 1);
    deliver_if_asked(first(chunk) + ended - 1, 1);
    if ((before & MapChunk::kStop) == 0) return true;
    abandon_rest(chunk, ended, nullptr);
    return false;
  }

  /// After the last element of a chunk.
  void end_chunk(MapChunk& chunk) noexcept {
    const std::size_t elements = length(chunk);
    chunk.progress.exchange(elements, std::memory_order_seq_cst);  // B1, B2: publish, then look
    announce(first(chunk), elements);
    deliver_if_asked(first(chunk), elements);
    const std::size_t left =
        open_chunks_.fetch_sub(1, std::memory_order_seq_cst) - 1;  // B3, B4: publish, then look
    if (whole_waiters_.load(std::memory_order_seq_cst) != 0 &&     // B4: somebody waits
        left <= enough_.load(std::memory_order_relaxed)) {
      wake();
    }
    if (left == 0) callbacks_.run(chunk);
  }

  bool has_begun(std::size_t i) const noexcept {
    const MapChunk& chunk = chunks_[i / chunk_size_];
    const std::uint64_t word = chunk.progress.load(std::memory_order_seq_cst);  // B7: how far it is
    const std::uint64_t ended = word & MapChunk::kCount;
    const std::uint64_t before = i - first(chunk);
    return ended > before || (ended == before && (word & MapChunk::kBegun) != 0);
  }

  /// Whether an element that is about to begin was not cancelled through its handle.
  bool may_begin(std::size_t i) noexcept {
    Task* const handle = handles_.find(i);
    return handle == nullptr || handle->try_claim() || (handle->state() & Task::kCancelled) == 0;
  }

  /// Moves the outcome of an ended element into its handle, once.
  virtual void deliver(Task& handle, std::size_t i) noexcept = 0;

  /// Ends the elements of a chunk from `begin` on without running them.
  virtual void abandon_rest(MapChunk& chunk, std::size_t begin,
                            const std::exception_ptr* error) noexcept = 0;
  virtual void run_chunk(MapChunk& chunk) = 0;

  MapHandles handles_;

 private:
  friend struct MapChunk;

  static std::uint64_t run(Task& task) {
    const WorkerHere here(task);
    MapChunk& chunk = static_cast<MapChunk&>(task);
    const MapFrame frame(chunk);
    chunk.progress.fetch_or(MapChunk::kBegun, std::memory_order_seq_cst);  // B7: the first begins
    chunk.map->run_chunk(chunk);
    return 0;
  }
  static std::uint64_t abandon(Task& task, const std::exception_ptr* error) noexcept {
    MapChunk& chunk = static_cast<MapChunk&>(task);
    chunk.map->abandon_rest(chunk, progress(chunk), error);
    chunk.map->end_chunk(chunk);
    return 0;
  }
  static void destroy(Task& task, std::uint64_t) noexcept {
    static_cast<MapChunk&>(task).map->release();
  }
  static constexpr TaskOperations kOperations = {&run, &abandon, &destroy, nullptr};

  static std::size_t progress(const MapChunk& chunk) noexcept {
    const std::uint64_t word =
        chunk.progress.load(std::memory_order_seq_cst);  // B1, B2: how far it is
    return static_cast<std::size_t>(word & MapChunk::kCount);
  }

  void deliver_if_asked(std::size_t begin, std::size_t count) noexcept {
    for (std::size_t i = begin; i < begin + count; ++i) {
      if (Task* const handle = handles_.find(i)) {
        deliver(*handle, i);
      } else if (handles_.are_none()) {
        return;  // a hint that saves the loop; who makes handles from now on sees the elements
      }
    }
  }

  void announce(std::size_t begin, std::size_t count) noexcept {
    const std::size_t awaited = awaited_.load(std::memory_order_seq_cst);  // B2: who waits?
    if (awaited > begin && awaited <= begin + count) wake();
  }

  /// How many chunks of this map are running in the calling thread. No further element of these
  /// begins: the scope is being left.
  std::size_t stop_those_here() noexcept {
    std::size_t count = 0;
    for (const MapFrame* frame = map_frames; frame != nullptr; frame = frame->outer) {
      if (frame->chunk->map != this) continue;
      frame->chunk->progress.fetch_or(MapChunk::kStop, std::memory_order_acq_rel);  // B1: stop
      ++count;
    }
    return count;
  }

  /// In a worker of the pool: runs the chunks that nobody has begun, but for a stack too short.
  bool adopt_all() {
    bool all = true;
    for (std::size_t i = 0; i < chunk_count_; ++i) all = adopt(chunks_[i]) && all;
    return all;
  }

  bool needs_spare(Deadline deadline, bool stack_is_short) const noexcept {
    const Worker* const worker = this_worker();
    return deadline.is_limited() || stack_is_short ||
           (worker != nullptr && worker->pool.identity() != pool_);
  }

  bool sleep_until_left(std::size_t left, Deadline deadline) noexcept {
    const auto is_ready = [&] {
      return open_chunks_.load(std::memory_order_seq_cst) <= left;  // B3, B4: then look
    };
    // Relaxed: only raised, and before the caller says that it waits.
    if (left != 0) enough_.store(left, std::memory_order_relaxed);
    whole_waiters_.fetch_add(1, std::memory_order_seq_cst);  // B4: say it, ...
    const bool ready = sleep_until(is_ready, deadline);
    whole_waiters_.fetch_sub(1, std::memory_order_relaxed);  // a hint from here on
    return ready;
  }

  void wake() noexcept {
    event_.fetch_add(1, std::memory_order_release);  // B5: no sleep on the old value
    platform::wake_all(event_);
  }

  template <class IsReady> bool sleep_until(IsReady is_ready, Deadline deadline) noexcept {
    platform::Spinner spinner(platform::Spinner::kSleepAndWake, deadline.time());
    while (!is_ready() && spinner.spin()) {}
    for (;;) {
      const std::uint32_t event = event_.load(std::memory_order_acquire);  // B5: before looking
      if (is_ready()) return true;
      if (deadline.has_passed()) return false;
      platform::sleep_while_equal(event_, event, deadline.time());
    }
  }

  std::size_t size_ = 0;
  std::size_t chunk_size_ = 1;
  std::size_t chunk_count_ = 0;
  const void* pool_ = nullptr;
  std::unique_ptr<MapChunk[]> chunks_;

  MapCallbacks callbacks_;

  platform::Atomic<std::size_t> references_ = 1;  // the MapFuture's, and one for each chunk
  platform::Atomic<std::size_t> awaited_ = 0;     // the element that is waited for, plus one
  platform::Atomic<std::size_t> enough_ = 0;      // open chunks at which whole waiters are woken
  platform::Atomic<std::uint32_t> whole_waiters_ = 0;
  platform::Atomic<std::uint32_t> event_ = static_cast<std::uint32_t>(platform::kFirstCount);
  alignas(kCacheLine) platform::Atomic<std::size_t> open_chunks_ = 0;
};

inline MapChunk::MapChunk() noexcept : Task(MapBase::kOperations, nullptr, 1) {}

// What a MapFuture needs of a map, whole or drawn piece by piece. Members marked (1) are called by
// the thread that iterates, the others by any.
template <class Value> class MapView {
 public:
  virtual bool at_end() const noexcept = 0;   // (1)
  virtual Value& current() = 0;               // (1)
  virtual void advance() = 0;                 // (1)
  virtual std::vector<Value> take_all() = 0;  // (1)
  virtual Task& handle(std::size_t i) = 0;    // (1) a promise, owned by the map
  virtual bool wait_for_all(Deadline deadline) = 0;
  virtual bool is_over() const noexcept = 0;
  virtual bool cancel() noexcept = 0;
  virtual std::size_t size() const = 0;
  virtual std::size_t completed() const noexcept = 0;
  virtual bool add(Continuation& callback) = 0;  // false if all is over
  virtual void leave() noexcept = 0;             // (1) ends the scope; not used after it

  // Iterated, or waited for with a limit: then leaving the scope cancels. Relaxed: whoever leaves
  // the scope has the map to itself.
  void touch() noexcept { touched_.store(true, std::memory_order_relaxed); }
  bool is_touched() const noexcept { return touched_.load(std::memory_order_relaxed); }

 protected:
  ~MapView() = default;

 private:
  platform::Atomic<bool> touched_ = false;
};

// The part that knows the results.
template <class Value> class MapState : public MapBase, public MapView<Value> {
 public:
  explicit MapState(Deadline deadline) noexcept : deadline_(deadline) {}

  bool wait_for_all(Deadline deadline) override { return MapBase::wait_for_all(deadline); }
  /// Also while the last chunk is still being counted out: whoever has seen all results sees it over.
  bool is_over() const noexcept override { return MapBase::is_over() || completed() == size(); }
  bool cancel() noexcept override { return MapBase::cancel(); }
  std::size_t size() const noexcept override { return MapBase::size(); }
  std::size_t completed() const noexcept override { return MapBase::completed(); }
  bool add(Continuation& callback) noexcept override { return MapBase::add(callback); }

  void leave() noexcept override {
    const bool cancels = this->is_touched();
    if (cancels) cancel();
    // Here, and not when the last task drops the block: all that users see ends with the scope.
    if (wait_to_leave(!cancels)) clear();
    release();
  }

  // ---- of the one thread that iterates ----

  bool at_end() const noexcept override { return cursor_ == size(); }
  Value& current() override { return await(cursor_); }

  /// Does not wait. What was passed is destroyed as soon as it is ready and this is called again.
  void advance() noexcept override {
    ++cursor_;
    for (; swept_ < cursor_ && is_ready(swept_); ++swept_) {
      if (handles_.find(swept_) == nullptr) pass(slots_[swept_]);
    }
  }

  /// The promise of one element. @throws std::out_of_range, InvalidStateError, std::bad_alloc
  Task& handle(std::size_t i) override {
    if (i >= size()) {
      throw std::out_of_range("MapFuture::future: there is no element of this index");
    }
    if (Task* const made = handles_.find(i)) return *made;
    if (i < cursor_) {
      throw InvalidStateError(
          "this element of the map was passed or taken already; call future() before");
    }
    Task& task = PromiseTask<Value>::make();
    try {
      handles_.set(i, size(), task);
    } catch (...) {
      task.release();
      throw;
    }
    if (has_begun(i)) task.try_claim();
    if (is_ready(i)) deliver(task, i);
    return task;
  }

  /// Takes all results. What throws takes nothing.
  std::vector<Value> take_all() override {
    if (cursor_ != 0) {
      throw InvalidStateError(
          "results of the map were passed or taken already; call result() before iterating, once");
    }
    for (std::size_t i = 0; i < size(); ++i) await(i);
    wait_for_all(Deadline::never());
    std::vector<Value> values;
    values.reserve(size());
    if constexpr (std::is_move_constructible_v<Value>) {
      for (std::size_t i = 0; i < size(); ++i) values.push_back(std::move_if_noexcept(await(i)));
    }
    for (; cursor_ < size(); ++cursor_) {
      Task* const handle = handles_.find(cursor_);
      if (handle == nullptr) {
        pass(slots_[cursor_]);
      } else if (handle->try_take()) {
        std::destroy_at(std::addressof(result_of<Value>(*handle)));
      }
    }
    return values;
  }

 protected:
  struct Slot {
    union {
      Value value;
      std::exception_ptr error;
    };
    SlotState state = SlotState::pending;  // written by who runs the chunk, read behind B1

    Slot() noexcept {}
    Slot(const Slot&) = delete;
    Slot& operator=(const Slot&) = delete;
    ~Slot() {
      if (state == SlotState::value) std::destroy_at(std::addressof(value));
      if (state == SlotState::failed) std::destroy_at(&error);
    }
  };

  void make_slots(std::size_t count) { slots_ = std::make_unique<Slot[]>(count); }
  void clear_slots() noexcept {
    handles_.drop(size());
    slots_.reset();
  }

  void skip(std::size_t i) noexcept { slots_[i].state = SlotState::cancelled; }

  /// Builds the result of element `i`, or keeps what call() throws.
  template <class Call> void compute(std::size_t i, Call call) {
    Slot& slot = slots_[i];
    try {
      if constexpr (std::is_void_v<decltype(call())>) {
        call();
        ::new (static_cast<void*>(std::addressof(slot.value))) Value();
      } else {
        ::new (static_cast<void*>(std::addressof(slot.value))) Value(call());
      }
      slot.state = SlotState::value;
    } catch (const platform::ForcedUnwind&) { throw; } catch (...) {
      fail(slot, std::current_exception());
    }
  }

  void deliver(Task& handle, std::size_t i) noexcept override {
    if ((handle.keep() & (Task::kKept | Task::kCancelled)) != 0) return;
    Slot& slot = slots_[i];
    std::uint64_t outcome = 0;
    if (slot.state == SlotState::cancelled) {
      outcome = Task::kCancelled;
    } else if (slot.state == SlotState::failed) {
      outcome = handle.abandon(&slot.error);
    } else if constexpr (std::is_move_constructible_v<Value>) {
      // Does not throw, or the process ends: nobody is there to whom it could be said.
      ::new (outcome_place<Value>(handle)) Value(std::move(slot.value));
      pass(slot);
    }
    handle.finish(outcome, false);
  }

  void abandon_rest(MapChunk& chunk, std::size_t begin,
                    const std::exception_ptr* error) noexcept override {
    for (std::size_t i = begin; i < length(chunk); ++i) {
      Slot& slot = slots_[first(chunk) + i];
      if (error != nullptr) {
        fail(slot, *error);
      } else {
        slot.state = SlotState::cancelled;
      }
    }
  }

 private:
  /// @throws TimeoutError, CancelledError, what the element threw
  Value& await(std::size_t i) {
    if (!wait_or_touch(i)) {
      throw TimeoutError(
          "a result of the map was not ready within its time limit; it may be asked for again, "
          "and cancel() stops the rest");
    }
    if (Task* const handle = handles_.find(i)) return value_of(*handle);
    Slot& slot = slots_[i];
    if (slot.state == SlotState::failed) std::rethrow_exception(slot.error);
    if (slot.state == SlotState::cancelled) throw_cancelled();
    return slot.value;
  }

  /// A wait that is given up leaves the map as iteration does: the scope cancels the rest.
  bool wait_or_touch(std::size_t i) {
    bool ready = false;
    try {
      ready = wait_for_element(i, deadline_);
    } catch (const DeadlockError&) {
      this->touch();
      throw;
    }
    if (!ready) this->touch();
    return ready;
  }

  /// The same for an element that has a handle, once it has ended.
  static Value& value_of(Task& handle) {
    handle.wait(Deadline::never());  // somebody delivers it just now
    const std::uint64_t state = handle.state();
    if ((state & Task::kCancelled) != 0) throw_cancelled();
    if ((state & Task::kFailed) != 0) std::rethrow_exception(error_of(handle));
    if ((state & Task::kTaken) != 0) {
      throw InvalidStateError("this result of the map was taken through its future");
    }
    return result_of<Value>(handle);
  }

  [[noreturn]] CONCURRENT_COLD static void throw_cancelled() {
    throw CancelledError("this element of the map was cancelled before it began");
  }

  static void fail(Slot& slot, const std::exception_ptr& error) noexcept {
    ::new (static_cast<void*>(&slot.error)) std::exception_ptr(error);
    slot.state = SlotState::failed;
  }

  static void pass(Slot& slot) noexcept {
    std::destroy_at(&slot);
    ::new (static_cast<void*>(&slot)) Slot();
    slot.state = SlotState::gone;
  }

  Deadline deadline_;
  std::size_t cursor_ = 0;  // of the one thread that iterates
  std::size_t swept_ = 0;   // passed elements below it are destroyed
  std::unique_ptr<Slot[]> slots_;
};

// ---- inputs --------------------------------------------------------------------------------------

template <class View> inline constexpr bool kIsKept = false;
template <class Container>
inline constexpr bool kIsKept<std::ranges::owning_view<Container>> = true;

template <class View>
inline constexpr bool kIsEndless =
    std::is_same_v<std::ranges::sentinel_t<View>, std::unreachable_sentinel_t>;

// Elements that a map keeps. Not std::vector<bool>, whose elements are proxies.
template <class T>
using KeptElements = std::conditional_t<std::is_same_v<T, bool>, std::deque<T>, std::vector<T>>;

// What a map holds of a range: forward ranges as they are, input-only ones drawn into a vector.
template <class View> struct HeldAs {
  using type = std::ranges::owning_view<KeptElements<std::ranges::range_value_t<View>>>;
};
template <std::ranges::forward_range View> struct HeldAs<View> {
  using type = View;
};
template <class Range> using HeldView = typename HeldAs<std::views::all_t<Range>>::type;

// An element as it stands, or, of a kept container whose bit is set in `rvalues`, as an rvalue.
template <std::size_t rvalues, std::size_t index, class View>
inline constexpr bool kIsMovedFrom = kIsKept<View> && ((rvalues >> index) & 1U) != 0;
template <std::size_t rvalues, std::size_t index, class View>
using MapElement = std::conditional_t<kIsMovedFrom<rvalues, index, View>,
                                      std::ranges::range_rvalue_reference_t<View>,
                                      std::ranges::range_reference_t<View>>;

template <std::size_t rvalues, class Indices, class F, class... Views>
inline constexpr bool kTakesElements = false;
template <std::size_t rvalues, std::size_t... indices, class F, class... Views>
inline constexpr bool kTakesElements<rvalues, std::index_sequence<indices...>, F, Views...> =
    std::is_invocable_v<F&, MapElement<rvalues, indices, Views>...>;

// Which elements the callable takes as rvalues only: the first choice that it takes at all. Past
// the last one, where it takes none, it has no Result.
template <class F, class Indices, std::size_t rvalues, class... Views>
struct MapCall : MapCall<F, Indices, rvalues + 1, Views...> {};
template <class F, class Indices, std::size_t rvalues, class... Views>
  requires(rvalues == std::size_t{1} << sizeof...(Views))
struct MapCall<F, Indices, rvalues, Views...> {};
template <class F, std::size_t... indices, std::size_t rvalues, class... Views>
  requires kTakesElements<rvalues, std::index_sequence<indices...>, F, Views...>
struct MapCall<F, std::index_sequence<indices...>, rvalues, Views...> {
  static constexpr std::size_t kRvalues = rvalues;
  using Result = std::decay_t<std::invoke_result_t<F&, MapElement<rvalues, indices, Views>...>>;
};
// No alias: g++ cannot mangle what it stands for.
template <class F, class... Views>
struct ChosenMapCall : MapCall<F, std::index_sequence_for<Views...>, 0, Views...> {};

template <class F, class... Views> using MapResult = typename ChosenMapCall<F, Views...>::Result;

template <class F, class... Views>
concept Mappable = requires { typename MapResult<F, Views...>; };

/// A forward range, and where its chunks begin.
template <std::ranges::forward_range View> class MapInput {
 public:
  using Iterator = std::ranges::iterator_t<View>;

  explicit MapInput(View&& view) : view_(std::move(view)), begin_(std::ranges::begin(view_)) {}
  MapInput(const MapInput&) = delete;
  MapInput& operator=(const MapInput&) = delete;

  /// The smaller of `limit` and the size, where that is known.
  std::size_t known_size(std::size_t limit) {
    if constexpr (std::ranges::sized_range<View>) {
      const auto size = static_cast<std::uintmax_t>(std::ranges::size(view_));
      return static_cast<std::size_t>(std::min<std::uintmax_t>(limit, size));
    }
    return limit;
  }
  /// Whether `at` is the end, where that must be looked for.
  bool is_end(const Iterator& at) {
    if constexpr (std::ranges::sized_range<View> || kIsEndless<View>)
      return false;
    else
      return at == std::ranges::end(view_);
  }
  const Iterator& begin() const noexcept { return begin_; }

  /// Finds the beginnings of chunks, where they cannot be computed.
  void cut(std::size_t size, std::size_t chunk_size) {
    if constexpr (!std::ranges::random_access_range<View>) {
      Iterator at = begin_;
      for (std::size_t i = 0; i < size; ++i) {
        if (i != 0) ++at;
        if (i % chunk_size == 0) chunk_begins_.push_back(at);
      }
    }
  }

  Iterator begin_of(std::size_t chunk, std::size_t first) const {
    if constexpr (std::ranges::random_access_range<View>) {
      return begin_ + static_cast<std::ranges::range_difference_t<View>>(first);
    } else {
      return chunk_begins_[chunk];
    }
  }

 private:
  View view_;
  Iterator begin_;
  std::vector<Iterator> chunk_begins_;
};

/// Draws an input-only range, in step with the others of the same map, which it walks if their size
/// is not known.
template <class View> class MapDrawing {
 public:
  static constexpr bool kDraws = !std::ranges::forward_range<View>;
  static constexpr bool kWalks = kDraws || !(std::ranges::sized_range<View> || kIsEndless<View>);

  explicit MapDrawing(View&& view) : view_(std::move(view)) {}

  std::size_t known_size(std::size_t limit) {
    if constexpr (std::ranges::forward_range<View> && std::ranges::sized_range<View>) {
      return std::min(limit, static_cast<std::size_t>(std::ranges::size(view_)));
    }
    return limit;
  }
  void begin() {
    if constexpr (kWalks) at_.emplace(std::ranges::begin(view_));
  }
  bool is_at_end() {
    if constexpr (kWalks) return *at_ == std::ranges::end(view_);
    return false;
  }
  void draw() {
    if constexpr (kDraws) drawn_.emplace_back(**at_);
  }
  void advance() {
    if constexpr (kWalks) ++*at_;
  }
  auto held() {
    if constexpr (kDraws)
      return std::ranges::owning_view(std::move(drawn_));
    else
      return std::move(view_);
  }

 private:
  struct Nothing {};

  View view_;
  std::conditional_t<kWalks, std::optional<std::ranges::iterator_t<View>>, Nothing> at_;
  std::conditional_t<kDraws, KeptElements<std::ranges::range_value_t<View>>, Nothing> drawn_;
};

/// Everything a map needs to run: the whole block.
template <class Value, class F, class... Views> class MapWork final : public MapState<Value> {
 public:
  template <class G>
  MapWork(Deadline deadline, G&& f, Views&&... views)
      : MapState<Value>(deadline),
        inputs_(std::in_place, std::forward<G>(f), std::move(views)...) {}

  /// @throws as Pool::submit, and what the inputs throw; then nothing is scheduled
  void begin(Pool& pool, std::optional<std::size_t> chunk_size) {
    const std::size_t size = common_size();
    const std::size_t chunk = chunk_size.value_or(default_chunk_size(size, pool.max_workers()));
    each_input([&](auto& input) { input.cut(size, chunk); });
    this->make_slots(size);
    this->start(pool, size, chunk);
  }

  void clear() noexcept override {
    this->clear_slots();
    inputs_.reset();
  }

 private:
  using Indices = std::index_sequence_for<Views...>;
  static constexpr std::size_t kRvalues = ChosenMapCall<F, Views...>::kRvalues;

  struct Inputs {
    template <class G>
    explicit Inputs(G&& f, Views&&... from)
        : callable(std::forward<G>(f)), views(std::move(from)...) {}

    F callable;
    std::tuple<MapInput<Views>...> views;
  };

  /// Many chunks a worker, so that they end together, but none longer than is needed to make the
  /// cost of a task small.
  static std::size_t default_chunk_size(std::size_t size, int workers) noexcept {
    constexpr std::size_t chunks_per_worker = 32;  // picked
    constexpr std::size_t longest = 128;           // picked: a task costs less than 128 short calls
    const std::size_t chunks = chunks_per_worker * static_cast<std::size_t>(workers);
    return std::clamp<std::size_t>(size / chunks, 1, longest);
  }

  /// Of the shortest input. Sizes that are not known are found by walking, all in step, since others
  /// may be endless.
  std::size_t common_size() {
    std::size_t limit = std::numeric_limits<std::size_t>::max();
    each_input([&](auto& input) { limit = input.known_size(limit); });
    if constexpr (((std::ranges::sized_range<Views> || kIsEndless<Views>) && ...)) return limit;
    return std::apply([&](auto&... input) { return walk(limit, input...); }, inputs_->views);
  }
  static std::size_t walk(std::size_t limit, MapInput<Views>&... input) {
    std::tuple<std::ranges::iterator_t<Views>...> all(input.begin()...);
    return std::apply(
        [&](auto&... at) {
          std::size_t size = 0;
          for (; size < limit && !(input.is_end(at) || ...); ++size) (static_cast<void>(++at), ...);
          return size;
        },
        all);
  }

  template <class Each> void each_input(Each each) {
    std::apply([&](auto&... input) { (each(input), ...); }, inputs_->views);
  }

  template <std::size_t index, class View>
  static MapElement<kRvalues, index, View> element(std::ranges::iterator_t<View>& at) {
    if constexpr (kIsMovedFrom<kRvalues, index, View>) {
      return std::ranges::iter_move(at);
    } else {
      return *at;
    }
  }

  void run_chunk(MapChunk& chunk) override {
    std::size_t ended = 0;
    try {
      std::apply(
          [&](auto&... input) {
            run_elements(Indices(), chunk, ended,
                         input.begin_of(chunk.index, this->first(chunk))...);
          },
          inputs_->views);
    } catch (const platform::ForcedUnwind&) { throw; } catch (...) {
      // An iterator threw, so the rest of the chunk cannot be reached.
      const std::exception_ptr error = std::current_exception();
      this->abandon_rest(chunk, ended, &error);
    }
    this->end_chunk(chunk);
  }

  template <std::size_t... indices>
  void run_elements(std::index_sequence<indices...>, MapChunk& chunk, std::size_t& ended,
                    std::ranges::iterator_t<Views>... at) {
    const std::size_t first = this->first(chunk);
    for (;;) {
      if (this->may_begin(first + ended)) {
        this->compute(first + ended, [&]() -> decltype(auto) {
          return std::invoke(inputs_->callable, element<indices, Views>(at)...);
        });
      } else {
        this->skip(first + ended);
      }
      if (!this->begin_next(chunk, ++ended)) return;
      (static_cast<void>(++at), ...);
    }
  }

  std::optional<Inputs> inputs_;
};

// ---- input drawn piece by piece ------------------------------------------------------------------

// Some elements of a forward range, in place.
template <class View> class MapPiece : public std::ranges::view_interface<MapPiece<View>> {
 public:
  using Iterator = std::counted_iterator<std::ranges::iterator_t<View>>;

  MapPiece(std::ranges::iterator_t<View> first, std::size_t count)
      : first_(std::move(first), static_cast<std::ranges::range_difference_t<View>>(count)) {}
  Iterator begin() const { return first_; }
  std::default_sentinel_t end() const noexcept { return {}; }
  std::size_t size() const noexcept { return static_cast<std::size_t>(first_.count()); }

 private:
  Iterator first_;
};
template <class View> inline constexpr bool kIsKept<MapPiece<View>> = kIsKept<View>;

// Draws from one range: a piece in place, or copies of its elements where it is input-only.
template <class View> class PieceDrawing {
 public:
  static constexpr bool kCopies = !std::ranges::forward_range<View>;
  using Values = KeptElements<std::ranges::range_value_t<View>>;
  using Piece =
      typename std::conditional_t<kCopies, HeldAs<View>, std::type_identity<MapPiece<View>>>::type;

  explicit PieceDrawing(View&& view) : view_(std::move(view)) {}

  void start() { at_.emplace(std::ranges::begin(view_)); }
  void advance() { ++*at_; }
  bool is_at_end() { return *at_ == std::ranges::end(view_); }
  void draw(bool is_first_of_piece) {
    if constexpr (kCopies)
      values_.emplace_back(**at_);
    else if (is_first_of_piece)
      first_ = at_;
  }
  Piece piece([[maybe_unused]] std::size_t count) {
    if constexpr (kCopies)
      return Piece(std::exchange(values_, Values()));
    else
      return Piece(*first_, count);
  }

 private:
  View view_;
  std::optional<std::ranges::iterator_t<View>> at_;     // the last element that was drawn
  std::optional<std::ranges::iterator_t<View>> first_;  // of the piece
  Values values_;                                       // of the piece
};

// A map with a buffersize: a queue of small maps, one for each piece of the input.
template <class Value, class F, class... Views> class BufferedMap final : public MapView<Value> {
 public:
  template <class G>
  BufferedMap(Pool& pool, Deadline deadline, std::size_t buffersize, std::size_t chunk_size, G&& f,
              Views&&... views)
      : pool_(pool),
        deadline_(deadline),
        buffersize_(buffersize),
        chunk_size_(std::min(chunk_size, buffersize)),
        source_(std::make_shared<Source>(std::forward<G>(f), std::move(views)...)) {
    pool_.retain();
  }
  BufferedMap(const BufferedMap&) = delete;
  BufferedMap& operator=(const BufferedMap&) = delete;

  /// Draws as much as may be. @throws as Pool::submit, and what the ranges throw
  void fill(bool is_first) {
    while (may_draw()) {
      const std::size_t room = buffersize_ - (drawn_ - handed_out_);
      if (room == 0 || (room < chunk_size_ && !is_first)) return;
      pool_.require_open();  // before anything is drawn
      draw(std::min(room, chunk_size_));
    }
  }

  bool at_end() const noexcept override { return pieces_.empty(); }
  Value& current() override { return pieces_.front()->current(); }

  void advance() override {
    State& piece = *pieces_.front();
    piece.advance();
    ++handed_out_;
    if (piece.at_end()) {
      piece.wait_for_all(Deadline::never());
      {
        const platform::Lock lock(mutex_);
        pieces_.pop_front();
        completed_before_ += piece.size();
      }
      piece.leave();
    }
    fill(false);
  }

  /// What was taken when it throws stays here, for the next call.
  std::vector<Value> take_all() override {
    if (handed_out_ != taken_.size() || is_taken_) {
      throw InvalidStateError(
          "results of the map were passed or taken already; call result() before iterating, once");
    }
    while (!at_end()) {
      if constexpr (std::is_move_constructible_v<Value>) {
        taken_.push_back(std::move_if_noexcept(current()));
      }
      advance();
    }
    is_taken_ = true;
    return std::move(taken_);
  }

  Task& handle(std::size_t i) override {
    require_drawn();
    if (i >= drawn_) {
      throw std::out_of_range("MapFuture::future: there is no element of this index");
    }
    std::size_t first = drawn_;
    for (auto piece = pieces_.rbegin(); piece != pieces_.rend(); ++piece) {
      first -= (*piece)->size();
      if (i >= first) return (*piece)->handle(i - first);
    }
    throw InvalidStateError("this element of the map was passed already; call future() before");
  }

  bool wait_for_all(Deadline deadline) override {
    require_drawn();
    for (std::size_t i = count(); i-- > 0;) {
      const Kept piece = keep(i);
      if (piece != nullptr && !piece->wait_for_all(deadline)) return false;
    }
    return true;
  }

  bool is_over() const noexcept override {
    if (may_draw()) return false;
    const platform::Lock lock(mutex_);
    return std::ranges::all_of(pieces_, [](State* piece) { return piece->is_over(); });
  }

  bool cancel() noexcept override {
    is_cancelled_.store(true, std::memory_order_relaxed);  // a hint to fill: no input is lost by it
    bool any = false;
    for (std::size_t i = count(); i-- > 0;) {
      const Kept piece = keep(i);
      if (piece != nullptr) any = piece->cancel() || any;
    }
    return any;
  }

  std::size_t size() const override {
    require_drawn();
    return drawn_;
  }

  std::size_t completed() const noexcept override {
    const platform::Lock lock(mutex_);
    std::size_t sum = completed_before_;
    for (const State* const piece : pieces_) sum += piece->completed();
    return sum;
  }

  bool add(Continuation& callback) override {
    require_drawn();
    auto joint = std::make_unique<Joint>(callback);
    for (std::size_t i = 0; i < count(); ++i) joint->pieces.push_back(keep(i));
    if (!joint->hand_on()) return false;
    static_cast<void>(joint.release());
    return true;
  }

  void leave() noexcept override {
    if (this->is_touched()) cancel();
    for (State* const piece : pieces_) {
      if (this->is_touched()) piece->touch();
      piece->leave();
    }
    pool_.release();
    delete this;
  }

 private:
  using State = MapState<Value>;

  // What running elements need: they may outlast the map that they drop.
  struct Source {
    template <class G>
    explicit Source(G&& f, Views&&... views)
        : callable(std::forward<G>(f)), drawings(std::move(views)...) {}

    F callable;
    std::tuple<PieceDrawing<Views>...> drawings;
  };
  struct Call {
    template <class... Args>
      requires std::is_invocable_v<F&, Args...>
    decltype(auto) operator()(Args&&... args) {
      return std::invoke(source->callable, std::forward<Args>(args)...);
    }
    std::shared_ptr<Source> source;
  };
  using Work = MapWork<Value, Call, typename PieceDrawing<Views>::Piece...>;

  struct Release {
    void operator()(State* piece) const noexcept { piece->release(); }
  };
  using Kept = std::unique_ptr<State, Release>;

  // Links itself into one piece after the other, and runs the callback when all have ended.
  struct Joint : Continuation {
    explicit Joint(Continuation& of_user) : Continuation{&run}, callback(of_user) {}
    bool hand_on() noexcept {
      next = nullptr;
      while (!pieces.empty()) {
        const Kept piece = std::move(pieces.back());
        pieces.pop_back();
        if (piece->add(*this)) return true;
      }
      return false;
    }
    static void run(Continuation& continuation, Task& task) noexcept {
      Joint& self = static_cast<Joint&>(continuation);
      if (self.hand_on()) return;
      const std::unique_ptr<Joint> owner(&self);
      self.callback.run(self.callback, task);
    }
    Continuation& callback;
    std::vector<Kept> pieces;
  };

  ~BufferedMap() = default;

  std::size_t count() const noexcept {
    const platform::Lock lock(mutex_);
    return pieces_.size();
  }
  // A reference on the piece `i`; null if it is gone. From the last to the first none is missed.
  Kept keep(std::size_t i) const noexcept {
    const platform::Lock lock(mutex_);
    if (i >= pieces_.size()) return nullptr;
    pieces_[i]->retain();
    return Kept(pieces_[i]);
  }

  bool may_draw() const noexcept {
    return !is_drawn_.load(std::memory_order_relaxed) &&  // written by the thread that iterates
           !is_cancelled_.load(std::memory_order_relaxed);
  }

  void require_drawn() const {
    if (may_draw()) {
      throw InvalidStateError(
          "the map has a buffersize and has not drawn all of its input: iterate to the end first");
    }
  }

  /// Draws up to `most` elements and schedules them. What throws ends the drawing: input may be lost.
  void draw(std::size_t most) {
    try {
      std::apply([&](auto&... drawing) { draw_from(most, drawing...); }, source_->drawings);
    } catch (...) {
      is_drawn_.store(true, std::memory_order_relaxed);
      throw;
    }
  }

  void draw_from(std::size_t most, PieceDrawing<Views>&... drawing) {
    std::size_t count = 0;
    for (; count < most; ++count) {
      if (drawn_ + count == 0) {
        (drawing.start(), ...);
      } else {
        (drawing.advance(), ...);
      }
      if ((drawing.is_at_end() || ...)) {
        is_drawn_.store(true, std::memory_order_relaxed);
        break;
      }
      (drawing.draw(count == 0), ...);
    }
    if (count == 0) return;
    auto work = std::make_unique<Work>(deadline_, Call{source_}, drawing.piece(count)...);
    const platform::Lock lock(mutex_);
    pieces_.push_back(work.get());
    try {
      work->begin(pool_, count);
    } catch (...) {
      pieces_.pop_back();
      throw;
    }
    static_cast<void>(work.release());
    drawn_ += count;
  }

  Pool& pool_;
  const Deadline deadline_;
  const std::size_t buffersize_;
  const std::size_t chunk_size_;
  const std::shared_ptr<Source> source_;
  std::size_t drawn_ = 0;       // of the thread that iterates
  std::size_t handed_out_ = 0;  // the same
  std::vector<Value> taken_;    // the same
  bool is_taken_ = false;       // the same
  platform::Atomic<bool> is_drawn_ = false;
  platform::Atomic<bool> is_cancelled_ = false;
  mutable platform::Mutex mutex_;     // before those of the pool
  std::deque<State*> pieces_;         // guarded by it; changed by the thread that iterates only
  std::size_t completed_before_ = 0;  // guarded by it: elements of pieces that are gone
};

template <class R> using MapValue = std::conditional_t<std::is_void_v<R>, std::monostate, R>;

struct MapAccess;

// A callback of a user at the end of a map: owns itself until it has run.
template <class F> struct MapCallback : Continuation {
  template <class G>
  explicit MapCallback(G&& g) : Continuation{&run_and_delete}, callable(std::forward<G>(g)) {}

  void call() noexcept {
    try {
      std::invoke(callable);
    } catch (const platform::ForcedUnwind&) { std::terminate(); } catch (...) {
      report_unhandled_exception(std::current_exception());
    }
  }
  static void run_and_delete(Continuation& continuation, Task&) noexcept {
    const std::unique_ptr<MapCallback> self(static_cast<MapCallback*>(&continuation));
    self->call();
  }

  F callable;
};

}  // namespace detail

/// The future of all results of a map, and a single-pass range over them in the order of the input.
///
/// It is a scope, for the map reads its ranges in place: the destructor, and assignment over it,
/// wait. Untouched, until all has run; once iterated or waited for with a limit, what has not begun
/// is cancelled first. cancel(), done(), completed(), size() and the waits may be called by any
/// thread, iteration and result() by one. One that was moved from is empty: its members but
/// valid(), done() and cancel() throw InvalidStateError.
template <class R> class MapFuture {
 public:
  using value_type = detail::MapValue<R>;
  class iterator;

  MapFuture(MapFuture&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  MapFuture& operator=(MapFuture&& other) noexcept {
    if (this != &other) {
      leave();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }
  /// Waits until no element runs any more: see above. An element that drops its own map does not
  /// wait for itself; those behind it in its chunk are cancelled.
  ~MapFuture() { leave(); }

  bool valid() const noexcept { return state_ != nullptr; }

  /// The next result. `*it` waits for it, and rethrows what the element threw, as often as asked;
  /// `++it` goes on, behind a failure too, and destroys the element that it leaves.
  iterator begin() {
    state().touch();
    return iterator(&state());
  }
  iterator end() { return iterator(nullptr); }

  /// Waits, in order, and takes all results. Nothing for a map of void.
  /// @throws the first failure in order; CancelledError; TimeoutError by the limit of the map;
  /// InvalidStateError if results were passed or taken; DeadlockError if the stack is too short;
  /// std::bad_alloc. What throws has taken nothing.
  std::conditional_t<std::is_void_v<R>, void, std::vector<detail::MapValue<R>>> result() {
    static_assert(std::is_move_constructible_v<value_type>,
                  "MapFuture::result: results that cannot be moved can only be iterated over");
    if constexpr (std::is_void_v<R>) {
      static_cast<void>(state().take_all());
    } else {
      return state().take_all();
    }
  }

  /// Waits until every element has ended. @throws DeadlockError if the stack is too short
  void wait() const { state().wait_for_all(detail::Deadline::never()); }
  /// `ready` or `timeout`.
  std::future_status wait_for(Timeout limit) const {
    state().touch();
    const bool over = state().wait_for_all(detail::Deadline(limit));
    return over ? std::future_status::ready : std::future_status::timeout;
  }

  /// Whether every element has ended.
  bool done() const noexcept { return state_ != nullptr && state_->is_over(); }

  /// Cancels the elements that have not begun. True if there were any. Those behind an element that
  /// runs, in the same chunk, are done when that one ends.
  bool cancel() const noexcept { return state_ != nullptr && state_->cancel(); }

  /// Calls fn() once every element has ended: in the thread that ends the last one, or here and now.
  /// What it throws goes to the handler of unhandled exceptions. A waiter may return before.
  template <class F>
    requires std::is_invocable_v<std::decay_t<F>&>
  void add_done_callback(F&& fn) const {
    using Callback = detail::MapCallback<std::decay_t<F>>;
    State& state = this->state();
    auto callback = std::make_unique<Callback>(std::forward<F>(fn));
    if (state.add(*callback)) {
      static_cast<void>(callback.release());
    } else {
      callback->call();
    }
  }

  /// A handle on one element, which outlives the map; its value is then kept with it. cancel() on it
  /// works until that element begins. To be called by the thread that iterates.
  /// @throws std::out_of_range; InvalidStateError if the element was passed or taken;
  /// std::bad_alloc
  Future<R> future(std::size_t i) & {
    static_assert(std::is_move_constructible_v<value_type>,
                  "MapFuture::future: results that cannot be moved have no futures of their own");
    detail::Task& task = state().handle(i);
    task.retain();
    return detail::FutureAccess::make<Future<R>>(task);
  }
  Future<R> future(std::size_t i) && = delete;

  /// The handles of all elements. @throws as future()
  std::vector<Future<R>> futures() & {
    std::vector<Future<R>> all;
    all.reserve(size());
    for (std::size_t i = 0; i < size(); ++i) all.push_back(future(i));
    return all;
  }
  std::vector<Future<R>> futures() && = delete;

  /// The number of elements.
  std::size_t size() const { return state().size(); }

  /// How many have ended: for a progress bar.
  std::size_t completed() const { return state().completed(); }

 private:
  friend struct detail::MapAccess;
  using State = detail::MapView<detail::MapValue<R>>;

  explicit MapFuture(State* state) noexcept : state_(state) {}

  State& state() const {
    if (state_ == nullptr) { throw InvalidStateError("the MapFuture is empty: it was moved from"); }
    return *state_;
  }

  void leave() noexcept {
    if (state_ != nullptr) std::exchange(state_, nullptr)->leave();
  }

  State* state_;
};

/// An input iterator: all copies stand at the same element.
template <class R> class MapFuture<R>::iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using iterator_concept = std::input_iterator_tag;
  using value_type = detail::MapValue<R>;
  using difference_type = std::ptrdiff_t;
  using reference = value_type&;
  using pointer = value_type*;

  iterator() noexcept = default;

  /// @throws what the element threw; CancelledError; TimeoutError; DeadlockError
  reference operator*() const { return state_->current(); }
  pointer operator->() const { return std::addressof(state_->current()); }

  iterator& operator++() {
    state_->advance();
    return *this;
  }
  /// For `*it++`: what it left.
  detail::Passed<value_type> operator++(int) {
    detail::Passed<value_type> passed{std::move(state_->current())};
    state_->advance();
    return passed;
  }

  friend bool operator==(const iterator& a, const iterator& b) noexcept {
    return a.is_at_end() == b.is_at_end();
  }

 private:
  friend class MapFuture;

  explicit iterator(State* state) noexcept : state_(state) {}

  bool is_at_end() const noexcept { return state_ == nullptr || state_->at_end(); }

  State* state_ = nullptr;
};

namespace detail {

struct MapAccess {
  template <class R, class F, class... Views>
  static MapFuture<R> start_buffered(Pool& pool, const MapOptions& options, Deadline deadline,
                                     F&& f, Views... views) {
    using Buffered = BufferedMap<MapValue<R>, std::decay_t<F>, Views...>;
    auto* const map =
        new Buffered(pool, deadline, *options.buffersize, options.chunksize.value_or(1),
                     std::forward<F>(f), std::move(views)...);
    MapFuture<R> future(map);
    try {
      map->fill(true);
    } catch (...) {
      map->touch();  // so that it cancels what it had scheduled
      throw;
    }
    return future;
  }

  template <class R, class F, class... Views>
  static MapFuture<R> start(Pool& pool, const MapOptions& options, Deadline deadline, F&& f,
                            Views... views) {
    using Work = MapWork<MapValue<R>, std::decay_t<F>, Views...>;
    auto work = std::make_unique<Work>(deadline, std::forward<F>(f), std::move(views)...);
    work->begin(pool, options.chunksize);
    return MapFuture<R>(work.release());
  }
};

template <class F, class... Ranges>
using MapResultOf = MapResult<std::decay_t<F>, HeldView<Ranges>...>;

// Draws the input-only ranges, all of them step by step, up to the shortest.
template <class... Views> void draw_all(MapDrawing<Views>&... drawings) {
  std::size_t limit = std::numeric_limits<std::size_t>::max();
  ((limit = drawings.known_size(limit)), ...);
  for (std::size_t i = 0; i < limit; ++i) {
    if (i == 0) {
      (drawings.begin(), ...);
    } else {
      (drawings.advance(), ...);
    }
    if ((drawings.is_at_end() || ...)) return;
    (drawings.draw(), ...);
  }
}

// Throws for zero, and for what was negative before it was converted.
inline void check_count(const char* name, const std::optional<std::size_t>& count) {
  constexpr auto largest = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());
  if (!count || (*count != 0 && *count <= largest)) return;
  throw std::invalid_argument(std::string("concurrent::MapOptions: ")
                                  .append(name)
                                  .append(" must be positive; leave it out for the default"));
}

template <bool may_buffer, class F, class... Views>
auto start_map(Pool& pool, const MapOptions& options, F&& f, Views... views) {
  using R = MapResult<std::decay_t<F>, typename HeldAs<Views>::type...>;
  check_count("chunksize", options.chunksize);
  check_count("buffersize", options.buffersize);
  const Deadline deadline(options.timeout);
  pool.require_open();
  if constexpr (may_buffer) {
    if (options.buffersize) {
      return MapAccess::start_buffered<R>(pool, options, deadline, std::forward<F>(f),
                                          std::move(views)...);
    }
  }
  if constexpr ((kIsEndless<Views> && ...)) {
    static_assert(may_buffer,
                  "concurrent: map needs a range that ends, or MapOptions with a buffersize; put "
                  "std::views::take(n) behind the range");
    throw std::invalid_argument("concurrent::MapOptions: a range without end needs a buffersize");
  } else if constexpr ((std::ranges::forward_range<Views> && ...)) {
    return MapAccess::start<R>(pool, options, deadline, std::forward<F>(f), std::move(views)...);
  } else {
    std::tuple<MapDrawing<Views>...> drawings(std::move(views)...);
    return std::apply(
        [&](auto&... drawing) {
          draw_all(drawing...);
          return MapAccess::start<R>(pool, options, deadline, std::forward<F>(f),
                                     drawing.held()...);
        },
        drawings);
  }
}

}  // namespace detail
}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [16] ThreadPoolExecutor.                                          needs 2, 3, 4, 5, 7, 11, 12, 15
// =================================================================================================

namespace concurrent::inline CONCURRENT_ABI {
namespace detail {

// Can be copied into the task, as std::thread does it.
template <class T>
concept DecayCopyable = std::is_constructible_v<std::decay_t<T>, T>;

// Once copied, can be called with these arguments.
template <class F, class... Args>
concept PlainCallable = std::is_invocable_v<std::decay_t<F>, std::decay_t<Args>...>;

// The same with a std::stop_token in front, where the library has it.
#if defined(__cpp_lib_jthread)
template <class F, class... Args>
concept TokenCallable =
    std::is_invocable_v<std::decay_t<F>, std::stop_token, std::decay_t<Args>...>;
#else
template <class F, class... Args>
concept TokenCallable = false;
#endif

// Asked in this order, so that a callable that takes the arguments is never tried with a token.
template <class F, class... Args>
concept Submittable = DecayCopyable<F> && (DecayCopyable<Args> && ...) &&
                      (PlainCallable<F, Args...> || TokenCallable<F, Args...>);

template <class F, class... Args>
concept Postable = DecayCopyable<F> && (DecayCopyable<Args> && ...) && PlainCallable<F, Args...>;

// What a future of this result holds: no top-level const, T for T&&, T& as it is.
template <class R>
using FutureResult = std::conditional_t<std::is_lvalue_reference_v<R>, R, std::remove_cvref_t<R>>;

// Empty for what cannot be submitted: clang looks into it before it checks the constraint.
template <class F, class... Args> struct SubmitTraits {};
#if defined(__cpp_lib_jthread)
template <class F, class... Args>
  requires(!PlainCallable<F, Args...>) && TokenCallable<F, Args...>
struct SubmitTraits<F, Args...> {
  using Result =
      FutureResult<std::invoke_result_t<std::decay_t<F>, std::stop_token, std::decay_t<Args>...>>;
  using Stop = std::stop_source;
};
#endif
template <class F, class... Args>
  requires PlainCallable<F, Args...>
struct SubmitTraits<F, Args...> {
  using Result = FutureResult<std::invoke_result_t<std::decay_t<F>, std::decay_t<Args>...>>;
  using Stop = NoStopSource;
};

CONCURRENT_VISIBLE inline constinit platform::Atomic<std::uint64_t> executor_count = 0;

}  // namespace detail

/// How `shutdown` ends an executor.
struct ShutdownOptions {
  /// Whether to wait until all workers have ended.
  bool wait = true;
  /// Whether to cancel what has not begun. What runs always finishes.
  bool cancel_futures = false;
};

/// A pool of threads that runs what it is given, and hands out futures for it.
///
/// Threads start as they are needed, at most max_workers. Only they run tasks. The destructor is
/// shutdown(): all that was accepted runs, then the threads end. All members but the destructor may
/// be called by several threads at once, and by the pool's own tasks.
class ThreadPoolExecutor {
 public:
  struct Options {
    /// Threads at most. The default is what usable_cpus() says.
    int max_workers = usable_cpus();
    /// Threads are named `prefix_0`, ...; empty means "Executor-N".
    std::string thread_name_prefix = {};
    /// Runs once in each worker before its first task. If it throws, the pool is broken.
    std::function<void()> initializer = {};
  };

  ThreadPoolExecutor();

  /// @throws std::invalid_argument if max_workers is not positive
  explicit ThreadPoolExecutor(Options options);

  /// @throws std::invalid_argument outside 1..INT_MAX
  explicit ThreadPoolExecutor(std::integral auto max_workers);

  ThreadPoolExecutor(const ThreadPoolExecutor&) = delete;
  ThreadPoolExecutor& operator=(const ThreadPoolExecutor&) = delete;

  /// shutdown(); in one of its own tasks shutdown({.wait = false}), and then the workers finish the
  /// queue and end by themselves.
  CONCURRENT_COLD ~ThreadPoolExecutor() {
    if (pool_->is_forked_copy()) return;  // its threads do not exist here, so it stays as it is
    pool_->begin_shutdown(false);
    if (pool_->runs_this_thread()) {
      pool_->detach();
    } else {
      const detail::Blocked blocked(true, false);  // in a worker of another pool
      pool_->join();
    }
    pool_->release();
  }

  /// Schedules fn(args...) and returns the future of its result. Callable and arguments are copied
  /// or moved here, and the copies passed on as rvalues, as std::thread does it; std::ref passes a
  /// reference. A callable that takes them only behind a std::stop_token gets one that
  /// Future::request_stop() drives. The call happens before the task begins; callable and arguments
  /// are destroyed before the future is done.
  /// @throws ShutdownError after shutdown; BrokenThreadPool if an initializer failed;
  /// std::bad_alloc; std::system_error if the pool has no thread and none can start; and what the
  /// copies throw. What throws has scheduled nothing.
  template <class F, class... Args>
    requires detail::Submittable<F, Args...>
  auto submit(F&& fn, Args&&... args) -> Future<typename detail::SubmitTraits<F, Args...>::Result> {
    using Traits = detail::SubmitTraits<F, Args...>;
    using Call = detail::CallTask<typename Traits::Result, detail::BoundCall<F, Args...>,
                                  typename Traits::Stop>;
    return detail::FutureAccess::make<Future<typename Traits::Result>>(
        schedule<Call>(2, std::forward<F>(fn), std::forward<Args>(args)...));
  }

  /// Schedules fn(args...) without a future. What it throws goes to the handler that
  /// set_unhandled_exception_handler() sets; shutdown({.cancel_futures = true}) drops it.
  /// @throws as submit
  template <class F, class... Args>
    requires detail::Postable<F, Args...>
  void post(F&& fn, Args&&... args) {
    using Posted = detail::PostedCall<detail::BoundCall<F, Args...>>;
    schedule<detail::CallTask<void, Posted, detail::NoStopSource>>(1, std::forward<F>(fn),
                                                                   std::forward<Args>(args)...);
  }

  /// Calls fn with the elements of the ranges, zipped to the shortest, and returns the future of
  /// all results. It schedules at once. Lvalue containers are read in place, views copied, rvalue
  /// containers kept; input-only ranges are read here, in the calling thread. `fn` is copied once
  /// and called by several workers at once.
  /// @throws as submit; std::invalid_argument for a chunksize or buffersize of zero; what the ranges throw. What
  /// throws has scheduled nothing.
  template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0) && (std::ranges::viewable_range<Ranges> && ...) &&
            detail::Mappable<std::decay_t<F>, detail::HeldView<Ranges>...>
  auto map(MapOptions options, F&& fn, Ranges&&... ranges)
      -> MapFuture<detail::MapResultOf<F, Ranges...>> {
    return detail::start_map<true>(*pool_, options, std::forward<F>(fn),
                                   std::views::all(std::forward<Ranges>(ranges))...);
  }

  template <class F, std::ranges::input_range... Ranges>
    requires(sizeof...(Ranges) > 0) && (std::ranges::viewable_range<Ranges> && ...) &&
            detail::Mappable<std::decay_t<F>, detail::HeldView<Ranges>...>
  auto map(F&& fn, Ranges&&... ranges) -> MapFuture<detail::MapResultOf<F, Ranges...>> {
    return detail::start_map<false>(*pool_, MapOptions(), std::forward<F>(fn),
                                    std::views::all(std::forward<Ranges>(ranges))...);
  }

  template <class F, class T>
    requires detail::Mappable<std::decay_t<F>, detail::HeldView<detail::KeptElements<T>>>
  auto map(MapOptions options, F&& fn, std::initializer_list<T> items)
      -> MapFuture<detail::MapResultOf<F, detail::KeptElements<T>>> {
    return map(options, std::forward<F>(fn), detail::KeptElements<T>(items));
  }

  template <class F, class T>
    requires detail::Mappable<std::decay_t<F>, detail::HeldView<detail::KeptElements<T>>>
  auto map(F&& fn, std::initializer_list<T> items)
      -> MapFuture<detail::MapResultOf<F, detail::KeptElements<T>>> {
    return map(std::forward<F>(fn), detail::KeptElements<T>(items));
  }

  /// Ends the executor: nothing more is accepted, what was accepted runs (or is cancelled), and
  /// with `wait` this returns when all workers have ended. Idempotent.
  /// @throws DeadlockError if called with `wait` by one of its own workers: then the shutdown has
  /// begun, and the call does not wait; or by a worker of another pool that needs a spare worker
  /// meanwhile, and none can start
  void shutdown(ShutdownOptions options = {}) {
    if (pool_->is_forked_copy()) return;
    pool_->begin_shutdown(options.cancel_futures);
    if (!options.wait) return;
    if (pool_->runs_this_thread()) {
      throw DeadlockError(
          "shutdown() in one of the executor's own tasks would wait for itself; the shutdown has "
          "begun, call shutdown({.wait = false}) there");
    }
    const detail::Blocked blocked(true, true);  // in a worker of another pool
    pool_->join();
  }

  /// Threads that exist.
  int worker_count() const noexcept { return pool_->worker_count(); }
  /// Threads that may exist.
  int max_workers() const noexcept { return pool_->max_workers(); }

 private:
  static int checked(int max_workers) {
    if (max_workers <= 0) {
      throw std::invalid_argument(
          "concurrent::ThreadPoolExecutor: max_workers must be greater than 0; leave it out for "
          "one worker per usable CPU");
    }
    return max_workers;
  }

  CONCURRENT_COLD static std::string prefix_or_default(std::string prefix) {
    if (!prefix.empty()) return prefix;
    // Relaxed: only the number matters.
    const std::uint64_t number = detail::executor_count.fetch_add(1, std::memory_order_relaxed);
    char name[32];
    std::snprintf(name, sizeof(name), "Executor-%llu", static_cast<unsigned long long>(number));
    return name;
  }

  /// Makes a task and gives it to the pool.
  template <class Call, class... From>
  detail::Task& schedule(std::uint64_t references, From&&... from) {
    pool_->require_open();  // before anything is moved from
    detail::Task& task = Call::make(pool_->identity(), references, std::forward<From>(from)...);
    try {
      pool_->submit(task);
    } catch (...) {
      task.destroy_unscheduled();
      throw;
    }
    return task;
  }

  detail::Pool* const pool_;
};

inline ThreadPoolExecutor::ThreadPoolExecutor() : ThreadPoolExecutor(Options()) {}

CONCURRENT_COLD inline ThreadPoolExecutor::ThreadPoolExecutor(Options options)
    : pool_(new detail::Pool(checked(options.max_workers),
                             prefix_or_default(std::move(options.thread_name_prefix)),
                             std::move(options.initializer))) {}

inline ThreadPoolExecutor::ThreadPoolExecutor(std::integral auto max_workers)
    : ThreadPoolExecutor([&] {
        // A number that is no int is as wrong as zero.
        Options options{.max_workers = 0};
        constexpr auto most = static_cast<std::uintmax_t>(std::numeric_limits<int>::max());
        if (max_workers > 0 && static_cast<std::uintmax_t>(max_workers) <= most) {
          options.max_workers = static_cast<int>(max_workers);
        }
        return options;
      }()) {}

}  // namespace concurrent::inline CONCURRENT_ABI

// =================================================================================================
// [end] What only this header needs.
// =================================================================================================

#undef CONCURRENT_ABI
#undef CONCURRENT_COLD
#undef CONCURRENT_CONSTINIT
#undef CONCURRENT_NOINLINE
#undef CONCURRENT_PER_OBJECT
#undef CONCURRENT_RECYCLES_NODES
#undef CONCURRENT_SANITIZED
#undef CONCURRENT_VISIBLE

#endif  // CONCURRENT_EXECUTOR_HPP
