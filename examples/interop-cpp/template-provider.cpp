// A template provider for Stratum V2 on the C library: gives the templates of a small regtest chain to any number of clients,
// and takes the blocks that they find. It does not encrypt.
//
//   template-provider [--port PORT] [--count BLOCKS] [--seconds SECONDS]
#include "chain.hpp"
#include "sv2.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <stdexcept>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

const uint16_t DEFAULT_PORT = 8442;
const size_t CLIENTS_MAX = 64;
// A coinbase of 64 KB is the longest field that a client sends.
const uint32_t PAYLOAD_LEN_MAX = 128 * 1024;
// A client that reads slower than this many bytes of templates is dropped.
const size_t UNSENT_MAX = 1024 * 1024;
// Templates that a client may still solve or ask for: the newest of them.
const size_t TEMPLATES_KEPT = 8;

// Thrown for what ends one client's connection: what() says why.
struct Dropped : std::runtime_error {
    explicit Dropped(const std::string &reason) : std::runtime_error(reason) {}
};

void check(sv2_result result) {
    if (result != SV2_OK) throw Dropped(sv2_result_text(result));
}

sv2_bytes view(const Bytes &bytes) {
    sv2_bytes view = {bytes.data(), bytes.size()};
    return view;
}

sv2_bytes view(const char *text) {
    sv2_bytes view = {reinterpret_cast<const uint8_t *>(text), std::strlen(text)};
    return view;
}

// A socket that is closed at its end.
class Socket {
  public:
    explicit Socket(int fd) : fd_(fd) {}
    ~Socket() {
        if (fd_ >= 0) close(fd_);
    }
    int fd() const { return fd_; }

  private:
    Socket(const Socket &);
    Socket &operator=(const Socket &);
    int fd_;
};

struct DecoderFree {
    void operator()(sv2_decoder *decoder) const { sv2_decoder_free(decoder); }
};

struct Client {
    Client(int fd, unsigned number) : socket(fd), number(number), is_set_up(false), wants_templates(false) {
        sv2_decoder *made = NULL;
        check(sv2_decoder_new(PAYLOAD_LEN_MAX, &made));
        decoder.reset(made);
    }

    // Encodes a message behind what is to be sent.
    template <class Message> void send(sv2_result (*encode)(const Message *, uint8_t *, size_t, size_t *), const Message &message) {
        size_t len = 0;
        const size_t start = unsent.size();
        sv2_result result = encode(&message, NULL, 0, &len);
        if (result != SV2_BUFFER_TOO_SHORT) check(result);
        if (start + len > UNSENT_MAX) throw Dropped("it does not read what it is sent");
        unsent.resize(start + len);
        check(encode(&message, &unsent[start], len, &len));
    }

    Socket socket;
    unsigned number;
    std::unique_ptr<sv2_decoder, DecoderFree> decoder;
    bool is_set_up;
    bool wants_templates;
    Bytes unsent;
};

class Provider {
  public:
    explicit Provider(uint16_t port);

    // Serves until `seconds` are over or `count` blocks are found; 0 is for ever.
    void run(unsigned count, unsigned seconds);

  private:
    void accept_client();
    void receive(Client &client);
    void flush(Client &client);
    void handle(Client &client, const sv2_frame &frame);
    void set_up(Client &client, const sv2_bytes &payload);
    void answer_request(Client &client, const sv2_bytes &payload);
    void take_solution(Client &client, const sv2_bytes &payload);
    void new_template();
    void send_template(Client &client, const Template &work);
    void serve(Client &client, short events);

    Chain chain_;
    std::map<uint64_t, Template> templates_;
    Socket listener_;
    std::map<int, std::unique_ptr<Client> > clients_;
    unsigned accepted_;
    unsigned blocks_;
};

void no_wait(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL, 0) | O_NONBLOCK); }

std::runtime_error failure(const char *what) { return std::runtime_error(std::string(what) + ": " + std::strerror(errno)); }

Provider::Provider(uint16_t port) : listener_(socket(AF_INET, SOCK_STREAM, 0)), accepted_(0), blocks_(0) {
    const int on = 1;
    setsockopt(listener_.fd(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_in address = sockaddr_in();
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    sockaddr *any = reinterpret_cast<sockaddr *>(&address);
    socklen_t len = sizeof address;
    if (bind(listener_.fd(), any, len) != 0 || listen(listener_.fd(), 16) != 0 || getsockname(listener_.fd(), any, &len) != 0)
        throw failure("cannot listen, choose another --port");
    no_wait(listener_.fd());
    std::printf("listening on 127.0.0.1:%u\n", unsigned(ntohs(address.sin_port)));
    new_template();
}

void Provider::run(unsigned count, unsigned seconds) {
    const time_t end = seconds == 0 ? 0 : time(NULL) + time_t(seconds);
    while ((count == 0 || blocks_ < count) && (end == 0 || time(NULL) < end)) {
        std::fflush(stdout);
        std::vector<pollfd> polled;
        pollfd listener = {listener_.fd(), POLLIN, 0};
        polled.push_back(listener);
        for (const auto &entry : clients_) {
            pollfd client = {entry.first, short(entry.second->unsent.empty() ? POLLIN : POLLIN | POLLOUT), 0};
            polled.push_back(client);
        }
        if (poll(polled.data(), nfds_t(polled.size()), 200) < 0 && errno != EINTR) throw failure("cannot wait for clients");
        for (size_t i = 1; i < polled.size(); i++) {
            const auto found = clients_.find(polled[i].fd);
            if (polled[i].revents != 0 && found != clients_.end()) serve(*found->second, polled[i].revents);
        }
        if (polled[0].revents != 0) accept_client();
    }
    // What was found last is still told to everyone.
    for (const auto &entry : clients_) {
        try {
            flush(*entry.second);
        } catch (const Dropped &) {
        }
    }
}

void Provider::accept_client() {
    const int fd = accept(listener_.fd(), NULL, NULL);
    if (fd < 0) return;
    if (clients_.size() >= CLIENTS_MAX) {
        close(fd);
        std::printf("a client is turned away: there are %zu already\n", clients_.size());
        return;
    }
    no_wait(fd);
    try {
        clients_[fd] = std::unique_ptr<Client>(new Client(fd, ++accepted_));
        std::printf("client %u connected\n", accepted_);
    } catch (const Dropped &dropped) {
        clients_.erase(fd);
        std::printf("a client is turned away: %s\n", dropped.what());
    }
}

// One client's turn: what is wrong with it ends its connection, and nobody else's.
void Provider::serve(Client &client, short events) {
    try {
        if (events & (POLLIN | POLLHUP | POLLERR)) receive(client);
        flush(client);
    } catch (const Dropped &dropped) {
        std::printf("client %u is gone: %s\n", client.number, dropped.what());
        clients_.erase(client.socket.fd());
    }
}

void Provider::receive(Client &client) {
    uint8_t bytes[4096];
    const ssize_t received = recv(client.socket.fd(), bytes, sizeof bytes, 0);
    if (received == 0) throw Dropped("it has closed the connection");
    if (received < 0) {
        if (errno == EAGAIN || errno == EINTR) return;
        throw Dropped(std::strerror(errno));
    }
    for (size_t fed = 0; fed < size_t(received);) {
        size_t taken = 0;
        check(sv2_decoder_feed(client.decoder.get(), bytes + fed, size_t(received) - fed, &taken));
        fed += taken;
        sv2_frame frame;
        sv2_result result;
        while ((result = sv2_decoder_next(client.decoder.get(), &frame, NULL)) == SV2_OK) handle(client, frame);
        if (result != SV2_NEED_BYTES) check(result);
    }
}

void Provider::flush(Client &client) {
    while (!client.unsent.empty()) {
        const ssize_t sent = send(client.socket.fd(), client.unsent.data(), client.unsent.size(), MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN || errno == EINTR) return;
            throw Dropped(std::strerror(errno));
        }
        client.unsent.erase(client.unsent.begin(), client.unsent.begin() + sent);
    }
}

void Provider::handle(Client &client, const sv2_frame &frame) {
    // Messages of extensions that are not known are left alone (specification 3.4).
    if (frame.extension != 0) return;
    if (!client.is_set_up) {
        if (frame.msg_type != SV2_MSG_SETUP_CONNECTION) throw Dropped("it does not begin with SetupConnection");
        return set_up(client, frame.payload);
    }
    switch (frame.msg_type) {
    case SV2_MSG_COINBASE_OUTPUT_CONSTRAINTS: {
        sv2_coinbase_output_constraints constraints;
        check(sv2_coinbase_output_constraints_decode(frame.payload.data, frame.payload.len, &constraints));
        std::printf("client %u wants %u bytes for outputs\n", client.number, unsigned(constraints.coinbase_output_max_additional_size));
        // Blocks of this chain have no other transactions, so there is room for whatever fits a message.
        client.wants_templates = true;
        return send_template(client, templates_.rbegin()->second);
    }
    case SV2_MSG_REQUEST_TRANSACTION_DATA:
        return answer_request(client, frame.payload);
    case SV2_MSG_SUBMIT_SOLUTION:
        return take_solution(client, frame.payload);
    default:
        std::printf("client %u sends message %u, which is none for a template provider\n", client.number, unsigned(frame.msg_type));
    }
}

void Provider::set_up(Client &client, const sv2_bytes &payload) {
    sv2_setup_connection setup;
    check(sv2_setup_connection_decode(payload.data, payload.len, &setup));
    const bool is_version = setup.min_version <= SV2_PROTOCOL_VERSION && SV2_PROTOCOL_VERSION <= setup.max_version;
    const bool is_protocol = setup.protocol == SV2_PROTOCOL_TEMPLATE_DISTRIBUTION;
    if (is_version && is_protocol && setup.flags == 0) {
        const sv2_setup_connection_success success = {SV2_PROTOCOL_VERSION, 0};
        client.is_set_up = true;
        return client.send(sv2_setup_connection_success_encode, success);
    }
    const char *code = !is_version ? "protocol-version-mismatch" : !is_protocol ? "unsupported-protocol" : "unsupported-feature-flags";
    const sv2_setup_connection_error error = {is_version && is_protocol ? setup.flags : 0, view(code)};
    client.send(sv2_setup_connection_error_encode, error);
    flush(client);
    throw Dropped(code);
}

void Provider::answer_request(Client &client, const sv2_bytes &payload) {
    sv2_request_transaction_data request;
    check(sv2_request_transaction_data_decode(payload.data, payload.len, &request));
    const auto found = templates_.find(request.template_id);
    if (found == templates_.end() || found->second.height != chain_.height() + 1) {
        const char *code = found == templates_.end() ? "template-id-not-found" : "stale-template-id";
        const sv2_request_transaction_data_error error = {request.template_id, view(code)};
        return client.send(sv2_request_transaction_data_error_encode, error);
    }
    // The block has no transactions but the coinbase.
    sv2_request_transaction_data_success success = sv2_request_transaction_data_success();
    success.template_id = request.template_id;
    client.send(sv2_request_transaction_data_success_encode, success);
}

void Provider::take_solution(Client &client, const sv2_bytes &payload) {
    sv2_submit_solution submitted;
    check(sv2_submit_solution_decode(payload.data, payload.len, &submitted));
    const auto found = templates_.find(submitted.template_id);
    Solution solution;
    solution.version = submitted.version;
    solution.ntime = submitted.header_timestamp;
    solution.nonce = submitted.header_nonce;
    solution.coinbase.assign(submitted.coinbase_tx.data, submitted.coinbase_tx.data + submitted.coinbase_tx.len);
    Bytes block;
    std::string reason = "there is no such template";
    if (found == templates_.end() || !chain_.connect(found->second, solution, block, reason)) {
        std::printf("client %u has no solution of template %llu: %s\n", client.number, (unsigned long long)submitted.template_id, reason.c_str());
        return;
    }
    blocks_++;
    std::printf("client %u found the block at height %u\nblock %s\n", client.number, unsigned(chain_.height()), hex(block).c_str());
    new_template();
}

void Provider::new_template() {
    const Template work = chain_.next_template(uint32_t(time(NULL)));
    templates_[work.id] = work;
    if (templates_.size() > TEMPLATES_KEPT) templates_.erase(templates_.begin());
    for (const auto &entry : clients_) {
        // A client that does not read is found out when it is its turn again.
        if (entry.second->wants_templates && entry.second->unsent.size() < UNSENT_MAX / 2) send_template(*entry.second, work);
    }
}

void Provider::send_template(Client &client, const Template &work) {
    sv2_new_template message = sv2_new_template();
    message.template_id = work.id;
    message.future_template = 1;
    message.version = work.version;
    message.coinbase_tx_version = 2;
    message.coinbase_prefix = view(work.coinbase_prefix);
    message.coinbase_tx_input_sequence = UINT32_MAX;
    message.coinbase_tx_value_remaining = work.coinbase_value_sats;
    message.coinbase_tx_outputs_count = 1;
    message.coinbase_tx_outputs = view(work.coinbase_outputs);
    client.send(sv2_new_template_encode, message);

    sv2_template_set_new_prev_hash tip = sv2_template_set_new_prev_hash();
    tip.template_id = work.id;
    std::copy(work.prev_hash.bytes, work.prev_hash.bytes + 32, tip.prev_hash);
    tip.header_timestamp = work.ntime_min;
    tip.nbits = work.nbits;
    std::copy(work.target.bytes, work.target.bytes + 32, tip.target);
    client.send(sv2_template_set_new_prev_hash_encode, tip);
}

// The number behind an option, at most `max`.
unsigned number(const char *option, const char *text, unsigned long max) {
    char *rest = NULL;
    const unsigned long value = text == NULL ? 0 : std::strtoul(text, &rest, 10);
    if (text == NULL || *text == 0 || *rest != 0 || value > max) throw std::runtime_error(std::string(option) + " needs a number up to " + std::to_string(max));
    return unsigned(value);
}

} // namespace

int main(int count, char **arguments) {
    try {
        unsigned port = DEFAULT_PORT, blocks = 0, seconds = 0;
        for (int i = 1; i < count; i += 2) {
            const std::string option = arguments[i];
            if (option == "--port") {
                port = number("--port", arguments[i + 1], 65535);
            } else if (option == "--count") {
                blocks = number("--count", arguments[i + 1], 1000000);
            } else if (option == "--seconds") {
                seconds = number("--seconds", arguments[i + 1], 1000000);
            } else {
                std::fprintf(stderr, "usage: template-provider [--port PORT] [--count BLOCKS] [--seconds SECONDS]\n");
                return 2;
            }
        }
        sv2_init(NULL);
        Provider(uint16_t(port)).run(blocks, seconds);
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 1;
    }
}
