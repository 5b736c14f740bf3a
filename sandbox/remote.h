// The pod's part in connections across nodes: the control connections to the shims of other pods,
// the fabrics, and both halves of an upgrade over them.
//
// One thread of its own (the fabric thread) runs all of it; it lives in the node's private network
// namespace. What other threads may call copies or posts, and never waits for that thread.
//
//   remote.cc          the thread, what is known of other pods, views
//   remote_connect.cc  the client's half
//   remote_accept.cc   the server's half
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "config/config.h"
#include "netstack/base/event_loop.h"
#include "netstack/control/peers.h"
#include "netstack/local/mailbox.h"
#include "netstack/local/tcp_diag.h"
#include "sandbox/call.h"
#include "sandbox/fabrics.h"
#include "sandbox/host_sockets.h"
#include "sandbox/no_offers.h"
#include "sandbox/upgrade.h"

namespace shunt::sandbox {

struct RemoteOptions {
  std::string pod_id;
  config::Fabrics fabrics;
  UniqueFd node_netns;
  /// Accepted connections that wait for a verdict should be looked at again. Any thread.
  std::function<void()> nudge;
};

/// For `inspect`.
struct RemoteView {
  struct Offered {
    std::string name;
    bool offered = false;
    std::string why;
  };
  struct Stream {
    local::FastSocket socket;
    fabric::Kind kind{};
    // Of a host socket; those of others are found by their names.
    std::uint32_t inode = 0;
    local::TcpDiag::Queues queues{};
  };
  std::string why_not;  ///< empty: it works
  std::vector<Offered> fabrics;
  control::PeersView peers;
  std::vector<Stream> streams;  ///< those that live, and some that have ended
};

class Remote final : private control::Delegate {
 public:
  /// Listens on the control port of the pod before it returns. A sentence if that cannot be. All
  /// of `services` must outlive it.
  static Result<std::unique_ptr<Remote>, std::string> start(RemoteOptions options,
                                                            PodNetwork& network,
                                                            Services& services);
  ~Remote() override;
  Remote(const Remote&) = delete;
  Remote& operator=(const Remote&) = delete;

  // Any thread.

  std::uint16_t port() const { return static_cast<std::uint16_t>(options_.fabrics.port); }
  control::State state(const IpAddress& address) const;
  /// `then` runs on the fabric thread, within the configured time; may be empty.
  void discover(const IpAddress& address, MoveFunction<void()> then);

  /// The client's half, for a TCP connection to a pod whose state is kShunt. Answers the call,
  /// sooner or later; returns Later, or the answer if no fabric may be used.
  Reply connect(Call& call, Established connection, const local::FastName& name);
  /// Tells the server's shim that no offer will come.
  void pass(const local::FastName& name);
  /// The same of all connections from `client` to that server, for a short time.
  void pass_all(const IpAddress& client, const Endpoint& server);

  /// Held from before a connection is accepted until expect() has been called for it: an offer for
  /// a connection that is taken from its listener already is not refused meanwhile.
  class Accepting {
   public:
    explicit Accepting(Remote* remote) : remote_{remote} {
      if (remote_ != nullptr) ++remote_->accepting_;
    }
    ~Accepting() {
      if (remote_ != nullptr) --remote_->accepting_;
    }
    Accepting(const Accepting&) = delete;
    Accepting& operator=(const Accepting&) = delete;

   private:
    Remote* remote_;
  };
  /// A connection from a pod whose state is kShunt has been accepted: an offer may come. go_ahead()
  /// must be asked before the program gets the TCP socket, unless data has arrived on that. False:
  /// the client's shim has said that none will come for any of its connections to that server.
  bool expect(const Endpoint& client, const Endpoint& server);
  bool keep_waiting(const Endpoint& client, const Endpoint& server, std::chrono::nanoseconds age);
  /// The offer, if it has come.
  std::optional<local::Offer> take(local::Mailbox& mailbox, const Endpoint& client,
                                   const Endpoint& server);
  /// The same; otherwise none will be taken for this connection any more.
  std::optional<local::Offer> go_ahead(local::Mailbox& mailbox, const Endpoint& client,
                                       const Endpoint& server);

  /// Which connection a socket of the node's network stands for.
  std::optional<local::FastSocket> host_socket(int socket) const { return sockets_.find(socket); }
  bool is_node_socket(int socket) const;

  /// How long something about a connection may take that takes `usual` at most by default: where
  /// fabrics.wait gives more time, all of it gets more, in proportion.
  template <class Duration>
  Duration bound(Duration usual) const {
    constexpr std::chrono::milliseconds kUsualWait{20};
    return usual * std::max<std::int64_t>(1, options_.fabrics.wait / kUsualWait);
  }

  RemoteView view();

 private:
  struct Connect;
  struct Incoming;
  using Connecting = std::shared_ptr<Connect>;
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kHousekeeping{250};
  /// Streams whose listener was closed before anybody accepted them. They end with a reset, as
  /// connections do. Outlives us while offers lie in mailboxes.
  struct Unclaimed {
    std::mutex mutex;
    std::vector<std::pair<control::Route, UniqueFd>> streams;
  };
  using Tuple = std::pair<Endpoint, Endpoint>;  ///< client, server
  using StreamKey = std::pair<std::uint64_t, fabric::StreamId>;

  Remote(RemoteOptions options, PodNetwork& network, Services& services);
  Result<Done, std::string> open();  // fabric thread, in the beginning
  std::vector<RemoteView::Stream> host_streams();
  static Result<UniqueFd> listen_as(const std::string& name);
  void post(MoveFunction<void()> work);
  void run_posted();
  void leave(Clock::time_point until);
  void keep_house();  ///< ends connects that take too long
  void learn(const IpAddress& address, control::State state);

  // Client's half. Fabric thread.
  void begin(const Connecting& op);
  Result<fabric::Ends> make_client_ends(const Connect& op);
  Result<fabric::Ends> join_ends(const local::FastName& name, int listener) const;
  void opened(const Connecting& op, Result<fabric::Half> half);
  void answered(const Connecting& op, Result<control::Accept, control::Refusal> answer);
  void swap(const Connecting& op);
  void stay(const Connecting& op, Path reason, bool pass);
  void give_up(const Connect& op);

  // Server's half. Fabric thread.
  void consider(const std::shared_ptr<Incoming>& offer);
  void turn_down(const Incoming& offer, control::Refusal why);
  void want_accepts_back(const control::Offer& offer);
  Result<fabric::Ends> make_server_ends(const Incoming& offer);
  void granted(const std::shared_ptr<Incoming>& offer, Result<fabric::Half> half);
  void decide(const control::Route& route, local::Decision decision);
  void reset_unclaimed();

  void on_state(const IpAddress& peer, control::State state) override;
  void on_offer(const control::Route& route, const control::Offer& offer) override;
  void on_confirm(const control::Route& route) override;
  void on_withdraw(const control::Route& route) override;
  void on_pass(const IpAddress& peer, const Endpoint& client, const Endpoint& server) override;
  void on_link_up(const IpAddress& peer, std::uint64_t session, fabric::Kind kind) override;
  void on_link_down(const IpAddress& peer, std::uint64_t session, fabric::Kind kind) override;
  void on_lost(const IpAddress& peer) override;

  struct Known {
    control::State state = control::State::kUnknown;
    Clock::time_point until{};  ///< of kNot
  };
  enum class Mark { kExpected, kPassed, kGoneAhead };
  struct Marked {
    Mark mark{};
    Clock::time_point at{};
  };
  struct Patience {  // with a peer that let us wait for offers in vain
    int vain = 0;
    std::chrono::milliseconds pause{1000};
    Clock::time_point resume{};
  };
  struct Decided {
    Tuple tuple;
    std::shared_ptr<std::atomic<local::Decision>> decision;
  };
  bool is_young(const Marked& marked, Clock::time_point now) const;
  bool is_ahead(const Marked& marked) const;
  bool impatient(const IpAddress& client) const;                    // requires offers_mutex_
  void mark(const Tuple& tuple, Mark mark);                         // requires offers_mutex_
  void pass_all_of(const IpAddress& peer, const Endpoint& server);  // requires offers_mutex_
  void remember_stream(const local::FastName& name, bool is_client, fabric::Kind kind);

  RemoteOptions options_;
  PodNetwork& network_;
  Services& services_;
  std::uint64_t node_cookie_ = 0;

  mutable std::shared_mutex known_mutex_;
  std::unordered_map<IpAddress, Known> known_;

  mutable std::mutex offers_mutex_;  // marks_, patience_, no_offers_, and what goes into mailboxes
  std::atomic<int> accepting_{0};
  std::map<Tuple, Marked> marks_;
  std::size_t prune_marks_at_ = 0;
  std::unordered_map<IpAddress, Patience> patience_;
  NoOffers no_offers_;

  std::shared_ptr<Unclaimed> unclaimed_ = std::make_shared<Unclaimed>();

  HostSockets sockets_;
  std::mutex streams_mutex_;
  std::vector<RemoteView::Stream> streams_;  // pumped ones; pruned when looked at
  static constexpr std::size_t kFirstPrune = 1024;
  std::size_t prune_streams_at_ = kFirstPrune;

  std::mutex posted_mutex_;
  std::deque<MoveFunction<void()>> posted_;
  EventLoop loop_;
  std::thread thread_;

  // Fabric thread only.
  std::set<Connecting> connects_;  // whose calls have no answer yet
  std::vector<OfferedFabric> fabrics_;
  std::map<StreamKey, Decided> decisions_;
  PidfdCache pidfds_;
  UniqueFd watch_{::epoll_create1(EPOLL_CLOEXEC)};
  UniqueFd engine_;   // where the applications' ends of our clients connect to
  UniqueFd mailbox_;  // and where the programs' ends of our servers come from
  std::unique_ptr<control::Peers> peers_;
};

}  // namespace shunt::sandbox
