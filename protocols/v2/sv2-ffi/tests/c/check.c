#include "check.h"

static const char *about_what = "";
static const char *about_which = "";

void check_about(const char *what, const char *which)
{
    about_what = what;
    about_which = which;
}

void check_failed(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: (%s %s) failed: %s\n", file, line, about_what, about_which, condition);
    exit(1);
}

void check_result(const char *file, int line, const char *call, sv2_result expected, sv2_result actual)
{
    if (expected == actual) {
        return;
    }
    fprintf(stderr, "%s:%d: (%s %s) %s\n    expected: %s\n    got:      %s\n", file, line, about_what, about_which, call,
            sv2_result_text(expected), sv2_result_text(actual));
    exit(1);
}

uint8_t *exactly(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = (uint8_t *)malloc(len == 0 ? 1 : len);
    CHECK(copy != NULL);
    if (len == 0) {
        /* Not even one byte may be touched. */
        return copy + 1;
    }
    if (bytes != NULL) {
        memcpy(copy, bytes, len);
    }
    return copy;
}

static long refuse_after = -1;
static long blocks = 0;
static int context;

/* Aligned by hand: aligned_alloc is younger than C89. In front of each block stand its true address and its length. */
struct front {
    void *block;
    size_t len;
};

static void *allocate(void *given, size_t len, size_t alignment)
{
    char *block;
    char *memory;
    struct front *front;
    CHECK(given == &context);
    CHECK(len > 0);
    CHECK(alignment > 0 && (alignment & (alignment - 1)) == 0);
    if (refuse_after == 0) {
        return NULL;
    }
    if (refuse_after > 0) {
        refuse_after -= 1;
    }
    block = (char *)malloc(len + alignment + 2 * sizeof(struct front));
    if (block == NULL) {
        return NULL;
    }
    memory = block + sizeof(struct front);
    memory += sizeof(struct front) - (size_t)memory % sizeof(struct front);
    while ((size_t)memory % alignment != 0) {
        memory += sizeof(struct front);
    }
    front = (struct front *)memory - 1;
    front->block = block;
    front->len = len;
    blocks += 1;
    return memory;
}

static void give_back(void *given, void *memory, size_t len, size_t alignment)
{
    struct front *front = (struct front *)memory - 1;
    CHECK(given == &context);
    CHECK(front->len == len);
    CHECK((size_t)memory % alignment == 0);
    blocks -= 1;
    free(front->block);
}

static void give_up(void *given)
{
    CHECK(given == &context);
    fprintf(stderr, "the library has found a bug of its own\n");
    abort();
}

void platform_init(void)
{
    sv2_platform platform;
    platform.context = &context;
    platform.allocate = allocate;
    platform.free = give_back;
    platform.abort = give_up;
#ifdef SV2_TEST_NO_STD
    {
        sv2_platform incomplete = platform;
        sv2_decoder *decoder = NULL;
        IS(SV2_NOT_INITIALISED, sv2_decoder_new(1, &decoder));
        CHECK(decoder == NULL);
        IS(SV2_NULL, sv2_init(NULL));
        incomplete.allocate = NULL;
        IS(SV2_NULL, sv2_init(&incomplete));
        incomplete = platform;
        incomplete.free = NULL;
        IS(SV2_NULL, sv2_init(&incomplete));
        incomplete = platform;
        incomplete.abort = NULL;
        IS(SV2_NULL, sv2_init(&incomplete));
    }
#endif
    IS(SV2_OK, sv2_init(&platform));
    IS(SV2_ALREADY_INITIALISED, sv2_init(&platform));
}

int platform_is_used(void)
{
#ifdef SV2_TEST_NO_STD
    return 1;
#else
    return 0;
#endif
}

void platform_refuse_after(long allocations)
{
    refuse_after = allocations;
}

long platform_blocks(void)
{
    return blocks;
}
