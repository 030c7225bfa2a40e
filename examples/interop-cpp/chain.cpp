#include "chain.hpp"

#include <algorithm>
#include <iterator>

namespace {

const uint32_t REGTEST_NBITS = 0x207fffff;
const uint32_t GENESIS_TIME = 1296688602;
const char GENESIS_HASH[] = "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206";
const uint32_t BLOCK_VERSION = 0x20000000;
const uint64_t FIRST_SUBSIDY_SATS = 5000000000u;
const uint32_t HALVING_BLOCKS = 150;
const size_t MEDIAN_BLOCKS = 11;
const size_t SCRIPT_LEN_MAX = 100;

uint32_t rotate(uint32_t word, int bits) { return (word >> bits) | (word << (32 - bits)); }

// SHA-256 (FIPS 180-4) of whole messages.
struct Sha256 {
    uint32_t state[8];

    void block(const uint8_t *bytes);
};

const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

void Sha256::block(const uint8_t *bytes) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++, bytes += 4) {
        w[i] = uint32_t(bytes[0]) << 24 | uint32_t(bytes[1]) << 16 | uint32_t(bytes[2]) << 8 | bytes[3];
    }
    for (int i = 16; i < 64; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ (w[i - 15] >> 3);
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t v[8];
    std::copy(state, state + 8, v);
    for (int i = 0; i < 64; i++) {
        uint32_t s1 = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + ROUND[i] + w[i];
        uint32_t s0 = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        std::copy_backward(v, v + 7, v + 8);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

Bytes sha256(const Bytes &data) {
    Sha256 sha = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
    Bytes padded(data);
    padded.push_back(0x80);
    while (padded.size() % 64 != 56) padded.push_back(0);
    uint64_t bits = uint64_t(data.size()) * 8;
    for (int shift = 56; shift >= 0; shift -= 8) padded.push_back(uint8_t(bits >> shift));
    for (size_t at = 0; at < padded.size(); at += 64) sha.block(&padded[at]);
    Bytes digest;
    for (int i = 0; i < 8; i++) {
        for (int shift = 24; shift >= 0; shift -= 8) digest.push_back(uint8_t(sha.state[i] >> shift));
    }
    return digest;
}

void put(Bytes &to, const void *bytes, size_t len) {
    const uint8_t *start = static_cast<const uint8_t *>(bytes);
    to.insert(to.end(), start, start + len);
}

void put(Bytes &to, const Bytes &bytes) { to.insert(to.end(), bytes.begin(), bytes.end()); }

void put_u32(Bytes &to, uint32_t value) {
    for (int shift = 0; shift < 32; shift += 8) to.push_back(uint8_t(value >> shift));
}

void put_u64(Bytes &to, uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) to.push_back(uint8_t(value >> shift));
}

Hash from_text(const char *text) {
    Hash hash;
    for (int i = 0; i < 32; i++) {
        const char digits[3] = {text[62 - 2 * i], text[63 - 2 * i], 0};
        hash.bytes[i] = uint8_t(std::stoul(digits, 0, 16));
    }
    return hash;
}

// nBits as a number, for the sizes that regtest has.
Hash target_of(uint32_t nbits) {
    Hash target = Hash();
    uint32_t size = nbits >> 24;
    for (int i = 0; i < 3; i++) target.bytes[size - 3 + i] = uint8_t(nbits >> (8 * i));
    return target;
}

bool is_at_most(const Hash &hash, const Hash &target) {
    for (int i = 31; i >= 0; i--) {
        if (hash.bytes[i] != target.bytes[i]) return hash.bytes[i] < target.bytes[i];
    }
    return true;
}

// The height as the coinbase's script must start with it (BIP34).
Bytes height_script(uint32_t height) {
    const uint8_t OP_1 = 0x51;
    if (height <= 16) return Bytes(1, uint8_t(OP_1 + height - 1));
    Bytes number;
    for (uint32_t rest = height; rest != 0; rest >>= 8) number.push_back(uint8_t(rest));
    if (number.back() & 0x80) number.push_back(0);
    number.insert(number.begin(), uint8_t(number.size()));
    return number;
}

// The output that commits to the witnesses of a block with a coinbase only (BIP141): 32 zeros for the coinbase's own
// hash, 32 zeros as reserved value.
Bytes witness_commitment() {
    const Hash commitment = sha256d(Bytes(64, 0));
    const uint8_t script[] = {0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed};
    Bytes output;
    put_u64(output, 0);
    output.push_back(uint8_t(sizeof script + sizeof commitment.bytes));
    put(output, script, sizeof script);
    put(output, commitment.bytes, sizeof commitment.bytes);
    return output;
}

// Reads a transaction that someone else made. Once something is missing, it gives zeros and `is_whole` is false.
class Reader {
  public:
    explicit Reader(const Bytes &bytes) : bytes_(bytes), at_(0), is_whole_(true) {}

    uint64_t number(size_t len) {
        uint64_t value = 0;
        const Bytes part = take(len);
        for (size_t i = part.size(); i > 0; i--) value = value << 8 | part[i - 1];
        return value;
    }

    uint64_t compact() {
        const uint64_t first = number(1);
        if (first < 0xfd) return first;
        return number(first == 0xfd ? 2 : first == 0xfe ? 4 : 8);
    }

    Bytes take(uint64_t len) {
        if (!is_whole_ || len > bytes_.size() - at_) {
            is_whole_ = false;
            return Bytes();
        }
        Bytes part(bytes_.begin() + at_, bytes_.begin() + at_ + len);
        at_ += len;
        return part;
    }

    size_t at() const { return at_; }
    size_t rest() const { return bytes_.size() - at_; }
    bool is_whole() const { return is_whole_; }

  private:
    const Bytes &bytes_;
    size_t at_;
    bool is_whole_;
};

// A coinbase transaction, taken apart.
struct Coinbase {
    Bytes version;
    // Inputs and outputs, serialised.
    Bytes body;
    Bytes script;
    uint64_t value_sats;
    bool has_commitment;
    Bytes locktime;

    bool parse(const Bytes &bytes);
    // Without witness: what the transaction's number is made from.
    Bytes stripped() const;
    // With the reserved value as witness (BIP141): what stands in the block.
    Bytes whole() const;

  private:
    void parse_outputs(Reader &reader);
};

void Coinbase::parse_outputs(Reader &reader) {
    const Bytes commitment = witness_commitment();
    value_sats = 0;
    has_commitment = false;
    const uint64_t count = reader.compact();
    for (uint64_t i = 0; i < count && reader.is_whole(); i++) {
        Bytes output;
        const uint64_t value = reader.number(8);
        const uint64_t len = reader.compact();
        const Bytes script = reader.take(len);
        put_u64(output, value);
        output.push_back(uint8_t(len));
        put(output, script);
        has_commitment = has_commitment || output == commitment;
        // No sum of outputs that the block's reward allows comes near the end of 64 bits.
        value_sats = value > FIRST_SUBSIDY_SATS ? UINT64_MAX / 2 : std::min(value_sats + value, UINT64_MAX / 2);
    }
}

bool Coinbase::parse(const Bytes &bytes) {
    Reader reader(bytes);
    version = reader.take(4);
    const bool has_witness = bytes.size() > 6 && bytes[4] == 0 && bytes[5] == 1;
    if (has_witness) reader.take(2);
    const size_t start = reader.at();
    const bool is_one_input = reader.compact() == 1;
    const Bytes outpoint = reader.take(36);
    Bytes no_outpoint(32, 0);
    put_u32(no_outpoint, UINT32_MAX);
    script = reader.take(reader.compact());
    reader.take(4);
    parse_outputs(reader);
    const size_t end = reader.at();
    if (has_witness) {
        const Bytes expected_witness = reader.take(34);
        if (reader.is_whole() && (expected_witness[0] != 1 || expected_witness[1] != 32)) return false;
        if (std::count(expected_witness.begin() + std::min<size_t>(2, expected_witness.size()), expected_witness.end(), 0) != 32)
            return false;
    }
    locktime = reader.take(4);
    if (!reader.is_whole() || reader.rest() != 0 || !is_one_input || outpoint != no_outpoint) return false;
    body.assign(bytes.begin() + start, bytes.begin() + end);
    return script.size() >= 2 && script.size() <= SCRIPT_LEN_MAX;
}

Bytes Coinbase::stripped() const {
    Bytes bytes(version);
    put(bytes, body);
    put(bytes, locktime);
    return bytes;
}

Bytes Coinbase::whole() const {
    const uint8_t marker_and_flag[] = {0, 1};
    const uint8_t one_item[] = {1, 32};
    Bytes bytes(version);
    put(bytes, marker_and_flag, sizeof marker_and_flag);
    put(bytes, body);
    put(bytes, one_item, sizeof one_item);
    put(bytes, Bytes(32, 0));
    put(bytes, locktime);
    return bytes;
}

// Empty when the coinbase is one for `work`, otherwise what is wrong with it.
std::string fault(const Coinbase &coinbase, const Template &work) {
    const Bytes &prefix = work.coinbase_prefix;
    if (coinbase.script.size() < prefix.size() || !std::equal(prefix.begin(), prefix.end(), coinbase.script.begin()))
        return "its coinbase does not start with the height";
    if (coinbase.value_sats > work.coinbase_value_sats) return "its coinbase spends more than the block gives";
    if (!coinbase.has_commitment) return "its coinbase has not the template's witness commitment";
    return "";
}

} // namespace

bool Hash::operator==(const Hash &other) const { return std::equal(bytes, bytes + 32, other.bytes); }

std::string Hash::text() const { return hex(Bytes(std::reverse_iterator<const uint8_t *>(bytes + 32), std::reverse_iterator<const uint8_t *>(bytes))); }

Hash sha256d(const Bytes &data) {
    const Bytes digest = sha256(sha256(data));
    Hash hash;
    std::copy(digest.begin(), digest.end(), hash.bytes);
    return hash;
}

std::string hex(const Bytes &data) {
    static const char DIGITS[] = "0123456789abcdef";
    std::string text;
    for (size_t i = 0; i < data.size(); i++) {
        text += DIGITS[data[i] >> 4];
        text += DIGITS[data[i] & 15];
    }
    return text;
}

Chain::Chain() : tip_(from_text(GENESIS_HASH)), times_(1, GENESIS_TIME), last_id_(0) {}

uint32_t Chain::height() const { return uint32_t(times_.size() - 1); }

// A block's time must be above the median of the last eleven.
uint32_t Chain::median_time() const {
    std::vector<uint32_t> last(times_.end() - std::min(times_.size(), MEDIAN_BLOCKS), times_.end());
    std::sort(last.begin(), last.end());
    return last[last.size() / 2];
}

Template Chain::next_template(uint32_t now) {
    Template work;
    work.id = ++last_id_;
    work.height = height() + 1;
    work.version = BLOCK_VERSION;
    work.prev_hash = tip_;
    work.ntime_min = std::max(now, median_time() + 1);
    work.nbits = REGTEST_NBITS;
    work.target = target_of(REGTEST_NBITS);
    work.coinbase_prefix = height_script(work.height);
    const uint32_t halvings = std::min<uint32_t>(work.height / HALVING_BLOCKS, 63);
    work.coinbase_value_sats = FIRST_SUBSIDY_SATS >> halvings;
    work.coinbase_outputs = witness_commitment();
    return work;
}

bool Chain::connect(const Template &work, const Solution &solution, Bytes &block, std::string &reason) {
    Coinbase coinbase;
    if (!(work.prev_hash == tip_)) {
        reason = "it is for a block that has another one on it by now";
        return false;
    }
    if (solution.ntime <= median_time()) {
        reason = "its time is not after that of the blocks before";
        return false;
    }
    if (!coinbase.parse(solution.coinbase)) {
        reason = "its coinbase is no coinbase transaction";
        return false;
    }
    reason = fault(coinbase, work);
    if (!reason.empty()) return false;

    // With one transaction, the merkle root is its number.
    const Hash merkle_root = sha256d(coinbase.stripped());
    Bytes header;
    put_u32(header, solution.version);
    put(header, work.prev_hash.bytes, 32);
    put(header, merkle_root.bytes, 32);
    put_u32(header, solution.ntime);
    put_u32(header, work.nbits);
    put_u32(header, solution.nonce);
    const Hash hash = sha256d(header);
    if (!is_at_most(hash, work.target)) {
        reason = "its hash " + hash.text() + " is above the target";
        return false;
    }
    block = header;
    block.push_back(1);
    put(block, coinbase.whole());
    tip_ = hash;
    times_.push_back(solution.ntime);
    return true;
}
