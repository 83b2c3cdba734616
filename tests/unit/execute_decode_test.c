/* The executor's own decoder of ordinary instructions against the library's.
 * links: vmm-server/cpu/execute_decode.c vmm-server/cpu/execute_fast.c zydis */
#include "unit_test.h"

#include "cpu/execute_internal.h"

static uint64_t size_mask(const struct instruction *in)
{
    unsigned bytes = in->opcode & 1 ? in->operand_bytes : 1;
    return bytes == 8 ? ~0ull : (1ull << bytes * 8) - 1;
}

static bool same(const struct instruction *a, const struct instruction *b)
{
    return a->length == b->length && a->map == b->map && a->opcode == b->opcode &&
           a->has_modrm == b->has_modrm && a->mod == b->mod && a->reg == b->reg && a->rm == b->rm &&
           a->repeat == b->repeat && a->operand_bytes == b->operand_bytes &&
           a->address_bytes == b->address_bytes && a->segment == b->segment &&
           a->segment_override == b->segment_override && a->rex == b->rex && a->rex_w == b->rex_w &&
           a->operand_prefix == b->operand_prefix && a->base == b->base && a->index == b->index &&
           a->scale == b->scale && a->displacement == b->displacement &&
           ((a->immediate ^ b->immediate) & size_mask(a)) == 0;
}

static unsigned known;

static void compare(const uint8_t *bytes, unsigned count)
{
    struct instruction fast, slow;
    if (!execute_decode_fast(&fast, bytes, count))
        return;
    known++;
    enum decode_result result = execute_decode(&slow, bytes, count, 8);
    if (result != DECODE_DONE || !same(&fast, &slow)) {
        printf("#");
        for (unsigned i = 0; i < count; i++)
            printf(" %02x", bytes[i]);
        printf("\n");
    }
    EXPECT(result, DECODE_DONE);
    CHECK(same(&fast, &slow));
}

TEST(decode_every_opcode,
     "every opcode with every ModRM and a SIB of each kind, with and without prefixes")
{
    static const char *const prefixes[] = {"",     "\x66", "\x48",    "\x66\x47",
                                           "\x41", "\xf3", "\xf2\x48"};
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    known = 0;
    for (unsigned p = 0; p < sizeof prefixes / sizeof *prefixes; p++) {
        unsigned length = (unsigned)strlen(prefixes[p]);
        memcpy(bytes, prefixes[p], length);
        for (unsigned i = 0; i < sizeof bytes - length; i++)
            bytes[length + i] = (uint8_t)(0x81 + i * 17);
        for (unsigned opcode = 0; opcode < 512; opcode++) {
            unsigned at = length;
            if (opcode > 255)
                bytes[at++] = 0x0f;
            bytes[at++] = (uint8_t)opcode;
            for (unsigned modrm = 0; modrm < 256; modrm++) {
                for (unsigned sib = 0; sib < 256; sib += (modrm & 7) == 4 ? 11 : 256) {
                    bytes[at] = (uint8_t)modrm;
                    bytes[at + 1] = (uint8_t)sib;
                    compare(bytes, sizeof bytes);
                }
            }
        }
    }
    CHECK(known > 10000);
}

TEST(decode_random,
     "random bytes, of every length: never another instruction, never beyond the end")
{
    uint8_t bytes[INSTRUCTION_BYTES_MAX];
    known = 0;
    for (unsigned i = 0; i < 300000; i++) {
        unsigned count = 1 + (unsigned)(unit_random() % sizeof bytes);
        uint8_t *exact = bytes + sizeof bytes - count;
        for (unsigned n = 0; n < count; n++)
            exact[n] = (uint8_t)unit_random();
        if (unit_random() & 1)
            exact[0] = unit_random() & 1 ? 0x66 : 0x48;
        compare(exact, count);
    }
    CHECK(known > 10000);
}
