/*
 * Ends as its command line says:
 *
 *   triple       an exception without a handler for it and for what follows
 *   lost         an exception, with an IDT where there is no memory
 *   nowhere      a jump to where there is no memory
 *   odd          an instruction on a device's memory that no VMM executes
 *   unknown      reads a port, an MSR and an address that nobody models, and says what came of it
 *   reset        a triple fault as systems use it to reset the machine: with an empty IDT
 */
#include "tiny.h"

#define CMD_LINE_PTR 0x228
#define NOWHERE      0xe0000000ull
#define ZEROES       0x90000ull /* RAM that nobody has written to */
#define IOAPIC       0xfec00000ull

static bool says(const uint8_t *command_line, char first)
{
    return command_line[0] == (uint8_t)first;
}

static void load_idt(uint64_t base, uint16_t limit)
{
    const struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) idt = {limit, base};
    __asm__ volatile("lidt %0\n\tud2" : : "m"(idt));
}

static void ask_unknown(void)
{
    uint64_t value = 0;
    uint32_t word = 0;
    uint8_t byte = 0;
    say("UNKNOWN port ");
    say(port_in(0x1234, 1, &word) ? "answers\n" : "faults\n");
    say("UNKNOWN msr ");
    say(read_msr(0x12345, &value) ? "answers\n" : "faults\n");
    say("UNKNOWN address ");
    say(read_byte(NOWHERE, &byte) ? "answers\n" : "faults\n");
}

void tiny_main(const uint8_t *boot_params)
{
    const uint8_t *command_line =
        (const uint8_t *)(uint64_t) * (const uint32_t *)(boot_params + CMD_LINE_PTR);
    say("SEPTUM-GUEST-UP ends\n");
    if (says(command_line, 't'))
        load_idt(ZEROES, 0xfff);
    if (says(command_line, 'l'))
        load_idt(NOWHERE, 0xfff);
    if (says(command_line, 'r'))
        load_idt(0, 0);
    if (says(command_line, 'n'))
        __asm__ volatile("jmp *%0" : : "r"(NOWHERE));
    if (says(command_line, 'o'))
        __asm__ volatile(".byte 0x66\n\tjmp *(%0)" : : "r"(IOAPIC)); /* of 16 bits: the vendors differ */
    ask_unknown();
}
