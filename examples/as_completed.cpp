// SPDX-License-Identifier: MIT
//
// as_completed: the classic of Python's documentation. Many pages are loaded at once, each is
// reported as it completes, and those that fail are named.
//
//   with ThreadPoolExecutor(max_workers=5) as executor:
//       future_to_url = {executor.submit(load_url, url): url for url in URLS}
//       for future in as_completed(future_to_url):
//           url = future_to_url[future]
//           try:
//               data = future.result()
//           except Exception as exc:
//               print('%r generated an exception: %s' % (url, exc))
//           else:
//               print('%r page is %d bytes' % (url, len(data)))
//
// So that it runs anywhere, the pages are files: its arguments are paths, or URLs that begin with
// file://. Without any it loads two that are there and three that fail. The exit status is 0, as in
// Python, when all were reported: a page that fails is a result like any other.

#include <concurrent/executor.hpp>

#include <cerrno>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <ranges>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

namespace {

using Url = std::string;
using Page = std::string;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

/// @throws std::system_error if the file cannot be read to its end.
Page load(const Url& url) {
  const std::string path = url.starts_with("file://") ? url.substr(7) : url;
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rb"));
  if (file == nullptr) throw std::system_error(errno, std::generic_category());
  Page page;
  char block[4096];
  while (const std::size_t got = std::fread(block, 1, sizeof block, file.get())) {
    page.append(block, got);
  }
  if (std::ferror(file.get()) != 0) throw std::system_error(errno, std::generic_category());
  return page;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string here = std::filesystem::absolute(__FILE__).parent_path().generic_string();
  std::vector<Url> urls(argv + 1, argv + argc);
  if (urls.empty()) {
    urls = {here + "/as_completed.cpp", "file://" + here + "/pool.svg", here, "no-such-page.html",
            "file:///no/such/page.html"};
  }

  concurrent::ThreadPoolExecutor executor({.max_workers = 5});
  std::unordered_map<concurrent::Future<Page>, Url> future_to_url;
  for (const Url& url : urls) future_to_url.emplace(executor.submit(load, url), url);

  for (auto& future : concurrent::as_completed(future_to_url | std::views::keys)) {
    const char* const url = future_to_url.at(future).c_str();
    try {
      std::printf("'%s' page is %zu bytes\n", url, future.result().size());
    } catch (const std::exception& error) {
      std::printf("'%s' generated an exception: %s\n", url, error.what());
    }
  }
}
