// What every fabric must do, as tests: a fabric's own test file says how to make two joined links
// and gets one test case per rule.
//
//   SHUNT_FABRIC_CONTRACT("window", make_window_pair)
#pragma once

#include <doctest/doctest.h>

#include "netstack/fabric/contract_pair.h"

namespace shunt::fabric::contract {

void bytes_arrive_exactly(const MakePair& make);
void both_write_tiny_pieces_first(const MakePair& make);
void each_direction_ends_alone(const MakePair& make);
void a_reset_reaches_the_other_side(const MakePair& make);
void close_with_unread_data_resets(const MakePair& make);
void writing_to_a_closed_side_resets(const MakePair& make);
void a_silent_receiver_stops_the_sender(const MakePair& make);
void blocked_streams_do_not_block_others(const MakePair& make);
void busy_streams_share(const MakePair& make);
void many_streams(const MakePair& make);
void ids_are_not_reused(const MakePair& make);
void abandoned_streams_hang_up(const MakePair& make);
void a_lost_peer_resets_all(const MakePair& make);
void garbage_hurts_nobody(const MakePair& make);
void nothing_is_allowed(const MakePair& make);
void streams_come_and_go(const MakePair& make);
/// In a macro of their own: the memory fabric carries nothing any more once one link is gone.
void last_words_outlive_the_link(const MakePair& make);
void last_words_precede_the_reset(const MakePair& make);

#define SHUNT_FABRIC_CONTRACT(prefix, make)                                                      \
  TEST_CASE(prefix ": bytes arrive exactly") {                                                   \
    ::shunt::fabric::contract::bytes_arrive_exactly(make);                                       \
  }                                                                                              \
  TEST_CASE(prefix ": both sides may write tiny pieces first") {                                 \
    ::shunt::fabric::contract::both_write_tiny_pieces_first(make);                               \
  }                                                                                              \
  TEST_CASE(prefix ": each direction ends alone") {                                              \
    ::shunt::fabric::contract::each_direction_ends_alone(make);                                  \
  }                                                                                              \
  TEST_CASE(prefix ": a reset reaches the other side") {                                         \
    ::shunt::fabric::contract::a_reset_reaches_the_other_side(make);                             \
  }                                                                                              \
  TEST_CASE(prefix ": closing with unread data resets") {                                        \
    ::shunt::fabric::contract::close_with_unread_data_resets(make);                              \
  }                                                                                              \
  TEST_CASE(prefix ": writing to a closed side resets") {                                        \
    ::shunt::fabric::contract::writing_to_a_closed_side_resets(make);                            \
  }                                                                                              \
  TEST_CASE(prefix ": a silent receiver stops the sender, within bounds") {                      \
    ::shunt::fabric::contract::a_silent_receiver_stops_the_sender(make);                         \
  }                                                                                              \
  TEST_CASE(prefix ": a thousand blocked streams do not block another") {                        \
    ::shunt::fabric::contract::blocked_streams_do_not_block_others(make);                        \
  }                                                                                              \
  TEST_CASE(prefix ": busy streams share with a hog") {                                          \
    ::shunt::fabric::contract::busy_streams_share(make);                                         \
  }                                                                                              \
  TEST_CASE(prefix ": four thousand streams") { ::shunt::fabric::contract::many_streams(make); } \
  TEST_CASE(prefix ": a stream id is not used twice") {                                          \
    ::shunt::fabric::contract::ids_are_not_reused(make);                                         \
  }                                                                                              \
  TEST_CASE(prefix ": abandoned streams hang up") {                                              \
    ::shunt::fabric::contract::abandoned_streams_hang_up(make);                                  \
  }                                                                                              \
  TEST_CASE(prefix ": a lost peer resets every stream") {                                        \
    ::shunt::fabric::contract::a_lost_peer_resets_all(make);                                     \
  }                                                                                              \
  TEST_CASE(prefix ": garbage is refused and hurts nobody") {                                    \
    ::shunt::fabric::contract::garbage_hurts_nobody(make);                                       \
  }                                                                                              \
  TEST_CASE(prefix ": streams without a byte, and empty writes") {                               \
    ::shunt::fabric::contract::nothing_is_allowed(make);                                         \
  }                                                                                              \
  TEST_CASE(prefix ": streams come and go") {                                                    \
    ::shunt::fabric::contract::streams_come_and_go(make);                                        \
  }

#define SHUNT_FABRIC_CONTRACT_LAST_WORDS(prefix, make)             \
  TEST_CASE(prefix ": last words outlive the link") {              \
    ::shunt::fabric::contract::last_words_outlive_the_link(make);  \
  }                                                                \
  TEST_CASE(prefix ": last words precede the reset") {             \
    ::shunt::fabric::contract::last_words_precede_the_reset(make); \
  }

}  // namespace shunt::fabric::contract
