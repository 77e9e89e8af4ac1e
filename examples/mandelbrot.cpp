// SPDX-License-Identifier: MIT
//
// mandelbrot: draws a part of the Mandelbrot set into a PNG, and says how much sooner a pool does.
//
//   mandelbrot [--workers N] [--size WxH] [--output FILE]
//
// The rows are rendered through `map`; the main thread puts them together in their order, each as
// soon as it is there. Some rows cost three times as much as others, so a picture cut into equal
// parts, one for each worker, would leave some of them idle in the end. Before that the main thread
// renders the same rows alone, with no pool near it, to compare the two.

#include <concurrent/executor.hpp>

#include <png.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <memory>
#include <numbers>
#include <ranges>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#if defined(_WIN32)
#include <io.h>
#else
#include <unistd.h>
#endif

namespace {

using Clock = std::chrono::steady_clock;

// -------------------------------------------------------------------------------------------------
// The picture
// -------------------------------------------------------------------------------------------------

constexpr int kMaxSide = 16384;  // Picked: such a square takes 800 MB.
constexpr int kMaxSteps = 1000;  // Picked: more of them change little that one would see.
constexpr double kEscape = 256;  // A bound far beyond 2 makes the fraction of a step smoother.

// The valley of the sea horses: the middle of the picture, and the height of it.
constexpr double kMiddleX = -0.7453;
constexpr double kMiddleY = 0.1127;
constexpr double kHeight = 0.0065;

struct Size {
  int width = 1200;
  int height = 800;
};

using Pixels = std::vector<png_byte>;  // Red, green and blue of each, row by row.
using Colour = std::array<double, 3>;  // The same from 0 to 1.

/// How many steps z = z * z + c takes to escape, with a fraction, or else the colours would show
/// bands. Negative if it does not escape.
double steps_to_escape(double c_x, double c_y) {
  double x = 0;
  double y = 0;
  for (int step = 1; step <= kMaxSteps; ++step) {
    const double next_x = x * x - y * y + c_x;
    y = 2 * x * y + c_y;
    x = next_x;
    const double square = x * x + y * y;
    if (square > kEscape * kEscape) {
      return step - std::log2(std::log2(square) / std::log2(kEscape * kEscape));
    }
  }
  return -1;
}

/// Blue, black, brown, gold, white and so on, each longer than the one before; the set is black.
Colour colour_of(double steps) {
  if (steps < 0) return {};
  const double phase = 0.3 * std::numbers::pi * std::sqrt(steps);
  const auto wave = [phase](double lag) { return 0.5 + 0.5 * std::cos(phase - lag); };
  return {wave(3.0), wave(3.5), wave(4.1)};
}

/// One row of the picture. This is what the workers run.
Pixels render_row(Size size, int row) {
  static constexpr std::array kOffsets = {0.25, 0.75};  // Four points a pixel, for smooth edges.
  const double scale = kHeight / size.height;
  Pixels pixels;
  pixels.reserve(3 * static_cast<std::size_t>(size.width));
  for (int column = 0; column < size.width; ++column) {
    Colour sum{};
    for (const double down : kOffsets) {
      for (const double right : kOffsets) {
        const Colour colour =
            colour_of(steps_to_escape(kMiddleX + (column + right - size.width / 2.0) * scale,
                                      kMiddleY - (row + down - size.height / 2.0) * scale));
        std::ranges::transform(sum, colour, sum.begin(), std::plus<>{});
      }
    }
    for (const double part : sum) {
      pixels.push_back(static_cast<png_byte>(std::lround(part / 4 * 255)));
    }
  }
  return pixels;
}

// -------------------------------------------------------------------------------------------------
// The rendering, with one thread and with many
// -------------------------------------------------------------------------------------------------

/// A progress bar on stderr, if that is a terminal.
class ProgressBar {
 public:
  explicit ProgressBar(std::string what) : what_(std::move(what)) {}
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;
  ~ProgressBar() {
    if (is_drawn_) std::fputs("\r\033[K", stderr);
  }

  /// Draws the bar, but not more often than the eye follows.
  void show(std::size_t completed, std::size_t total) {
    if (!is_terminal_) return;
    const Clock::time_point now = Clock::now();
    if (now < next_drawing_) return;
    next_drawing_ = now + std::chrono::milliseconds(50);
    static constexpr std::string_view kFull = "########################################";
    const int filled = static_cast<int>(kFull.size() * completed / total);
    std::fprintf(stderr, "\r[%-*.*s] %zu/%zu rows, %s", static_cast<int>(kFull.size()), filled,
                 kFull.data(), completed, total, what_.c_str());
    std::fflush(stderr);
    is_drawn_ = true;
  }

 private:
  static bool is_stderr_terminal() {
#if defined(_WIN32)
    return _isatty(_fileno(stderr)) != 0;
#else
    return isatty(STDERR_FILENO) != 0;
#endif
  }

  const std::string what_;
  const bool is_terminal_ = is_stderr_terminal();
  bool is_drawn_ = false;
  Clock::time_point next_drawing_{};
};

struct Rendering {
  explicit Rendering(Size size) {
    pixels.reserve(3 * static_cast<std::size_t>(size.width) *
                   static_cast<std::size_t>(size.height));
  }

  void append(const Pixels& row) { pixels.insert(pixels.end(), row.begin(), row.end()); }

  Pixels pixels;
  double seconds = 0;
};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Rendering render_alone(Size size) {
  Rendering picture(size);
  ProgressBar bar("one thread");
  const Clock::time_point start = Clock::now();
  for (int row = 0; row < size.height; ++row) {
    picture.append(render_row(size, row));
    bar.show(static_cast<std::size_t>(row) + 1, static_cast<std::size_t>(size.height));
  }
  picture.seconds = seconds_since(start);
  return picture;
}

/// The time that threads take to start and to end counts too.
Rendering render_with_pool(Size size, int workers) {
  Rendering picture(size);
  ProgressBar bar("workers: " + std::to_string(workers));
  const Clock::time_point start = Clock::now();
  {
    concurrent::ThreadPoolExecutor executor({.max_workers = workers});
    auto rows = executor.map([size](int row) { return render_row(size, row); },
                             std::views::iota(0, size.height));
    for (const Pixels& row : rows) {
      picture.append(row);
      bar.show(rows.completed(), rows.size());
    }
  }
  picture.seconds = seconds_since(start);
  return picture;
}

// -------------------------------------------------------------------------------------------------
// The file
// -------------------------------------------------------------------------------------------------

/// A file that is opened before the work begins: better no picture now than none in an hour.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path) : path_(path), file_(open(path)) {
    if (file_ == nullptr) throw std::system_error(errno, std::generic_category(), path);
  }

  void write(const Pixels& pixels, Size size) {
    png_image image{};
    image.version = PNG_IMAGE_VERSION;
    image.width = static_cast<png_uint_32>(size.width);
    image.height = static_cast<png_uint_32>(size.height);
    image.format = PNG_FORMAT_RGB;
    if (png_image_write_to_stdio(&image, file_.get(), 0, pixels.data(), 0, nullptr) == 0) {
      throw std::runtime_error(path_ + ": " + image.message);
    }
    if (std::fclose(file_.release()) != 0) {
      throw std::system_error(errno, std::generic_category(), path_);
    }
  }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  static std::FILE* open(const std::string& path) { return std::fopen(path.c_str(), "wb"); }

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

// -------------------------------------------------------------------------------------------------
// The command line
// -------------------------------------------------------------------------------------------------

constexpr const char* kUsage =
    "usage: mandelbrot [--workers N] [--size WxH] [--output FILE]\n"
    "\n"
    "Renders a part of the Mandelbrot set, with one thread and then with a pool, writes it as PNG\n"
    "and prints how long both took.\n"
    "\n"
    "  --workers N     how many threads the pool has (default: one per usable CPU)\n"
    "  --size WxH      width and height in pixels, each 1 to 16384 (default: 1200x800)\n"
    "  --output FILE   where the picture goes (default: mandelbrot.png)\n"
    "  --help          print this and end\n"
    "\n"
    "Exit status: 0 the picture is there, 1 it is not (the reason is on stderr), 2 wrong use.\n";

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments {
  int workers = concurrent::usable_cpus();
  Size size;
  std::string output = "mandelbrot.png";
  bool is_help_asked = false;
};

/// The number that `text` is, all of it, or 0 if it is none.
int parse_number(std::string_view text) {
  int number = 0;
  const auto [stopped_at, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && stopped_at == text.data() + text.size() ? number : 0;
}

int parse_workers(const std::string& text) {
  const int workers = parse_number(text);
  if (workers < 1) {
    throw UsageError("--workers takes a whole number from 1 on, not '" + text + "'");
  }
  return workers;
}

Size parse_size(const std::string& text) {
  const std::string_view view = text;
  const std::size_t cross = std::min(view.find('x'), view.size());
  const int width = parse_number(view.substr(0, cross));
  const int height = parse_number(view.substr(std::min(cross + 1, view.size())));
  if (std::min(width, height) < 1 || std::max(width, height) > kMaxSide) {
    throw UsageError("--size takes width and height from 1 to " + std::to_string(kMaxSide) +
                     ", like 1200x800, not '" + text + "'");
  }
  return {width, height};
}

Arguments parse(const std::vector<std::string>& words) {
  Arguments arguments;
  for (auto word = words.begin(); word != words.end(); ++word) {
    const std::string& option = *word;
    const auto value = [&]() -> const std::string& {
      if (++word == words.end()) throw UsageError(option + " takes a value");
      return *word;
    };
    if (option == "--workers") {
      arguments.workers = parse_workers(value());
    } else if (option == "--size") {
      arguments.size = parse_size(value());
    } else if (option == "--output") {
      arguments.output = value();
    } else if (option == "--help") {
      arguments.is_help_asked = true;
    } else {
      throw UsageError("there is no option '" + option + "'");
    }
  }
  return arguments;
}

void print_line(const std::string& who, double seconds, Size size) {
  const double pixels = static_cast<double>(size.width) * size.height;
  std::printf("%-14s %8.3f s %12.0f pixels/s\n", who.c_str(), seconds,
              pixels / std::max(seconds, 1e-9));
}

void run(const Arguments& arguments) {
  const Size size = arguments.size;
  OutputFile file(arguments.output);
  const Rendering alone = render_alone(size);
  const Rendering pooled = render_with_pool(size, arguments.workers);
  if (alone.pixels != pooled.pixels) throw std::logic_error("the pool rendered another picture");
  file.write(pooled.pixels, size);

  std::printf("%s: %d x %d pixels\n", arguments.output.c_str(), size.width, size.height);
  print_line("one thread", alone.seconds, size);
  print_line("workers: " + std::to_string(arguments.workers), pooled.seconds, size);
  std::printf("speed-up over one thread: %.2f\n", alone.seconds / std::max(pooled.seconds, 1e-9));
  if (std::fflush(stdout) != 0) throw std::system_error(errno, std::generic_category(), "stdout");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parse({argv + std::min(argc, 1), argv + argc});
    if (!arguments.is_help_asked) {
      run(arguments);
      return EXIT_SUCCESS;
    }
    return std::fputs(kUsage, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "mandelbrot: %s\n\n%s", error.what(), kUsage);
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "mandelbrot: %s\n", error.what());
    return EXIT_FAILURE;
  }
}
