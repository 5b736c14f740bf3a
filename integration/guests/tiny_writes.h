// 20,000 messages of one byte, for which TCP has room before anybody reads.
#pragma once

#include "guest.h"

enum { kTinyWrites = 20000 };

static uint8_t tiny_byte(uint32_t i) { return (uint8_t)(i * 7); }

/// One segment each. Of a socket that does not block, each once it may be written.
static void write_tiny(int fd) {
  const int on = 1;
  must("TCP_NODELAY", setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  for (uint32_t i = 0; i < kTinyWrites; ++i) {
    const uint8_t byte = tiny_byte(i);
    send_all(fd, &byte, 1);
  }
}

/// Reads them one by one and says how many were as they should be.
static void read_tiny(int fd) {
  uint32_t right = 0;
  for (uint32_t i = 0; i < kTinyWrites; ++i) {
    uint8_t byte = 0;
    right += recv_all(fd, &byte, 1) == 1 && byte == tiny_byte(i);
  }
  say("right: %u", right);
}
