#include "tiny.h"

enum { IDT_ENTRIES = 256, TABLE_ENTRIES = 512, INTERRUPT_GATE = 0x8e00 };
enum { PRESENT = 1, WRITABLE = 2, USER = 4, LARGE = 0x80 };

uint64_t last_exception, recover, interrupts_taken;
uint32_t end_of_interrupt_msr;
uint8_t stack[16384] __attribute__((aligned(16)));
__asm__(".globl stack_end\n .set stack_end, stack + 16384");

extern uint8_t exception_entries[], interrupt_entry[];
void tiny_start(void);
_Noreturn void tiny_died(uint64_t vector, uint64_t rip, uint64_t cr2);

static struct {
    uint64_t low, high;
} idt[IDT_ENTRIES];
static uint64_t top[TABLE_ENTRIES] __attribute__((aligned(4096)));
static uint64_t gigabytes[TABLE_ENTRIES] __attribute__((aligned(4096)));
static uint64_t megabytes[4][TABLE_ENTRIES] __attribute__((aligned(4096)));

static bool has_gigabyte_pages(void)
{
    uint32_t a = 0x80000001, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return d & 1u << 26;
}

/* All of the first 512 GiB at its own address; without 1 GiB pages the first four of them. */
static void map_everything(void)
{
    bool large = has_gigabyte_pages();
    top[0] = (uint64_t)gigabytes | PRESENT | WRITABLE;
    for (uint64_t i = 0; i < (large ? TABLE_ENTRIES : 4u); i++) {
        gigabytes[i] = (large ? i << 30 | LARGE : (uint64_t)megabytes[i]) | PRESENT | WRITABLE;
        for (uint64_t j = 0; !large && j < TABLE_ENTRIES; j++)
            megabytes[i][j] = i << 30 | j << 21 | LARGE | PRESENT | WRITABLE;
    }
    __asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
}

void tiny_start(void)
{
    uint16_t code;
    __asm__ volatile("mov %%cs, %0" : "=r"(code));
    for (unsigned i = 0; i < IDT_ENTRIES; i++) {
        uint64_t entry = (uint64_t)(i < 32 ? exception_entries + i * 16 : interrupt_entry);
        idt[i].low = (entry & 0xffff) | (uint64_t)code << 16 | (uint64_t)INTERRUPT_GATE << 32 |
                     (entry >> 16 & 0xffff) << 48;
        idt[i].high = entry >> 32;
    }
    struct {
        uint16_t limit;
        void *base;
    } __attribute__((packed)) descriptor = {sizeof idt - 1, idt};
    __asm__ volatile("lidt %0" : : "m"(descriptor));
    map_everything();
}

void tiny_died(uint64_t vector, uint64_t rip, uint64_t cr2)
{
    say("TINY exception ");
    say_number(vector);
    say(" at ");
    say_hex(rip);
    say(" cr2 ");
    say_hex(cr2);
    say("\n");
    for (;;)
        __asm__ volatile("cli; hlt");
}

bool read_msr(uint32_t index, uint64_t *value)
{
    uint32_t low = 0, high = 0;
    bool ok = SURVIVES("rdmsr", : "+a"(low), "+d"(high) : "c"(index) : "r11", "memory");
    *value = (uint64_t)high << 32 | low;
    return ok;
}

bool write_msr(uint32_t index, uint64_t value)
{
    return SURVIVES("wrmsr",
                    :
                    : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(index)
                    : "r11", "memory");
}

bool read_byte(uint64_t address, uint8_t *value)
{
    uint8_t byte = 0;
    bool ok = SURVIVES("movb (%1), %0", : "+q"(byte) : "r"(address) : "r11", "memory");
    *value = byte;
    return ok;
}

bool write_byte(uint64_t address, uint8_t value)
{
    return SURVIVES("movb %0, (%1)", : : "q"(value), "r"(address) : "r11", "memory");
}

bool port_in(uint16_t port, unsigned size_bytes, uint32_t *value)
{
    uint32_t v = 0;
    bool ok = size_bytes == 1   ? SURVIVES("inb %%dx, %%al",
                                           : "+a"(v)
                                           : "d"(port)
                                           : "r11", "memory")
              : size_bytes == 2 ? SURVIVES("inw %%dx, %%ax",
                                           : "+a"(v)
                                           : "d"(port)
                                           : "r11", "memory")
                                : SURVIVES("inl %%dx, %%eax",
                                           : "+a"(v)
                                           : "d"(port)
                                           : "r11", "memory");
    *value = v;
    return ok;
}

bool port_out(uint16_t port, unsigned size_bytes, uint32_t value)
{
    return size_bytes == 1   ? SURVIVES("outb %%al, %%dx",
                                        :
                                        : "a"(value), "d"(port)
                                        : "r11", "memory")
           : size_bytes == 2 ? SURVIVES("outw %%ax, %%dx",
                                        :
                                        : "a"(value), "d"(port)
                                        : "r11", "memory")
                             : SURVIVES("outl %%eax, %%dx",
                                        :
                                        : "a"(value), "d"(port)
                                        : "r11", "memory");
}

bool apic_enable(void)
{
    enum { APIC_BASE = 0x1b, ENABLED = 1 << 11, X2APIC = 1 << 10, SPURIOUS = 0x80f, EOI = 0x80b };
    uint64_t base;
    end_of_interrupt_msr = EOI;
    return read_msr(APIC_BASE, &base) && write_msr(APIC_BASE, base | ENABLED | X2APIC) &&
           write_msr(SPURIOUS, 0x1ff);
}

uint64_t ram_end(const uint8_t *boot_params, uint64_t address)
{
    enum { E820_COUNT = 0x1e8, E820 = 0x2d0, ENTRY_BYTES = 20, USABLE = 1 };
    for (unsigned i = 0; i < boot_params[E820_COUNT]; i++) {
        const uint8_t *entry = boot_params + E820 + i * ENTRY_BYTES;
        uint64_t base, size;
        uint32_t type;
        __builtin_memcpy(&base, entry, 8);
        __builtin_memcpy(&size, entry + 8, 8);
        __builtin_memcpy(&type, entry + 16, 4);
        if (type == USABLE && address >= base && address - base < size)
            return base + size;
    }
    return 0;
}
