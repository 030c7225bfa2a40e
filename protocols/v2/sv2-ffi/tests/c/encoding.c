/* Messages that no frame can hold, and sequences that are not what they say. */
#include "check.h"

static void fields_that_are_too_long(void)
{
    static const uint8_t text[256];
    sv2_setup_connection setup;
    uint8_t frame[2000];
    size_t len = 77;
    size_t field;
    memset(&setup, 0, sizeof setup);
    check_about("encode", "fields that are too long");
    for (field = 0; field < 5; field++) {
        sv2_bytes *fields[5];
        fields[0] = &setup.endpoint_host;
        fields[1] = &setup.vendor;
        fields[2] = &setup.hardware_version;
        fields[3] = &setup.firmware;
        fields[4] = &setup.device_id;
        fields[field]->data = text;
        fields[field]->len = 256;
        IS(SV2_FIELD_TOO_LONG, sv2_setup_connection_encode(&setup, frame, sizeof frame, &len));
        fields[field]->len = (size_t)-1;
        IS(SV2_BAD_LENGTH, sv2_setup_connection_encode(&setup, frame, sizeof frame, &len));
        fields[field]->data = NULL;
        fields[field]->len = 1;
        IS(SV2_NULL, sv2_setup_connection_encode(&setup, frame, sizeof frame, &len));
        /* Its own target would be written over what is read. */
        fields[field]->data = frame + 100;
        fields[field]->len = 255;
        IS(SV2_OVERLAP, sv2_setup_connection_encode(&setup, frame, sizeof frame, &len));
        CHECK(len == 77);
        fields[field]->data = text;
    }
    IS(SV2_OK, sv2_setup_connection_encode(&setup, frame, sizeof frame, &len));
    CHECK(len == 6 + 16 + 5 * 255);
}

#ifdef SV2_TEMPLATE_PROVIDER
static void transactions(void)
{
    static const uint8_t encoded[] = {2, 0, 0, 'a', 'b', 1, 0, 0, 'c'};
    sv2_request_transaction_data_success message;
    sv2_bytes items[2];
    sv2_bytes item;
    sv2_b016m_seq rest;
    uint8_t frame[64];
    uint8_t *large;
    size_t len = 77;
    check_about("encode", "transactions");
    memset(&message, 0, sizeof message);
    message.transaction_list.encoded = encoded;
    message.transaction_list.encoded_len = sizeof encoded;
    message.transaction_list.count = 1;
    IS(SV2_BAD_SEQUENCE, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    message.transaction_list.count = 3;
    IS(SV2_BAD_SEQUENCE, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    message.transaction_list.count = 65536;
    IS(SV2_FIELD_TOO_LONG, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    message.transaction_list.count = 2;
    message.transaction_list.encoded_len = (size_t)-1;
    IS(SV2_BAD_LENGTH, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    message.transaction_list.encoded_len = SV2_MAX_PAYLOAD_LEN + 1;
    IS(SV2_MESSAGE_TOO_LONG, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    message.transaction_list.encoded_len = sizeof encoded;
    IS(SV2_OK, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    CHECK(len == 6 + 8 + 2 + 2 + sizeof encoded);

    /* As an array. */
    large = (uint8_t *)malloc(SV2_MAX_PAYLOAD_LEN);
    CHECK(large != NULL);
    memset(large, 1, SV2_MAX_PAYLOAD_LEN);
    message.transaction_list.items = items;
    message.transaction_list.encoded = NULL;
    message.transaction_list.encoded_len = 0;
    items[0].data = large;
    items[0].len = SV2_MAX_PAYLOAD_LEN + 1;
    items[1].data = NULL;
    items[1].len = 0;
    IS(SV2_FIELD_TOO_LONG, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    items[0].len = SV2_MAX_PAYLOAD_LEN;
    IS(SV2_MESSAGE_TOO_LONG, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    /* Just not too long: the other fields take 12 bytes, the lengths of the elements 6. */
    items[0].len = SV2_MAX_PAYLOAD_LEN - 18;
    IS(SV2_BUFFER_TOO_SHORT, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    CHECK(len == 6 + SV2_MAX_PAYLOAD_LEN);
    items[0].len += 1;
    IS(SV2_MESSAGE_TOO_LONG, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    items[0].data = NULL;
    IS(SV2_NULL, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    items[0].data = frame + 1;
    items[0].len = 1;
    IS(SV2_OVERLAP, sv2_request_transaction_data_success_encode(&message, frame, sizeof frame, &len));
    free(large);

    rest = message.transaction_list;
    IS(SV2_NULL, sv2_b016m_seq_next(NULL, &item));
    IS(SV2_NULL, sv2_b016m_seq_next(&rest, NULL));
    IS(SV2_OVERLAP, sv2_b016m_seq_next(&rest, (sv2_bytes *)(void *)&rest));
    rest.items = NULL;
    rest.encoded = encoded;
    rest.encoded_len = 4;
    IS(SV2_BAD_SEQUENCE, sv2_b016m_seq_next(&rest, &item));
    rest.encoded = NULL;
    IS(SV2_NULL, sv2_b016m_seq_next(&rest, &item));
}

static void hashes(void)
{
    static const uint8_t path[255 * 32];
    sv2_new_template message;
    uint8_t *frame = (uint8_t *)malloc(10000);
    size_t len = 77;
    check_about("encode", "hashes");
    CHECK(frame != NULL);
    memset(&message, 0, sizeof message);
    message.merkle_path.data = path;
    message.merkle_path.count = 256;
    IS(SV2_FIELD_TOO_LONG, sv2_new_template_encode(&message, frame, 10000, &len));
    message.merkle_path.count = 255;
    IS(SV2_OK, sv2_new_template_encode(&message, frame, 10000, &len));
    message.merkle_path.data = frame + 50;
    IS(SV2_OVERLAP, sv2_new_template_encode(&message, frame, 10000, &len));
    message.merkle_path.data = NULL;
    IS(SV2_NULL, sv2_new_template_encode(&message, frame, 10000, &len));
    message.merkle_path.count = 0;
    message.future_template = 200;
    IS(SV2_OK, sv2_new_template_encode(&message, frame, 10000, &len));
    CHECK(frame[6 + 8] == 1);
    free(frame);
}
#endif

#ifdef SV2_MINER
static void numbers(void)
{
    static const uint32_t items[65535];
    union {
        uint32_t aligned[3];
        uint8_t bytes[12];
    } place;
    sv2_set_group_channel message;
    uint8_t frame[64];
    uint32_t number;
    size_t len = 77;
    check_about("encode", "numbers");
    memset(&message, 0, sizeof message);
    memset(&place, 0, sizeof place);
    message.channel_ids.items = items;
    message.channel_ids.count = 65536;
    IS(SV2_FIELD_TOO_LONG, sv2_set_group_channel_encode(&message, frame, sizeof frame, &len));
    message.channel_ids.count = 65535;
    IS(SV2_BUFFER_TOO_SHORT, sv2_set_group_channel_encode(&message, frame, sizeof frame, &len));
    CHECK(len == 6 + 4 + 2 + 4 * 65535);
    message.channel_ids.items = (const uint32_t *)(const void *)(place.bytes + 1);
    message.channel_ids.count = 2;
    IS(SV2_MISALIGNED, sv2_set_group_channel_encode(&message, frame, sizeof frame, &len));
    IS(SV2_MISALIGNED, sv2_u32_seq_at(&message.channel_ids, 0, &number));
    message.channel_ids.items = (const uint32_t *)(const void *)frame;
    IS(SV2_OVERLAP, sv2_set_group_channel_encode(&message, frame, sizeof frame, &len));
    message.channel_ids.items = NULL;
    IS(SV2_NULL, sv2_set_group_channel_encode(&message, frame, sizeof frame, &len));
    IS(SV2_NULL, sv2_u32_seq_at(&message.channel_ids, 0, &number));
    message.channel_ids.encoded = place.bytes + 1;
    IS(SV2_OK, sv2_set_group_channel_encode(&message, frame, sizeof frame, &len));
    IS(SV2_NULL, sv2_u32_seq_at(NULL, 0, &number));
    IS(SV2_NULL, sv2_u32_seq_at(&message.channel_ids, 0, NULL));
    message.channel_ids.count = (size_t)-1;
    IS(SV2_BAD_LENGTH, sv2_u32_seq_at(&message.channel_ids, 0, &number));
    place.aligned[0] = 9;
    place.aligned[1] = 8;
    message.channel_ids.items = place.aligned;
    message.channel_ids.count = 2;
    IS(SV2_OK, sv2_u32_seq_at(&message.channel_ids, 1, &number));
    CHECK(number == 8);
}

static void options(void)
{
    sv2_new_mining_job job, decoded;
    uint8_t frame[64];
    size_t len;
    check_about("encode", "options");
    memset(&job, 0, sizeof job);
    job.min_ntime.is_present = 2;
    job.min_ntime.value = 5;
    IS(SV2_OK, sv2_new_mining_job_encode(&job, frame, sizeof frame, &len));
    CHECK(len == 6 + 49);
    IS(SV2_OK, sv2_new_mining_job_decode(frame + 6, len - 6, &decoded));
    CHECK(decoded.min_ntime.is_present == 1 && decoded.min_ntime.value == 5);
    job.min_ntime.is_present = 0;
    IS(SV2_OK, sv2_new_mining_job_encode(&job, frame, sizeof frame, &len));
    IS(SV2_OK, sv2_new_mining_job_decode(frame + 6, len - 6, &decoded));
    CHECK(decoded.min_ntime.is_present == 0 && decoded.min_ntime.value == 0);
}
#endif

int main(void)
{
    fields_that_are_too_long();
#ifdef SV2_TEMPLATE_PROVIDER
    transactions();
    hashes();
#endif
#ifdef SV2_MINER
    numbers();
    options();
#endif
    return 0;
}
