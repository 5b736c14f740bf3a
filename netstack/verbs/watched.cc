#include "netstack/verbs/watched.h"

namespace shunt::verbs {

void Watched::break_first_pair() {
  if (pairs_.empty()) return;
  ibv_qp_attr to{};
  to.qp_state = IBV_QPS_ERR;
  (void)inner_->modify_qp(pairs_.front(), &to, IBV_QP_STATE);
}

void Watched::revoke_keys() {
  for (ibv_mr* const mr : std::exchange(open_, {}))
    if (inner_->dereg_mr(mr) == 0) revoked_.insert(mr);
}

ibv_mr* Watched::reg_mr(ibv_pd* pd, void* address, std::size_t length, int access) {
  ibv_mr* const mr = inner_->reg_mr(pd, address, length, access);
  revoked_.erase(mr);  // the place of one that was
  return mr;
}

ibv_mr* Watched::reg_mr_iova(ibv_pd* pd, void* address, std::size_t length, std::uint64_t iova,
                             int access) {
  ibv_mr* const mr = inner_->reg_mr_iova(pd, address, length, iova, access);
  revoked_.erase(mr);
  if (mr != nullptr && (access & IBV_ACCESS_REMOTE_WRITE) != 0) open_.insert(mr);
  return mr;
}

int Watched::dereg_mr(ibv_mr* mr) {
  if (revoked_.erase(mr) > 0) return 0;
  open_.erase(mr);
  return inner_->dereg_mr(mr);
}

ibv_qp* Watched::create_qp(ibv_pd* pd, ibv_qp_init_attr* attributes) {
  ibv_qp* const pair = inner_->create_qp(pd, attributes);
  if (pair != nullptr) pairs_.push_back(pair);
  return pair;
}

int Watched::destroy_qp(ibv_qp* qp) {
  std::erase(pairs_, qp);
  return inner_->destroy_qp(qp);
}

}  // namespace shunt::verbs
