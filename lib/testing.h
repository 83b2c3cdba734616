/*
 * A framework for programs that test the kernel as its first task.
 *
 *     TEST(ipc_poll, "a wait with deadline 0 returns TIMEOUT at once")
 *     {
 *         EXPECT_STATUS(message_wait(endpoint, DEADLINE_POLL).status, STATUS_TIMEOUT);
 *     }
 *
 * A failed check ends its test. Whatever a test made is taken back after it: its capabilities, and
 * all that was delegated from frames and addresses it took from the pools; then the kernel memory
 * in use must be what it was before.
 *
 * On the serial line (tests/protocol.py reads it):
 *     TEST start NAME / TEST pass NAME / TEST fail NAME FILE:LINE: expected X, got Y
 *     TEST skip NAME reason / TEST end PASSED FAILED SKIPPED / COVER call STATUS / EVENT anything
 *
 * Words of the command line: test=GLOB, after=NAME (only those behind it), seed=N.
 */
#ifndef LIB_TESTING_H
#define LIB_TESTING_H

/* Every system call of a test program is counted by what it returned. */
#define SYSCALL_RETURNED(number, status) testing_returned(number, status)
#include <stdint.h>
void testing_returned(uint64_t number, uint64_t status);

#include "memory.h"
#include "message.h"
#include "spawn.h"
#include "string.h"

enum test_need {
    TEST_NEEDS_TWO_CPUS = 1, /* without it the test is not known to the machine: no line about it */
    TEST_NEEDS_VMX = 2,
    TEST_NEEDS_SVM = 4,   /* both bits: either will do */
    TEST_NEEDS_DEBUG = 8, /* a kernel with the checks of microvisor/check */
    TEST_NEEDS_IOMMU = 16,
};

struct test_case {
    const char *name, *sentence, *file;
    uint64_t line;
    uint64_t needs; /* enum test_need */
    void (*run)(void);
};

#if __has_attribute(no_reorder)
#define TEST_IN_ORDER __attribute__((used, section("tests"), aligned(8), no_reorder))
#else
#define TEST_IN_ORDER __attribute__((used, section("tests"), aligned(8)))
#endif

#define TEST_WITH(identifier, needs, sentence)                                \
    static void test_##identifier(void);                                      \
    static const struct test_case test_case_##identifier TEST_IN_ORDER = {    \
        #identifier, sentence, __FILE__, __LINE__, needs, test_##identifier}; \
    static void test_##identifier(void)

#define TEST(identifier, sentence)     TEST_WITH(identifier, 0, sentence)
#define TEST_SMP(identifier, sentence) TEST_WITH(identifier, TEST_NEEDS_TWO_CPUS, sentence)
#define TEST_VM(identifier, sentence) \
    TEST_WITH(identifier, TEST_NEEDS_VMX | TEST_NEEDS_SVM, sentence)

/* ---- checks ---------------------------------------------------------------------------------- */

/* Ends the test (on a thread of the test that is not the first: the thread) as failed. */
_Noreturn void test_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
_Noreturn void test_skip(const char *reason);
/* For loops that wait: ends the test if a check on another thread has failed. */
void test_stop_if_failed(void);
/* For tests that take long: the time they may take begins anew. */
void test_alive(void);

const char *status_name(uint64_t status);

static inline void test_expect_equal(const char *file, int line, const char *what, uint64_t actual,
                                     uint64_t expected)
{
    if (actual != expected)
        test_fail(file, line, "expected 0x%lx of %s, got 0x%lx", expected, what, actual);
}

static inline void test_expect_status(const char *file, int line, const char *what, uint64_t actual,
                                      uint64_t expected)
{
    if (actual != expected)
        test_fail(file, line, "expected %s of %s, got %s", status_name(expected), what,
                  status_name(actual));
}

static inline void test_expect_between(const char *file, int line, const char *what,
                                       uint64_t actual, uint64_t low, uint64_t high)
{
    if (actual < low || actual > high)
        test_fail(file, line, "expected %lu to %lu of %s, got %lu", low, high, what, actual);
}

#define CHECK(condition) \
    ((condition) ? (void)0 : test_fail(__FILE__, __LINE__, "expected %s, got false", #condition))
#define EXPECT(actual, expected) \
    test_expect_equal(__FILE__, __LINE__, #actual, (uint64_t)(actual), (uint64_t)(expected))
#define EXPECT_STATUS(actual, expected) \
    test_expect_status(__FILE__, __LINE__, #actual, actual, expected)
#define EXPECT_OK(actual) EXPECT_STATUS(actual, STATUS_OK)
/* Both ends count as inside. */
#define EXPECT_BETWEEN(actual, low, high) \
    test_expect_between(__FILE__, __LINE__, #actual, actual, low, high)

/* ---- what the framework knows ---------------------------------------------------------------- */

extern const struct boot_info *boot;
extern uint64_t test_seed;

/* Slots from here on belong to the test that runs. Below it, the framework's. */
#define TEST_SLOTS_FIRST 128u
#define TEST_SLOTS_END   512u

/* Priorities: of the first thread, and of what should run after or before it. */
#define PRIORITY_LOW      10u
#define PRIORITY_MAIN     30u
#define PRIORITY_HIGH     50u
#define PRIORITY_GUARDIAN 63u

/* The endpoint of the guardian: a thread of a test that has it as its fault endpoint ends the boot
 * with a report when it faults. The first thread has it. */
extern cap_slot_t guardian_endpoint;
/* Its scheduling context: it wakes now and then, and looks whether the test takes too long. */
extern cap_slot_t guardian_sched;
/* The first thread's scheduling context, of PRIORITY_MAIN. */
extern cap_slot_t main_sched;

/* Pseudo-random numbers: the same ones for a test at each run with the same seed. */
uint64_t test_random(void);

/* The number that a word `name=` of the command line has; else `otherwise`. */
uint64_t option_number(const char *name, uint64_t otherwise);

/* Runs all tests of the program that the command line asks for, prints the end, ends the machine.
 * Called by program_start with its argument. */
_Noreturn void testing_run(const void *boot_info);

/* The parts of testing_run, for programs that do not consist of TESTs: set up; take a test's
 * name. */
void testing_init(const void *boot_info);
_Noreturn void testing_end(unsigned passed, unsigned failed, unsigned skipped);

/* Kernel memory in use by the first task, in pages. */
uint64_t quota_used(void);

#endif
