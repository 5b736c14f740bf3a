#include "sandbox/cluster_key.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

using namespace shunt::sandbox;

TEST_CASE("a key file") {
  std::string folder = std::filesystem::temp_directory_path() / "shunt-key-test-XXXXXX";
  REQUIRE(::mkdtemp(folder.data()) != nullptr);
  const std::string path = folder + "/key";
  const auto write = [&](const std::string& text, mode_t mode) {
    std::ofstream{path, std::ios::binary} << text;
    REQUIRE(::chmod(path.c_str(), mode) == 0);
  };
  const auto refusal = [&] {
    const auto key = read_cluster_key(path);
    REQUIRE(!key);
    return key.error();
  };
  const std::string key(16, 'k');

  CHECK(read_cluster_key("")->bytes.empty());
  CHECK(refusal() == path + ": stat: ENOENT (No such file or directory)");
  write(key + "\r\n", 0600);
  CHECK(read_cluster_key(path)->bytes == key);
  write(key, 0640);
  CHECK(refusal() == path + " must be for its owner only (mode 0600)");
  write(key.substr(1) + "\n", 0400);
  CHECK(refusal() == path + " must hold a key of at least 16 bytes");
  write(std::string(4097, 'k'), 0600);
  CHECK(refusal() == path + " is too long for a key");
  REQUIRE(::unlink(path.c_str()) == 0);
  REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
  CHECK(refusal() == path + " is no regular file");
  std::filesystem::remove_all(folder);
}
