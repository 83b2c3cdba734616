/*
 * Random bytes.
 *
 * State:    a key.
 * Features: ChaCha20 with fast key erasure: the first half block of each request is the next key, so what was
 *           handed out can't be found again from the state. Seeds from RDSEED, RDRAND and clock jitter together.
 * Missing:  reseeding.
 * Spec:     RFC 8439, section 2.3; D. J. Bernstein, "Fast-key-erasure random-number generators", 2017.
 */
#include "devices/chacha.h"

#include "string.h"

#include <stdbool.h>

static uint32_t rotate(uint32_t value, unsigned by)
{
    return value << by | value >> (32 - by);
}

static void quarter(uint32_t *s, unsigned a, unsigned b, unsigned c, unsigned d)
{
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 16);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 12);
    s[a] += s[b], s[d] = rotate(s[d] ^ s[a], 8);
    s[c] += s[d], s[b] = rotate(s[b] ^ s[c], 7);
}

void chacha_block(const uint8_t key[CHACHA_KEY_BYTES], uint32_t counter, const uint8_t nonce[12],
                  uint8_t block[CHACHA_BLOCK_BYTES])
{
    uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574}, s[16];
    memcpy(start + 4, key, CHACHA_KEY_BYTES);
    start[12] = counter;
    memcpy(start + 13, nonce, 12);
    memcpy(s, start, sizeof s);
    for (unsigned i = 0; i < 10; i++) {
        for (unsigned column = 0; column < 4; column++)
            quarter(s, column, column + 4, column + 8, column + 12);
        for (unsigned row = 0; row < 4; row++)
            quarter(s, row, 4 + (row + 1) % 4, 8 + (row + 2) % 4, 12 + (row + 3) % 4);
    }
    for (unsigned i = 0; i < 16; i++)
        s[i] += start[i];
    memcpy(block, s, CHACHA_BLOCK_BYTES);
}

void chacha_seed(struct chacha *generator, const uint8_t seed[CHACHA_KEY_BYTES])
{
    memcpy(generator->key, seed, CHACHA_KEY_BYTES);
}

void chacha_fill(struct chacha *generator, void *data, size_t size_bytes)
{
    static const uint8_t nonce[12];
    uint8_t key[CHACHA_KEY_BYTES], block[CHACHA_BLOCK_BYTES], *to = data;
    size_t from = CHACHA_KEY_BYTES; /* the first half of the first block is not handed out */
    memcpy(key, generator->key, sizeof key);
    chacha_block(key, 0, nonce, block);
    memcpy(generator->key, block, sizeof key);
    for (uint32_t counter = 1; size_bytes; counter++) {
        size_t count = sizeof block - from < size_bytes ? sizeof block - from : size_bytes;
        memcpy(to, block + from, count);
        to += count, size_bytes -= count, from = 0;
        chacha_block(key, counter, nonce, block);
    }
}

/* ---- Seeds ----------------------------------------------------------------------------------- */

static void cpuid(uint32_t leaf, uint32_t *b, uint32_t *c)
{
    uint32_t a = leaf, d;
    *c = 0;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(*b), "+c"(*c), "=d"(d));
}

static uint64_t clock(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

/* Both can run dry for a moment; ten tries are what the manual advises (SDM 1, 7.3.17). */
static uint64_t hardware_random(bool has_rdseed, bool has_rdrand)
{
    uint64_t value = 0, got = 0;
    uint8_t done = 0;
    for (unsigned i = 0; has_rdseed && i < 10 && !done; i++)
        __asm__ volatile("rdseed %0\n\tsetc %1" : "=r"(value), "=q"(done) : : "cc");
    got = done ? value : 0;
    done = 0;
    for (unsigned i = 0; has_rdrand && i < 10 && !done; i++)
        __asm__ volatile("rdrand %0\n\tsetc %1" : "=r"(value), "=q"(done) : : "cc");
    return done ? got ^ rotate((uint32_t)value, 7) ^ (value >> 32 << 32) : got;
}

void chacha_gather(uint8_t seed[CHACHA_KEY_BYTES])
{
    static const uint8_t nonce[12] = "septum seed";
    uint8_t block[CHACHA_BLOCK_BYTES], key[CHACHA_KEY_BYTES] = {0};
    uint32_t b, c, highest = 0;
    bool has_rdseed = false, has_rdrand;
    cpuid(1, &b, &c);
    has_rdrand = c >> 30 & 1;
    __asm__ volatile("cpuid" : "=a"(highest) : "0"(0) : "ebx", "ecx", "edx");
    if (highest >= 7) {
        cpuid(7, &b, &c);
        has_rdseed = b >> 18 & 1;
    }
    /* Every round stirs what the hardware and the clock say into the key. */
    for (uint32_t round = 0; round < 64; round++) {
        uint64_t words[2] = {hardware_random(has_rdseed, has_rdrand), clock()};
        for (unsigned i = 0; i < sizeof words; i++)
            key[(round * 16 + i) % sizeof key] ^= ((const uint8_t *)words)[i];
        chacha_block(key, round, nonce, block);
        memcpy(key, block, sizeof key);
    }
    memcpy(seed, key, sizeof key);
}
