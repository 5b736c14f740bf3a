// gRPC status codes as ttrpc carries them, and the answer type of every call.
//
// containerd turns Canceled, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists,
// FailedPrecondition, Unimplemented and Unavailable into typed errors; the others become "unknown".
#pragma once

#include <string>

#include "netstack/base/result.h"

namespace shunt::ttrpc {

enum class Code : int {
  kOk = 0,
  kCanceled = 1,
  kUnknown = 2,
  kInvalidArgument = 3,
  kDeadlineExceeded = 4,
  kNotFound = 5,
  kAlreadyExists = 6,
  kPermissionDenied = 7,
  kResourceExhausted = 8,
  kFailedPrecondition = 9,
  kAborted = 10,
  kUnimplemented = 12,
  kInternal = 13,
  kUnavailable = 14,
};

struct RpcError {
  Code code = Code::kUnknown;
  std::string message;
};

/// A serialized response message, or the error the client sees.
template <typename T>
using Answer = Result<T, RpcError>;

inline RpcError unknown(std::string message) { return {Code::kUnknown, std::move(message)}; }
// containerd's convention is "<detail>: <class text>"; its clients strip the class text again.
inline RpcError not_found(const std::string& what) {
  return {Code::kNotFound, what + ": not found"};
}
inline RpcError already_exists(const std::string& what) {
  return {Code::kAlreadyExists, what + ": already exists"};
}
inline RpcError failed_precondition(const std::string& what) {
  return {Code::kFailedPrecondition, what + ": failed precondition"};
}
inline RpcError invalid_argument(const std::string& what) {
  return {Code::kInvalidArgument, what + ": invalid argument"};
}
inline RpcError unimplemented(const std::string& what) {
  return {Code::kUnimplemented, what + ": not implemented"};
}

}  // namespace shunt::ttrpc
