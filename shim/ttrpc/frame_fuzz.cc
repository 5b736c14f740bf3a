// Frames and requests as a hostile client may send them, cut at arbitrary places.
#include "shim/proto/task.pb.h"
#include "shim/proto/ttrpc.pb.h"
#include "shim/ttrpc/frame.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shunt;
  const std::string_view bytes{reinterpret_cast<const char*>(data), size};
  ttrpc::FrameReader reader;
  const std::size_t step = size > 0 ? data[0] % 37U + 1 : 1;
  for (std::size_t at = 0; at < size; at += step) {
    reader.feed(bytes.substr(at, step));
    while (auto frame = reader.next()) {
      wire::Request request;
      if (!request.ParseFromString(frame->payload)) continue;
      wire::CreateTaskRequest create;
      if (create.ParseFromString(request.payload())) static_cast<void>(create.SerializeAsString());
    }
  }
  return 0;
}
