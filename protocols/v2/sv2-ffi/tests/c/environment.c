/* Randomness and clocks that fail. */
#include "check.h"

struct state {
    int fail;
    int same;
    uint8_t next;
    uint64_t now;
    int64_t step;
};

static int32_t give_random(void *context, uint8_t *bytes, size_t len)
{
    struct state *state = (struct state *)context;
    size_t index;
    if (state->fail == 1) {
        return -5;
    }
    for (index = 0; index < len; index++) {
        bytes[index] = state->same == 2 ? 0 : (uint8_t)(state->same == 1 ? index : state->next++);
    }
    return 0;
}

static int32_t tell_time(void *context, sv2_time *now)
{
    struct state *state = (struct state *)context;
    if (state->fail == 2) {
        return 1;
    }
    now->monotonic_us = state->now;
    now->unix_secs = 1700000000;
    state->now += (uint64_t)state->step;
    return 0;
}

static int32_t calls_back(void *context, uint8_t *bytes, size_t len)
{
    /* Another handle's calls are fine within a callback. */
    sv2_decoder *decoder = NULL;
    IS(SV2_OK, sv2_decoder_new(10, &decoder));
    IS(SV2_OK, sv2_decoder_free(decoder));
    return give_random(context, bytes, len);
}

int main(void)
{
    struct state state;
    sv2_environment environment;
    memset(&state, 0, sizeof state);
    state.now = 100;
    environment.context = &state;
    environment.random = give_random;
    environment.clock = tell_time;
    check_about("environment", "");
    platform_init();
    IS(SV2_NULL, sv2_environment_check(NULL));
    IS(SV2_OK, sv2_environment_check(&environment));
    environment.random = calls_back;
    IS(SV2_OK, sv2_environment_check(&environment));
    environment.random = NULL;
    IS(SV2_NULL, sv2_environment_check(&environment));
    environment.random = give_random;
    environment.clock = NULL;
    IS(SV2_NULL, sv2_environment_check(&environment));
    environment.clock = tell_time;
    state.fail = 1;
    IS(SV2_RANDOM_FAILED, sv2_environment_check(&environment));
    state.fail = 2;
    IS(SV2_CLOCK_FAILED, sv2_environment_check(&environment));
    state.fail = 0;
    state.same = 1;
    IS(SV2_RANDOM_FAILED, sv2_environment_check(&environment));
    state.same = 2;
    IS(SV2_RANDOM_FAILED, sv2_environment_check(&environment));
    state.same = 0;
    state.step = -1;
    IS(SV2_CLOCK_FAILED, sv2_environment_check(&environment));
    state.step = 1;
    IS(SV2_OK, sv2_environment_check(&environment));
    return 0;
}
