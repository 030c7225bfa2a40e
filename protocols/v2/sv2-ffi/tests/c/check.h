/* What the tests share: checks, memory to count and to run out of, and the platform of a library without the standard library. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sv2.h"

#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition))

/* Compares results, and names both when they differ. */
#define IS(expected, actual) check_result(__FILE__, __LINE__, #actual, (expected), (actual))

/* Says what the checks that follow are about. */
void check_about(const char *what, const char *which);
void check_failed(const char *file, int line, const char *condition);
void check_result(const char *file, int line, const char *call, sv2_result expected, sv2_result actual);

/* A heap block of exactly these bytes, so that a tool sees every byte read or written beyond. Ends the test without memory. */
uint8_t *exactly(const uint8_t *bytes, size_t len);

/* Initialises the library, with the C library's memory behind the platform's functions. */
void platform_init(void);
/* Whether the library takes its memory from the platform. */
int platform_is_used(void);
/* Lets so many allocations pass, and refuses those behind; negative lets all pass. */
void platform_refuse_after(long allocations);
/* Blocks that the library holds at the moment. */
long platform_blocks(void);

#endif
