// A regtest chain of blocks that hold a coinbase and nothing else: what a node gives the template provider.
#ifndef CHAIN_HPP
#define CHAIN_HPP

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

typedef std::vector<uint8_t> Bytes;

// 32 bytes in the order in which they are hashed; people write them the other way round.
struct Hash {
    uint8_t bytes[32];

    bool operator==(const Hash &other) const;
    // As people write it, in hexadecimal.
    std::string text() const;
};

Hash sha256d(const Bytes &data);
std::string hex(const Bytes &data);

// What a miner has to know of the next block.
struct Template {
    uint64_t id;
    uint32_t height;
    uint32_t version;
    Hash prev_hash;
    uint32_t ntime_min;
    uint32_t nbits;
    // The largest hash that counts, as a little-endian number.
    Hash target;
    // Start of the coinbase's script: the height (BIP34).
    Bytes coinbase_prefix;
    uint64_t coinbase_value_sats;
    // The witness commitment, a serialised output.
    Bytes coinbase_outputs;
};

// What a miner found.
struct Solution {
    uint32_t version;
    uint32_t ntime;
    uint32_t nonce;
    // The whole coinbase transaction, with or without its witness.
    Bytes coinbase;
};

class Chain {
  public:
    Chain();

    // Blocks above the genesis block.
    uint32_t height() const;

    // The template for the next block, whose time is at least `now`, in seconds since 1970.
    Template next_template(uint32_t now);

    // Makes a block of a solution of `work` and puts it on the chain. `block` is then the serialised block. Otherwise
    // false, and `reason` says why it is none.
    bool connect(const Template &work, const Solution &solution, Bytes &block, std::string &reason);

  private:
    uint32_t median_time() const;

    Hash tip_;
    std::vector<uint32_t> times_;
    uint64_t last_id_;
};

#endif
