/* A generator of random bytes: ChaCha20 that replaces its key with each use. */
#ifndef VMM_DEVICES_CHACHA_H
#define VMM_DEVICES_CHACHA_H

#include <stddef.h>
#include <stdint.h>

#define CHACHA_KEY_BYTES   32u
#define CHACHA_BLOCK_BYTES 64u

struct chacha {
    uint8_t key[CHACHA_KEY_BYTES];
};

/* One block of RFC 8439, section 2.3: for the generator and its test. */
void chacha_block(const uint8_t key[CHACHA_KEY_BYTES], uint32_t counter, const uint8_t nonce[12],
                  uint8_t block[CHACHA_BLOCK_BYTES]);

void chacha_seed(struct chacha *generator, const uint8_t seed[CHACHA_KEY_BYTES]);
void chacha_fill(struct chacha *generator, void *data, size_t size_bytes);

/* A seed from RDSEED, RDRAND and the jitter of the clock, whichever the processor has; called once for a machine. */
void chacha_gather(uint8_t seed[CHACHA_KEY_BYTES]);

#endif
