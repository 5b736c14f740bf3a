#include "shim/privilege.h"

#include <memory>

namespace shunt {

Status drop_privileges() {
  const std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> now{::cap_get_proc(),
                                                                          ::cap_free};
  const std::unique_ptr<std::remove_pointer_t<cap_t>, int (*)(void*)> kept{::cap_init(),
                                                                           ::cap_free};
  if (!now || !kept) return last_error("cap_get_proc");
  for (const KeptCapability& capability : kKeptCapabilities) {
    // A node may itself run with fewer: asking for one we do not have would fail the whole call.
    cap_flag_value_t held = CAP_CLEAR;
    if (::cap_get_flag(now.get(), capability.value, CAP_PERMITTED, &held) < 0 || held == CAP_CLEAR)
      continue;
    for (const cap_flag_t set : {CAP_PERMITTED, CAP_EFFECTIVE})
      if (::cap_set_flag(kept.get(), set, 1, &capability.value, CAP_SET) < 0)
        return last_error("cap_set_flag");
  }
  if (::cap_set_proc(kept.get()) < 0) return last_error("cap_set_proc");
  return Done{};
}

}  // namespace shunt
