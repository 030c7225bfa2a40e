#!/usr/bin/env python3
"""Turns what of test/vectors/jobs.json and noise.json a miner in C can be shown into the header miner_vectors.h.

usage: miner_vectors.py VECTORS_FOLDER OUTPUT_FILE
"""

import json
import os
import sys


def array(name, data):
    values = ", ".join(str(byte) for byte in data) or "0"
    return f"static const uint8_t {name}[] = {{{values}}};\n"


def view(name, data):
    return f"{{{name}, {len(data)}ul}}"


def flat(path):
    return b"".join(bytes.fromhex(node) for node in path)


def job(kind, case):
    """The arrays of a job and its line of the table."""
    if kind == "extended":
        expected, path = case["expected"], case["template"]["merkle_path"]
        version, may_roll = expected["version"], expected["version_rolling_allowed"]
        source = expected
    else:
        source = case["from_extended_job"]
        version, may_roll, path = source["version"], True, source["merkle_path"]
    share = case["share"]
    name = f"{kind}_{case['id']}"
    parts = {
        "prefix": bytes.fromhex(source["coinbase_tx_prefix"]),
        "suffix": bytes.fromhex(source["coinbase_tx_suffix"]),
        "path": flat(path),
        "extranonce_prefix": bytes.fromhex(case["extranonce_prefix"]),
        "extranonce": bytes.fromhex(case.get("extranonce", "")),
    }
    arrays = "".join(array(f"{name}_{part}", data) for part, data in parts.items())
    views = ", ".join(view(f"{name}_{part}", data) for part, data in parts.items())
    fixed = {
        "prev_hash": share["prev_hash"],
        "header": share["header"],
        "hash": share["block_hash_le"],
        "target": share["targets"][0]["target_le"],
    }
    arrays += "".join(array(f"{name}_{part}", bytes.fromhex(data)) for part, data in fixed.items())
    pointers = ", ".join(f"{name}_{part}" for part in fixed)
    numbers = [version, share["version"], share["ntime"], share["nbits"], share["nonce"]]
    numbers = ", ".join(f"{number}ul" for number in numbers)
    meets = int(share["targets"][0]["meets"])
    line = f'    {{"{name}", {int(kind == "standard")}, {int(may_roll)}, {views}, {pointers}, {numbers}, {meets}}},\n'
    return arrays, line


def key(text, x_only):
    key = ", ".join(str(byte) for byte in bytes.fromhex(x_only or "00" * 32))
    return f"    {{{json.dumps(text, ensure_ascii=True)}, {int(x_only is not None)}, {{{key}}}}},\n"


def main(folder, output):
    jobs = json.load(open(os.path.join(folder, "jobs.json"), encoding="utf-8"))
    noise = json.load(open(os.path.join(folder, "noise.json"), encoding="utf-8"))
    cases = [job("extended", case) for case in jobs["extended_jobs"]]
    cases += [job("standard", case) for case in jobs["standard_jobs"]]
    keys = [key(case["base58check"], case["x_only"]) for case in noise["authority_keys"]]
    keys += [key(case["text"], None) for case in noise["authority_keys_invalid"] if case["text"].isascii()]
    with open(output, "w", encoding="ascii") as out:
        out.write("/* Made by miner_vectors.py. */\n")
        out.writelines(arrays for arrays, _ in cases)
        out.write("static const struct job_vector JOBS[] = {\n")
        out.writelines(line for _, line in cases)
        out.write("};\nstatic const struct key_vector KEYS[] = {\n")
        out.writelines(keys)
        out.write("};\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
