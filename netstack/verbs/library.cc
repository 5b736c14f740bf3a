#include <dirent.h>
#include <dlfcn.h>

#include "netstack/verbs/calls.h"

namespace shunt::verbs {
namespace {

/// Functions that libibverbs exports. Those of the data path (poll, post, notify) are inline in its
/// header and go through the context's own table, so they need no symbol.
struct Symbols {
  decltype(&ibv_get_device_list) get_device_list;
  decltype(&ibv_free_device_list) free_device_list;
  decltype(&ibv_open_device) open_device;
  decltype(&ibv_close_device) close_device;
  decltype(&ibv_query_device) query_device;
  decltype(&(ibv_query_port)) query_port;  // in parentheses: it is a macro, too
  decltype(&_ibv_query_gid_table) query_gid_table;
  decltype(&ibv_get_async_event) get_async_event;
  decltype(&ibv_ack_async_event) ack_async_event;
  decltype(&ibv_alloc_pd) alloc_pd;
  decltype(&ibv_dealloc_pd) dealloc_pd;
  decltype(&(ibv_reg_mr)) reg_mr;
  decltype(&(ibv_reg_mr_iova)) reg_mr_iova;
  decltype(&ibv_dereg_mr) dereg_mr;
  decltype(&ibv_create_comp_channel) create_comp_channel;
  decltype(&ibv_destroy_comp_channel) destroy_comp_channel;
  decltype(&ibv_create_cq) create_cq;
  decltype(&ibv_destroy_cq) destroy_cq;
  decltype(&ibv_get_cq_event) get_cq_event;
  decltype(&ibv_ack_cq_events) ack_cq_events;
  decltype(&ibv_create_srq) create_srq;
  decltype(&ibv_destroy_srq) destroy_srq;
  decltype(&ibv_create_qp) create_qp;
  decltype(&ibv_modify_qp) modify_qp;
  decltype(&ibv_query_qp) query_qp;
  decltype(&ibv_destroy_qp) destroy_qp;
};

struct Close {
  void operator()(void* library) const { ::dlclose(library); }
};

class Library final : public Calls {
 public:
  static Result<std::unique_ptr<Calls>> open() {
    std::unique_ptr<void, Close> handle{::dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL)};
    if (handle == nullptr) return Error{ENOENT, "dlopen libibverbs.so.1"};
    Symbols symbols{};
    bool found = true;
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
          ::dlsym(handle.get(), name));
      found = found && function != nullptr;
    };
    find(symbols.get_device_list, "ibv_get_device_list");
    find(symbols.free_device_list, "ibv_free_device_list");
    find(symbols.open_device, "ibv_open_device");
    find(symbols.close_device, "ibv_close_device");
    find(symbols.query_device, "ibv_query_device");
    find(symbols.query_port, "ibv_query_port");
    find(symbols.query_gid_table, "_ibv_query_gid_table");
    find(symbols.get_async_event, "ibv_get_async_event");
    find(symbols.ack_async_event, "ibv_ack_async_event");
    find(symbols.alloc_pd, "ibv_alloc_pd");
    find(symbols.dealloc_pd, "ibv_dealloc_pd");
    find(symbols.reg_mr, "ibv_reg_mr");
    find(symbols.reg_mr_iova, "ibv_reg_mr_iova");
    find(symbols.dereg_mr, "ibv_dereg_mr");
    find(symbols.create_comp_channel, "ibv_create_comp_channel");
    find(symbols.destroy_comp_channel, "ibv_destroy_comp_channel");
    find(symbols.create_cq, "ibv_create_cq");
    find(symbols.destroy_cq, "ibv_destroy_cq");
    find(symbols.get_cq_event, "ibv_get_cq_event");
    find(symbols.ack_cq_events, "ibv_ack_cq_events");
    find(symbols.create_srq, "ibv_create_srq");
    find(symbols.destroy_srq, "ibv_destroy_srq");
    find(symbols.create_qp, "ibv_create_qp");
    find(symbols.modify_qp, "ibv_modify_qp");
    find(symbols.query_qp, "ibv_query_qp");
    find(symbols.destroy_qp, "ibv_destroy_qp");
    if (!found) return Error{ENOSYS, "dlsym libibverbs"};
    return std::unique_ptr<Calls>{new Library{std::move(handle), symbols}};
  }

  ibv_device** get_device_list(int* count) override { return lib_.get_device_list(count); }
  void free_device_list(ibv_device** list) override { lib_.free_device_list(list); }
  ibv_context* open_device(ibv_device* device) override { return lib_.open_device(device); }
  int close_device(ibv_context* context) override { return lib_.close_device(context); }
  int query_device(ibv_context* context, ibv_device_attr* attributes) override {
    return lib_.query_device(context, attributes);
  }
  int query_port(ibv_context* context, std::uint8_t port, ibv_port_attr* attributes) override {
    // The exported function fills the part of the struct that every version has: all we read.
    *attributes = {};
    return lib_.query_port(context, port, reinterpret_cast<_compat_ibv_port_attr*>(attributes));
  }
  ssize_t query_gid_table(ibv_context* context, ibv_gid_entry* entries, std::size_t room) override {
    return lib_.query_gid_table(context, entries, room, 0, sizeof *entries);
  }
  int get_async_event(ibv_context* context, ibv_async_event* event) override {
    return lib_.get_async_event(context, event);
  }
  void ack_async_event(ibv_async_event* event) override { lib_.ack_async_event(event); }

  ibv_pd* alloc_pd(ibv_context* context) override { return lib_.alloc_pd(context); }
  int dealloc_pd(ibv_pd* pd) override { return lib_.dealloc_pd(pd); }
  ibv_mr* reg_mr(ibv_pd* pd, void* address, std::size_t length, int access) override {
    return lib_.reg_mr(pd, address, length, access);
  }
  ibv_mr* reg_mr_iova(ibv_pd* pd, void* address, std::size_t length, std::uint64_t iova,
                      int access) override {
    return lib_.reg_mr_iova(pd, address, length, iova, access);
  }
  int dereg_mr(ibv_mr* mr) override { return lib_.dereg_mr(mr); }

  ibv_comp_channel* create_comp_channel(ibv_context* context) override {
    return lib_.create_comp_channel(context);
  }
  int destroy_comp_channel(ibv_comp_channel* channel) override {
    return lib_.destroy_comp_channel(channel);
  }
  ibv_cq* create_cq(ibv_context* context, int entries, void* user, ibv_comp_channel* channel,
                    int vector) override {
    return lib_.create_cq(context, entries, user, channel, vector);
  }
  int destroy_cq(ibv_cq* cq) override { return lib_.destroy_cq(cq); }
  int req_notify_cq(ibv_cq* cq, int solicited_only) override {
    return ::ibv_req_notify_cq(cq, solicited_only);
  }
  int get_cq_event(ibv_comp_channel* channel, ibv_cq** cq, void** user) override {
    return lib_.get_cq_event(channel, cq, user);
  }
  void ack_cq_events(ibv_cq* cq, unsigned count) override { lib_.ack_cq_events(cq, count); }
  int poll_cq(ibv_cq* cq, int room, ibv_wc* completions) override {
    return ::ibv_poll_cq(cq, room, completions);
  }

  ibv_srq* create_srq(ibv_pd* pd, ibv_srq_init_attr* attributes) override {
    return lib_.create_srq(pd, attributes);
  }
  int destroy_srq(ibv_srq* srq) override { return lib_.destroy_srq(srq); }
  int post_srq_recv(ibv_srq* srq, ibv_recv_wr* list, ibv_recv_wr** bad) override {
    return ::ibv_post_srq_recv(srq, list, bad);
  }

  ibv_qp* create_qp(ibv_pd* pd, ibv_qp_init_attr* attributes) override {
    return lib_.create_qp(pd, attributes);
  }
  int modify_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask) override {
    return lib_.modify_qp(qp, attributes, mask);
  }
  int query_qp(ibv_qp* qp, ibv_qp_attr* attributes, int mask, ibv_qp_init_attr* init) override {
    return lib_.query_qp(qp, attributes, mask, init);
  }
  int destroy_qp(ibv_qp* qp) override { return lib_.destroy_qp(qp); }
  int post_send(ibv_qp* qp, ibv_send_wr* list, ibv_send_wr** bad) override {
    return ::ibv_post_send(qp, list, bad);
  }

 private:
  Library(std::unique_ptr<void, Close> handle, const Symbols& symbols)
      : handle_{std::move(handle)}, lib_{symbols} {}

  std::unique_ptr<void, Close> handle_;
  Symbols lib_;
};

}  // namespace

Result<std::unique_ptr<Calls>> load_library() { return Library::open(); }

bool has_device() {
  DIR* const listing = ::opendir("/sys/class/infiniband");
  if (listing == nullptr) return false;
  bool found = false;
  while (const dirent* const entry = ::readdir(listing)) found = found || entry->d_name[0] != '.';
  ::closedir(listing);
  return found;
}

}  // namespace shunt::verbs
