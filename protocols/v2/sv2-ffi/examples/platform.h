/*
 * What the miner takes from its platform: memory, randomness, clocks, and the way to the pool. These are POSIX's; a device brings its own.
 */
#ifndef PLATFORM_H
#define PLATFORM_H

#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct { size_t now, peak; } heap;

static void *allocate(void *context, size_t len, size_t alignment) {
  void *memory = NULL;
  (void)context;
  if (posix_memalign(&memory, alignment < sizeof(void *) ? sizeof(void *) : alignment, len) != 0) return NULL;
  heap.now += len;
  if (heap.now > heap.peak) heap.peak = heap.now;
  return memory;
}

static void give_back(void *context, void *memory, size_t len, size_t alignment) {
  (void)context, (void)alignment;
  heap.now -= len;
  free(memory);
}

static void library_has_a_bug(void *context) {
  (void)context;
  abort();
}

/* Randomness for keys: on a device, its hardware generator. */
static int32_t randomness(void *context, uint8_t *bytes, size_t len) {
  FILE *source = fopen("/dev/urandom", "rb");
  size_t got = source ? fread(bytes, 1, len, source) : 0;
  (void)context;
  if (source) fclose(source);
  return got == len ? 0 : -1;
}

static int32_t clocks(void *context, sv2_time *now) {
  struct timespec monotonic;
  (void)context;
  if (clock_gettime(CLOCK_MONOTONIC, &monotonic) != 0) return -1;
  now->monotonic_us = (uint64_t)monotonic.tv_sec * 1000000 + (uint64_t)monotonic.tv_nsec / 1000;
  now->unix_secs = (uint64_t)time(NULL);
  return 0;
}

static const sv2_platform platform = {NULL, allocate, give_back, library_has_a_bug};
static const sv2_environment environment = {NULL, randomness, clocks};

/* A socket connected to the pool, or -1. */
static int connect_to(const char *host, const char *port) {
  struct addrinfo hints, *list, *at;
  int fd = -1;
  memset(&hints, 0, sizeof hints);
  hints.ai_socktype = SOCK_STREAM;
  if (getaddrinfo(host, port, &hints, &list) != 0) return -1;
  for (at = list; at; at = at->ai_next) {
    fd = socket(at->ai_family, at->ai_socktype, at->ai_protocol);
    if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) == 0) break;
    if (fd >= 0) close(fd);
    fd = -1;
  }
  freeaddrinfo(list);
  return fd;
}

#endif
