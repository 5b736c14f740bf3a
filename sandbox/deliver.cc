#include "sandbox/call.h"

namespace shunt::sandbox {
namespace {

struct Deliver {
  Services& services;
  const CallId& call;
  const NotifyFd& notify = call.container->notify;

  void end(Ending ending, const Status& delivered) const {
    services.statistics.count(call.row, delivered ? ending : Ending::kGone);
    if (call.since != std::chrono::steady_clock::time_point{})
      services.statistics.count_latency(std::chrono::steady_clock::now() - call.since);
  }

  void operator()(Return& answer) const {
    const Status sent = notify.send_value(call.id, answer.value);
    end(Ending::kReturned, sent);
    if (answer.after) answer.after(sent);
  }
  void operator()(Fail& answer) const {
    end(Ending::kFailed, notify.send_error(call.id, answer.number));
  }
  void operator()(RunInKernel&) const { end(Ending::kKernel, notify.run_in_kernel(call.id)); }

  void operator()(InstallFd& answer) const {
    const Status sent = notify.install(call.id, answer.fd.get(), answer.close_on_exec);
    // The guest's table may be full: that is its error to hear.
    if (!sent && sent.error().number == EMFILE) {
      end(Ending::kFailed, notify.send_error(call.id, EMFILE));
    } else {
      end(Ending::kInstalled, sent);
    }
    if (answer.after) {
      answer.after(sent, sent ? UniqueFd{} : std::move(answer.fd));
    }
  }

  void operator()(ReplaceFd& answer) const {
    const Status placed = notify.replace(call.id, answer.fd.get(), static_cast<int>(answer.number),
                                         answer.close_on_exec);
    answer.fd.reset();  // the guest's descriptor is the only one now, or there is none
    if (answer.replaced) answer.replaced(placed);
    // Not replaced: the call has not changed anything the guest sees, and still wants its value.
    const Status sent = answer.error == 0 ? notify.send_value(call.id, 0)
                                          : notify.send_error(call.id, answer.error);
    end(placed ? Ending::kReplaced : Ending::kReturned, sent);
    if (answer.answered) answer.answered(sent);
  }
  void operator()(Later&) const {}
};

}  // namespace

void deliver(Services& services, const CallId& call, Reply reply) {
  std::visit(Deliver{services, call}, reply);
}

}  // namespace shunt::sandbox
