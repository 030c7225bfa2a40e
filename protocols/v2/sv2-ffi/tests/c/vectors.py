#!/usr/bin/env python3
"""Turns test/vectors/messages.json and malformed.json into C: vectors.c, and vectors.bin with the bytes it speaks of.

usage: vectors.py SV2_H VECTORS_FOLDER OUTPUT_FOLDER PROTOCOL...

The structs of the messages are read from the header, so a field that the header lacks or has too many is an error.
"""

import hashlib
import json
import os
import re
import sys

# Bytes of the length prefix of byte strings that are not STR0_255, B0_32 or B0_255; checked by the digests of long vectors.
PREFIXES = {
    "coinbase_tx_prefix": 2,
    "coinbase_tx_suffix": 2,
    "coinbase_tx_outputs": 2,
    "coinbase_tx": 2,
    "excess_data": 2,
}
TEXT = {
    "endpoint_host", "vendor", "hardware_version", "firmware", "device_id", "error_code", "reason_code", "new_host",
    "user_identity",
}
INTEGERS = {"uint8_t": 1, "uint16_t": 2, "uint32_t": 4, "uint64_t": 8}


def same(left, right):
    return left.replace("_", "").lower() == right.replace("_", "").lower()


def snake(name):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name.replace(".", "")).lower()


class Blob:
    """All byte strings, one behind the other."""

    def __init__(self):
        self.bytes = bytearray()
        self.known = {}

    def add(self, data):
        if data not in self.known:
            self.known[data] = len(self.bytes)
            self.bytes += data
        return f"{self.known[data]}ul, {len(data)}ul"


def structs(header):
    """The members of each struct of the header, as (type, name)."""
    found = {}
    for name, body in re.findall(r"typedef struct (sv2_\w+) \{(.*?)\} \1;", header, re.S):
        body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
        members = re.findall(r"^\s*(?:struct )?(\w+) (\w+)(\[32\])?;", body, re.M)
        found[name] = [(kind + array, member) for kind, member, array in members]
    return found


def plain(value, name):
    """The bytes of a byte string in one of its notations."""
    if isinstance(value, dict) and "pattern_hex" in value:
        pattern, length = bytes.fromhex(value["pattern_hex"]), value["len"]
        return (pattern * (length // max(len(pattern), 1) + 1))[:length]
    if isinstance(value, dict) and "hex" in value:
        return bytes.fromhex(value["hex"])
    return value.encode() if name in TEXT else bytes.fromhex(value)


def elements(value, name):
    """The elements of a sequence in one of its notations."""
    if not isinstance(value, dict):
        return [element if isinstance(element, int) else plain(element, name) for element in value]
    if value["seq_rule"] == "repeat":
        return [bytes.fromhex(value["value_hex"])] * value["count"]
    assert value["seq_rule"] == "(start+step*i) mod 2^32", value
    return [(value["start"] + value["step"] * i) % 2**32 for i in range(value["count"])]


def number(value):
    return int(value)


class Message:
    def __init__(self, name, protocol, found):
        self.name = name
        self.c_name = snake(name)
        if name == "SetNewPrevHash":
            self.c_name = {"mining": "mining_", "template_distribution": "template_"}[protocol] + self.c_name
        self.members = found["sv2_" + self.c_name]

    def value(self, vector, member):
        values = [value for name, value in vector["fields"].items() if same(name, member)]
        assert len(values) == 1, (self.name, member, vector["fields"].keys())
        return values[0]

    def check(self, vector, blob):
        """Statements that compare a decoded struct with the fields of a vector."""
        assert len(self.members) == len(vector["fields"]), (self.name, self.members)
        for kind, member in self.members:
            value, place = self.value(vector, member), f"m->{member}"
            if kind in INTEGERS:
                high, low = divmod(number(value), 2**32)
                yield f"IS_NUMBER({place}, {high}ul, {low}ul);"
            elif kind == "float":
                yield f"IS_FLOAT({place}, {vector['f32_bits'][member]}ul);"
            elif kind == "uint8_t[32]":
                yield f"IS_RAW({place}, {blob.add(plain(value, member))});"
            elif kind == "sv2_bytes":
                yield f"IS_BYTES({place}, {blob.add(plain(value, member))});"
            elif kind == "sv2_option_u32":
                yield f"IS_OPTION({place}, {int(value is not None)}, {value or 0}ul);"
            elif kind == "sv2_u256_seq":
                yield f"IS_HASHES({place}, {blob.add(b''.join(elements(value, member)))});"
            elif kind == "sv2_u32_seq":
                data = b"".join(n.to_bytes(4, "little") for n in elements(value, member))
                yield f"IS_NUMBERS(sv2_{self.c_name}, {member}, {blob.add(data)});"
            elif kind == "sv2_b016m_seq":
                table = b""
                for element in elements(value, member):
                    at, length = (int(part.strip("ul ")) for part in blob.add(element).split(","))
                    table += at.to_bytes(4, "little") + length.to_bytes(4, "little")
                yield f"IS_ITEMS(sv2_{self.c_name}, {member}, {blob.add(table)});"
            else:
                raise ValueError(f"{self.name}: no check for {kind} {member}")

    def encode(self, vector):
        """The payload of a vector that is given by its digest."""
        payload = b""
        for kind, member in self.members:
            value = self.value(vector, member)
            if kind in INTEGERS:
                payload += number(value).to_bytes(INTEGERS[kind], "little")
            elif kind == "float":
                payload += int(vector["f32_bits"][member], 16).to_bytes(4, "little")
            elif kind == "uint8_t[32]":
                payload += plain(value, member)
            elif kind == "sv2_bytes":
                data = plain(value, member)
                payload += len(data).to_bytes(PREFIXES.get(member, 1), "little") + data
            elif kind == "sv2_option_u32":
                payload += b"\0" if value is None else b"\1" + value.to_bytes(4, "little")
            else:
                parts = elements(value, member)
                payload += len(parts).to_bytes(1 if kind == "sv2_u256_seq" else 2, "little")
                for part in parts:
                    if isinstance(part, int):
                        part = part.to_bytes(4, "little")
                    elif kind == "sv2_b016m_seq":
                        part = len(part).to_bytes(3, "little") + part
                    payload += part
        assert hashlib.sha256(payload).hexdigest() == vector["payload_sha256"], (self.name, vector["id"])
        return payload

    def payload(self, vector):
        return bytes.fromhex(vector["payload_hex"]) if "payload_hex" in vector else self.encode(vector)


def header_of(entry, payload):
    extension = entry["extension_type"] | (0x8000 if entry["channel_bit"] else 0)
    return extension.to_bytes(2, "little") + bytes([entry["msg_type"]]) + len(payload).to_bytes(3, "little")


class Writer:
    def __init__(self, found, protocols):
        self.found, self.protocols = found, protocols
        self.blob = Blob()
        self.functions, self.rows = [], []
        self.messages, self.numbers = {}, {}
        self.skipped = 0

    def message(self, entry):
        """The message that an entry names, if it is one of the wanted protocols."""
        if entry["protocol"] not in self.protocols:
            self.skipped += 1
            return None
        key = (entry["protocol"], entry["message"])
        if key not in self.messages:
            self.messages[key] = Message(entry["message"], entry["protocol"], self.found)
        return self.messages[key]

    def row(self, kind, message, first, second="0ul, 0ul", check="0", line=""):
        message = f"&message_{message.c_name}" if message else "0"
        self.rows.append(f'    {{{kind}, {message}, {first}, {second}, {check}, "{line}"}},')

    def vector(self, entry):
        message = self.message(entry)
        if message is None:
            return
        self.numbers[(entry["protocol"], entry["message"])] = (entry["msg_type"], entry["channel_bit"])
        payload = message.payload(entry)
        frame = header_of(entry, payload) + payload
        if "frame_hex" in entry:
            assert frame.hex() == entry["frame_hex"], entry["id"]
        name = f"check_{entry['id']}"
        lines = "\n".join("    " + line for line in message.check(entry, self.blob))
        self.functions.append(
            f"static void {name}(const void *decoded)\n{{\n"
            f"    const sv2_{message.c_name} *m = (const sv2_{message.c_name} *)decoded;\n{lines}\n}}\n"
        )
        self.row("VECTOR", message, self.blob.add(payload), self.blob.add(frame), name, f"vector {entry['id']}")

    def payload(self, kind, entry, payload):
        message = self.message(entry)
        if message is not None:
            self.row(kind, message, self.blob.add(payload), line=entry.get("category", "truncation"))

    def case(self, entry):
        expected = entry["expected"]
        if "field" in entry:
            assert expected.startswith("reject"), entry
            self.payload("REJECTED", entry, bytes.fromhex(entry["payload_hex"]))
            return
        frame = bytes.fromhex(entry["frame_hex"])
        where = self.blob.add(frame)
        if expected.startswith("incomplete"):
            missing = 6 - len(frame)
            if len(frame) >= 6:
                missing = int.from_bytes(frame[3:6], "little") + 6 - len(frame)
            self.row("WAITED_FOR", None, where, f"{missing}ul, 0ul", line=entry["category"])
        elif "unsupported-protocol" in expected:
            self.row("UNKNOWN_PROTOCOL", None, where, line=entry["category"])
        elif expected.startswith("reject"):
            # Of a message that this build does not have there is nothing to refuse.
            self.row("REJECTED_FRAME", None, where, line=entry["category"])
        else:
            self.row("UNKNOWN", None, where, line=entry["category"])

    def source(self):
        out = ['#include "check.h"', '#include "vectors.h"', ""]
        for (protocol, name), message in self.messages.items():
            c_name = message.c_name
            msg_type, channel = self.numbers[(protocol, name)]
            macro = "SV2_MSG_" + c_name.upper()
            out.append(
                f"static sv2_result decode_{c_name}(const uint8_t *payload, size_t len, void *out)\n"
                f"{{\n    return sv2_{c_name}_decode(payload, len, (sv2_{c_name} *)out);\n}}\n\n"
                f"static sv2_result encode_{c_name}(const void *in, uint8_t *buffer, size_t capacity, size_t *len)\n"
                f"{{\n    return sv2_{c_name}_encode((const sv2_{c_name} *)in, buffer, capacity, len);\n}}\n\n"
                f"typedef char number_of_{c_name}[{macro} == {msg_type} ? 1 : -1];\n"
                f"static const struct message message_{c_name} = {{\n"
                f'    "{name}", {macro}, {int(channel)}, sizeof(sv2_{c_name}), decode_{c_name}, encode_{c_name}\n}};\n'
            )
        out += self.functions
        names = ", ".join(f"&message_{message.c_name}" for message in self.messages.values())
        out.append(f"const struct message *const MESSAGES[] = {{{names}, 0}};\n")
        rows = "\n".join(self.rows)
        out.append(f"const struct vector VECTORS[] = {{\n{rows}\n    {{VECTOR, 0, 0ul, 0ul, 0ul, 0ul, 0, 0}}\n}};")
        return "\n".join(out) + "\n"


def main():
    header, vectors, folder, protocols = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    with open(header) as file:
        found = structs(file.read())
    with open(os.path.join(vectors, "messages.json")) as file:
        messages = json.load(file)
    with open(os.path.join(vectors, "malformed.json")) as file:
        malformed = json.load(file)

    writer = Writer(found, protocols)
    for entry in messages["vectors"]:
        writer.vector(entry)
    for entry in messages["tlv_vectors"]:
        writer.payload("ACCEPTED", entry, bytes.fromhex(entry["payload_hex"]))
    for entry in malformed["truncations"]:
        writer.payload("TRUNCATED", entry, bytes.fromhex(entry["valid_payload_hex"]))
    for entry in malformed["cases"]:
        writer.case(entry)
    for entry in malformed["tolerated"]:
        writer.payload("ACCEPTED", entry, bytes.fromhex(entry["payload_hex"]))
    for entry in malformed["tlv"]:
        writer.row("ACCEPTED_FRAME", None, writer.blob.add(bytes.fromhex(entry["frame_hex"])), line=entry["name"])

    with open(os.path.join(folder, "vectors.c"), "w") as file:
        file.write(writer.source())
    with open(os.path.join(folder, "vectors.bin"), "wb") as file:
        file.write(writer.blob.bytes)
    print(f"{len(writer.rows)} vectors, {writer.skipped} of other protocols left out")


if __name__ == "__main__":
    main()
