// The fabric around the links: what is offered, how links come up, and what ends them. Over the
// fake device or (SHUNT_VERBS_REAL=1) a real one; cases that need the fake are skipped there.
#include "netstack/verbs/fabric.h"

#include <doctest/doctest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "netstack/verbs/bootstrap.h"
#include "netstack/verbs/fabric_pair.h"
#include "netstack/verbs/joined.h"
#include "netstack/verbs/watched.h"

namespace shunt::verbs {
namespace {

struct Fixture {
  EventLoop loop;
  std::unique_ptr<Watched> calls = std::make_unique<Watched>(test_calls());
  std::unique_ptr<FabricPair> pair;
  int dialled_failed = 0;
  int listened_failed = 0;

  explicit Fixture(const Options& options = {}) {
    pair = std::make_unique<FabricPair>(loop, *calls, options);
    pair->dialled.failed = [this](Error error) { dialled_failed = error.number; };
    pair->listened.failed = [this](Error error) { listened_failed = error.number; };
  }
  ~Fixture() {
    FabricPair::drop(pair->dialled);
    FabricPair::drop(pair->listened);
    pair.reset();
    CHECK(calls->live == 0);
  }
  Fake& fake() const { return static_cast<Fake&>(calls->inner()); }
  void drop() const {
    FabricPair::drop(pair->dialled);
    FabricPair::drop(pair->listened);
  }

  bool until(const std::function<bool()>& done, int seconds = 60) {
    bool late = false;
    const auto timer = loop.after(std::chrono::seconds{seconds}, [&] { late = true; });
    bool is_done = done();
    for (; !is_done && !late; is_done = done()) loop.run_once(50);
    loop.forget(timer);
    return is_done;
  }
  static bool is_up(const Party& party) {
    return party.link != nullptr && party.link->view().state.starts_with("up");
  }
  bool up() {
    return until([&] { return is_up(pair->dialled) && is_up(pair->listened); });
  }
  std::vector<std::string> states() const {
    return {pair->dialled.link->view().state, pair->listened.link->view().state};
  }
};

/// The two programs' sockets of a stream.
struct Stream {
  UniqueFd client;
  UniqueFd server;
};

Result<fabric::Ends> ends() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return last_error("socketpair");
  return fabric::Ends{UniqueFd{pair[0]}, UniqueFd{pair[1]}};
}

Stream connect(Fixture& f, fabric::StreamId id) {
  Stream stream;
  std::optional<Result<fabric::Half>> half;
  const auto keep = [&half](Result<fabric::Half> made) { half = std::move(made); };
  const auto wait = [&] {
    REQUIRE(f.until([&] { return half.has_value(); }));
    REQUIRE(*half);
    return std::move(**half);
  };
  f.pair->dialled.link->open(id, &ends, keep);
  fabric::Half client = wait();
  half.reset();
  f.pair->listened.link->accept(id, client.message, &ends, keep);
  fabric::Half server = wait();
  CHECK(f.pair->dialled.link->complete(id, server.message));
  return {std::move(client.application), std::move(server.application)};
}

/// Adds a stream; 0, or the errno with which either side refuses it.
int add(Fixture& f, fabric::StreamId id, std::vector<Stream>& streams) {
  int error = 0;
  Stream stream;
  fabric::Bytes message;
  const auto keep = [&](UniqueFd& socket) {
    return [&](Result<fabric::Half> made) {
      error = made ? 0 : made.error().number;
      if (!made) return;
      socket = std::move(made->application);
      message = std::move(made->message);
    };
  };
  f.pair->dialled.link->open(id, &ends, keep(stream.client));
  if (error != 0) return error;
  f.pair->listened.link->accept(id, message, &ends, keep(stream.server));
  if (error != 0) {
    f.pair->dialled.link->abandon(id);
    return error;
  }
  CHECK(f.pair->dialled.link->complete(id, message));
  streams.push_back(std::move(stream));
  return 0;
}

bool exchange(Fixture& f, const Stream& stream) {
  if (::send(stream.client.get(), "ping", 4, MSG_NOSIGNAL) != 4) return false;
  char text[8];
  return f.until([&] { return ::recv(stream.server.get(), text, sizeof text, 0) == 4; });
}

int read_error(Fixture& f, const UniqueFd& socket) {
  char text[64];
  int error = 0;
  f.until([&] {
    const ssize_t got = ::recv(socket.get(), text, sizeof text, 0);
    error = got < 0 && errno != EAGAIN ? errno : 0;
    return error != 0 || got == 0;
  });
  return error;
}

std::uint64_t counter(const fabric::Link& link, std::string_view name) {
  for (const auto& [known, value] : link.view().counters)
    if (known == name) return value;
  FAIL("no counter " << std::string{name});
  return 0;
}

}  // namespace

TEST_CASE("a link comes up, carries streams, and shows its queue pairs") {
  Fixture f;
  const auto hello = decode_hello(f.pair->dialled.fabric->advertise());
  REQUIRE(hello);
  CHECK(hello->lanes == 2);
  CHECK(f.pair->dialled.fabric->fits(f.pair->listened.fabric->advertise()));
  REQUIRE(f.pair->link());
  const Stream stream = connect(f, 1);  // asked for before the link is up: waits
  CHECK(exchange(f, stream));
  REQUIRE(f.up());
  CHECK(f.states()[0].find("RTS RTS") != std::string::npos);
  CHECK(counter(*f.pair->dialled.link, "work requests") > 0);
}

TEST_CASE("the smaller number of queue pairs is used") {
  Fixture f;
  Options one;
  one.queue_pairs = 1;
  auto small = make_fabric(f.loop, *f.calls, one);
  REQUIRE(small);
  std::swap(f.pair->listened.fabric, *small);
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  for (const std::string& state : f.states()) CHECK(state.ends_with(": RTS"));
  FabricPair::drop(f.pair->listened);
  std::swap(f.pair->listened.fabric, *small);
}

TEST_CASE("what does not fit is said in a sentence") {
  Fixture f;
  fabric::Fabric& fabric = *f.pair->dialled.fabric;
  Hello other = *decode_hello(fabric.advertise());
  CHECK_FALSE(fabric.fits({}));
  other.ethernet = !other.ethernet;
  CHECK_FALSE(fabric.fits(encode(other)));
  other.ethernet = !other.ethernet;
  other.slab *= 2;
  CHECK_FALSE(fabric.fits(encode(other)));
}

TEST_CASE("a link that is not answered is given up") {
  Fixture f;
  f.pair->listened.lose = [](fabric::View) { return true; };
  REQUIRE(f.pair->link());
  std::optional<int> waiting;
  f.pair->dialled.link->open(
      1, &ends, [&](Result<fabric::Half> half) { waiting = half ? 0 : half.error().number; });
  CHECK(f.until([&] { return f.dialled_failed != 0; }));
  CHECK(f.dialled_failed == ETIMEDOUT);
  CHECK(waiting == ETIMEDOUT);
  CHECK(f.until([&] { return f.listened_failed != 0; }));
}

TEST_CASE("a refused link says why at both sides") {
  Fixture f;
  // Another address than any of ours.
  f.pair->dialled.lose = [&](fabric::View message) {
    auto decoded = decode_message(message);
    if (!decoded || !std::holds_alternative<Propose>(*decoded)) return false;
    std::get<Propose>(*decoded).terms.peer_gid = *parse_address("192.0.2.77");
    f.loop.post([&f, bytes = encode(*decoded)] { f.pair->listened.link->on_message(bytes); });
    return true;
  };
  REQUIRE(f.pair->link());
  CHECK(f.until([&] { return f.dialled_failed != 0 && f.listened_failed != 0; }));
  CHECK(f.dialled_failed == EADDRNOTAVAIL);
  CHECK(f.listened_failed == EADDRNOTAVAIL);
}

TEST_CASE("messages out of turn do nothing") {
  Fixture f;
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  const Stream stream = connect(f, 1);
  for (fabric::Link* const link : {f.pair->dialled.link.get(), f.pair->listened.link.get()}) {
    Terms terms;
    terms.mtu = 3;
    terms.ring = 32768;
    terms.credits = 128;
    terms.lanes = {{1, 1}, {2, 2}};
    link->on_message(encode(Propose{terms}));
    link->on_message(encode(Accept{terms}));
    link->on_message(encode(Ready{}));
    link->on_message({});
  }
  CHECK(exchange(f, stream));
}

TEST_CASE("a stream that is abandoned while the link comes up is answered") {
  Fixture f;
  REQUIRE(f.pair->link());
  std::optional<int> error;
  f.pair->dialled.link->open(
      1, &ends, [&](Result<fabric::Half> half) { error = half ? 0 : half.error().number; });
  f.pair->dialled.link->abandon(1);
  CHECK(error == ECANCELED);
  CHECK(f.up());
}

TEST_CASE("a link that goes takes its peer along, and a new one can be made at once") {
  Fixture f;
  for (int i = 0; i < 3; ++i) {
    CAPTURE(i);
    f.dialled_failed = f.listened_failed = 0;
    REQUIRE(f.pair->link());
    const Stream stream = connect(f, 1);
    CHECK(exchange(f, stream));
    FabricPair::drop(i % 2 == 0 ? f.pair->dialled : f.pair->listened);
    CHECK(read_error(f, stream.client) == ECONNRESET);
    CHECK(read_error(f, stream.server) == ECONNRESET);
    CHECK(f.until([&] { return f.dialled_failed != 0 || f.listened_failed != 0; }));
    CHECK((i % 2 == 0 ? f.listened_failed : f.dialled_failed) == ECONNRESET);
    CHECK((i % 2 == 0 ? f.dialled_failed : f.listened_failed) == 0);
    FabricPair::drop(f.pair->dialled);
    FabricPair::drop(f.pair->listened);
  }
}

TEST_CASE("memory that is used up is no memory for streams, and the link goes on") {
  Options options;
  options.memory = 4 * std::size_t{kSlab};
  Fixture f{options};
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  std::vector<Stream> streams;
  for (fabric::StreamId id = 1; id < 40; id += 2) streams.push_back(connect(f, id));
  for (const Stream& stream : streams) CHECK(exchange(f, stream));
  // Streams that nobody reads hold all of it.
  fabric::StreamId next = 41;
  std::optional<Error> refused;
  for (; !refused && next < 1000; next += 2) {
    const int error = add(f, next, streams);
    if (error != 0) {
      refused = Error{error, "accept"};
      break;
    }
    std::array<char, 65536> bytes{};
    CHECK(f.until([&] {
      const ssize_t sent =
          ::send(streams.back().client.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent > 0) f.loop.run_once(1);
      return sent <= 0;
    }));
  }
  REQUIRE(refused);
  CHECK(refused->number == ENOBUFS);
  MESSAGE("refused after " << streams.size() << " streams");
  CHECK(exchange(f, streams.front()));
  // Some end: there is room again.
  streams.resize(streams.size() / 2);
  CHECK(f.until([&] { return add(f, next += 2, streams) == 0; }));
  CHECK(exchange(f, streams.back()));
}

TEST_CASE("a device that breaks a queue pair resets the streams of its link") {
  if (real_device()) return;
  Fixture f;
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  const Stream stream = connect(f, 1);
  CHECK(exchange(f, stream));
  f.fake().break_pair(f.fake().pairs().front());
  CHECK(read_error(f, stream.client) == ECONNRESET);
  CHECK(read_error(f, stream.server) == ECONNRESET);
  CHECK(f.until([&] { return f.dialled_failed != 0 && f.listened_failed != 0; }));
}

TEST_CASE("what breaks resets the streams of its link in time, no others, and a new link works") {
  Fixture bystander;
  REQUIRE(bystander.pair->link());
  const Stream aside = connect(bystander, 1);
  Fixture f;
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  // Ids of a lane each.
  const std::array streams{connect(f, 1), connect(f, 3), connect(f, 5), connect(f, 7)};
  for (const Stream& stream : streams) CHECK(exchange(f, stream));
  int error = ECONNRESET;  // of the side that notices
  const auto write_all = [&] {
    for (const Stream& stream : streams)
      (void)::send(stream.client.get(), "ping", 4, MSG_NOSIGNAL | MSG_DONTWAIT);
  };
  auto began = EventLoop::Clock::now();
  SUBCASE("a queue pair that is put into error") {
    f.calls->break_first_pair();
    write_all();
  }
  SUBCASE("keys that open nothing any more") {
    f.calls->revoke_keys();
    write_all();
  }
  SUBCASE("a receiver that is not ready") {
    f.calls->starve = true;
    error = ETIMEDOUT;
    std::array<char, 16> bytes{};
    CHECK(f.until([&] {
      write_all();
      for (const Stream& stream : streams)
        (void)::recv(stream.server.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
      const bool over = counter(*f.pair->dialled.link, "rnr errors") +
                            counter(*f.pair->listened.link, "rnr errors") >
                        0;
      if (!over) began = EventLoop::Clock::now();
      return over;
    }));
    f.calls->starve = false;
  }
  for (const Stream& stream : streams) {
    CHECK(read_error(f, stream.client) == ECONNRESET);
    CHECK(read_error(f, stream.server) == ECONNRESET);
  }
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(EventLoop::Clock::now() - began);
  MESSAGE("all reset after " << took.count() << " ms");
  CHECK(f.until([&] { return f.dialled_failed != 0 && f.listened_failed != 0; }));
  CHECK((f.dialled_failed == error || f.listened_failed == error));
  CHECK(exchange(bystander, aside));
  f.drop();
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  CHECK(exchange(f, connect(f, 1)));
}

TEST_CASE("a port that goes down ends links after a while, and refuses new ones") {
  if (real_device()) return;
  Fixture f;
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  f.fake().set_port(false);
  f.fake().set_port(true);  // a short interruption is none
  bool passed = false;
  f.loop.after(std::chrono::milliseconds{2500}, [&] { passed = true; });
  CHECK(f.until([&] { return passed; }));
  CHECK(f.dialled_failed == 0);
  f.fake().set_port(false);
  CHECK(f.until([&] { return f.dialled_failed != 0 && f.listened_failed != 0; }));
  // Whichever side acts first tells the other.
  CHECK((f.dialled_failed == ENETDOWN || f.listened_failed == ENETDOWN));
  FabricPair::drop(f.pair->dialled);
  FabricPair::drop(f.pair->listened);
  CHECK_FALSE(f.pair->dialled.fabric->fits(f.pair->listened.fabric->advertise()));
  CHECK(f.pair->link().error().number == ENETDOWN);
  f.fake().set_port(true);
  REQUIRE(f.pair->link());
  CHECK(f.up());
}

TEST_CASE("a device that fails ends everything, for good") {
  if (real_device()) return;
  Fixture f;
  REQUIRE(f.pair->link());
  REQUIRE(f.up());
  f.fake().raise(IBV_EVENT_DEVICE_FATAL);
  CHECK(f.until([&] { return f.dialled_failed != 0 && f.listened_failed != 0; }));
  CHECK(f.pair->dialled.fabric->advertise().empty());
  FabricPair::drop(f.pair->dialled);
  FabricPair::drop(f.pair->listened);
  CHECK_FALSE(f.pair->link());
}

TEST_CASE("whatever a link cannot make is an error to its maker and leaves nothing") {
  if (real_device()) return;
  for (int in = 0; in < 30; ++in) {
    CAPTURE(in);
    Fixture f;
    f.fake().fail_making(in);
    const Status begun = f.pair->link();
    if (!begun) {
      CHECK(begun.error().number == ENOMEM);
      continue;
    }
    CHECK(f.until([&] {
      return (f.dialled_failed != 0 && f.listened_failed != 0) ||
             (Fixture::is_up(f.pair->dialled) && Fixture::is_up(f.pair->listened));
    }));
    f.fake().fail_making(-1);
  }
}

TEST_CASE("there is no fabric without a device, an address or a port") {
  EventLoop loop;
  if (!real_device()) {
    Fake fake;
    CHECK(make_fabric(loop, fake, Options{}));  // link-local will do
    fake.set_port(false);
    CHECK(make_fabric(loop, fake, Options{}).error().number == ENETDOWN);
    fake.set_port(true);
    Options other;
    other.device = "mlx5_7";
    CHECK(make_fabric(loop, fake, other).error().number == ENODEV);
    Options tiny;
    tiny.memory = 1;
    CHECK(make_fabric(loop, fake, tiny).error().number == EINVAL);
    CHECK(fake.live == 0);
  }
  if (!has_device()) {
    CHECK(make_fabric(loop, Options{}).error().number == ENODEV);
  }
}

TEST_CASE("a configured address is the only one told") {
  if (real_device()) return;
  Options options;
  options.gid_index = 4;
  Fixture f{options};
  const auto hello = decode_hello(f.pair->dialled.fabric->advertise());
  REQUIRE(hello);
  CHECK(hello->gids == std::vector{*parse_address("192.0.2.2")});
  REQUIRE(f.pair->link());
  CHECK(f.up());
}

}  // namespace shunt::verbs
