/* The want of each single allocation: no call ends the program, loses memory or leaves anything half done. */
#include "check.h"

static const uint8_t HEADER[] = {0, 0, 0, 0x40, 0x9c, 0};
#define PAYLOAD_LEN 40000

/* Makes a decoder, feeds it a frame in pieces, takes the frame. Gives the first result that is no success. */
static sv2_result walk(void)
{
    static const uint8_t piece[1000];
    sv2_decoder *decoder = NULL;
    sv2_frame frame;
    size_t taken, at = 0;
    sv2_result result = sv2_decoder_new(SV2_MAX_PAYLOAD_LEN, &decoder);
    if (result != SV2_OK) {
        CHECK(decoder == NULL);
        return result;
    }
    result = sv2_decoder_feed(decoder, HEADER, sizeof HEADER, &taken);
    while (result == SV2_OK && at < PAYLOAD_LEN) {
        IS(SV2_NEED_BYTES, sv2_decoder_next(decoder, &frame, NULL));
        result = sv2_decoder_feed(decoder, piece, sizeof piece, &taken);
        at += result == SV2_OK ? taken : 0;
    }
    if (result == SV2_OK) {
        IS(SV2_OK, sv2_decoder_next(decoder, &frame, NULL));
        CHECK(frame.payload.len == PAYLOAD_LEN);
    }
    IS(SV2_OK, sv2_decoder_free(decoder));
    return result;
}

static void each_allocation_refused(void)
{
    long allowed;
    sv2_result result = SV2_NO_MEMORY;
    check_about("memory", "each allocation refused");
    for (allowed = 0; result != SV2_OK; allowed++) {
        platform_refuse_after(allowed);
        result = walk();
        platform_refuse_after(-1);
        CHECK(result == SV2_OK || result == SV2_NO_MEMORY);
        CHECK(platform_blocks() == 0);
        CHECK(sv2_handles_in_use() == 0);
        CHECK(allowed < 100);
    }
    /* The decoder, its first buffer, and that growing a few times. */
    CHECK(allowed > 4);
    printf("%ld allocations refused, one after the other\n", allowed - 1);
}

/* What could not be fed for want of memory can be fed again. */
static void a_refused_call_may_be_repeated(void)
{
    static const uint8_t piece[1000];
    sv2_decoder *decoder = NULL;
    sv2_frame frame;
    size_t taken, at = 0;
    int refusals = 0;
    check_about("memory", "repeated");
    IS(SV2_OK, sv2_decoder_new(SV2_MAX_PAYLOAD_LEN, &decoder));
    IS(SV2_OK, sv2_decoder_feed(decoder, HEADER, sizeof HEADER, &taken));
    while (at < PAYLOAD_LEN) {
        sv2_result result;
        IS(SV2_NEED_BYTES, sv2_decoder_next(decoder, &frame, NULL));
        taken = 7;
        platform_refuse_after(0);
        result = sv2_decoder_feed(decoder, piece, sizeof piece, &taken);
        platform_refuse_after(-1);
        if (result == SV2_NO_MEMORY) {
            CHECK(taken == 7);
            refusals += 1;
            IS(SV2_OK, sv2_decoder_feed(decoder, piece, sizeof piece, &taken));
        } else {
            IS(SV2_OK, result);
        }
        CHECK(taken > 0);
        at += taken;
    }
    CHECK(refusals > 1);
    IS(SV2_OK, sv2_decoder_next(decoder, &frame, NULL));
    CHECK(frame.payload.len == PAYLOAD_LEN);
    IS(SV2_OK, sv2_decoder_free(decoder));
}

/* Messages are decoded and encoded without memory. */
static void messages_take_none(void)
{
    sv2_reconnect reconnect, decoded;
    uint8_t frame[64];
    size_t len;
    check_about("memory", "messages");
    reconnect.new_host.data = (const uint8_t *)"example.com";
    reconnect.new_host.len = 11;
    reconnect.new_port = 3336;
    platform_refuse_after(0);
    IS(SV2_OK, sv2_reconnect_encode(&reconnect, frame, sizeof frame, &len));
    IS(SV2_OK, sv2_reconnect_decode(frame + SV2_FRAME_HEADER_LEN, len - SV2_FRAME_HEADER_LEN, &decoded));
    platform_refuse_after(-1);
    CHECK(decoded.new_port == 3336 && decoded.new_host.len == 11);
    CHECK(memcmp(decoded.new_host.data, "example.com", 11) == 0);
}

int main(void)
{
    messages_take_none();
    platform_init();
    messages_take_none();
    if (platform_is_used()) {
        each_allocation_refused();
        a_refused_call_may_be_repeated();
    } else {
        IS(SV2_OK, walk());
        printf("the library has memory of its own, which this test cannot refuse\n");
    }
    return 0;
}
