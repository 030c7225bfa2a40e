/*
 * A CPU miner for Stratum V2 pools, as a device's firmware would be built on sv2.h: one connection, one channel, one loop. What differs
 * from one device to another stands in platform.h.
 *
 *   miner [--standard] [--shares N] [--user NAME] HOST PORT [KEY]
 *
 * KEY is the pool's authority key; without it the connection is in the clear. It ends after N accepted shares and says how many were,
 * and how much memory the library took at most, which it counts where the library has no allocator of its own.
 */
#define _POSIX_C_SOURCE 200809L

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SV2_MINER
#include "sv2.h"

#include "platform.h"

/* Hashes between two looks at the connection. */
#define HASHES_AT_A_TIME 2000

static struct {
  sv2_miner *miner;
  int socket, is_standard;
  const char *user;
  /* The channel's work, and what was tried of it. */
  int has_work;
  sv2_work work;
  uint32_t nonce;
  uint64_t extranonce;
  unsigned long accepted, rejected;
} self;

static void die(const char *what, sv2_result result) {
  fprintf(stderr, "%s: %s\n", what, sv2_result_text(result));
  exit(1);
}

static void check(const char *what, sv2_result result) {
  if (result != SV2_OK) die(what, result);
}

static sv2_bytes bytes_of(const char *text) {
  sv2_bytes bytes;
  bytes.data = (const uint8_t *)text;
  bytes.len = strlen(text);
  return bytes;
}

static void open_channel(void) {
  sv2_channel_terms terms;
  uint32_t request;
  memset(&terms, 0, sizeof terms);
  terms.user_identity = bytes_of(self.user);
  terms.nominal_hash_rate = 4000.0f;
  terms.min_extranonce_size = 4;
  check("asking for a channel", self.is_standard ? sv2_miner_open_standard(self.miner, &terms, &request)
                                                 : sv2_miner_open_extended(self.miner, &terms, &request));
}

/* The server's words go to a terminal: only what is printable. */
static void say(const char *what, const sv2_event *event) {
  size_t at;
  printf("%s: ", what);
  for (at = 0; at < event->text.len; at++) {
    uint8_t byte = event->text.data[at];
    putchar(byte >= 0x20 && byte < 0x7f ? byte : '?');
  }
  putchar('\n');
}

static void take(const sv2_event *event) {
  switch (event->kind) {
  case SV2_EVENT_READY:
    open_channel();
    break;
  case SV2_EVENT_WORK:
    self.has_work = sv2_miner_work(self.miner, event->channel_id, &self.work) == SV2_OK;
    self.nonce = 0;
    break;
  case SV2_EVENT_ACCEPTED:
    self.accepted += event->accepted_count;
    break;
  case SV2_EVENT_REJECTED:
    self.rejected++;
    say("rejected", event);
    break;
  case SV2_EVENT_CLOSED:
    self.has_work = 0;
    say("the channel was closed", event);
    open_channel();
    break;
  case SV2_EVENT_RECONNECT:
    say("the pool asks to connect elsewhere", event);
    break;
  case SV2_EVENT_REFUSED:
    printf("refused: %s\n", sv2_result_text(event->reason));
    break;
  case SV2_EVENT_OPEN_REFUSED:
    say("the pool opens no channel", event);
    exit(1);
  case SV2_EVENT_ENDED:
    say("the connection ends", event);
    die("because", event->reason);
  default:
    break;
  }
}

static void take_events(void) {
  sv2_event event;
  sv2_result result;
  while ((result = sv2_miner_next_event(self.miner, &event)) == SV2_OK) take(&event);
  if (result != SV2_END) die("events", result);
}

static void receive(void) {
  uint8_t buffer[512];
  ssize_t len = recv(self.socket, buffer, sizeof buffer, 0);
  size_t at = 0, taken = 0;
  if (len <= 0) {
    fprintf(stderr, "the pool closed the connection\n");
    exit(1);
  }
  while (at < (size_t)len) {
    check("receiving", sv2_miner_receive(self.miner, buffer + at, (size_t)len - at, &taken));
    at += taken;
    take_events();
  }
}

static void send_what_waits(void) {
  const uint8_t *data;
  size_t len;
  ssize_t sent;
  for (;;) {
    check("sending", sv2_miner_outgoing(self.miner, &data, &len));
    if (len == 0) return;
    sent = send(self.socket, data, len, 0);
    if (sent <= 0) {
      fprintf(stderr, "the pool does not read\n");
      exit(1);
    }
    check("sending", sv2_miner_sent(self.miner, (size_t)sent));
  }
}

/* Milliseconds to wait for the pool: none while there is work. */
static int patience(void) {
  uint64_t due;
  sv2_time now;
  if (self.has_work) return 0;
  if (sv2_miner_timeout(self.miner, &due) != SV2_OK || clocks(NULL, &now) != 0) return -1;
  return due > now.monotonic_us ? (int)((due - now.monotonic_us) / 1000 + 1) : 0;
}

/* Hashes for a moment, and hands in the first share found. */
static void mine(void) {
  uint8_t header[80], hash[32], meets = 0, extranonce[SV2_MAX_EXTRANONCE_LEN] = {0};
  uint32_t number, end = self.nonce + HASHES_AT_A_TIME;
  sv2_found found;
  sv2_result result;
  found.version = self.work.version;
  found.ntime = self.work.min_ntime;
  if (self.nonce > end) self.extranonce++;
  memcpy(extranonce, &self.extranonce, sizeof self.extranonce);
  found.extranonce.data = extranonce;
  found.extranonce.len = self.work.extranonce_size;
  found.nonce = self.nonce;
  check("a header", sv2_work_header(self.miner, &self.work, &found, header));
  for (; self.nonce != end && !meets; self.nonce++) {
    found.nonce = self.nonce;
    header[76] = (uint8_t)self.nonce;
    header[77] = (uint8_t)(self.nonce >> 8);
    header[78] = (uint8_t)(self.nonce >> 16);
    header[79] = (uint8_t)(self.nonce >> 24);
    check("a hash", sv2_header_hash(header, hash));
    check("a target", sv2_hash_meets_target(hash, self.work.target, &meets));
  }
  if (!meets) return;
  result = sv2_miner_submit(self.miner, &self.work, &found, &number);
  if (result != SV2_OK && result != SV2_OUTGOING_FULL) die("a share", result);
}

static void mine_until(unsigned long shares) {
  struct pollfd ready;
  ready.fd = self.socket;
  ready.events = POLLIN;
  while (self.accepted < shares) {
    send_what_waits();
    if (poll(&ready, 1, patience()) > 0) receive();
    check("time", sv2_miner_handle_timeout(self.miner));
    take_events();
    if (self.has_work) mine();
  }
}

int main(int count, char **words) {
  unsigned long shares = (unsigned long)-1;
  sv2_miner_config config;
  self.user = "c-miner";
  for (count--, words++; count > 0 && strncmp(*words, "--", 2) == 0; count--, words++) {
    if (strcmp(*words, "--standard") == 0) self.is_standard = 1;
    else if (count > 1 && strcmp(*words, "--shares") == 0) shares = strtoul((count--, *++words), NULL, 10);
    else if (count > 1 && strcmp(*words, "--user") == 0) self.user = (count--, *++words);
    else count = 0;
  }
  if (count != 2 && count != 3) {
    fprintf(stderr, "miner [--standard] [--shares N] [--user NAME] HOST PORT [KEY]\n");
    return 2;
  }
  check("starting", sv2_init(&platform));
  check("the environment", sv2_environment_check(&environment));
  memset(&config, 0, sizeof config);
  config.security = count == 3 ? SV2_SECURITY_NOISE : SV2_SECURITY_PLAIN;
  if (count == 3) check("the key", sv2_authority_key((const uint8_t *)words[2], strlen(words[2]), config.authority));
  config.flags = self.is_standard ? SV2_REQUIRES_STANDARD_JOBS : 0;
  config.endpoint_host = bytes_of(words[0]);
  config.endpoint_port = (uint16_t)strtoul(words[1], NULL, 10);
  config.vendor = bytes_of("example");
  config.firmware = bytes_of(sv2_version());
  self.socket = connect_to(words[0], words[1]);
  if (self.socket < 0) {
    fprintf(stderr, "cannot reach %s port %s\n", words[0], words[1]);
    return 1;
  }
  check("a miner", sv2_miner_new(&config, &environment, &self.miner));
  mine_until(shares);
  check("freeing", sv2_miner_free(self.miner));
  close(self.socket);
  printf("accepted %lu, rejected %lu, peak heap %lu bytes, left %lu\n", self.accepted, self.rejected,
         (unsigned long)heap.peak, (unsigned long)heap.now);
  return 0;
}
