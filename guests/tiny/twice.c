/*
 * Two interrupts of one vector, the second sent when the first has been taken but no exit has told the VMM so: both
 * must come. The second vCPU takes them in real mode; what it does is in second_start below.
 */
#include "tiny.h"

enum { ICR = 0x830, TO_SECOND = 1, INIT = 0x4500, STARTUP = 0x4600, VECTOR = 0x40, ROUNDS = 200 };
enum { CODE = 0x8000, SHARED = 0x9000, PAGE_BYTES = 4096 };

/* At SHARED; numbers of rounds but for `taken`. */
struct shared {
    volatile uint32_t ready;  /* the second vCPU waits with interrupts off */
    volatile uint32_t go;     /* the first message has been sent */
    volatile uint32_t inside; /* the handler has begun; nothing has left the guest since */
    volatile uint32_t again;  /* the second message has been sent: the handler may go on */
    volatile uint32_t done;
    volatile uint32_t taken; /* interrupts in all */
};

extern const uint8_t second_start[], second_end[];

/* Once it is let go it leaves the guest by CPUID, with interrupts off: then the VMM has the vector wait. */
__asm__("    .code16\n"
        "    .globl second_start, second_end\n"
        "second_start:\n"
        "    cli\n"
        "    xor %ax, %ax\n"
        "    mov %ax, %ds\n"
        "    mov %ax, %ss\n"
        "    mov $0x7000, %sp\n"
        "    movw $(2f - second_start), 0x40 * 4\n" /* the real-mode vector table */
        "    movw %cs, 0x40 * 4 + 2\n"
        "    mov $0x1b, %ecx\n" /* IA32_APIC_BASE: x2APIC mode */
        "    rdmsr\n"
        "    or $0xc00, %eax\n"
        "    wrmsr\n"
        "    mov $0x80f, %ecx\n" /* spurious vector register: enabled */
        "    mov $0x1ff, %eax\n"
        "    xor %edx, %edx\n"
        "    wrmsr\n"
        "    mov $1, %esi\n"
        "1:  mov %esi, 0x9000\n" /* ready */
        "0:  pause\n"
        "    cmp %esi, 0x9004\n" /* go */
        "    jne 0b\n"
        "    call 4f\n"
        "    sti\n"
        "0:  pause\n"
        "    cmp %esi, 0x900c\n" /* again: set while the handler waits */
        "    jne 0b\n"
        "    call 4f\n"
        "    call 4f\n"
        "    cli\n"
        "    mov %esi, 0x9010\n" /* done */
        "    inc %esi\n"
        "    jmp 1b\n"
        "2:  pushal\n"
        "    incl 0x9014\n"      /* taken */
        "    mov %esi, 0x9008\n" /* inside */
        "0:  pause\n"
        "    cmp %esi, 0x900c\n"
        "    jne 0b\n"
        "    mov $0x80b, %ecx\n" /* EOI */
        "    xor %eax, %eax\n"
        "    xor %edx, %edx\n"
        "    wrmsr\n"
        "    popal\n"
        "    iret\n"
        "4:  xor %eax, %eax\n"
        "    cpuid\n"
        "    ret\n"
        "second_end:\n"
        "    .code64\n");

static void send(uint32_t command)
{
    write_msr(ICR, (uint64_t)TO_SECOND << 32 | command);
}

static void wait_for(const volatile uint32_t *word, uint32_t value)
{
    while (*word != value)
        __asm__ volatile("pause");
}

void tiny_main(const uint8_t *boot_params)
{
    struct shared *shared = (struct shared *)(uintptr_t)SHARED;
    (void)boot_params;
    say("SEPTUM-GUEST-UP twice\n");
    if (!apic_enable()) {
        say("TWICE needs an x2APIC\n");
        return;
    }
    *shared = (struct shared){0};
    for (const uint8_t *from = second_start; from < second_end; from++)
        write_byte(CODE + (uint64_t)(from - second_start), *from);
    send(INIT);
    send(STARTUP | CODE / PAGE_BYTES);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        wait_for(&shared->ready, round);
        send(VECTOR);
        shared->go = round;
        wait_for(&shared->inside, round);
        send(VECTOR);
        shared->again = round;
        wait_for(&shared->done, round);
    }
    say("TWICE ");
    say_number(ROUNDS);
    say(" taken ");
    say_number(shared->taken);
    say("\n");
}
