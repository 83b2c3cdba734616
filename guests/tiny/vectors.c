/* A device's registers by instructions of x87 and SSE, which the VMM has to execute with the guest's own registers. */
#include "tiny.h"

#define IOAPIC_SELECT 0xfec00000ul
#define IOAPIC_WINDOW 0xfec00010ul
#define VERSION       1u
#define CR0_TO_CLEAR  0xcul   /* EM, TS */
#define CR0_TO_SET    0x22ul  /* MP, NE */
#define CR4_TO_SET    0x600ul /* OSFXSR, OSXMMEXCPT */

static void turn_on(void)
{
    uint64_t cr0, cr4;
    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr0" : : "r"((cr0 & ~CR0_TO_CLEAR) | CR0_TO_SET));
    __asm__ volatile("mov %0, %%cr4\n\tfninit" : : "r"(cr4 | CR4_TO_SET));
}

/* Selects the register by FISTP, reads it by FILD. */
static uint32_t by_float(uint32_t number)
{
    uint32_t value;
    __asm__ volatile(
        "fildl %[number]\n\t"
        "fistpl (%[select])\n\t"
        "fildl (%[window])\n\t"
        "fistpl %[value]"
        : [value] "=m"(value)
        : [number] "m"(number), [select] "r"(IOAPIC_SELECT), [window] "r"(IOAPIC_WINDOW));
    return value;
}

/* Added to nothing as a very small number, to a register that the others must not disturb. */
static uint32_t by_vector(void)
{
    uint32_t value, other;
    const uint32_t mark = 0x12345678;
    __asm__ volatile("movd %[mark], %%xmm3\n\t"
                     "xorps %%xmm9, %%xmm9\n\t"
                     "addss (%[window]), %%xmm9\n\t"
                     "movd %%xmm9, %[value]\n\t"
                     "movd %%xmm3, %[other]"
                     : [value] "=r"(value), [other] "=r"(other)
                     : [mark] "r"(mark), [window] "r"(IOAPIC_WINDOW));
    return other == mark ? value : 0;
}

void tiny_main(const uint8_t *boot_params)
{
    (void)boot_params;
    say("SEPTUM-GUEST-UP vectors\n");
    *(volatile uint32_t *)IOAPIC_SELECT = VERSION;
    uint32_t expected = *(volatile uint32_t *)IOAPIC_WINDOW;
    turn_on();
    *(volatile uint32_t *)IOAPIC_SELECT = 0;
    bool good = by_float(VERSION) == expected && by_vector() == expected;
    say(expected != 0 && good ? "VECTORS good\n" : "VECTORS wrong\n");
}
