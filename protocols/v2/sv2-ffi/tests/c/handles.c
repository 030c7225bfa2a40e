/* Handles that are wrong, freed, too many or in use, and the decoder's limits. */
#include <pthread.h>

#include "check.h"

static sv2_decoder *decoder_new(uint32_t max_payload_len)
{
    sv2_decoder *decoder = NULL;
    IS(SV2_OK, sv2_decoder_new(max_payload_len, &decoder));
    CHECK(decoder != NULL);
    return decoder;
}

/* Every function with a handle that `result` is the answer to. */
static void every_function_says(sv2_result result, sv2_decoder *decoder)
{
    static const uint8_t byte = 0;
    sv2_frame frame;
    size_t count = 77;
    uint8_t is_between = 77;
    memset(&frame, 77, sizeof frame);
    IS(result, sv2_decoder_feed(decoder, &byte, 1, &count));
    IS(result, sv2_decoder_next(decoder, &frame, &count));
    IS(result, sv2_decoder_next(decoder, &frame, NULL));
    IS(result, sv2_decoder_is_between_frames(decoder, &is_between));
    IS(result, sv2_decoder_free(decoder));
    CHECK(count == 77 && is_between == 77 && frame.msg_type == 77);
}

static void wrong_handles(void)
{
    sv2_decoder *decoder = decoder_new(100);
    union {
        uint64_t number;
        void *pointer;
    } object;
    size_t bit;
    object.number = 5;
    check_about("handle", "NULL");
    every_function_says(SV2_NULL, NULL);
    check_about("handle", "of an object");
    every_function_says(SV2_WRONG_HANDLE, (sv2_decoder *)(void *)&object);
    check_about("handle", "of another kind");
    for (bit = 1; bit < 5; bit++) {
        every_function_says(SV2_WRONG_HANDLE, (sv2_decoder *)((size_t)decoder ^ (size_t)1 << bit));
    }
    every_function_says(SV2_WRONG_HANDLE, (sv2_decoder *)((size_t)decoder ^ 1));
    check_about("handle", "with a bit of slot or generation changed");
    for (bit = 5; bit < 8 * sizeof(size_t); bit++) {
        every_function_says(SV2_FREED, (sv2_decoder *)((size_t)decoder ^ (size_t)1 << bit));
    }
    check_about("handle", "freed");
    IS(SV2_OK, sv2_decoder_free(decoder));
    every_function_says(SV2_FREED, decoder);
    CHECK(sv2_handles_in_use() == 0);
}

static void nulls(void)
{
    sv2_decoder *decoder = decoder_new(100);
    static const uint8_t byte = 0;
    union {
        size_t aligned;
        uint8_t bytes[2 * sizeof(size_t)];
    } place;
    sv2_frame frame;
    size_t count = 77;
    check_about("decoder", "NULL");
    IS(SV2_NULL, sv2_decoder_new(100, NULL));
    IS(SV2_MISALIGNED, sv2_decoder_new(100, (sv2_decoder **)(void *)(place.bytes + 1)));
    IS(SV2_NULL, sv2_decoder_feed(decoder, NULL, 1, &count));
    IS(SV2_NULL, sv2_decoder_feed(decoder, &byte, 1, NULL));
    IS(SV2_BAD_LENGTH, sv2_decoder_feed(decoder, &byte, (size_t)-1, &count));
    IS(SV2_OVERLAP, sv2_decoder_feed(decoder, place.bytes, sizeof place, &place.aligned));
    IS(SV2_MISALIGNED, sv2_decoder_feed(decoder, &byte, 1, (size_t *)(void *)(place.bytes + 1)));
    IS(SV2_NULL, sv2_decoder_next(decoder, NULL, &count));
    IS(SV2_MISALIGNED, sv2_decoder_next(decoder, &frame, (size_t *)(void *)(place.bytes + 1)));
    IS(SV2_NULL, sv2_decoder_is_between_frames(decoder, NULL));
    CHECK(count == 77);
    IS(SV2_OK, sv2_decoder_feed(decoder, NULL, 0, &count));
    CHECK(count == 0);
    IS(SV2_OK, sv2_decoder_free(decoder));
}

static void too_many(void)
{
    static sv2_decoder *decoders[SV2_MAX_HANDLES];
    sv2_decoder *one_more = NULL;
    int round;
    size_t index;
    check_about("handle", "too many");
    for (round = 0; round < 3; round++) {
        for (index = 0; index < SV2_MAX_HANDLES; index++) {
            decoders[index] = decoder_new(100);
        }
        CHECK(sv2_handles_in_use() == SV2_MAX_HANDLES);
        IS(SV2_TOO_MANY_HANDLES, sv2_decoder_new(100, &one_more));
        CHECK(one_more == NULL);
        for (index = 0; index < SV2_MAX_HANDLES; index++) {
            IS(SV2_OK, sv2_decoder_free(decoders[index]));
        }
        CHECK(sv2_handles_in_use() == 0);
        CHECK(platform_blocks() == 0);
    }
}

static void limits_of_a_decoder(void)
{
    static const uint8_t fits[] = {0, 0, 0, 3, 0, 0, 'a', 'b', 'c'};
    static const uint8_t too_long[] = {0, 0, 0, 4, 0, 0};
    sv2_decoder *decoder = decoder_new(3);
    sv2_frame frame;
    uint8_t is_between;
    size_t taken, missing = 0;
    check_about("decoder", "limits");
    IS(SV2_OK, sv2_decoder_is_between_frames(decoder, &is_between));
    CHECK(is_between == 1);
    IS(SV2_OK, sv2_decoder_feed(decoder, fits, 7, &taken));
    IS(SV2_NEED_BYTES, sv2_decoder_next(decoder, &frame, &missing));
    CHECK(missing == 2);
    IS(SV2_OK, sv2_decoder_is_between_frames(decoder, &is_between));
    CHECK(is_between == 0);
    IS(SV2_OK, sv2_decoder_feed(decoder, fits + 7, 2, &taken));
    IS(SV2_OK, sv2_decoder_next(decoder, &frame, NULL));
    CHECK(frame.payload.len == 3 && memcmp(frame.payload.data, "abc", 3) == 0);
    IS(SV2_OK, sv2_decoder_feed(decoder, too_long, sizeof too_long, &taken));
    IS(SV2_PAYLOAD_TOO_LONG, sv2_decoder_next(decoder, &frame, &missing));
    IS(SV2_PAYLOAD_TOO_LONG, sv2_decoder_next(decoder, &frame, &missing));
    IS(SV2_PAYLOAD_TOO_LONG, sv2_decoder_feed(decoder, fits, sizeof fits, &taken));
    IS(SV2_OK, sv2_decoder_free(decoder));
}

/* What a frame announces takes no memory: a device must not run out of it for six bytes of a stranger. */
static void announcements_cost_nothing(void)
{
    static const uint8_t header[] = {0, 0, 0, 0xff, 0xff, 0xff};
    sv2_decoder *decoder = decoder_new(SV2_MAX_PAYLOAD_LEN);
    sv2_frame frame;
    size_t taken, missing = 0;
    check_about("decoder", "announcements");
    IS(SV2_OK, sv2_decoder_feed(decoder, header, sizeof header, &taken));
    IS(SV2_NEED_BYTES, sv2_decoder_next(decoder, &frame, &missing));
    CHECK(missing == SV2_MAX_PAYLOAD_LEN);
    /* The decoder itself at most: no byte waits. */
    CHECK(platform_blocks() <= 1);
    IS(SV2_OK, sv2_decoder_free(decoder));
}

struct shared {
    sv2_decoder *decoder;
    unsigned long fed;
    unsigned long busy;
};

static void *feeds(void *given)
{
    struct shared *shared = (struct shared *)given;
    static const uint8_t bytes[4000];
    int round;
    for (round = 0; round < 4000; round++) {
        size_t taken = 0;
        sv2_result result = sv2_decoder_feed(shared->decoder, bytes, sizeof bytes, &taken);
        if (result == SV2_OK) {
            shared->fed += (unsigned long)taken;
        } else {
            IS(SV2_BUSY, result);
            shared->busy += 1;
        }
    }
    return NULL;
}

/* Two threads on one handle: each call does its work or says that it did not, and none is half done. */
static void one_handle_on_two_threads(void)
{
    struct shared first, second;
    pthread_t thread;
    sv2_frame frame;
    unsigned long found = 0;
    size_t taken, missing;
    sv2_result result;
    check_about("handle", "on two threads");
    memset(&first, 0, sizeof first);
    first.decoder = decoder_new(SV2_MAX_PAYLOAD_LEN);
    second = first;
    CHECK(pthread_create(&thread, NULL, feeds, &first) == 0);
    feeds(&second);
    CHECK(pthread_join(thread, NULL) == 0);
    /* A frame of zeros has no payload: each six bytes are one. */
    while ((result = sv2_decoder_next(first.decoder, &frame, &missing)) == SV2_OK) {
        found += 6;
    }
    IS(SV2_NEED_BYTES, result);
    IS(SV2_OK, sv2_decoder_feed(first.decoder, NULL, 0, &taken));
    CHECK(found + 6 - missing == first.fed + second.fed);
    printf("%lu of 8000 calls on two threads were busy\n", first.busy + second.busy);
    IS(SV2_OK, sv2_decoder_free(first.decoder));
}

static void texts(void)
{
    sv2_result result;
    check_about("results", "texts");
    for (result = -2; result < 100; result++) {
        CHECK(strlen(sv2_result_text(result)) > 3);
    }
    CHECK(strcmp(sv2_result_text(SV2_OK), sv2_result_text(SV2_NULL)) != 0);
    CHECK(strcmp(sv2_result_text(-1), sv2_result_text(2147483647)) == 0);
    CHECK(strchr(sv2_version(), '.') != NULL);
}

int main(void)
{
    texts();
    platform_init();
    wrong_handles();
    nulls();
    too_many();
    limits_of_a_decoder();
    announcements_cost_nothing();
    one_handle_on_two_threads();
    CHECK(sv2_handles_in_use() == 0);
    CHECK(platform_blocks() == 0);
    return 0;
}
