#include "netstack/fabric/contract.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <random>
#include <vector>

#include "netstack/fabric/contract_app.h"

namespace shunt::fabric::contract {
namespace {

std::vector<std::byte> garbage(std::mt19937& random, std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

/// A small exchange each way: the stream is alive.
void check_alive(Bench& bench, Connection& stream) {
  REQUIRE(stream.client.write(10) == 10);
  REQUIRE(stream.server.write(20) == 20);
  CHECK(bench.until([&] {
    stream.client.read(100);
    stream.server.read(100);
    return stream.client.got == stream.server.written && stream.server.got == stream.client.written;
  }));
  CHECK_FALSE(stream.client.wrong);
  CHECK_FALSE(stream.server.wrong);
}

/// What a stream does that was cut: bytes that had arrived, then ECONNRESET.
void check_reset(Bench& bench, App& app) {
  CHECK(bench.until([&] {
    while (app.read(65536) > 0) {
    }
    return app.read_error != 0 || app.ended;
  }));
  CHECK(app.read_error == ECONNRESET);
}

bool hung_up(int socket) {
  pollfd state{socket, 0, 0};
  return ::poll(&state, 1, 0) == 1 && (state.revents & POLLHUP) != 0;
}

int unread(const App& app) {
  int bytes = -1;
  ::ioctl(app.fd(), FIONREAD, &bytes);
  return bytes;
}

std::uint64_t ring_memory(const Link& link) {
  std::uint64_t sum = 0;
  for (const StreamView& stream : link.view().streams) sum += stream.ring;
  return sum;
}

}  // namespace

void bytes_arrive_exactly(const MakePair& make) {
  // Sizes around every boundary there may be, and random ones, both ways at once.
  for (const std::uint32_t seed : {1u, 2u, 3u}) {
    Bench bench{make};
    Connection stream = bench.connect(seed);  // opened by either side
    std::mt19937 random{seed};
    const auto size = [&]() -> std::size_t {
      static constexpr std::size_t kEdges[] = {
          1, 2, 255, 256, 257, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 262144};
      if (random() % 2 == 0) return kEdges[random() % std::size(kEdges)];
      return 1 + random() % (random() % 3 == 0 ? 300000 : 700);
    };
    constexpr std::uint64_t kTotal = 24u << 20;
    const auto step = [&](App& from, App& to) {
      if (from.written < kTotal) from.write(std::min<std::size_t>(size(), kTotal - from.written));
      if (random() % 4 != 0) to.read(size());
    };
    REQUIRE(bench.until([&] {
      for (int i = 0; i < 4; ++i) {
        step(stream.client, stream.server);
        step(stream.server, stream.client);
      }
      return stream.client.got == kTotal && stream.server.got == kTotal;
    }));
    CHECK_FALSE(stream.client.wrong);
    CHECK_FALSE(stream.server.wrong);
    stream.client.shut_write();
    stream.server.shut_write();
    CHECK(bench.until([&] {
      stream.client.read(1);
      stream.server.read(1);
      return stream.client.ended && stream.server.ended;
    }));
    CHECK(bench.until([&] {
      return bench.pair.dialled->view().streams.empty() &&
             bench.pair.listened->view().streams.empty();
    }));
  }
}

void both_write_tiny_pieces_first(const MakePair& make) {
  // With TCP both may write 20,000 single bytes before either reads; so they may here, in whatever
  // batches the bytes are taken out of the applications' buffers.
  for (const int buffer : {32 << 10, 8 << 20}) {
    Bench bench{make};
    bench.send_buffer = buffer;
    Connection stream = bench.connect(1);
    for (int i = 0; i < 20000; ++i)
      for (App* app : {&stream.client, &stream.server})
        if (app->write(1) == 0) REQUIRE(bench.until([&] { return app->write(1) == 1; }));
    CHECK(bench.until([&] {
      stream.client.read(700);
      stream.server.read(700);
      return stream.client.got == 20000 && stream.server.got == 20000;
    }));
    CHECK_FALSE(stream.client.wrong);
    CHECK_FALSE(stream.server.wrong);
  }
}

void each_direction_ends_alone(const MakePair& make) {
  for (const bool client_first : {true, false}) {
    Bench bench{make};
    Connection stream = bench.connect(1);
    App& first = client_first ? stream.client : stream.server;
    App& second = client_first ? stream.server : stream.client;
    REQUIRE(first.write(100000) == 100000);
    first.shut_write();
    CHECK(bench.until([&] {
      second.read(5000);
      return second.ended;
    }));
    CHECK(second.got == 100000);
    // The other direction goes on, for more than any buffer holds.
    CHECK(bench.until([&] {
      if (second.written < 3000000) second.write(50000);
      first.read(60000);
      return first.got >= 3000000;
    }));
    CHECK_FALSE(first.ended);
    second.shut_write();
    CHECK(bench.until([&] {
      first.read(60000);
      return first.ended;
    }));
    CHECK(first.got == second.written);
    CHECK_FALSE(first.wrong);
    CHECK(first.read_error == 0);
    CHECK(second.read_error == 0);
  }
}

void a_reset_reaches_the_other_side(const MakePair& make) {
  // Closing with something unread is what makes Linux reset; once idle, once in full flow.
  for (const bool client_closes : {true, false}) {
    for (const bool busy : {false, true}) {
      Bench bench{make};
      Connection stream = bench.connect(1);
      App& closer = client_closes ? stream.client : stream.server;
      App& other = client_closes ? stream.server : stream.client;
      Connection bystander = bench.connect(2);
      REQUIRE(other.write(busy ? 400000 : 10) > 0);
      if (busy) closer.write(400000);
      CHECK(bench.until([&] { return closer.read(1) == 1; }));
      closer.close();
      check_reset(bench, other);
      CHECK_FALSE(other.wrong);
      CHECK(bench.until([&] {
        return bench.pair.dialled->view().streams.size() == 1 &&
               bench.pair.listened->view().streams.size() == 1;
      }));
      check_alive(bench, bystander);
    }
  }
}

void close_with_unread_data_resets(const MakePair& make) {
  // The peer's bytes never left the kernel of the closing side.
  Bench bench{make};
  Connection stream = bench.connect(1);
  REQUIRE(stream.server.write(1000) == 1000);
  REQUIRE(bench.until([&] { return unread(stream.client) == 1000; }));
  stream.client.close();
  check_reset(bench, stream.server);
}

void writing_to_a_closed_side_resets(const MakePair& make) {
  // A clean close reads as end-of-file; what is written after it meets ECONNRESET, then EPIPE.
  Bench bench{make};
  Connection stream = bench.connect(1);
  check_alive(bench, stream);
  stream.client.close();
  CHECK(bench.until([&] {
    stream.server.read(1);
    return stream.server.ended;
  }));
  CHECK(stream.server.read_error == 0);
  CHECK(bench.until([&] {
    stream.server.write(10);
    return stream.server.write_error != 0;
  }));
  CHECK((stream.server.write_error == EPIPE || stream.server.write_error == ECONNRESET));
}

void a_silent_receiver_stops_the_sender(const MakePair& make) {
  Bench bench{make};
  bench.send_buffer = 128 << 10;
  Connection stream = bench.connect(1);
  // Written until nothing has moved for a while.
  int quiet = 0;
  const auto stuck = [&] {
    quiet = stream.client.write(32768) > 0 ? 0 : quiet + 1;
    return quiet > 200;
  };
  CHECK(bench.until(stuck));
  MESSAGE("a silent receiver holds " << stream.client.written / 1024 << " KiB");
  CHECK(stream.client.written < (8u << 20));
  const auto held = stream.client.written;
  CHECK(bench.until([&] {
    stream.server.read(65536);
    return stream.server.got == held;
  }));
  CHECK_FALSE(stream.server.wrong);
  check_alive(bench, stream);
}

void blocked_streams_do_not_block_others(const MakePair& make) {
  REQUIRE(raise_descriptor_limit(4100));
  Bench bench{make};
  bench.send_buffer = 32 << 10;
  std::vector<Connection> blocked;
  for (StreamId i = 0; i < 1000; ++i) blocked.push_back(bench.connect(2 * i + 1));
  int quiet = 0;
  CHECK(bench.until([&] {
    std::size_t moved = 0;
    for (auto& stream : blocked) moved += stream.client.write(65536);
    quiet = moved > 0 ? 0 : quiet + 1;
    return quiet > 50;
  }));
  std::uint64_t written = 0;
  for (const auto& stream : blocked) written += stream.client.written;
  MESSAGE("blocked: " << written / 1024 / 1000 << " KiB per stream, rings "
                      << ring_memory(*bench.pair.listened) / 1024 << " KiB");
  CHECK(ring_memory(*bench.pair.listened) <= (64u << 20));
  Connection busy = bench.connect(2001);
  constexpr std::uint64_t kTotal = 16u << 20;
  CHECK(bench.until([&] {
    if (busy.client.written < kTotal)
      busy.client.write(std::min<std::size_t>(65536, kTotal - busy.client.written));
    busy.server.read(65536);
    return busy.server.got == kTotal;
  }));
  check_alive(bench, busy);
  // Nothing was lost meanwhile.
  CHECK(bench.until([&] {
    bool all = true;
    for (auto& stream : blocked) {
      stream.server.read(65536);
      all = all && stream.server.got == stream.client.written;
    }
    return all;
  }));
  for (const auto& stream : blocked) CHECK_FALSE(stream.server.wrong);
}

void busy_streams_share(const MakePair& make) {
  REQUIRE(raise_descriptor_limit(500));
  Bench bench{make};
  bench.send_buffer = 512 << 10;
  std::vector<Connection> busy;
  busy.reserve(100);
  for (StreamId i = 0; i < 100; ++i) busy.push_back(bench.connect(2 * i + 1));
  bench.send_buffer = 8 << 20;
  Connection hog = bench.connect(201);
  const auto feed = [&] {  // all of them always have bytes waiting; the hog has megabytes
    while (hog.client.write(262144) > 0) {
    }
    while (hog.server.read(262144) > 0) {
    }
    for (auto& stream : busy) {
      while (stream.client.write(65536) > 0) {
      }
      while (stream.server.read(65536) > 0) {
      }
    }
  };
  const auto until_moved = [&](std::uint64_t bytes) {
    REQUIRE(bench.until([&] {
      feed();
      std::uint64_t sum = 0;
      for (const auto& stream : busy) sum += stream.server.got;
      return sum > bytes;
    }));
  };
  until_moved(32u << 20);
  const std::uint64_t hog_before = hog.server.got;
  std::vector<std::uint64_t> before;
  before.reserve(busy.size());
  for (const auto& stream : busy) before.push_back(stream.server.got);
  until_moved(160u << 20);
  std::uint64_t least = ~0ull;
  std::uint64_t most = 0;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < busy.size(); ++i) {
    const auto moved = busy[i].server.got - before[i];
    least = std::min(least, moved);
    most = std::max(most, moved);
    sum += moved;
  }
  const auto of_hog = hog.server.got - hog_before;
  MESSAGE("KiB per stream: least " << least / 1024 << ", mean " << sum / busy.size() / 1024
                                   << ", most " << most / 1024 << ", hog " << of_hog / 1024);
  CHECK(least * 2 > sum / busy.size());
  CHECK(most < 2 * (sum / busy.size()));
  CHECK(of_hog < 4 * (sum / busy.size()));
}

void many_streams(const MakePair& make) {
  if (!raise_descriptor_limit(16200)) {
    MESSAGE("skipped: needs 16,200 descriptors");
    return;
  }
  Bench bench{make};
  std::vector<Connection> streams;
  for (StreamId i = 0; i < 4000; ++i) streams.push_back(bench.connect(i + 1));
  for (int round = 0; round < 2; ++round) {
    for (auto& stream : streams) {
      REQUIRE(stream.client.write(100) == 100);
      REQUIRE(stream.server.write(3000) == 3000);
    }
    CHECK(bench.until([&] {
      bool all = true;
      for (auto& stream : streams) {
        stream.client.read(65536);
        stream.server.read(65536);
        all = all && stream.client.got == stream.server.written &&
              stream.server.got == stream.client.written;
      }
      return all;
    }));
  }
  for (const auto& stream : streams) CHECK_FALSE((stream.client.wrong || stream.server.wrong));
  CHECK(bench.pair.dialled->view().streams.size() == 4000);
  streams.clear();
  CHECK(bench.until([&] {
    return bench.pair.dialled->view().streams.empty() &&
           bench.pair.listened->view().streams.empty();
  }));
}

void ids_are_not_reused(const MakePair& make) {
  Bench bench{make};
  Connection stream = bench.connect(1);
  auto again = bench.open(*bench.pair.dialled, 1);
  CHECK_FALSE(again);
  auto half = bench.open(*bench.pair.dialled, 3);
  REQUIRE(half);
  auto accepted = bench.accept(*bench.pair.listened, 1, half->message);
  REQUIRE_FALSE(accepted);
  CHECK(accepted.error().number == EPROTO);
  check_alive(bench, stream);
  // Nor after it is over.
  stream.client.close();
  stream.server.close();
  CHECK(bench.until([&] {
    return bench.pair.listened->view().streams.empty() &&
           bench.pair.dialled->view().streams.size() == 1;
  }));
  accepted = bench.accept(*bench.pair.listened, 1, half->message);
  REQUIRE_FALSE(accepted);
  CHECK(accepted.error().number == EPROTO);
  // An answer counts once.
  accepted = bench.accept(*bench.pair.listened, 3, half->message);
  REQUIRE(accepted);
  CHECK(bench.pair.dialled->complete(3, accepted->message));
  CHECK_FALSE(bench.pair.dialled->complete(3, accepted->message));
  CHECK_FALSE(bench.pair.dialled->complete(99, accepted->message));
}

void abandoned_streams_hang_up(const MakePair& make) {
  Bench bench{make};
  Connection bystander = bench.connect(1);
  SUBCASE("refused: before the other side knows of it") {
    auto half = bench.open(*bench.pair.dialled, 3);
    REQUIRE(half);
    bench.pair.dialled->abandon(3);
    CHECK(bench.until([&] { return hung_up(half->application.get()); }));
    CHECK_FALSE(bench.pair.dialled->complete(3, half->message));
  }
  SUBCASE("withdrawn: accepted, never completed") {
    auto half = bench.open(*bench.pair.dialled, 3);
    REQUIRE(half);
    auto other = bench.accept(*bench.pair.listened, 3, half->message);
    REQUIRE(other);
    bench.pair.dialled->abandon(3);
    bench.pair.listened->abandon(3);
    CHECK(bench.until([&] { return hung_up(half->application.get()); }));
    CHECK(bench.until([&] { return hung_up(other->application.get()); }));
  }
  SUBCASE("after it was completed, with bytes under way") {
    Connection stream = bench.connect(3);
    REQUIRE(stream.client.write(500000) > 0);
    REQUIRE(stream.server.write(100) == 100);
    bench.loop.run_once(0);
    bench.pair.dialled->abandon(3);
    check_reset(bench, stream.client);
    check_reset(bench, stream.server);
  }
  SUBCASE("one that does not exist") {
    bench.pair.dialled->abandon(77);
    bench.pair.listened->abandon(77);
  }
  CHECK(bench.until([&] {
    return bench.pair.dialled->view().streams.size() == 1 &&
           bench.pair.listened->view().streams.size() == 1;
  }));
  check_alive(bench, bystander);
}

void a_lost_peer_resets_all(const MakePair& make) {
  for (const bool dialled_goes : {true, false}) {
    Bench bench{make};
    std::vector<Connection> streams;
    for (StreamId id = 1; id <= 8; ++id) streams.push_back(bench.connect(id));
    for (auto& stream : streams) {
      stream.client.write(300000);
      stream.server.write(10);
    }
    auto half = bench.open(*bench.pair.dialled, 99);
    bench.settle(3);
    (dialled_goes ? bench.pair.dialled : bench.pair.listened).reset();
    for (auto& stream : streams) {
      check_reset(bench, stream.client);
      check_reset(bench, stream.server);
    }
    const int& failed = dialled_goes ? bench.listened_failed : bench.dialled_failed;
    CHECK(bench.until([&] { return failed != 0; }));
    CHECK(failed == ECONNRESET);
    CHECK((dialled_goes ? bench.dialled_failed : bench.listened_failed) == 0);
    // The link that is left takes no more.
    Link& left = dialled_goes ? *bench.pair.listened : *bench.pair.dialled;
    if (dialled_goes) CHECK_FALSE(bench.accept(left, 101, {}));
  }
}

void last_words_outlive_the_link(const MakePair& make) {
  // A program writes and ends, its shim has nothing more to do and ends: all of it arrives, though
  // the other program has read nothing yet, and the end is a clean one.
  for (const std::size_t size : {std::size_t{1}, std::size_t{5000}, std::size_t{3} << 20}) {
    CAPTURE(size);
    Bench bench{make};
    Connection ended = bench.connect(1);
    Connection cut = bench.connect(3);
    bench.settle(3);
    Link& leaving = *bench.pair.dialled;
    const auto keep_reading = [&] { return ended.server.read(4096) + cut.server.read(1); };
    while (ended.client.written < size) {
      ended.client.write(size - ended.client.written);
      keep_reading();
      bench.loop.run_once(0);
    }
    cut.client.write(100);
    CHECK_FALSE(leaving.owes());
    ended.client.close();
    CHECK(bench.until([&] {
      if (!leaving.owes()) return true;
      keep_reading();
      return false;
    }));
    bench.pair.dialled.reset();
    CHECK(bench.until([&] {
      while (ended.server.read(4096) > 0) {
      }
      return ended.server.read_error != 0 || ended.server.ended;
    }));
    CHECK(ended.server.got == size);
    CHECK(ended.server.ended);
    CHECK(ended.server.read_error == 0);
    CHECK_FALSE(ended.server.wrong);
    // It may go on: it has not ended, and only what it writes now has nobody to go to.
    bench.settle();
    CHECK_FALSE(hung_up(ended.server.fd()));
    CHECK(ended.server.write(1) == 1);
    CHECK(bench.until([&] { return hung_up(ended.server.fd()); }));
    check_reset(bench, cut.client);
    check_reset(bench, cut.server);
    CHECK_FALSE(cut.server.wrong);
  }
}

void last_words_precede_the_reset(const MakePair& make) {
  Bench bench{make};
  Connection stream = bench.connect(1);
  REQUIRE(stream.server.write(1000) == 1000);
  REQUIRE(bench.until([&] { return unread(stream.client) == 1000; }));
  REQUIRE(stream.client.write(3) == 3);
  stream.client.close();  // with 1000 bytes unread
  check_reset(bench, stream.server);
  CHECK(stream.server.got == 3);
}

void garbage_hurts_nobody(const MakePair& make) {
  Bench bench{make};
  Connection bystander = bench.connect(1);
  std::mt19937 random{7};
  StreamId id = 3;
  for (const std::size_t size : {0u, 1u, 2u, 7u, 8u, 15u, 16u, 63u, 64u, 300u, 4096u}) {
    const auto bytes = garbage(random, size);
    auto accepted = bench.accept(*bench.pair.listened, id, bytes);
    REQUIRE_FALSE(accepted);
    CHECK(accepted.error().number == EPROTO);
    auto half = bench.open(*bench.pair.dialled, id + 2);
    REQUIRE(half);
    const Status completed = bench.pair.dialled->complete(id + 2, bytes);
    REQUIRE_FALSE(completed);
    CHECK(completed.error().number == EPROTO);
    bench.pair.dialled->on_message(bytes);
    bench.pair.listened->on_message(bytes);
    id += 4;
  }
  CHECK(bench.until([&] {
    return bench.pair.dialled->view().streams.size() == 1 &&
           bench.pair.listened->view().streams.size() == 1;
  }));
  CHECK(bench.dialled_failed == 0);
  CHECK(bench.listened_failed == 0);
  check_alive(bench, bystander);
}

void nothing_is_allowed(const MakePair& make) {
  Bench bench{make};
  Connection stream = bench.connect(1);
  stream.client.write(0);
  stream.server.write(0);
  bench.settle(5);
  CHECK(stream.client.read(0) == 0);
  check_alive(bench, stream);
  stream.client.write(0);
  stream.client.shut_write();
  CHECK(bench.until([&] {
    stream.server.read(1);
    return stream.server.ended;
  }));
  stream.server.close();
  CHECK(bench.until([&] {
    stream.client.read(1);
    return stream.client.ended;
  }));
  CHECK(stream.client.read_error == 0);
  // Streams that never carry anything: ended by both, or by one and then the other.
  for (StreamId id = 3; id < 9; id += 2) {
    Connection empty = bench.connect(id);
    empty.client.shut_write();
    if (id > 3) empty.server.shut_write();
    CHECK(bench.until([&] {
      empty.server.read(1);
      return empty.server.ended;
    }));
    if (id > 5) empty.client.close();
  }
  CHECK(bench.until([&] {
    return bench.pair.dialled->view().streams.empty() &&
           bench.pair.listened->view().streams.empty();
  }));
}

void streams_come_and_go(const MakePair& make) {
  // Short connections, several at a time, ended in every way: nothing may be left over.
  Bench bench{make};
  std::mt19937 random{11};
  StreamId next = 1;
  for (int round = 0; round < 60; ++round) {
    std::vector<Connection> streams;
    streams.reserve(10);
    for (int i = 0; i < 10; ++i) streams.push_back(bench.connect(next++));
    for (auto& stream : streams) {
      stream.client.write(1u + random() % 40000);
      stream.server.write(1u + random() % 300);
    }
    if (round % 3 == 0) bench.loop.run_once(0);
    for (auto& stream : streams) {
      App& first = random() % 2 == 0 ? stream.client : stream.server;
      switch (random() % 4) {
        case 0:
          first.close();
          break;
        case 1:
          first.shut_write();
          break;
        case 2:
          first.read(65536), first.close();
          break;
        default:
          break;
      }
    }
    bench.settle(static_cast<int>(random() % 3));
    for (auto& stream : streams) CHECK_FALSE((stream.client.wrong || stream.server.wrong));
  }
  CHECK(bench.until([&] {
    return bench.pair.dialled->view().streams.empty() &&
           bench.pair.listened->view().streams.empty();
  }));
  CHECK(bench.until([&] {
    return ring_memory(*bench.pair.dialled) == 0 && ring_memory(*bench.pair.listened) == 0;
  }));
}

}  // namespace shunt::fabric::contract
