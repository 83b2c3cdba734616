/*
 * Small loads for guests and what they cost in TSC ticks, without a C library (its start-up would cost
 * more than what is measured). Each command prints one line: PROBE command value...
 *
 *   probe cpu N              N rounds of arithmetic
 *   probe forkexec N         N times: fork, exec this program, wait
 *   probe pagefault N        N fresh pages are touched
 *   probe sleep N US         N sleeps of US microseconds
 *   probe cpuid N            N CPUID instructions (each is an exit)
 *   probe heartbeat MS N     N lines "BEAT name i", one every MS milliseconds (N = 0: for ever)
 *   probe mark N             tells the counting plugin of bench/ (N = 1 to 4): costs one instruction
 *   probe nothing            what forkexec runs
 *
 * As /init it marks 1 and goes on as the shell script /bin/start.
 *
 * Ticks are those of RDTSC: instructions, where the emulator counts time by instructions.
 */
#include "plain.h"

/* ---- the loads ------------------------------------------------------------------------------- */

struct time {
    long seconds, nanoseconds;
};

static void sleep_us(uint64_t us)
{
    struct time time = {(long)(us / 1000000), (long)(us % 1000000 * 1000)};
    system_call(SYS_nanosleep, (long)&time, 0, 0, 0);
}

static void rounds(uint64_t n)
{
    uint64_t x = 1;
    for (uint64_t i = 0; i < n; i++)
        __asm__ volatile("imul $3, %0, %0; inc %0" : "+r"(x));
}

static void forkexec(uint64_t n, char **environment)
{
    char *arguments[] = {"probe", "nothing", NULL};
    for (uint64_t i = 0; i < n; i++) {
        int status = 1;
        long child = system_call(SYS_fork, 0, 0, 0, 0);
        if (child == 0) {
            system_call(SYS_execve, (long)"/bin/probe", (long)arguments, (long)environment, 0);
            finish(1);
        }
        if (child < 0 || system_call(SYS_wait4, child, (long)&status, 0, 0) != child || status)
            finish(1);
    }
}

static void pagefault(uint64_t pages)
{
    enum { READ_WRITE = 3, PRIVATE_ANONYMOUS = 0x22 };
    long address =
        system_call6(SYS_mmap, 0, (long)(pages * 4096), READ_WRITE, PRIVATE_ANONYMOUS, -1, 0);
    if (address < 0 && address > -4096)
        finish(1);
    for (uint64_t i = 0; i < pages; i++)
        *(volatile char *)(address + (long)i * 4096) = 1;
}

static void cpuid(uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint32_t a = 0, b, c = 0, d;
        __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    }
}

static void heartbeat(uint64_t ms, uint64_t n, const char *name)
{
    for (uint64_t i = 1; !n || i <= n; i++) {
        put("BEAT ");
        put(name);
        put_number(i);
        end_line();
        sleep_us(ms * 1000);
    }
}

/* The magic nop of bench/plugin/count.c. Marks 10 and up are the host's. */
#define MARK(n) __asm__ volatile("nopl 0x5cca0000+%c0(%%rax)" : : "i"(n))

static void mark(uint64_t n)
{
    switch (n) {
    case 1: MARK(1); break;
    case 2: MARK(2); break;
    case 3: MARK(3); break;
    case 4: MARK(4); break;
    default: finish(2);
    }
}

_Noreturn static void init(char **environment)
{
    char *arguments[] = {"sh", "/bin/start", NULL};
    mark(1);
    system_call(SYS_execve, (long)"/bin/sh", (long)arguments, (long)environment, 0);
    finish(1);
}

static const char *name_of(char **environment)
{
    for (; *environment; environment++) {
        const char *e = *environment;
        if (e[0] == 'N' && e[1] == 'A' && e[2] == 'M' && e[3] == 'E' && e[4] == '=')
            return e + 5;
    }
    return "guest";
}

_Noreturn __attribute__((used)) static void probe_main(uint64_t *stack)
{
    uint64_t count = stack[0];
    char **arguments = (char **)(stack + 1), **environment = arguments + count + 1;
    const char *command = count > 1 ? arguments[1] : "";
    uint64_t a = count > 2 ? number_of(arguments[2]) : 0;
    uint64_t b = count > 3 ? number_of(arguments[3]) : 0;
    if (count > 0 && same(arguments[0], "/init"))
        init(environment);
    uint64_t start = ticks();
    if (same(command, "nothing"))
        finish(0);
    else if (same(command, "mark")) {
        mark(a);
        finish(0);
    } else if (same(command, "cpu"))
        rounds(a);
    else if (same(command, "forkexec"))
        forkexec(a, environment);
    else if (same(command, "pagefault"))
        pagefault(a);
    else if (same(command, "cpuid"))
        cpuid(a);
    else if (same(command, "sleep"))
        for (uint64_t i = 0; i < a; i++)
            sleep_us(b);
    else if (same(command, "heartbeat"))
        heartbeat(a, b, name_of(environment));
    else {
        put("usage: probe cpu|forkexec|pagefault|cpuid N, sleep N US, heartbeat MS N");
        end_line();
        finish(2);
    }
    uint64_t end = ticks();
    put("PROBE ");
    put(command);
    put_number(end - start);
    end_line();
    finish(0);
}

PLAIN_START(probe_main)
