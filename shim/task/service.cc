#include "shim/task/service.h"

#include <array>

#include "netstack/base/log.h"

namespace shunt::task {

using ttrpc::Code;
using ttrpc::RpcError;

namespace {

using Handler = Co<Answer<std::string>> (*)(Service&, std::string);

// Decodes, calls, encodes. The payload is taken by value: it must outlive the caller's frame.
template <typename Request, typename Response, Co<Answer<Response>> (Service::*kMethod)(Request)>
Co<Answer<std::string>> call(Service& service, std::string payload) {
  Request request;
  if (!request.ParseFromString(payload))
    co_return RpcError{Code::kInvalidArgument, "the request is not a " + request.GetTypeName()};
  payload.clear();
  const Answer<Response> answer = co_await (service.*kMethod)(request);
  if (!answer) co_return answer.error();
  co_return answer->SerializeAsString();
}

struct Method {
  std::string_view name;
  Handler handler;
};

#define SHUNT_METHOD(name, function, request, response) \
  Method { name, &call<wire::request, wire::response, &Service::function> }

// THE list of what the shim answers.
constexpr std::array kMethods{
    SHUNT_METHOD("State", state, StateRequest, StateResponse),
    SHUNT_METHOD("Create", create, CreateTaskRequest, CreateTaskResponse),
    SHUNT_METHOD("Start", start, StartRequest, StartResponse),
    SHUNT_METHOD("Delete", remove, DeleteRequest, DeleteResponse),
    SHUNT_METHOD("Pids", pids, PidsRequest, PidsResponse),
    SHUNT_METHOD("Pause", pause, PauseRequest, Empty),
    SHUNT_METHOD("Resume", resume, ResumeRequest, Empty),
    SHUNT_METHOD("Checkpoint", checkpoint, CheckpointTaskRequest, Empty),
    SHUNT_METHOD("Kill", kill, KillRequest, Empty),
    SHUNT_METHOD("Exec", exec, ExecProcessRequest, Empty),
    SHUNT_METHOD("ResizePty", resize_pty, ResizePtyRequest, Empty),
    SHUNT_METHOD("CloseIO", close_io, CloseIORequest, Empty),
    SHUNT_METHOD("Update", update, UpdateTaskRequest, Empty),
    SHUNT_METHOD("Wait", wait, WaitRequest, WaitResponse),
    SHUNT_METHOD("Stats", stats, StatsRequest, StatsResponse),
    SHUNT_METHOD("Connect", connect, ConnectRequest, ConnectResponse),
    SHUNT_METHOD("Shutdown", shutdown, ShutdownRequest, Empty),
};
#undef SHUNT_METHOD

Co<void> answer_call(Service& service, const Method& method, std::string payload,
                     ttrpc::Responder respond) {
  const Answer<std::string> answer = co_await method.handler(service, std::move(payload));
  if (answer) {
    log::debug("task", "{} = ok", method.name);
  } else {
    log::debug("task", "{} = code {}: {}", method.name, static_cast<int>(answer.error().code),
               answer.error().message);
  }
  respond(answer);
}

}  // namespace

std::string_view name_of(State state) {
  switch (state) {
    case State::kCreated:
      return "created";
    case State::kRunning:
      return "running";
    case State::kPaused:
      return "paused";
    case State::kStopped:
      return "stopped";
  }
  return "unknown";
}

Service::Service(EventLoop& loop, Reaper& reaper, Events& events, Options options)
    : loop_{loop}, reaper_{reaper}, events_{events}, options_{std::move(options)} {}

void Service::handle(ttrpc::Call call, ttrpc::Responder respond) {
  if (call.service != "containerd.task.v2.Task" && call.service != "containerd.task.v3.Task")
    return respond(RpcError{Code::kUnimplemented, "service " + call.service});
  for (const Method& method : kMethods)
    if (method.name == call.method)
      return spawn(answer_call(*this, method, std::move(call.payload), std::move(respond)));
  respond(RpcError{Code::kUnimplemented, "method " + call.method});
}

Answer<Service::ContainerPtr> Service::find(const std::string& id) const {
  const auto it = containers_.find(id);
  if (it == containers_.end()) return ttrpc::not_found("container not created");
  return it->second;
}

Answer<Service::ProcessPtr> Service::find_process(const Container& container,
                                                  const std::string& exec_id) const {
  auto process = container.find(exec_id);
  if (!process) return ttrpc::not_found("process does not exist " + exec_id);
  return process;
}

}  // namespace shunt::task
