// SPDX-License-Identifier: MIT
//
// wordcount: the 20 most frequent words of all text files below the given paths.
//
//   wordcount [--workers N] [--threads] [PATH...]
//
// A word is a run of ASCII letters, case kept. So this prints, only sooner, what the following does
// (grep -I leaves binary files out, the sed in front ends each file's last line):
//
//   export LC_ALL=C
//   find -H PATH... -type f -exec grep -Il '' {} + | tr '\n' '\0' | xargs -0 sed '$a\' |
//     tr -cs A-Za-z '\n' | sed '/^$/d' | sort | uniq -c | sort -k1,1nr -k2,2 | head -20
//
// The files are counted one by one through `map`; the main thread merges the results in the order
// of the input, each as soon as it is there. `--threads` does the same by hand, with plain
// std::thread, to compare the two.

#include <concurrent/executor.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::size_t kShownWords = 20;
constexpr std::size_t kReadBlock = 64 * 1024;
constexpr std::size_t kFilesAhead = 2048;  // Picked: so many results at most wait to be merged.

// -------------------------------------------------------------------------------------------------
// Words and how often each occurs
// -------------------------------------------------------------------------------------------------

/// FNV-1a, one letter at a time, so that the hash is ready when the end of the word is found.
class WordHash {
 public:
  void add(char letter) {
    value_ = (value_ ^ static_cast<unsigned char>(letter)) * 0x00000100000001b3U;
  }
  [[nodiscard]] std::uint64_t value() const { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325U;
};

/// A table from word to count in three blocks of memory, however many words it holds. Each file has
/// its own, which a worker makes and the main thread destroys: one block a word would be costly.
class WordCounts {
 public:
  struct Entry {
    std::uint64_t hash;
    std::uint64_t count;
    std::size_t offset;  // The word is letters_[offset, offset + length).
    std::size_t length;
  };

  void add(std::string_view word, std::uint64_t hash, std::uint64_t count) {
    if (entries_.size() * 2 >= slots_.size()) grow();
    std::uint32_t& slot = find_slot(word, hash);
    if (slot == kFree) {
      entries_.push_back({hash, 0, letters_.size(), word.size()});
      letters_.append(word);
      slot = static_cast<std::uint32_t>(entries_.size());
    }
    entries_[slot - 1].count += count;
  }

  void add(const WordCounts& other) {
    for (const Entry& entry : other.entries_) add(other.word(entry), entry.hash, entry.count);
  }

  /// Gives back what only further words would need. Call it when the counting has ended.
  void drop_index() { slots_ = {}; }

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

  [[nodiscard]] std::string_view word(const Entry& entry) const {
    return std::string_view(letters_).substr(entry.offset, entry.length);
  }

  /// The most frequent words, ties in the order of the alphabet.
  [[nodiscard]] std::vector<Entry> most_frequent(std::size_t limit) const {
    std::vector<Entry> top(std::min(limit, entries_.size()));
    std::partial_sort_copy(entries_.begin(), entries_.end(), top.begin(), top.end(),
                           [this](const Entry& a, const Entry& b) {
                             return a.count != b.count ? a.count > b.count : word(a) < word(b);
                           });
    return top;
  }

 private:
  static constexpr std::uint32_t kFree = 0;

  std::uint32_t& find_slot(std::string_view word, std::uint64_t hash) {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = (hash ^ hash >> 32) & mask;
    while (slots_[at] != kFree && !is_at(slots_[at], word, hash)) at = (at + 1) & mask;
    return slots_[at];
  }

  [[nodiscard]] bool is_at(std::uint32_t slot, std::string_view sought, std::uint64_t hash) const {
    const Entry& entry = entries_[slot - 1];
    return entry.hash == hash && word(entry) == sought;
  }

  void grow() {
    slots_.assign(std::max<std::size_t>(256, slots_.size() * 2), kFree);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      find_slot(word(entries_[i]), entries_[i].hash) = static_cast<std::uint32_t>(i + 1);
    }
  }

  std::string letters_;               // All words, one behind the other.
  std::vector<Entry> entries_;        // In the order in which the words were first seen.
  std::vector<std::uint32_t> slots_;  // kFree, or the place of an entry plus one; half are free.
};

// -------------------------------------------------------------------------------------------------
// One file
// -------------------------------------------------------------------------------------------------

struct FileCounts {
  WordCounts words;
  std::uint64_t bytes = 0;
  bool is_text = true;
};

constexpr bool is_letter(char c) {
  return static_cast<unsigned char>((static_cast<unsigned char>(c) | 0x20U) - 'a') < 26;
}

/// Counts the words of `text` but for one that touches its end, for that may go on; returns how
/// long it is.
std::size_t count_words(std::string_view text, WordCounts& words) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (true) {
    while (at != end && !is_letter(*at)) ++at;
    const char* const begin = at;
    WordHash hash;
    for (; at != end && is_letter(*at); ++at) hash.add(*at);
    const auto length = static_cast<std::size_t>(at - begin);
    if (at == end) return length;
    words.add({begin, length}, hash.value(), 1);
  }
}

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

[[noreturn]] void throw_unreadable(const std::string& path, int error) {
  throw std::system_error(error, std::generic_category(), path);
}

/// Counts the words of one file. This is what the workers run.
/// @throws std::system_error, the path in its text, if the file cannot be read to its end.
FileCounts count_file(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) throw_unreadable(path, errno);
  std::setvbuf(file.get(), nullptr, _IONBF, 0);  // We read in blocks ourselves.

  thread_local std::vector<char> buffer(kReadBlock);
  FileCounts counts;
  std::size_t kept = 0;  // Letters at the front of the buffer: of a word that the last block cut.
  while (true) {
    if (kept == buffer.size()) buffer.resize(buffer.size() * 2);
    const std::size_t got = std::fread(buffer.data() + kept, 1, buffer.size() - kept, file.get());
    if (std::ferror(file.get()) != 0) throw_unreadable(path, errno);
    if (got == 0) {
      buffer[kept] = '\n';  // Ends the last word; there is room, for we have just asked for more.
      count_words({buffer.data(), kept + 1}, counts.words);
      break;
    }
    if (counts.bytes == 0 && std::memchr(buffer.data(), '\0', got) != nullptr) {
      counts.is_text = false;
      break;
    }
    counts.bytes += got;
    const std::size_t filled = kept + got;
    kept = count_words({buffer.data(), filled}, counts.words);
    std::memmove(buffer.data(), buffer.data() + filled - kept, kept);
  }
  counts.words.drop_index();
  return counts;
}

// -------------------------------------------------------------------------------------------------
// All files
// -------------------------------------------------------------------------------------------------

/// Everything that goes to stderr: complaints and, on a terminal only, a progress bar.
class Console {
 public:
  ~Console() { clear_bar(); }

  void complain(const std::string& text) {
    clear_bar();
    std::fprintf(stderr, "wordcount: %s\n", text.c_str());
    ++complaints_;
  }

  /// Draws the bar, but not more often than the eye follows.
  void show_progress(std::size_t completed, std::size_t total) {
    if (!is_terminal_) return;
    const Clock::time_point now = Clock::now();
    if (now < next_drawing_) return;
    next_drawing_ = now + std::chrono::milliseconds(50);
    static constexpr std::string_view kFull = "########################################";
    const int filled = static_cast<int>(kFull.size() * completed / total);
    std::fprintf(stderr, "\r[%-*.*s] %zu/%zu files", static_cast<int>(kFull.size()), filled,
                 kFull.data(), completed, total);
    std::fflush(stderr);
    is_bar_drawn_ = true;
  }

  void clear_bar() {
    if (is_bar_drawn_) std::fputs("\r\033[K", stderr);
    is_bar_drawn_ = false;
  }

  [[nodiscard]] int complaints() const { return complaints_; }

 private:
  static bool is_stderr_terminal() {
#if defined(_WIN32)
    return _isatty(_fileno(stderr)) != 0;
#else
    return isatty(STDERR_FILENO) != 0;
#endif
  }

  const bool is_terminal_ = is_stderr_terminal();
  bool is_bar_drawn_ = false;
  Clock::time_point next_drawing_{};
  int complaints_ = 0;
};

/// The regular files below `roots`. A root that is a symbolic link is followed; below the roots
/// none is, so nothing is counted twice on their account and no loop can be entered.
std::vector<std::string> find_files(const std::vector<std::string>& roots, Console& console) {
  std::vector<std::string> files;
  std::vector<std::string> directories;

  for (const std::string& root : roots) {
    std::error_code error;
    const fs::file_status status = fs::status(root, error);
    if (fs::is_directory(status)) {
      directories.push_back(root);
    } else if (fs::is_regular_file(status)) {
      files.push_back(root);
    } else {
      console.complain(root + ": " + (error ? error.message() : "Neither file nor directory"));
    }
  }

  while (!directories.empty()) {
    const std::string directory = std::move(directories.back());
    directories.pop_back();
    std::error_code error;
    fs::directory_iterator entry(directory, error);
    for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
      std::error_code unknown;
      if (entry->is_symlink(unknown)) continue;
      if (entry->is_directory(unknown)) directories.push_back(entry->path().string());
      if (entry->is_regular_file(unknown)) files.push_back(entry->path().string());
      // What has been removed meanwhile is none of ours.
      if (unknown && unknown != std::errc::no_such_file_or_directory) {
        console.complain(entry->path().string() + ": " + unknown.message());
      }
    }
    if (error) console.complain(directory + ": " + error.message());
  }
  return files;
}

/// What the main thread merges the files into.
struct Totals {
  WordCounts words;
  std::size_t text_files = 0;
  std::size_t binary_files = 0;
  std::uint64_t bytes = 0;

  void add(const FileCounts& file) {
    ++(file.is_text ? text_files : binary_files);
    bytes += file.bytes;
    words.add(file.words);
  }
};

/// The job with a pool. An unreadable file is an exception that comes out where its result would.
/// There is one map for each slice of the files: while one is merged, the next is already counted,
/// and no more results than those of two slices wait for the main thread.
void count_with_pool(const std::vector<std::string>& files, int workers, Totals& totals,
                     Console& console) {
  concurrent::ThreadPoolExecutor executor({.max_workers = workers});
  std::span<const std::string> remaining(files);
  const auto map_next_slice = [&] {
    const auto slice = remaining.first(std::min(remaining.size(), kFilesAhead / 2));
    remaining = remaining.subspan(slice.size());
    return executor.map(count_file, slice);
  };

  std::size_t merged = 0;
  auto next_results = map_next_slice();
  while (next_results.size() != 0) {
    auto results = std::exchange(next_results, map_next_slice());
    for (auto at = results.begin(); at != results.end(); ++at) {
      try {
        totals.add(*at);
      } catch (const std::system_error& error) { console.complain(error.what()); }
      console.show_progress(merged + results.completed() + next_results.completed(), files.size());
    }
    merged += results.size();
  }
}

/// The same by hand: threads that draw the next file from a counter, and a place for each result.
class HandMadeMap {
 public:
  HandMadeMap(const std::vector<std::string>& files, int workers)
      : files_(files), results_(files.size()) {
    const std::size_t wanted = std::min(files.size(), static_cast<std::size_t>(workers));
    threads_.reserve(wanted);
    while (threads_.size() < wanted) {
      try {
        threads_.emplace_back([this] { work(); });
      } catch (const std::exception&) {
        if (threads_.empty()) throw;
        break;  // The system gives no more; go on with those that there are.
      }
    }
  }

  HandMadeMap(const HandMadeMap&) = delete;
  HandMadeMap& operator=(const HandMadeMap&) = delete;

  ~HandMadeMap() {
    next_ = files_.size();
    await(files_.size());
    for (std::thread& thread : threads_) thread.join();
  }

  /// Waits for the result of file number `index` and takes it. Call it in the order of the files.
  FileCounts take(std::size_t index) {
    Result result;
    await(index);
    {
      std::unique_lock lock(mutex_);
      is_ready_.wait(lock, [&] { return results_[index].index() != 0; });
      result = std::move(results_[index]);
      results_[index] = {};
    }
    if (const auto* failure = std::get_if<std::exception_ptr>(&result)) {
      std::rethrow_exception(*failure);
    }
    return std::get<FileCounts>(std::move(result));
  }

  [[nodiscard]] std::size_t completed() const { return completed_; }

 private:
  using Result = std::variant<std::monostate, FileCounts, std::exception_ptr>;

  void await(std::size_t index) {
    {
      const std::lock_guard lock(mutex_);
      awaited_ = index;
    }
    has_room_.notify_all();
  }

  void work() {
    for (std::size_t index = next_++; index < files_.size(); index = next_++) {
      {
        std::unique_lock lock(mutex_);
        has_room_.wait(lock, [&] { return index < awaited_ + kFilesAhead; });
      }
      Result result;
      try {
        result = count_file(files_[index]);
      } catch (...) { result = std::current_exception(); }
      ++completed_;
      const std::lock_guard lock(mutex_);
      results_[index] = std::move(result);
      if (index == awaited_) is_ready_.notify_one();
    }
  }

  const std::vector<std::string>& files_;
  std::atomic<std::size_t> next_ = 0;
  std::atomic<std::size_t> completed_ = 0;
  std::mutex mutex_;
  std::condition_variable is_ready_;  // results_[awaited_] has been set.
  std::condition_variable has_room_;  // awaited_ has been raised.
  std::size_t awaited_ = 0;           // Guarded by mutex_.
  std::vector<Result> results_;       // Guarded by mutex_.
  std::vector<std::thread> threads_;
};

void count_with_threads(const std::vector<std::string>& files, int workers, Totals& totals,
                        Console& console) {
  HandMadeMap results(files, workers);
  for (std::size_t i = 0; i < files.size(); ++i) {
    try {
      totals.add(results.take(i));
    } catch (const std::system_error& error) { console.complain(error.what()); }
    console.show_progress(results.completed(), files.size());
  }
}

// -------------------------------------------------------------------------------------------------
// The command line
// -------------------------------------------------------------------------------------------------

constexpr const char* kUsage =
    "usage: wordcount [--workers N] [--threads] [PATH...]\n"
    "\n"
    "Prints the 20 most frequent words of all regular text files below the paths (default:\n"
    "/usr/include where it exists, else the repository that this program was built from).\n"
    "A word is a run of ASCII letters, case kept.\n"
    "\n"
    "  --workers N   how many threads count (default: one per usable CPU)\n"
    "  --threads     use plain std::thread instead of the pool, to compare\n"
    "  --help        print this and end\n"
    "\n"
    "Exit status: 0 all was counted, 1 something could not be read (it is named on stderr,\n"
    "the rest was counted), 2 wrong use.\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments {
  std::vector<std::string> paths;
  int workers = concurrent::usable_cpus();
  bool with_threads = false;
  bool is_help_asked = false;
};

int parse_workers(const std::string& text) {
  int workers = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped_at, error] = std::from_chars(text.data(), end, workers);
  if (error != std::errc{} || stopped_at != end || workers < 1) {
    throw UsageError("--workers takes a whole number from 1 on, not '" + text + "'");
  }
  return workers;
}

/// /usr/include where it exists, else the repository that this source stands in.
std::string default_path() {
  const fs::path repository = fs::path(__FILE__).parent_path().parent_path();
  std::error_code ignored;
  for (const fs::path& candidate : {fs::path("/usr/include"), repository}) {
    if (fs::is_directory(candidate, ignored)) return candidate.string();
  }
  return ".";
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  bool are_options_over = false;
  for (auto word = words.begin(); word != words.end(); ++word) {
    if (are_options_over || word->empty() || word->front() != '-') {
      arguments.paths.push_back(*word);
    } else if (*word == "--") {
      are_options_over = true;
    } else if (*word == "--threads") {
      arguments.with_threads = true;
    } else if (*word == "--help") {
      arguments.is_help_asked = true;
    } else if (*word == "--workers") {
      if (++word == words.end()) throw UsageError("--workers takes a number");
      arguments.workers = parse_workers(*word);
    } else {
      throw UsageError("there is no option '" + *word + "'");
    }
  }
  if (arguments.paths.empty()) arguments.paths.push_back(default_path());
  return arguments;
}

/// Prints what `uniq -c` would.
void print(const WordCounts& words) {
  for (const WordCounts::Entry& entry : words.most_frequent(kShownWords)) {
    const std::string word(words.word(entry));
    std::printf("%7llu %s\n", static_cast<unsigned long long>(entry.count), word.c_str());
  }
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "stdout");
}

void print_speed(const Totals& totals, const Arguments& arguments, Clock::duration elapsed) {
  const double seconds = std::chrono::duration<double>(elapsed).count();
  const std::size_t files = totals.text_files + totals.binary_files;
  std::fprintf(stderr, "%zu text files (%.1f MB, %zu different words), %zu binary ones left out\n",
               totals.text_files, static_cast<double>(totals.bytes) / 1e6, totals.words.size(),
               totals.binary_files);
  std::fprintf(stderr, "%.3f s, %.0f files/s, workers: %d (%s)\n", seconds,
               static_cast<double>(files) / std::max(seconds, 1e-9), arguments.workers,
               arguments.with_threads ? "plain std::thread" : "pool");
}

int run(const Arguments& arguments) {
  const Clock::time_point start = Clock::now();
  Console console;
  Totals totals;
  const std::vector<std::string> files = find_files(arguments.paths, console);
  const auto count = arguments.with_threads ? count_with_threads : count_with_pool;
  count(files, arguments.workers, totals, console);
  const Clock::duration elapsed = Clock::now() - start;

  console.clear_bar();
  print(totals.words);
  print_speed(totals, arguments, elapsed);
  return console.complaints() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse({argv + std::min(argc, 1), argv + argc});
    if (!arguments.is_help_asked) return run(arguments);
    return std::fputs(kUsage, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "wordcount: %s\n\n%s", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "wordcount: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
