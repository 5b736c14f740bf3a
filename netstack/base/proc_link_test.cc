#include "netstack/base/proc_link.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "netstack/base/unique_fd.h"

using namespace shunt;

TEST_CASE("a link of /proc tells an inode") {
  const UniqueFd socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  REQUIRE(socket.valid());
  struct stat status {};
  REQUIRE(::fstat(socket.get(), &status) == 0);
  const UniqueFd descriptors{::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  const std::string name = std::to_string(socket.get());
  CHECK(inode_of_link(descriptors.get(), name.c_str(), "socket") == status.st_ino);
  CHECK(!inode_of_link(descriptors.get(), name.c_str(), "net"));
  CHECK(!inode_of_link(descriptors.get(), "99999999", "socket"));
  REQUIRE(::stat("/proc/self/ns/net", &status) == 0);
  CHECK(inode_of_link(AT_FDCWD, "/proc/self/ns/net", "net") == status.st_ino);
}

TEST_CASE("other links tell none") {
  char folder[] = "/tmp/shunt-proc-link-XXXXXX";
  REQUIRE(::mkdtemp(folder) != nullptr);
  const UniqueFd directory{::open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  const std::string endless = "socket:[" + std::string(100, '1');
  const auto told = [&](const char* target) {
    REQUIRE(::symlinkat(target, directory.get(), "link") == 0);
    const auto inode = inode_of_link(directory.get(), "link", "socket");
    ::unlinkat(directory.get(), "link", 0);
    return inode;
  };
  CHECK(told("socket:[18446744073709551615]") == UINT64_MAX);
  for (const char* target :
       {"socket", "socket:", "socket:[", "socket:[]", "socket:[1", "socket:[1]2", "socket:[-1]",
        "socket:[x]", "sockets:[1]", "socket:[18446744073709551616]", endless.c_str(), "/"})
    CHECK_MESSAGE(!told(target), target);
  ::rmdir(folder);
}
