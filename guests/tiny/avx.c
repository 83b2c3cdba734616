/* Vectors of 256 bits to and from a plane of the VGA, whose every access the VMM executes: on the text screen of a `pc` it
 * says what came of it. */
#include "vga.h"

#define PLACE      (WINDOW + 0x9003) /* at no multiple of anything */
#define TWO_PAGES  (WINDOW + 0xafed)
#define BYTES      32u
#define CR4_TO_SET 0x40600ul /* OSFXSR, OSXMMEXCPT, OSXSAVE */
#define XCR0_AVX   7u
#define HAS_AVX    (1u << 28)

static uint8_t pattern[BYTES], mark[BYTES], got[BYTES], kept[BYTES];

static bool turn_on(void)
{
    uint32_t a = 1, b, c = 0, d;
    uint64_t cr0, cr4;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c & HAS_AVX))
        return false;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr0" : : "r"((cr0 & ~0xcul) | 0x22));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_TO_SET));
    __asm__ volatile("xsetbv" : : "a"(XCR0_AVX), "d"(0), "c"(0));
    return true;
}

static bool same(const volatile uint8_t *a, const volatile uint8_t *b, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

/* There and back, with another register that must stay; then half of it, which clears the other half. */
static const char *there_and_back(uint64_t place)
{
    const volatile uint8_t *device = (const volatile uint8_t *)place;
    const uint8_t zeros[BYTES / 2] = {0};
    __asm__ volatile("vmovdqu %[mark], %%ymm12\n\t"
                     "vmovdqu %[pattern], %%ymm3\n\t"
                     "vmovdqu %%ymm3, (%[device])\n\t"
                     "vmovdqu (%[device]), %%ymm9\n\t"
                     "vmovdqu %%ymm9, %[got]\n\t"
                     "vmovdqu %%ymm12, %[kept]"
                     : [got] "=m"(got), [kept] "=m"(kept)
                     : [mark] "m"(mark), [pattern] "m"(pattern), [device] "r"(device)
                     : "memory");
    if (!same(device, pattern, BYTES))
        return "stored";
    if (!same(got, pattern, BYTES) || !same(kept, mark, BYTES))
        return "loaded";
    __asm__ volatile("vmovups (%[device]), %%xmm12\n\t"
                     "vmovdqu %%ymm12, %[got]"
                     : [got] "=m"(got)
                     : [device] "r"(device)
                     : "memory");
    if (!same(got, pattern, BYTES / 2) || !same(got + BYTES / 2, zeros, BYTES / 2))
        return "halved";
    return 0;
}

static void tell(const char *text)
{
    volatile uint16_t *cells = (volatile uint16_t *)TEXT;
    for (; *text; text++)
        *cells++ = (uint16_t)((uint8_t)*text | 0x0700);
}

void tiny_main(const uint8_t *boot_params)
{
    const char *wrong;
    (void)boot_params;
    for (unsigned i = 0; i < BYTES; i++) {
        pattern[i] = (uint8_t)(i * 7 + 1);
        mark[i] = (uint8_t)(0xff - i);
    }
    if (!turn_on()) {
        tell("AVX: this processor has none");
        return;
    }
    into_planes(0x04);
    set(GRAPHICS, 4, 0x02); /* the plane that is read */
    wrong = there_and_back(PLACE);
    if (!wrong)
        wrong = there_and_back(TWO_PAGES);
    into_text();
    tell(wrong ? wrong : "AVX: vectors are good");
}
