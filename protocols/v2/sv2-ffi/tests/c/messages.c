/* Every vector, and what becomes of it when bytes are cut off, flipped or lied about. */
#include "check.h"
#include "vectors.h"

#define CANARY 0xa5

static uint8_t *all_bytes;
static size_t all_len;

const uint8_t *blob(size_t at, size_t len)
{
    CHECK(at <= all_len && len <= all_len - at);
    return all_bytes + at;
}

static void load(const char *path)
{
    FILE *file = fopen(path, "rb");
    long len;
    CHECK(file != NULL);
    CHECK(fseek(file, 0, SEEK_END) == 0);
    len = ftell(file);
    CHECK(len > 0);
    rewind(file);
    all_len = (size_t)len;
    all_bytes = (uint8_t *)malloc(all_len);
    CHECK(all_bytes != NULL && fread(all_bytes, 1, all_len, file) == all_len);
    fclose(file);
}

#define THAT(condition) ((condition) ? (void)0 : check_failed("vectors.c", line, #condition))

void is_number(int line, uint64_t actual, unsigned long high, unsigned long low)
{
    THAT((actual >> 16 >> 16) == high);
    THAT((actual & 0xfffffffful) == low);
}

void is_float(int line, float actual, unsigned long bits)
{
    uint32_t actual_bits;
    memcpy(&actual_bits, &actual, sizeof actual_bits);
    THAT(actual_bits == bits);
}

void is_raw(int line, const uint8_t *actual, size_t at, size_t len)
{
    THAT(len == 32);
    THAT(memcmp(actual, blob(at, len), len) == 0);
}

void is_bytes(int line, sv2_bytes actual, size_t at, size_t len)
{
    THAT(actual.len == len);
    THAT(len == 0 || memcmp(actual.data, blob(at, len), len) == 0);
}

void is_option(int line, sv2_option_u32 actual, int is_present, unsigned long value)
{
    THAT(actual.is_present == is_present);
    THAT(actual.value == value);
}

void is_hashes(int line, sv2_u256_seq actual, size_t at, size_t len)
{
    THAT(actual.count * 32 == len);
    THAT(len == 0 || memcmp(actual.data, blob(at, len), len) == 0);
}

uint32_t *is_numbers(int line, sv2_u32_seq actual, size_t at, size_t len)
{
    uint32_t *items = (uint32_t *)malloc(len == 0 ? 1 : len);
    const uint8_t *bytes = blob(at, len);
    size_t index;
    uint32_t number = 7;
    CHECK(items != NULL);
    THAT(actual.count * 4 == len);
    THAT(actual.items == NULL);
    for (index = 0; index < actual.count; index++) {
        const uint8_t *b = bytes + index * 4;
        IS(SV2_OK, sv2_u32_seq_at(&actual, index, &items[index]));
        number = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
        THAT(items[index] == number);
    }
    number = 7;
    IS(SV2_END, sv2_u32_seq_at(&actual, actual.count, &number));
    IS(SV2_END, sv2_u32_seq_at(&actual, (size_t)-1, &number));
    THAT(number == 7);
    return items;
}

sv2_bytes *is_items(int line, sv2_b016m_seq actual, size_t at, size_t len)
{
    sv2_bytes *items = (sv2_bytes *)malloc(len == 0 ? 1 : len / 8 * sizeof(sv2_bytes));
    const uint8_t *table = blob(at, len);
    sv2_b016m_seq rest = actual;
    sv2_bytes item;
    size_t index;
    CHECK(items != NULL);
    THAT(actual.count * 8 == len);
    THAT(actual.items == NULL);
    for (index = 0; index < actual.count; index++) {
        const uint8_t *b = table + index * 8;
        size_t from = b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
        size_t item_len = b[4] | (size_t)b[5] << 8 | (size_t)b[6] << 16 | (size_t)b[7] << 24;
        IS(SV2_OK, sv2_b016m_seq_next(&rest, &items[index]));
        is_bytes(line, items[index], from, item_len);
    }
    THAT(rest.encoded_len == 0);
    IS(SV2_END, sv2_b016m_seq_next(&rest, &item));
    /* The same through an array of the caller's. */
    if (actual.count > 0) {
        rest = actual;
        rest.items = items;
        for (index = 0; index < actual.count; index++) {
            IS(SV2_OK, sv2_b016m_seq_next(&rest, &item));
            THAT(item.data == items[index].data && item.len == items[index].len);
        }
        IS(SV2_END, sv2_b016m_seq_next(&rest, &item));
    }
    return items;
}

/* The frame of a message in a block of its own length, which must be `expected_len` if that is not 0. */
static uint8_t *frame_of(const struct message *message, const void *decoded, size_t *len)
{
    uint8_t *frame;
    size_t needed = 0;
    IS(SV2_BUFFER_TOO_SHORT, message->encode(decoded, NULL, 0, &needed));
    frame = exactly(NULL, needed);
    IS(SV2_OK, message->encode(decoded, frame, needed, len));
    CHECK(*len == needed);
    return frame;
}

void same_frame(const struct message *message, const void *with_items, const void *decoded, void *items)
{
    size_t len, expected_len;
    uint8_t *frame = frame_of(message, with_items, &len);
    uint8_t *expected = frame_of(message, decoded, &expected_len);
    CHECK(len == expected_len && memcmp(frame, expected, len) == 0);
    free(frame);
    free(expected);
    free(items);
}

/* A struct of the message's size, each byte of it a canary. */
static void *untouched(const struct message *message)
{
    void *out = malloc(message->size);
    CHECK(out != NULL);
    memset(out, CANARY, message->size);
    return out;
}

static void is_untouched(const struct message *message, const void *out)
{
    const uint8_t *bytes = (const uint8_t *)out;
    size_t index;
    for (index = 0; index < message->size; index++) {
        CHECK(bytes[index] == CANARY);
    }
}

static void is_refused(const struct message *message, const uint8_t *payload, size_t len)
{
    void *out = untouched(message);
    sv2_result result = message->decode(payload, len, out);
    CHECK(result == SV2_MISSING_BYTES || result == SV2_LENGTH_ABOVE_MAX);
    is_untouched(message, out);
    free(out);
}

static void truncations(const struct message *message, const uint8_t *payload, size_t len)
{
    size_t cut;
    for (cut = 0; cut < len; cut++) {
        /* Long ones now and then only: a block for each of their lengths would be bytes squared. */
        if (len <= 600 || cut < 64 || cut + 64 > len || cut % (len / 50) == 0) {
            uint8_t *part = exactly(payload, cut);
            is_refused(message, part, cut);
            free(cut == 0 ? part - 1 : part);
        } else if (len < 20000) {
            is_refused(message, payload, cut);
        }
    }
}

static void capacities(const struct message *message, const void *decoded, size_t frame_len)
{
    uint8_t *buffer = exactly(NULL, frame_len);
    size_t capacity, index, len;
    memset(buffer, CANARY, frame_len);
    for (capacity = 0; capacity < frame_len; capacity += frame_len < 2000 ? 1 : frame_len / 500) {
        len = 0;
        IS(SV2_BUFFER_TOO_SHORT, message->encode(decoded, buffer, capacity, &len));
        CHECK(len == frame_len);
    }
    for (index = 0; index < frame_len; index++) {
        CHECK(buffer[index] == CANARY);
    }
    free(buffer);
}

/* A changed payload decodes or does not. If it does, it can be encoded, which reads each of its bytes, and is the same again. */
static void survives(const struct message *message, const uint8_t *payload, size_t len)
{
    void *out = malloc(message->size);
    void *again = malloc(message->size);
    sv2_result result;
    CHECK(out != NULL && again != NULL);
    result = message->decode(payload, len, out);
    if (result == SV2_OK) {
        size_t frame_len, again_len;
        uint8_t *frame = frame_of(message, out, &frame_len);
        uint8_t *second;
        IS(SV2_OK, message->decode(frame + 6, frame_len - 6, again));
        second = frame_of(message, again, &again_len);
        CHECK(again_len == frame_len && memcmp(frame, second, frame_len) == 0);
        free(second);
        free(frame);
    } else {
        CHECK(result == SV2_MISSING_BYTES || result == SV2_LENGTH_ABOVE_MAX);
    }
    free(again);
    free(out);
}

static void flips_and_lies(const struct message *message, const uint8_t *payload, size_t len)
{
    uint8_t *changed = exactly(payload, len);
    size_t step = len <= 400 ? 1 : len / 60;
    size_t index;
    int bit;
    for (index = 0; index < len; index += step) {
        for (bit = 0; bit < 8; bit++) {
            changed[index] ^= (uint8_t)(1 << bit);
            survives(message, changed, len);
            changed[index] = payload[index];
        }
        /* Whatever stands here may be a length. */
        changed[index] = 0xff;
        survives(message, changed, len);
        changed[index] = 0;
        survives(message, changed, len);
        changed[index] = payload[index];
    }
    free(len == 0 ? changed - 1 : changed);
}

static void nulls_and_overlaps(const struct message *message, const void *decoded, const uint8_t *payload, size_t len)
{
    union {
        uint64_t aligned;
        uint8_t bytes[64];
    } place;
    uint8_t *buffer = (uint8_t *)malloc(len + 6 + message->size);
    void *out = untouched(message);
    size_t frame_len = 0;
    CHECK(buffer != NULL);
    IS(SV2_NULL, message->decode(payload, len, NULL));
    IS(SV2_NULL, message->decode(NULL, 1, out));
    IS(SV2_NULL, message->decode(NULL, (size_t)-1, out));
    IS(SV2_BAD_LENGTH, message->decode(payload, (size_t)-1, out));
    IS(SV2_BAD_LENGTH, message->decode(payload, (size_t)-1 / 2 + 1, out));
    is_untouched(message, out);
    IS(SV2_MISSING_BYTES, message->decode(NULL, 0, out));
    IS(SV2_OVERLAP, message->decode((const uint8_t *)out, message->size, out));
    is_untouched(message, out);
    IS(SV2_NULL, message->encode(NULL, buffer, len + 6, &frame_len));
    IS(SV2_NULL, message->encode(decoded, NULL, len + 6, &frame_len));
    IS(SV2_NULL, message->encode(decoded, buffer, len + 6, NULL));
    IS(SV2_BAD_LENGTH, message->encode(decoded, buffer, (size_t)-1, &frame_len));
    CHECK(frame_len == 0);
    if (message->size >= 32) {
        memcpy(out, decoded, message->size);
        IS(SV2_OVERLAP, message->encode(out, (uint8_t *)out + message->size - 1, len + 6, &frame_len));
    }
    IS(SV2_OVERLAP, message->encode(decoded, place.bytes, sizeof place.bytes, (size_t *)(void *)&place));
    IS(SV2_MISALIGNED, message->encode(decoded, buffer, len + 6, (size_t *)(void *)(place.bytes + 1)));
    free(out);
    free(buffer);
}

/* The frame through a decoder, whole and byte by byte. */
static void streams(const struct message *message, const uint8_t *frame, size_t len)
{
    sv2_decoder *decoder = NULL;
    sv2_frame found;
    size_t step = 0, at, taken, missing;
    for (step = len; step > 0; step = step == len && len > 1 && len < 20000 ? 1 : 0) {
        IS(SV2_OK, sv2_decoder_new(SV2_MAX_PAYLOAD_LEN, &decoder));
        at = 0;
        while (at < len) {
            size_t part = step < len - at ? step : len - at;
            IS(SV2_OK, sv2_decoder_feed(decoder, frame + at, part, &taken));
            CHECK(taken > 0 && taken <= part);
            at += taken;
            if (at < len) {
                IS(SV2_NEED_BYTES, sv2_decoder_next(decoder, &found, &missing));
                CHECK(missing > 0 && missing <= len - at);
            }
        }
        IS(SV2_OK, sv2_decoder_next(decoder, &found, &missing));
        CHECK(found.extension == 0 && found.msg_type == message->number);
        CHECK(found.is_channel_message == message->is_channel_message);
        CHECK(found.payload.len == len - 6 && memcmp(found.payload.data, frame + 6, len - 6) == 0);
        IS(SV2_OK, sv2_decoder_free(decoder));
    }
}

static void vector(const struct vector *vector)
{
    const struct message *message = vector->message;
    uint8_t *payload = exactly(blob(vector->first, vector->first_len), vector->first_len);
    void *decoded = malloc(message->size);
    uint8_t *frame;
    size_t frame_len;
    CHECK(decoded != NULL);
    IS(SV2_OK, message->decode(payload, vector->first_len, decoded));
    vector->check(decoded);
    frame = frame_of(message, decoded, &frame_len);
    CHECK(frame_len == vector->second_len);
    CHECK(memcmp(frame, blob(vector->second, frame_len), frame_len) == 0);
    capacities(message, decoded, frame_len);
    truncations(message, payload, vector->first_len);
    flips_and_lies(message, payload, vector->first_len);
    nulls_and_overlaps(message, decoded, payload, vector->first_len);
    streams(message, frame, frame_len);
    free(frame);
    free(decoded);
    free(payload);
}

static void accepted(const struct message *message, const uint8_t *bytes, size_t len)
{
    uint8_t *payload = exactly(bytes, len);
    void *decoded = malloc(message->size);
    uint8_t *frame;
    size_t frame_len, index;
    CHECK(decoded != NULL);
    IS(SV2_OK, message->decode(payload, len, decoded));
    frame = frame_of(message, decoded, &frame_len);
    CHECK(frame_len - 6 <= len);
    for (index = 0; index < frame_len - 6; index++) {
        /* Of a yes-or-no field only the lowest bit counts. */
        CHECK(frame[index + 6] == payload[index] || frame[index + 6] == (payload[index] & 1));
    }
    free(frame);
    free(decoded);
    free(payload);
}

static const struct message *message_with(const sv2_frame *frame)
{
    const struct message *const *message;
    for (message = MESSAGES; *message != NULL; message++) {
        if (frame->extension == 0 && frame->msg_type == (*message)->number) {
            return *message;
        }
    }
    return NULL;
}

/* A stream that is no message of one of the vectors; returns whether this build had something to check. */
static int stream(const struct vector *vector)
{
    const uint8_t *bytes = blob(vector->first, vector->first_len);
    const struct message *message;
    sv2_decoder *decoder = NULL;
    sv2_frame frame;
    size_t taken, missing = 0;
    int checked = 1;
    IS(SV2_OK, sv2_decoder_new(SV2_MAX_PAYLOAD_LEN, &decoder));
    IS(SV2_OK, sv2_decoder_feed(decoder, bytes, vector->first_len, &taken));
    CHECK(taken == vector->first_len);
    if (vector->kind == WAITED_FOR) {
        IS(SV2_NEED_BYTES, sv2_decoder_next(decoder, &frame, &missing));
        CHECK(missing == vector->second);
        IS(SV2_OK, sv2_decoder_free(decoder));
        return 1;
    }
    IS(SV2_OK, sv2_decoder_next(decoder, &frame, &missing));
    message = message_with(&frame);
    if (vector->kind == UNKNOWN) {
        CHECK(message == NULL);
    } else if (message == NULL) {
        checked = 0;
    } else if (vector->kind == REJECTED_FRAME) {
        is_refused(message, frame.payload.data, frame.payload.len);
    } else {
        accepted(message, frame.payload.data, frame.payload.len);
        if (vector->kind == UNKNOWN_PROTOCOL) {
            CHECK(message->number == SV2_MSG_SETUP_CONNECTION);
            CHECK(frame.payload.data[0] > SV2_PROTOCOL_TEMPLATE_DISTRIBUTION);
        }
    }
    IS(SV2_OK, sv2_decoder_free(decoder));
    return checked;
}

int main(int count, char **arguments)
{
    const struct vector *each;
    unsigned checked = 0, absent = 0;
    CHECK(count == 2);
    load(arguments[1]);
    platform_init();
    for (each = VECTORS; each->name != NULL; each++) {
        const uint8_t *bytes = blob(each->first, each->first_len);
        check_about(each->message == NULL ? "frame" : each->message->name, each->name);
        switch (each->kind) {
        case VECTOR:
            vector(each);
            break;
        case REJECTED:
            is_refused(each->message, bytes, each->first_len);
            break;
        case TRUNCATED:
            accepted(each->message, bytes, each->first_len);
            truncations(each->message, bytes, each->first_len);
            break;
        case ACCEPTED:
            accepted(each->message, bytes, each->first_len);
            break;
        default:
            if (!stream(each)) {
                absent += 1;
                continue;
            }
        }
        checked += 1;
    }
    CHECK(checked > 100);
    CHECK(sv2_handles_in_use() == 0);
    CHECK(platform_blocks() == 0);
    printf("%u vectors, %u of messages that this build lacks\n", checked, absent);
    free(all_bytes);
    return 0;
}
