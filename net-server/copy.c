#include "copy.h"

#include "string.h"

/* Shorter ones are not worth the exchange of wide registers with whoever has used them last. */
enum { WIDE_BYTES_MIN = 1024, BLOCK_BYTES = 512, WORD_BYTES = 32 };

bool copy_wide;

static bool has_avx2(void)
{
    uint32_t a = 1, b, c = 0, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c >> 27 & 1) || !(c >> 28 & 1)) /* OSXSAVE, AVX */
        return false;
    __asm__("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    if ((a & 6) != 6) /* SSE and AVX state */
        return false;
    a = 7, c = 0;
    __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return b >> 5 & 1;
}

void copy_init(void)
{
    copy_wide = has_avx2();
    if (copy_wide)
        __asm__ volatile("vzeroupper");
}

/* ---- with AVX2: whole words of 32 bytes. The compiler itself uses none of these registers. ---------------------
 *
 * Of both places the ends of the whole blocks are known, and an index that rises to 0.
 */

#define LOAD(n, at)  "vmovdqu " #at "(%[from],%[i]), %%ymm" #n "\n\t"
#define STORE(n, at) "vmovdqu %%ymm" #n ", " #at "(%[to],%[i])\n\t"
#define LOADS(at)    \
    LOAD(0, at + 0)  \
    LOAD(1, at + 32) \
    LOAD(2, at + 64) \
    LOAD(3, at + 96) LOAD(7, at + 128) LOAD(8, at + 160) LOAD(9, at + 192) LOAD(10, at + 224)
#define STORES(at)    \
    STORE(0, at + 0)  \
    STORE(1, at + 32) \
    STORE(2, at + 64) \
    STORE(3, at + 96) STORE(7, at + 128) STORE(8, at + 160) STORE(9, at + 192) STORE(10, at + 224)

/* All of it, of WIDE_BYTES_MIN or more: of the last bytes some are copied twice. */
static void copy_words(uint8_t *to, const uint8_t *from, uint64_t size_bytes)
{
    uint64_t blocks = size_bytes & ~(BLOCK_BYTES - 1ull);
    uint64_t words = (size_bytes - blocks) & ~(WORD_BYTES - 1ull), i = -blocks;
    to += blocks, from += blocks;
    if (i)
        __asm__ volatile("1: " LOADS(0) STORES(0) LOADS(256) STORES(256) "addq $512, %[i]\n\t"
                                                                         "jnz 1b"
                         : [i] "+r"(i)
                         : [to] "r"(to), [from] "r"(from)
                         : "cc", "memory");
    if (words) {
        i = -words;
        __asm__ volatile("1: " LOAD(0, 0) STORE(0, 0) "addq $32, %[i]\n\t"
                                                      "jnz 1b"
                         : [i] "+r"(i)
                         : [to] "r"(to + words), [from] "r"(from + words)
                         : "cc", "memory");
    }
    __asm__ volatile(LOAD(0, -32) STORE(0, -32) "vzeroupper"
                     :
                     : [to] "r"(to), [from] "r"(from), [i] "r"(size_bytes - blocks)
                     : "memory");
}

/* One word in ymmN: it is written, and added to ymm4. Its 16-bit parts less 0x8000 have signs, and are added in pairs by
 * multiplying with 1. */
#define ADD(n)                                      \
    "vpxor %%ymm6, %%ymm" #n ", %%ymm" #n "\n\t"    \
    "vpmaddwd %%ymm5, %%ymm" #n ", %%ymm" #n "\n\t" \
    "vpaddd %%ymm" #n ", %%ymm4, %%ymm4\n\t"

#define WORD(n, at) LOAD(n, at) STORE(n, at) ADD(n)
/* Of a segment of TCP on Ethernet, 1,448 or 1,460 bytes, a third. */
#define SUM_BLOCK \
    WORD(0, 0)    \
    WORD(1, 32)   \
    WORD(2, 64)   \
    WORD(3, 96)   \
    WORD(7, 128)  \
    WORD(8, 160)  \
    WORD(9, 192)  \
    WORD(10, 224) \
    WORD(11, 256) WORD(12, 288) WORD(13, 320) WORD(14, 352) WORD(15, 384) WORD(0, 416) WORD(1, 448)

/* At its end less the number of bytes: as many bytes are kept as there are behind whole words. */
static const uint64_t last_mask[2 * WORD_BYTES / 8] = {0, 0, 0, 0, ~0ull, ~0ull, ~0ull, ~0ull};

/* WIDE_BYTES_MIN or more, an even number. The last word comes first, and only what whole words leave of it is added; the rest of
 * it is written anew with them. */
static uint64_t copy_words_sum(uint8_t *to, const uint8_t *from, uint64_t size_bytes)
{
    uint64_t rest = size_bytes % WORD_BYTES, i = rest - size_bytes;
    int32_t sum;
    to += size_bytes - rest, from += size_bytes - rest;
    __asm__ volatile("vpcmpeqw %%ymm6, %%ymm6, %%ymm6\n\t"
                     "vpsrlw $15, %%ymm6, %%ymm5\n\t" /* 1 */
                     "vpsllw $15, %%ymm6, %%ymm6\n\t" /* 0x8000 */
                     "vmovdqu -32(%[from],%[rest]), %%ymm4\n\t"
                     "vmovdqu %%ymm4, -32(%[to],%[rest])\n\t"
                     "vpand (%[mask],%[rest]), %%ymm4, %%ymm4\n\t"
                     "vpxor %%ymm6, %%ymm4, %%ymm4\n\t"
                     "vpmaddwd %%ymm5, %%ymm4, %%ymm4\n\t"
                     "1: " SUM_BLOCK "addq $480, %[i]\n\t"
                     "cmpq $-480, %[i]\n\t"
                     "jle 1b\n\t"
                     "testq %[i], %[i]\n\t"
                     "jz 3f\n\t"
                     "2: " WORD(0, 0) "addq $32, %[i]\n\t"
                                      "jnz 2b\n\t"
                                      "3: vextracti128 $1, %%ymm4, %%xmm0\n\t"
                                      "vpaddd %%xmm0, %%xmm4, %%xmm4\n\t"
                                      "vphaddd %%xmm4, %%xmm4, %%xmm4\n\t"
                                      "vphaddd %%xmm4, %%xmm4, %%xmm4\n\t"
                                      "vmovd %%xmm4, %[sum]\n\t"
                                      "vzeroupper"
                     : [i] "+r"(i), [sum] "=r"(sum)
                     : [to] "r"(to), [from] "r"(from), [rest] "r"(rest), [mask] "r"(last_mask)
                     : "cc", "memory");
    return (uint64_t)(sum + (int64_t)(size_bytes / WORD_BYTES + 1) * (WORD_BYTES / 2) * 0x8000);
}

/* ---- without ---------------------------------------------------------------------------------------------------- */

static uint64_t load64(const uint8_t *at)
{
    uint64_t word;
    __builtin_memcpy(&word, at, sizeof word);
    return word;
}

/* Fewer than 8 bytes. */
static uint64_t last_bytes(const uint8_t *at, uint32_t size_bytes)
{
    uint64_t last = 0;
    __builtin_memcpy(&last, at, size_bytes & 4 ? 4 : 0);
    for (uint32_t i = size_bytes & 4; i < size_bytes; i++)
        last |= (uint64_t)at[i] << (8 * i);
    return last;
}

/* Whole blocks of 64 bytes, with the carries: about two instructions for each 8 bytes. */
static uint64_t sum_blocks(const uint8_t **at, uint32_t blocks)
{
    uint64_t sum = 0;
    if (blocks)
        __asm__("1: addq (%1), %0\n\t"
                "adcq 8(%1), %0\n\t"
                "adcq 16(%1), %0\n\t"
                "adcq 24(%1), %0\n\t"
                "adcq 32(%1), %0\n\t"
                "adcq 40(%1), %0\n\t"
                "adcq 48(%1), %0\n\t"
                "adcq 56(%1), %0\n\t"
                "adcq $0, %0\n\t"
                "addq $64, %1\n\t"
                "decl %2\n\t"
                "jnz 1b"
                : "+r"(sum), "+r"(*at), "+r"(blocks)
                :
                : "cc", "memory");
    return sum;
}

uint64_t sum_bytes(const void *from, uint32_t size_bytes)
{
    const uint8_t *at = from;
    uint64_t sum = sum_blocks(&at, size_bytes / 64);
    uint32_t rest = size_bytes % 64;
    for (; rest >= 8; at += 8, rest -= 8)
        sum = sum_add(sum, load64(at));
    return sum_add(sum, last_bytes(at, rest));
}

void copy_bytes(void *to, const void *from, uint32_t size_bytes)
{
    if (copy_wide && size_bytes >= WIDE_BYTES_MIN)
        copy_words(to, from, size_bytes);
    else
        memcpy(to, from, size_bytes);
}

uint64_t copy_sum(void *to, const void *from, uint32_t size_bytes)
{
    uint32_t wide = copy_wide && size_bytes >= WIDE_BYTES_MIN ? size_bytes & ~1u : 0;
    uint32_t rest = size_bytes - wide;
    uint64_t sum = wide ? copy_words_sum(to, from, wide) : 0;
    if (rest == 0)
        return sum;
    uint8_t *target = (uint8_t *)to + wide;
    /* What is added is what was written: the source can change meanwhile. */
    memcpy(target, (const uint8_t *)from + wide, rest);
    return sum_add(sum, sum_bytes(target, rest));
}

uint16_t sum_fold(uint64_t sum)
{
    /* Both halves and the carry of their sum are in the upper half. */
    sum += sum << 32 | sum >> 32;
    uint32_t half = (uint32_t)(sum >> 32);
    half += half << 16 | half >> 16;
    uint16_t folded = (uint16_t)(half >> 16);
    return (uint16_t)(folded << 8 | folded >> 8);
}
