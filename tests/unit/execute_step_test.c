/*
 * Instructions for the guest's own processor: which operands they have, what of them is read from a device and written to
 * it, and which are refused.
 * links: tests/unit/execute_world.c vmm-server/cpu/execute.c vmm-server/cpu/execute_decode.c
 *        vmm-server/cpu/execute_fast.c vmm-server/cpu/execute_flags.c vmm-server/cpu/execute_memory.c vmm-server/cpu/execute_modify.c
 *        vmm-server/cpu/execute_arithmetic.c vmm-server/cpu/execute_segment.c vmm-server/cpu/execute_stack.c vmm-server/cpu/execute_vector.c vmm-server/cpu/execute_float.c vmm-server/cpu/execute_far.c vmm-server/cpu/execute_gate.c vmm-server/cpu/execute_return.c vmm-server/cpu/execute_task.c
 *        vmm-server/cpu/execute_again.c vmm-server/cpu/execute_avx.c vmm-server/cpu/execute_xsave.c vmm-server/cpu/execute_sse.c
 *        vmm-server/cpu/execute_string.c vmm-server/cpu/execute_system.c vmm-server/cpu/execute_walk.c
 *        vmm-server/cpu/execute_step.c vmm-server/cpu/execute_operands.c
 *        zydis
 */
#include "execute_vectors.h"

#define PAGE  4096u
#define READ  VCPU_ACCESS_READ
#define WRITE VCPU_ACCESS_WRITE
#define MASKS 1088u
#define HIGH  1664u

static uint8_t scratch[EXECUTE_STEP_PAGES * PAGE];
static struct execute_step step;
static unsigned bytes_read, bytes_written;
static uint64_t read_at[256], written_at[256];

static bool (*plain_read)(struct execute_world *, uint64_t, unsigned, uint64_t *);
static bool (*plain_write)(struct execute_world *, uint64_t, unsigned, uint64_t);

static bool counted_read(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t *value)
{
    for (unsigned i = 0; i < size; i++)
        read_at[bytes_read++ % 256] = gpa + i;
    return plain_read(w, gpa, size, value);
}

static bool counted_write(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t value)
{
    for (unsigned i = 0; i < size; i++)
        written_at[bytes_written++ % 256] = gpa + i;
    return plain_write(w, gpa, size, value);
}

/* The window is a device's memory, whose accesses are counted. */
static void set_up(unsigned mode, const char *bytes, size_t count)
{
    begin(mode, bytes, count);
    world_ram_is_device = true;
    plain_read = world.memory_read, plain_write = world.memory_write;
    world.memory_read = counted_read, world.memory_write = counted_write;
    world.upper_offset = 1152, world.mask_offset = MASKS, world.high_offset = HIGH;
    image[IMAGE_PRESENT] = 0xe7;
    bytes_read = bytes_written = 0;
    memset(scratch, 0xcc, sizeof scratch);
    step = (struct execute_step){.scratch = scratch, .page_limit = EXECUTE_STEP_PAGES};
}
#define SET_UP(mode, bytes) set_up(mode, bytes, sizeof bytes - 1)

static enum execute_result step_begin(void)
{
    return execute_step_begin(&world, &step, &world_event, &world_changed, &world_what);
}

static void set_mask(unsigned n, uint64_t value)
{
    memcpy(image + MASKS + 8 * n, &value, 8);
}

/* ---- Operands ----------------------------------------------------------------------------------- */

struct form {
    const char *bytes;
    unsigned count, size_bytes, access;
    uint64_t offset; /* from the operand's place */
};
#define FORM(bytes, size, access, offset)             \
    {                                                 \
        bytes, sizeof bytes - 1, size, access, offset \
    }

static void try_forms(unsigned mode, const struct form *forms, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        const struct form *form = &forms[i];
        set_up(mode, form->bytes, form->count);
        world.state->gpr[6] = 3;
        EXPECT(step_begin(), EXECUTE_DONE);
        EXPECT(step.span_count, 1);
        EXPECT(step.spans[0].size_bytes, form->size_bytes);
        EXPECT(step.spans[0].access, form->access);
        EXPECT(step.spans[0].offset, WINDOW_LINEAR + OPERAND + form->offset);
        EXPECT(step.spans[0].bytes, ~0ull);
        EXPECT(bytes_read, form->access & READ ? form->size_bytes : 0);
    }
}
#define TRY_FORMS(mode, forms) try_forms(mode, forms, sizeof forms / sizeof *forms)

TEST(step_operands, "place, size and direction of an operand, of every group")
{
    static const struct form forms[] = {
        FORM("\xc5\xf4\x58\x47\x08", 32, READ, 8),          /* vaddps ymm0, ymm1, [rdi + 8] */
        FORM("\xc4\xe3\x7d\x1d\x0f\x00", 16, WRITE, 0),     /* vcvtps2ph [rdi], ymm1, 0 */
        FORM("\xf2\x48\x0f\x2a\x07", 8, READ, 0),           /* cvtsi2sd xmm0, qword [rdi] */
        FORM("\x0f\xc4\x0f\x02", 2, READ, 0),               /* pinsrw mm1, [rdi], 2 */
        FORM("\xdd\x37", 108, WRITE, 0),                    /* fnsave [rdi] */
        FORM("\x66\xd9\x27", 14, READ, 0),                  /* fldenv [rdi], 16-bit */
        FORM("\xc5\xf8\xae\x17", 4, READ, 0),               /* vldmxcsr [rdi] */
        FORM("\xc5\xf8\xae\x1f", 4, WRITE, 0),              /* vstmxcsr [rdi] */
        FORM("\xc4\xe2\xe3\xf6\x07", 8, READ, 0),           /* mulx rax, rbx, [rdi] */
        FORM("\xc5\xf5\xf1\x07", 16, READ, 0),              /* vpsllw ymm0, ymm1, [rdi] */
        FORM("\xc5\xf4\x58\x44\xb7\x08", 32, READ, 20),     /* [rdi + rsi * 4 + 8] */
        FORM("\x62\xf1\x75\x48\xfe\x47\x01", 64, READ, 64), /* vpaddd zmm0, zmm1, [rdi + 64] */
        FORM("\x66\x0f\x38\xdc\x07", 16, READ, 0),          /* aesenc xmm0, [rdi] */
        FORM("\xc4\xe2\xf5\xb8\x07", 32, READ, 0),          /* vfmadd231pd ymm0, ymm1, [rdi] */
    };
    TRY_FORMS(8, forms);
}

TEST(step_legacy_modes, "32-bit and 16-bit code have their own sizes and addresses")
{
    static const struct form wide[] = {FORM("\xd9\x27", 28, READ, 0),
                                       FORM("\xc5\xf4\x58\x07", 32, READ, 0)};
    TRY_FORMS(4, wide);
    SET_UP(2, "\xd9\x30"); /* fnstenv [bx + si] */
    world.state->gpr[3] = 0x10040, world.state->gpr[6] = 0xfff8;
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.spans[0].size_bytes, 14);
    EXPECT(step.spans[0].offset, 0x38);
    EXPECT(step.spans[0].segment, VCPU_DS);
    EXPECT(step.pieces[0].gpa, world_window_gpa(0x38));
}

TEST(step_segment_and_rip, "the base of FS counts, and RIP is that behind the instruction")
{
    SET_UP(8, "\x64\xc5\xf4\x58\x07"); /* vaddps ymm0, ymm1, fs:[rdi] */
    world.state->segment[VCPU_FS].base = 0x20;
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.pieces[0].gpa, world_window_gpa(OPERAND + 0x20));
    SET_UP(8, "\xc5\xf4\x58\x05\x00\xff\x00\x00"); /* vaddps ymm0, ymm1, [rip + 0xff00] */
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.spans[0].offset, CODE_LINEAR + AT + 8 + 0xff00);
}

TEST(step_refused,
     "what is not for the processor: the integer unit, XSAVE, far branches, tiles, LWP")
{
    static const struct form forms[] = {
        FORM("\x0f\xae\x27", 0, 0, 0),             /* xsave [rdi] */
        FORM("\x0f\xae\x2f", 0, 0, 0),             /* xrstor [rdi] */
        FORM("\x0f\xae\x07", 0, 0, 0),             /* fxsave [rdi] */
        FORM("\xff\x1f", 0, 0, 0),                 /* call far [rdi] */
        FORM("\x48\xcf", 0, 0, 0),                 /* iretq */
        FORM("\xc4\xe2\x7b\x4b\x04\x37", 0, 0, 0), /* tileloadd tmm0, [rdi + rsi] */
        FORM("\x8f\xe9\xf8\x12\xc7", 0, 0, 0),     /* llwpcb rdi */
        FORM("\x01\x07", 0, 0, 0),                 /* add [rdi], eax */
        FORM("\xc5\xf4\x58\xc1", 0, 0, 0),         /* vaddps ymm0, ymm1, ymm1 */
    };
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
        set_up(8, forms[i].bytes, forms[i].count);
        EXPECT(step_begin(), EXECUTE_UNKNOWN);
        EXPECT(bytes_read, 0);
    }
}

/* ---- Masks -------------------------------------------------------------------------------------- */

struct mask_form {
    const char *bytes;
    unsigned count;
    uint64_t mask, expected;
};
#define MASKED(bytes, mask, expected)           \
    {                                           \
        bytes, sizeof bytes - 1, mask, expected \
    }

TEST(step_masks, "elements that a mask turns off are not accessed, where each has its bit")
{
    static const struct mask_form forms[] = {
        MASKED("\x62\xf1\x7f\x49\x7f\x1f", 0x8000000000000f01,
               0x8000000000000f01),                                     /* vmovdqu8 store */
        MASKED("\x62\xf1\x7e\x49\x6f\x1f", 0x8005, 0xf000000000000f0f), /* vmovdqu32 load */
        MASKED("\x62\xf1\x74\x59\x58\x07", 0x8005, ~0ull),              /* vaddps, broadcast */
        MASKED("\x62\xf1\x76\x09\x58\x07", 3, 15),                      /* vaddss */
        MASKED("\x62\xf1\x65\xc9\x62\x1f", 1, ~0ull),                   /* vpunpckldq */
        MASKED("\x62\xf1\x65\xc9\xf5\x1f", 1, ~0ull),                   /* vpmaddwd */
        MASKED("\x62\xf2\x7d\x49\x8b\x0f", 0xff8005, 0xfff),            /* vpcompressd */
        MASKED("\x62\xf2\xfd\x49\x89\x0f", 0xff, ~0ull),                /* vpexpandq */
        MASKED("\x62\xf1\x7c\x49\x5a\x07", 0x82, 0xf00000f0),           /* vcvtps2pd */
    };
    for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
        set_up(8, forms[i].bytes, forms[i].count);
        set_mask(1, forms[i].mask);
        EXPECT(step_begin(), EXECUTE_DONE);
        EXPECT(step.spans[0].bytes, forms[i].expected);
    }
}

TEST(step_mask_unseen, "masks that are as after a reset are 0; without their place nothing is done")
{
    SET_UP(8, "\x62\xf1\x7f\x49\x7f\x1f");
    set_mask(1, 1);
    image[IMAGE_PRESENT] = 7;
    EXPECT(step_begin(), EXECUTE_UNKNOWN); /* nothing of its operand is in a device */
    EXPECT(step.spans[0].bytes, 0);
    image[IMAGE_PRESENT] = 0xe7;
    world.mask_offset = 0;
    EXPECT(step_begin(), EXECUTE_UNKNOWN);
}

TEST(step_byte_masks, "MASKMOVDQU and MASKMOVQ write the bytes whose sign the mask has, at RDI")
{
    SET_UP(8, "\x66\x0f\xf7\xe1"); /* maskmovdqu xmm4, xmm1 */
    memset(image + IMAGE_XMM + 16, 0, 16);
    image[IMAGE_XMM + 16] = 0x80;
    image[IMAGE_XMM + 16 + 9] = 0xff;
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.spans[0].bytes, 0x201);
    EXPECT(step.spans[0].access, WRITE);
    EXPECT(step.spans[0].offset, WINDOW_LINEAR + OPERAND);
    SET_UP(8, "\x0f\xf7\xd1"); /* maskmovq mm2, mm1 */
    memset(image + IMAGE_STACK, 0, 128);
    image[3] = 0x30; /* x87's top is 6: MM1 is ST(3) */
    image[IMAGE_STACK + 3 * 16 + 5] = 0x80;
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.spans[0].bytes, 0x20);
    EXPECT(step.spans[0].size_bytes, 8);
}

TEST(step_gathers, "a gather reads each element whose mask is on, at its own address, once")
{
    SET_UP(8, "\x62\xf2\x7d\x49\x90\x04\x97"); /* vpgatherdd zmm0{k1}, [rdi + zmm2 * 4] */
    set_mask(1, 0x8011);
    for (unsigned i = 0; i < 16; i++) {
        int32_t index = i == 4 ? -2 : (int32_t)(i * 3);
        unsigned at = i < 4   ? IMAGE_XMM + 32 + 4 * i
                      : i < 8 ? IMAGE_YMM + 32 + 4 * (i - 4)
                              : 1152u + 64 + 4 * (i - 8);
        memcpy(image + at, &index, 4);
    }
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.span_count, 3);
    EXPECT(step.spans[0].offset, WINDOW_LINEAR + OPERAND);
    EXPECT(step.spans[1].offset, WINDOW_LINEAR + OPERAND - 8);
    EXPECT(step.spans[2].offset, WINDOW_LINEAR + OPERAND + 180);
    EXPECT(bytes_read, 12);
    EXPECT(read_at[4], world_window_gpa(OPERAND - 8));
    SET_UP(8, "\xc4\xe2\x55\x93\x04\xdf"); /* vgatherqps xmm0, [rdi + ymm3 * 8], xmm5 */
    memset(image + IMAGE_XMM + 80, 0x80, 16);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t index = i * 5;
        memcpy(image + (i < 2 ? IMAGE_XMM + 48 + 8 * i : IMAGE_YMM + 48 + 8 * (i - 2)), &index, 8);
    }
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.span_count, 4);
    EXPECT(step.spans[3].offset, WINDOW_LINEAR + OPERAND + 120);
    EXPECT(step.spans[3].size_bytes, 4);
}

TEST(step_scatter, "a scatter by a register above the sixteenth writes where its elements are")
{
    const uint64_t index = 4;
    SET_UP(8, "\x62\xf2\x7d\x41\xa1\x0c\xd7"); /* vpscatterqd [rdi + zmm18 * 8]{k1}, ymm1 */
    set_mask(1, 0x80);
    memcpy(image + HIGH + 2 * 64 + 7 * 8, &index, 8);
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.span_count, 1);
    EXPECT(step.spans[0].offset, WINDOW_LINEAR + OPERAND + 32);
    EXPECT(step.spans[0].access, WRITE);
}

/* ---- Devices ------------------------------------------------------------------------------------ */

TEST(step_reads_once,
     "each byte of the operand is read once, and no other; it lies where the processor finds it")
{
    SET_UP(8, "\xc5\xf4\x58\x07");
    world.state->gpr[7] = WINDOW_LINEAR + PAGE - 13;
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.page_count, 2);
    EXPECT(step.pages[0].gpa, world_window_gpa(0));
    EXPECT(step.pages[1].gpa, world_window_gpa(PAGE));
    CHECK(!step.pages[0].write && !step.pages[1].write);
    EXPECT(bytes_read, 32);
    for (unsigned i = 0; i < 32; i++) {
        EXPECT(read_at[i], world_window_gpa(PAGE - 13 + i));
        EXPECT(scratch[PAGE - 13 + i], window[PAGE - 13 + i]);
    }
    EXPECT(scratch[PAGE - 14], 0); /* nothing else of an earlier step is left */
    EXPECT(scratch[PAGE + 19], 0);
}

TEST(step_writes, "what the processor has written goes to the device, and only that")
{
    SET_UP(8, "\x62\xf1\x7f\x49\x7f\x1f"); /* vmovdqu8 [rdi]{k1}, zmm3 */
    set_mask(1, 0x3c01);
    EXPECT(step_begin(), EXECUTE_DONE);
    CHECK(step.pages[0].write);
    EXPECT(bytes_read, 0);
    memset(scratch, 0xee, sizeof scratch);
    CHECK(execute_step_end(&world, &step));
    EXPECT(bytes_written, 5);
    for (unsigned i = 0; i < 64; i++)
        EXPECT(operand()[i], i < 14 && 0x3c01 >> i & 1 ? 0xee : window[OPERAND + i]);
}

TEST(step_long_operand, "FNSAVE's 108 bytes cross into a second page")
{
    SET_UP(8, "\xdd\x37");
    world.state->gpr[7] = WINDOW_LINEAR + PAGE - 30;
    EXPECT(step_begin(), EXECUTE_DONE);
    for (unsigned i = 0; i < 108; i++)
        scratch[PAGE - 30 + i] = (uint8_t)~i;
    CHECK(execute_step_end(&world, &step));
    EXPECT(bytes_written, 108);
    for (unsigned i = 0; i < 108; i++)
        EXPECT(world_ram[world_window_gpa(PAGE - 30 + i)], (uint8_t)~i);
}

TEST(step_beside_ram, "of an operand that begins in RAM only the device's part is read")
{
    SET_UP(8, "\xc5\xf4\x58\x07");
    set_entry(WORLD_PT, 0x10, 0x14000 | 7);
    world.state->gpr[7] = WINDOW_LINEAR + PAGE - 13;
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.page_count, 1);
    EXPECT(step.pages[0].gpa, world_window_gpa(PAGE));
    EXPECT(bytes_read, 19);
    EXPECT(scratch[0], window[PAGE]);
    set_entry(WORLD_PT, 0x11, 0x14000 | 7);
    memset(world.walks, 0, sizeof world.walks);
    EXPECT(step_begin(), EXECUTE_UNKNOWN); /* nothing of it is a device's */
}

TEST(step_faults_first, "a page that is not there is a fault before the device is read")
{
    SET_UP(8, "\xc5\xf4\x58\x07");
    set_entry(WORLD_PT, 0x11, 0);
    world.state->gpr[7] = WINDOW_LINEAR + PAGE - 13;
    EXPECT(step_begin(), EXECUTE_FAULT);
    EXPECT(world_event, PAGE_FAULT(4));
    EXPECT(world.state->cr2, WINDOW_LINEAR + PAGE);
    CHECK(world_changed & VCPU_GROUP_CONTROL);
    EXPECT(bytes_read, 0);
    SET_UP(8, "\xdd\x37");
    set_entry(WORLD_PT, 0x10, world_window_gpa(0) | 5);
    EXPECT(step_begin(), EXECUTE_FAULT);
    EXPECT(world_event, PAGE_FAULT(7));
    SET_UP(8, "\xc5\xf4\x58\x07");
    world.state->gpr[7] = 1ull << 47;
    EXPECT(step_begin(), EXECUTE_FAULT);
    EXPECT(world_event, PROTECTION);
}

TEST(step_masked_page, "a page of which a mask takes nothing need not be there")
{
    SET_UP(8, "\x62\xf1\x7e\x49\x6f\x1f"); /* vmovdqu32 zmm3{k1}, [rdi] */
    set_entry(WORLD_PT, 0x11, 0);
    world.state->gpr[7] = WINDOW_LINEAR + PAGE - 12;
    set_mask(1, 7);
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(bytes_read, 12);
    set_mask(1, 15);
    EXPECT(step_begin(), EXECUTE_FAULT);
}

static void *rom_at(struct execute_world *w, uint64_t gpa, unsigned size, bool write)
{
    (void)w;
    return (write && gpa >= 0x10000 && gpa < 0x13000) || gpa > WORLD_RAM_BYTES - size
               ? NULL
               : world_ram + gpa;
}

TEST(step_rom, "what would write to ROM is refused")
{
    SET_UP(8, "\xdd\x37");
    world.ram_at = rom_at;
    EXPECT(step_begin(), EXECUTE_UNKNOWN);
}

TEST(step_too_many_pages,
     "elements in more pages of devices than there is scratch are refused, and nothing is read")
{
    SET_UP(8, "\xc4\xe2\x55\x93\x04\xdf"); /* vgatherqps xmm0, [rdi + ymm3 * 8], xmm5 */
    memset(image + IMAGE_XMM + 80, 0x80, 16);
    set_entry(WORLD_PT, 0x12, 0x11000 | 7);
    for (uint64_t i = 0; i < 4; i++) {
        uint64_t index = i * 512;
        memcpy(image + (i < 2 ? IMAGE_XMM + 48 + 8 * i : IMAGE_YMM + 48 + 8 * (i - 2)), &index, 8);
    }
    set_entry(WORLD_PT, 0x13, 0x14000 | 7);
    EXPECT(step_begin(), EXECUTE_DONE);
    EXPECT(step.page_count, 3);
    EXPECT(step.pages[2].gpa, 0x11000);
    EXPECT(bytes_read, 12);
    step.page_limit = 2;
    bytes_read = 0;
    EXPECT(step_begin(), EXECUTE_UNKNOWN);
    EXPECT(bytes_read, 0);
}

static bool refuses_to_read(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t *value)
{
    (void)w, (void)gpa, (void)size;
    *value = 0;
    return false;
}

static bool refuses_to_write(struct execute_world *w, uint64_t gpa, unsigned size, uint64_t value)
{
    (void)w, (void)gpa, (void)size, (void)value;
    bytes_written++;
    return false;
}

TEST(step_nowhere, "a device that refuses is asked no more")
{
    SET_UP(8, "\xc5\xf4\x58\x07");
    world.memory_read = refuses_to_read;
    EXPECT(step_begin(), EXECUTE_NOWHERE);
    SET_UP(8, "\xdd\x37");
    EXPECT(step_begin(), EXECUTE_DONE);
    world.memory_write = refuses_to_write;
    CHECK(!execute_step_end(&world, &step));
    EXPECT(bytes_written, 1);
}
