/* The vectors as vectors.py writes them. */
#ifndef VECTORS_H
#define VECTORS_H

#include "sv2.h"

/* A message of the header, without its type. */
struct message {
    const char *name;
    uint8_t number;
    uint8_t is_channel_message;
    size_t size;
    sv2_result (*decode)(const uint8_t *payload, size_t len, void *out);
    sv2_result (*encode)(const void *in, uint8_t *buffer, size_t capacity, size_t *len);
};

enum vector_kind {
    /* A message: payload, frame, and the fields that it decodes to. */
    VECTOR,
    /* A payload that is refused. */
    REJECTED,
    /* A payload that is whole, and refused when it is not. */
    TRUNCATED,
    /* A payload that decodes, whatever stands behind its fields. */
    ACCEPTED,
    /* A stream whose first frame is refused, decodes, has an unknown sub-protocol, or is of no message here. */
    REJECTED_FRAME,
    ACCEPTED_FRAME,
    UNKNOWN_PROTOCOL,
    UNKNOWN,
    /* A stream without a whole frame; `second` counts the bytes that are missing. */
    WAITED_FOR
};

struct vector {
    enum vector_kind kind;
    const struct message *message;
    size_t first, first_len;
    size_t second, second_len;
    void (*check)(const void *decoded);
    const char *name;
};

/* Both end with a 0 in place of a message. */
extern const struct message *const MESSAGES[];
extern const struct vector VECTORS[];

/* The bytes that a vector speaks of. */
const uint8_t *blob(size_t at, size_t len);

void is_number(int line, uint64_t actual, unsigned long high, unsigned long low);
void is_float(int line, float actual, unsigned long bits);
void is_raw(int line, const uint8_t *actual, size_t at, size_t len);
void is_bytes(int line, sv2_bytes actual, size_t at, size_t len);
void is_option(int line, sv2_option_u32 actual, int is_present, unsigned long value);
void is_hashes(int line, sv2_u256_seq actual, size_t at, size_t len);
uint32_t *is_numbers(int line, sv2_u32_seq actual, size_t at, size_t len);
sv2_bytes *is_items(int line, sv2_b016m_seq actual, size_t at, size_t len);

/* Frees `items` once a message that has them for its sequence was compared with the one that it was decoded from. */
void same_frame(const struct message *message, const void *with_items, const void *decoded, void *items);

#define IS_NUMBER(actual, high, low) is_number(__LINE__, (actual), (high), (low))
#define IS_FLOAT(actual, bits) is_float(__LINE__, (actual), (bits))
#define IS_RAW(actual, at, len) is_raw(__LINE__, (actual), (at), (len))
#define IS_BYTES(actual, at, len) is_bytes(__LINE__, (actual), (at), (len))
#define IS_OPTION(actual, is_present, value) is_option(__LINE__, (actual), (is_present), (value))
#define IS_HASHES(actual, at, len) is_hashes(__LINE__, (actual), (at), (len))
#define IS_NUMBERS(type, member, at, len) WITH_ITEMS(is_numbers, type, member, at, len)
#define IS_ITEMS(type, member, at, len) WITH_ITEMS(is_items, type, member, at, len)
#define WITH_ITEMS(function, type, member, at, len)                                                \
    do {                                                                                           \
        type copy = *m;                                                                            \
        copy.member.items = function(__LINE__, m->member, (at), (len));                            \
        same_frame(&message_of(type), &copy, m, (void *)copy.member.items);                        \
    } while (0)
#define message_of(type) message_of_##type
#define message_of_sv2_set_group_channel message_set_group_channel
#define message_of_sv2_request_transaction_data_success message_request_transaction_data_success

#endif
