/* The registers of x87, MMX and SSE: the XSAVE image of the state page (SDM 1, 13.4). */
#include "compare.h"

enum {
    IMAGE_STATUS = 2,
    IMAGE_TAGS = 4,
    IMAGE_MXCSR = 24,
    IMAGE_STACK = 32,
    IMAGE_XMM = 160,
    IMAGE_PRESENT = 512,
};
#define PRESENT     3u
#define CR0_EM      (1ull << 2)
#define CR0_TS      (1ull << 3)
#define CR4_VECTORS (3ull << 9) /* OSFXSR, OSXMMEXCPT */

static void transfer(uint64_t operation)
{
    EXPECT_OK(sys_control(machine.vcpu[0], operation, 0, 0, 0, 0).status);
}

static void put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

/* A number of ordinary size, or any pattern. */
static void random_extended(uint8_t *at)
{
    for (unsigned i = 0; i < 10; i++)
        at[i] = (uint8_t)pick(256);
    if (pick(4) == 0)
        return;
    at[7] |= 0x80;
    put16(at + 8, (16383 - 40 + pick(80)) | pick(2) << 15);
    if (pick(2))
        memset(at, 0, 6); /* and perhaps a whole one */
}

/* QEMU raises no exceptions of SSE, and those of x87 not where the manual has them: there all are masked. */
static unsigned masks(unsigned all)
{
    return vm_is_qemu() || pick(4) ? all : all & pick(256);
}

void vectors_fill(struct vcpu_state *state)
{
    uint8_t *image = state->fpu;
    transfer(CONTROL_VCPU_READ_FPU);
    put16(image, masks(0x3f) | 0x40 | pick(4) << 8 | pick(4) << 10);
    put16(image + IMAGE_STATUS, pick(8) << 11 | (test_random() & 0x4700));
    image[IMAGE_TAGS] = pick(3) ? 0xff : (uint8_t)pick(256);
    put16(image + IMAGE_MXCSR, masks(0x3f) << 7 | pick(4) << 13);
    for (unsigned i = 0; i < 8; i++)
        random_extended(image + IMAGE_STACK + i * 16);
    for (unsigned i = 0; i < 256; i++)
        image[IMAGE_XMM + i] = (uint8_t)pick(256);
    image[IMAGE_PRESENT] |= PRESENT;
    transfer(CONTROL_VCPU_WRITE_FPU);
    state->cr4 |= CR4_VECTORS;
    if (pick(16) == 0)
        state->cr0 |= pick(2) ? CR0_TS : CR0_EM;
}

void vectors_take(void)
{
    transfer(CONTROL_VCPU_READ_FPU);
}

/* Control, status, tags, MXCSR, and all registers; where the last instruction was is not compared. */
bool vectors_equal(const struct vcpu_state *a, const struct vcpu_state *b)
{
    if (memcmp(a->fpu, b->fpu, IMAGE_TAGS + 1) != 0 ||
        memcmp(a->fpu + IMAGE_MXCSR, b->fpu + IMAGE_MXCSR, 4) != 0)
        return false;
    for (unsigned i = 0; i < 8; i++)
        if (memcmp(a->fpu + IMAGE_STACK + i * 16, b->fpu + IMAGE_STACK + i * 16, 10) != 0)
            return false;
    return memcmp(a->fpu + IMAGE_XMM, b->fpu + IMAGE_XMM, 256) == 0;
}

void vectors_show(const struct vcpu_state *before, const struct vcpu_state *hard,
                  const struct vcpu_state *soft)
{
    for (unsigned i = 0; i < IMAGE_XMM + 256; i += 8) {
        uint64_t words[3];
        memcpy(&words[0], before->fpu + i, 8);
        memcpy(&words[1], hard->fpu + i, 8);
        memcpy(&words[2], soft->fpu + i, 8);
        if (words[0] != words[1] || words[1] != words[2])
            serial_print("EVENT   image at %u 0x%lx: 0x%lx, 0x%lx\n", i, words[0], words[1],
                         words[2]);
    }
}
