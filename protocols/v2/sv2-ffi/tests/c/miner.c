/* A miner in front of a server that is written out: the vectors, the want of memory, wrong use, and bytes of no server in its right mind. */
#include "check.h"

struct job_vector {
    const char *name;
    int is_standard;
    uint8_t may_roll;
    sv2_bytes prefix, suffix, path, extranonce_prefix, extranonce;
    const uint8_t *prev_hash, *header, *hash, *target;
    unsigned long job_version, version, ntime, nbits, nonce;
    int meets;
};

struct key_vector {
    const char *text;
    int is_key;
    uint8_t key[32];
};

#include "miner_vectors.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define CHANNEL 2
#define GROUP 1

static uint64_t now_us = 1000000;
static int fails;
static unsigned refusals;
static uint32_t seed = 1;

/* Numbers that are not random, and the same each time. */
static uint32_t next_number(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed;
}

static int32_t give_random(void *context, uint8_t *bytes, size_t len)
{
    size_t at;
    CHECK(context == &fails);
    for (at = 0; at < len; at++) {
        bytes[at] = (uint8_t)next_number();
    }
    return fails == 1;
}

static int32_t tell_time(void *context, sv2_time *now)
{
    CHECK(context == &fails);
    now->monotonic_us = now_us;
    now->unix_secs = 1700000000;
    return fails == 2;
}

static const sv2_environment ENVIRONMENT = {&fails, give_random, tell_time};

static sv2_miner_config config(uint32_t security)
{
    sv2_miner_config config;
    memset(&config, 0, sizeof config);
    config.security = security;
    config.max_payload_len = 20000;
    return config;
}

/* Calls without memory end so; the test of it makes them again. */
static sv2_result last;
#define TRY(call)                      \
    do {                               \
        last = (call);                 \
        if (last == SV2_NO_MEMORY) {   \
            return last;               \
        }                              \
        IS(SV2_OK, last);              \
    } while (0)

/* Hands in bytes until an event of this kind, which must come before they end. */
static sv2_result until(sv2_miner *miner, const uint8_t *data, size_t len, uint32_t kind, sv2_event *event)
{
    /* The library sees a block of exactly these bytes. */
    uint8_t *bytes = exactly(data, len);
    size_t at = 0, taken = 0;
    sv2_result result;
    event->kind = 0;
    while (at < len) {
        result = sv2_miner_receive(miner, bytes + at, len - at, &taken);
        at += taken;
        CHECK(at <= len);
        while (result == SV2_NO_MEMORY) {
            refusals += 1;
            platform_refuse_after(-1);
            result = sv2_miner_receive(miner, bytes + at, len - at, &taken);
            at += taken;
        }
        IS(SV2_OK, result);
        while ((result = sv2_miner_next_event(miner, event)) == SV2_OK) {
            CHECK(event->kind == kind);
        }
        IS(SV2_END, result);
    }
    free(len == 0 ? bytes - 1 : bytes);
    CHECK(kind == 0 || event->kind == kind);
    return SV2_OK;
}

static uint8_t frame[40000];
static size_t frame_len;

#define SEND(encode, message, kind, event)                                     \
    do {                                                                       \
        IS(SV2_OK, encode(&(message), frame, sizeof frame, &frame_len));       \
        until(miner, frame, frame_len, kind, event);                           \
    } while (0)

static void sent(sv2_miner *miner)
{
    const uint8_t *data;
    size_t len;
    static volatile uint8_t byte;
    IS(SV2_OK, sv2_miner_outgoing(miner, &data, &len));
    CHECK(len <= SV2_MAX_OUTGOING_LEN);
    /* Every byte can be read. */
    while (len > 0) {
        byte = data[--len];
    }
    (void)byte;
    IS(SV2_OK, sv2_miner_sent(miner, (size_t)-1));
}

/* A connection in the clear with one open channel. The handle is there whatever the result. */
static sv2_result open_channel(const struct job_vector *job, sv2_miner **made)
{
    sv2_miner_config plain = config(SV2_SECURITY_PLAIN);
    sv2_setup_connection_success accepted;
    sv2_channel_terms terms;
    sv2_event event;
    sv2_miner *miner = NULL;
    uint32_t request = 0;
    memset(&accepted, 0, sizeof accepted);
    memset(&terms, 0, sizeof terms);
    accepted.used_version = SV2_PROTOCOL_VERSION;
    *made = NULL;
    TRY(sv2_miner_new(&plain, &ENVIRONMENT, &miner));
    *made = miner;
    sent(miner);
    IS(SV2_NOT_READY, sv2_miner_open_standard(miner, &terms, &request));
    SEND(sv2_setup_connection_success_encode, accepted, SV2_EVENT_READY, &event);
    terms.user_identity.data = (const uint8_t *)"alice";
    terms.user_identity.len = 5;
    terms.min_extranonce_size = (uint16_t)job->extranonce.len;
    if (job->is_standard) {
        sv2_open_standard_mining_channel_success opened;
        TRY(sv2_miner_open_standard(miner, &terms, &request));
        memset(&opened, 0, sizeof opened);
        memset(opened.target, 0xff, 32);
        opened.request_id = request;
        opened.channel_id = CHANNEL;
        opened.extranonce_prefix = job->extranonce_prefix;
        opened.group_channel_id = GROUP;
        SEND(sv2_open_standard_mining_channel_success_encode, opened, SV2_EVENT_OPENED, &event);
    } else {
        sv2_open_extended_mining_channel_success opened;
        TRY(sv2_miner_open_extended(miner, &terms, &request));
        memset(&opened, 0, sizeof opened);
        memset(opened.target, 0xff, 32);
        opened.request_id = request;
        opened.channel_id = CHANNEL;
        opened.extranonce_prefix = job->extranonce_prefix;
        opened.extranonce_size = (uint16_t)job->extranonce.len;
        opened.group_channel_id = GROUP;
        SEND(sv2_open_extended_mining_channel_success_encode, opened, SV2_EVENT_OPENED, &event);
    }
    CHECK(event.channel_id == CHANNEL && event.request_id == request);
    sent(miner);
    return SV2_OK;
}

static sv2_found found_of(const struct job_vector *job)
{
    sv2_found found;
    found.version = (uint32_t)job->version;
    found.ntime = (uint32_t)job->ntime;
    found.nonce = (uint32_t)job->nonce;
    found.extranonce = job->extranonce;
    return found;
}

/* The whole way of a share, with what the vector says at each step. */
static sv2_result mine(const struct job_vector *job, sv2_miner **made)
{
    sv2_new_extended_mining_job sent_job;
    sv2_mining_set_new_prev_hash tip;
    sv2_submit_shares_success accepted;
    sv2_share_counts counts;
    sv2_found found = found_of(job);
    sv2_event event;
    sv2_work work;
    uint8_t header[80], hash[32], meets;
    uint32_t number = 0;
    sv2_miner *miner;
    sv2_result opened = open_channel(job, made);
    if (opened != SV2_OK) {
        return opened;
    }
    miner = *made;
    memset(&sent_job, 0, sizeof sent_job);
    sent_job.channel_id = GROUP;
    sent_job.job_id = 7;
    sent_job.version = (uint32_t)job->job_version;
    sent_job.version_rolling_allowed = job->may_roll;
    sent_job.merkle_path.data = job->path.data;
    sent_job.merkle_path.count = job->path.len / 32;
    sent_job.coinbase_tx_prefix = job->prefix;
    sent_job.coinbase_tx_suffix = job->suffix;
    SEND(sv2_new_extended_mining_job_encode, sent_job, 0, &event);
    IS(SV2_NO_WORK, sv2_miner_work(miner, CHANNEL, &work));
    memset(&tip, 0, sizeof tip);
    tip.channel_id = GROUP;
    tip.job_id = 7;
    memcpy(tip.prev_hash, job->prev_hash, 32);
    tip.min_ntime = (uint32_t)job->ntime;
    tip.nbits = (uint32_t)job->nbits;
    SEND(sv2_mining_set_new_prev_hash_encode, tip, SV2_EVENT_WORK, &event);
    IS(SV2_OK, sv2_miner_work(miner, event.channel_id, &work));
    CHECK(work.job_id == 7 && work.extranonce_size == job->extranonce.len);
    CHECK(work.has_merkle_root == job->is_standard);
    IS(SV2_OK, sv2_work_header(miner, &work, &found, header));
    CHECK(memcmp(header, job->header, 80) == 0);
    IS(SV2_OK, sv2_header_hash(header, hash));
    CHECK(memcmp(hash, job->hash, 32) == 0);
    IS(SV2_OK, sv2_hash_meets_target(hash, job->target, &meets));
    CHECK(meets == job->meets);
    TRY(sv2_miner_submit(miner, &work, &found, &number));
    CHECK(number == 1);
    sent(miner);
    memset(&accepted, 0, sizeof accepted);
    accepted.channel_id = CHANNEL;
    accepted.last_sequence_number = number;
    accepted.new_submits_accepted_count = 1;
    accepted.new_shares_sum = 9;
    SEND(sv2_submit_shares_success_encode, accepted, SV2_EVENT_ACCEPTED, &event);
    CHECK(event.accepted_count == 1 && event.difficulty_sum == 9 && event.sequence_number == number);
    IS(SV2_OK, sv2_miner_share_counts(miner, CHANNEL, &counts));
    CHECK(counts.submitted == 1 && counts.accepted == 1 && counts.rejected == 0);
    return SV2_OK;
}

static void vectors(void)
{
    size_t at;
    for (at = 0; at < COUNT(JOBS); at++) {
        sv2_miner *miner;
        check_about("job", JOBS[at].name);
        IS(SV2_OK, mine(&JOBS[at], &miner));
        IS(SV2_OK, sv2_miner_free(miner));
    }
    for (at = 0; at < COUNT(KEYS); at++) {
        uint8_t key[32];
        check_about("authority key", KEYS[at].text);
        IS(KEYS[at].is_key ? SV2_OK : SV2_BAD_AUTHORITY_KEY,
           sv2_authority_key((const uint8_t *)KEYS[at].text, strlen(KEYS[at].text), key));
        CHECK(!KEYS[at].is_key || memcmp(key, KEYS[at].key, 32) == 0);
    }
    printf("%lu jobs, %lu authority keys\n", (unsigned long)COUNT(JOBS), (unsigned long)COUNT(KEYS));
}

/* Each allocation on the way of a share is refused once; what was received then goes on where it was. */
static void want_of_memory(void)
{
    long allowed;
    sv2_result result;
    if (!platform_is_used()) {
        return;
    }
    for (allowed = 0; allowed < 60; allowed++) {
        sv2_miner *miner;
        check_about("memory", "each allocation refused");
        platform_refuse_after(allowed);
        result = mine(&JOBS[allowed % 2 ? COUNT(JOBS) - 1 : 9], &miner);
        platform_refuse_after(-1);
        CHECK(result == SV2_OK || result == SV2_NO_MEMORY);
        refusals += result == SV2_NO_MEMORY;
        if (miner != NULL) {
            IS(SV2_OK, sv2_miner_free(miner));
        }
        CHECK(platform_blocks() == 0 && sv2_handles_in_use() == 0);
    }
    CHECK(refusals > 8 && result == SV2_OK);
    printf("%u calls refused memory\n", refusals);
}

static void wrong_use(void)
{
    const struct job_vector *job = &JOBS[9];
    sv2_miner_config bad = config(SV2_SECURITY_NOISE);
    sv2_channel_terms terms;
    sv2_found found = found_of(job);
    sv2_miner *miner = NULL, *other = NULL;
    sv2_decoder *decoder = NULL;
    sv2_event event;
    sv2_work work;
    uint8_t header[80] = {0};
    size_t taken, len;
    const uint8_t *data;
    uint32_t number;
    uint64_t count, due;
    check_about("wrong use", "");
    memset(&terms, 0, sizeof terms);
    IS(SV2_NULL, sv2_miner_new(NULL, &ENVIRONMENT, &miner));
    IS(SV2_NULL, sv2_miner_new(&bad, NULL, &miner));
    IS(SV2_NULL, sv2_miner_new(&bad, &ENVIRONMENT, NULL));
    IS(SV2_BAD_AUTHORITY_KEY, sv2_miner_new(&bad, &ENVIRONMENT, &miner));
    bad.security = 3;
    IS(SV2_BAD_CONFIG, sv2_miner_new(&bad, &ENVIRONMENT, &miner));
    bad.security = SV2_SECURITY_NOISE_UNPINNED;
    bad.max_channels = SV2_MAX_CHANNELS + 1;
    IS(SV2_BAD_CONFIG, sv2_miner_new(&bad, &ENVIRONMENT, &miner));
    bad.max_channels = 0;
    bad.vendor.data = frame;
    bad.vendor.len = 256;
    IS(SV2_FIELD_TOO_LONG, sv2_miner_new(&bad, &ENVIRONMENT, &miner));
    bad.vendor.len = 255;
    fails = 1;
    IS(SV2_RANDOM_FAILED, sv2_miner_new(&bad, &ENVIRONMENT, &miner));
    fails = 2;
    IS(SV2_CLOCK_FAILED, sv2_miner_new(&bad, &ENVIRONMENT, &miner));
    fails = 0;
    CHECK(miner == NULL && sv2_handles_in_use() == 0);

    IS(SV2_OK, mine(job, &miner));
    IS(SV2_OK, sv2_miner_work(miner, CHANNEL, &work));
    fails = 2;
    IS(SV2_CLOCK_FAILED, sv2_miner_receive(miner, NULL, 0, &taken));
    IS(SV2_CLOCK_FAILED, sv2_miner_submit(miner, &work, &found, &number));
    fails = 0;
    IS(SV2_NULL, sv2_miner_receive(miner, NULL, 1, &taken));
    IS(SV2_NULL, sv2_miner_receive(miner, frame, 1, NULL));
    IS(SV2_NULL, sv2_miner_next_event(miner, NULL));
    IS(SV2_NULL, sv2_miner_outgoing(miner, NULL, &len));
    IS(SV2_NULL, sv2_miner_outgoing(miner, &data, NULL));
    IS(SV2_NULL, sv2_work_header(miner, &work, &found, NULL));
    IS(SV2_NULL, sv2_work_header(miner, NULL, &found, header));
    IS(SV2_NULL, sv2_miner_submit(miner, &work, NULL, &number));
    IS(SV2_OVERLAP, sv2_header_hash(header, header + 40));
    found.extranonce.data = header;
    IS(SV2_OVERLAP, sv2_work_header(miner, &work, &found, header));
    found.extranonce.len -= 1;
    IS(SV2_BAD_EXTRANONCE_SIZE, sv2_miner_submit(miner, &work, &found, &number));
    found = found_of(job);
    found.version ^= 0x80000000u;
    IS(SV2_VERSION_NOT_ALLOWED, sv2_miner_submit(miner, &work, &found, &number));
    found = found_of(job);
    found.ntime -= 1;
    IS(SV2_NTIME_TOO_EARLY, sv2_miner_submit(miner, &work, &found, &number));
    found = found_of(job);
    IS(SV2_CHANNEL_NOT_OPEN, sv2_miner_work(miner, CHANNEL + 1, &work));
    IS(SV2_CHANNEL_NOT_OPEN, sv2_miner_update_channel(miner, CHANNEL + 1, &terms));
    IS(SV2_OK, sv2_miner_update_channel(miner, CHANNEL, &terms));
    IS(SV2_END, sv2_miner_refused(miner, SV2_OK, &count));
    IS(SV2_OK, sv2_miner_refused(miner, SV2_REFUSED_UNKNOWN_FRAME, &count));
    CHECK(count == 0);
    IS(SV2_END, sv2_miner_timeout(miner, &due));
    IS(SV2_OK, sv2_miner_close_channel(miner, CHANNEL, NULL, 0));
    IS(SV2_CHANNEL_NOT_OPEN, sv2_miner_submit(miner, &work, &found, &number));
    IS(SV2_CHANNEL_NOT_OPEN, sv2_miner_close_channel(miner, CHANNEL, NULL, 0));

    IS(SV2_OK, sv2_decoder_new(10, &decoder));
    IS(SV2_WRONG_HANDLE, sv2_miner_free((sv2_miner *)decoder));
    IS(SV2_WRONG_HANDLE, sv2_miner_next_event((sv2_miner *)(void *)&work, &event));
    IS(SV2_OK, sv2_decoder_free(decoder));
    IS(SV2_OK, sv2_miner_free(miner));
    IS(SV2_FREED, sv2_miner_free(miner));
    IS(SV2_FREED, sv2_miner_sent(miner, 0));

    /* A server that does not answer. */
    bad.vendor.len = 0;
    IS(SV2_OK, sv2_miner_new(&bad, &ENVIRONMENT, &other));
    IS(SV2_OK, sv2_miner_timeout(other, &due));
    CHECK(due == now_us + 5000000);
    IS(SV2_OK, sv2_miner_handle_timeout(other));
    IS(SV2_END, sv2_miner_next_event(other, &event));
    now_us = due;
    IS(SV2_OK, sv2_miner_handle_timeout(other));
    IS(SV2_EVENTS_WAITING, sv2_miner_receive(other, frame, 1, &taken));
    IS(SV2_OK, sv2_miner_next_event(other, &event));
    CHECK(event.kind == SV2_EVENT_ENDED && event.reason == SV2_NO_ANSWER);
    IS(SV2_ENDED, sv2_miner_receive(other, frame, 1, &taken));
    IS(SV2_ENDED, sv2_miner_open_standard(other, &terms, &number));
    IS(SV2_OK, sv2_miner_free(other));
}

/* Hands bytes over in pieces of any length; what comes of it can only be events. */
static void feed(sv2_miner *miner, const uint8_t *data, size_t len)
{
    size_t at = 0;
    while (at < len) {
        size_t piece = 1 + next_number() % 60, taken = 0;
        uint8_t *bytes;
        sv2_event event;
        sv2_result result;
        piece = piece < len - at ? piece : len - at;
        bytes = exactly(data + at, piece);
        result = sv2_miner_receive(miner, bytes, piece, &taken);
        free(bytes);
        CHECK(taken <= piece);
        at += taken;
        while (sv2_miner_next_event(miner, &event) == SV2_OK) {
            size_t text = 0;
            CHECK(event.kind >= SV2_EVENT_READY && event.kind <= SV2_EVENT_ENDED && event.text.len <= 255);
            while (text < event.text.len) {
                seed += event.text.data[text++];
            }
            CHECK(strcmp(sv2_result_text(event.reason), sv2_result_text(-1)) != 0);
        }
        if (result == SV2_ENDED) {
            return;
        }
        IS(SV2_OK, result);
    }
}

static void hostile_bytes(void)
{
    static uint8_t bytes[3000];
    unsigned round;
    check_about("hostile bytes", "");
    seed = 12345;
    for (round = 0; round < 3000; round++) {
        size_t len = 0, at;
        sv2_miner *miner;
        sv2_work work;
        if (round % 3 == 0) {
            /* What no handshake is. */
            sv2_miner_config noise = config(SV2_SECURITY_NOISE_UNPINNED);
            IS(SV2_OK, sv2_miner_new(&noise, &ENVIRONMENT, &miner));
            len = next_number() % 300;
        } else {
            IS(SV2_OK, mine(&JOBS[round % COUNT(JOBS)], &miner));
        }
        /* Frames of every kind, with small numbers so that ids and lengths mean something. */
        while (round % 3 == 1 && len < 1500) {
            size_t payload = next_number() % 100;
            bytes[len++] = 0;
            bytes[len++] = (uint8_t)(next_number() % 2 ? 0x80 : 0);
            bytes[len++] = (uint8_t)(next_number() % 0x28);
            bytes[len++] = (uint8_t)payload;
            bytes[len++] = 0;
            bytes[len++] = 0;
            for (at = 0; at < payload; at++) {
                bytes[len++] = (uint8_t)(next_number() % 4 ? next_number() % 4 : next_number());
            }
        }
        /* A frame that was good, with some of its bytes changed. */
        if (round % 3 == 2) {
            CHECK(frame_len <= sizeof bytes);
            len = frame_len;
            memcpy(bytes, frame, len);
            for (at = next_number() % 4 + 1; at > 0; at--) {
                bytes[next_number() % len] = (uint8_t)next_number();
            }
        }
        for (at = 0; round % 3 == 0 && at < len; at++) {
            bytes[at] = (uint8_t)next_number();
        }
        feed(miner, bytes, len);
        if (sv2_miner_work(miner, CHANNEL, &work) == SV2_OK) {
            sv2_found found;
            uint8_t header[80], extranonce[32] = {0};
            found.version = work.version;
            found.ntime = work.min_ntime;
            found.nonce = 0;
            found.extranonce.data = extranonce;
            found.extranonce.len = work.extranonce_size;
            IS(SV2_OK, sv2_work_header(miner, &work, &found, header));
        }
        now_us += next_number() % 20000000;
        IS(SV2_OK, sv2_miner_handle_timeout(miner));
        sent(miner);
        IS(SV2_OK, sv2_miner_free(miner));
    }
    CHECK(platform_blocks() == 0 && sv2_handles_in_use() == 0);
}

int main(void)
{
    platform_init();
    vectors();
    want_of_memory();
    wrong_use();
    hostile_bytes();
    return 0;
}
