/*
 * Stratum V2 for C and C++: messages, frames, and a miner's connection.
 *
 * Made by `cargo xtask header`; changes belong into the Rust sources of sv2-ffi. C89 and C++98, with the standard header stdint.h.
 *
 * RESULTS. A function that returns sv2_result did what it says if that is SV2_OK; sv2_result_text has words for every other number.
 * Unless a function says otherwise nothing was written through its pointers then.
 *
 * POINTERS. A pointer leads to memory of the type and length given, aligned as its type asks, and nobody else writes to that memory
 * during the call. What may be NULL is said; anything else gives SV2_NULL, or SV2_MISALIGNED, SV2_BAD_LENGTH, SV2_OVERLAP.
 *
 * WHO FREES WHAT. Handles (pointers to a type without members, such as sv2_decoder) are made by a function `..._new` and freed by the
 * caller with `..._free`. Nothing else is ever freed: a decoded message is a struct of the caller's that points into the payload it
 * was decoded from, and lives as long as that; what is encoded is copied into the caller's buffer, and its struct may go afterwards.
 *
 * MESSAGES. `sv2_..._decode` reads the payload of a frame, without the header; bytes behind the last field are left alone, as the
 * specification asks for. `sv2_..._encode` writes a whole frame, header included; to learn its length, pass a NULL buffer of
 * capacity 0 and read `len` when the result is SV2_BUFFER_TOO_SHORT. Each field of a message to encode must be set. Neither
 * allocates, and both work before sv2_init. A yes-or-no field is 0 or 1 when decoded, and anything but 0 is yes when encoded.
 *
 * HANDLES are numbers in the form of pointers. Never read through one. A NULL handle gives SV2_NULL, one of another kind (or any other
 * pointer) SV2_WRONG_HANDLE, a freed one SV2_FREED, one in use by another thread or an outer call SV2_BUSY. A freed handle is known
 * as such until its slot in the table has been used 2^19 times more on 32-bit targets, 2^51 times on 64-bit ones; then it is taken for
 * the handle that has its number.
 *
 * THREADS. Any function may be called on any thread. A handle serves one call at a time.
 *
 * NUMBERS. The wire's byte order is the library's business: integers are the machine's. 32-byte values (targets, hashes) are in the
 * order of the wire, least significant byte first.
 */
