/*
 * Host unit tests: a program per file, linked with the kernel sources that it names.
 *
 *     // links: microvisor/core/quota.c          (in a C comment at the top)
 *     #include "unit_test.h"
 *
 *     TEST(quota_refuses_overdraft, "a charge above what is left changes nothing")
 *     {
 *         EXPECT(quota_charge(&q, 5), false);
 *         CHECK(q.used == 0);
 *     }
 *
 * A failed CHECK or EXPECT ends its test. The program speaks the protocol of tests/protocol.py
 * and takes test=GLOB and seed=N as arguments.
 */
#ifndef UNIT_TEST_H
#define UNIT_TEST_H

#include <fnmatch.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit_test {
    const char *name, *sentence;
    void (*run)(void);
    struct unit_test *next;
};

static struct unit_test *unit_tests, **unit_tests_end = &unit_tests;
static const char *unit_running;
static jmp_buf unit_failed;
static uint64_t unit_seed = 1;

/* Tests register before main, in the order of the file. */
#define TEST(identifier, text)                                                                     \
    static void test_##identifier(void);                                                           \
    __attribute__((constructor)) static void register_##identifier(void)                           \
    {                                                                                              \
        static struct unit_test test = {#identifier, text, test_##identifier, NULL};               \
        *unit_tests_end = &test;                                                                   \
        unit_tests_end = &test.next;                                                               \
    }                                                                                              \
    static void test_##identifier(void)

/* CHECK(condition): it holds. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            unit_fail(__FILE__, __LINE__, "expected " #condition);                                 \
    } while (0)

/* EXPECT(got, expected): two integers or pointers are equal; both are shown when they are not. */
#define EXPECT(got, expected)                                                                      \
    do {                                                                                           \
        uint64_t got_ = (uint64_t)(got), expected_ = (uint64_t)(expected);                         \
        if (got_ != expected_) {                                                                   \
            char text_[256];                                                                       \
            snprintf(text_, sizeof text_, "%s: expected %#llx, got %#llx", #got,                   \
                     (unsigned long long)expected_, (unsigned long long)got_);                     \
            unit_fail(__FILE__, __LINE__, text_);                                                  \
        }                                                                                          \
    } while (0)

__attribute__((noreturn)) static inline void unit_fail(const char *file, int line, const char *text)
{
    printf("TEST fail %s %s:%d: %s\n", unit_running, file, line, text);
    longjmp(unit_failed, 1);
}

/* A repeatable stream of pseudo-random numbers, seeded by seed=N and the test's name. */
static uint64_t unit_random_state;

static inline uint64_t unit_random(void)
{
    uint64_t z = unit_random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* In a function of its own: longjmp leaves the caller's variables alone. */
__attribute__((noinline)) static int unit_run(const struct unit_test *test)
{
    if (setjmp(unit_failed) != 0)
        return 0;
    test->run();
    return 1;
}

int main(int argc, char **argv)
{
    const char *glob = "*";
    unsigned passed = 0, failed = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "test=", 5) == 0)
            glob = argv[i] + 5;
        else if (strncmp(argv[i], "seed=", 5) == 0)
            unit_seed = strtoull(argv[i] + 5, NULL, 0);
    }
    for (struct unit_test *test = unit_tests; test; test = test->next) {
        if (fnmatch(glob, test->name, 0) != 0)
            continue;
        unit_running = test->name;
        unit_random_state = unit_seed;
        for (const char *c = test->name; *c; c++)
            unit_random_state = unit_random_state * 31 + (unsigned char)*c;
        printf("TEST start %s\n", test->name);
        if (unit_run(test)) {
            printf("TEST pass %s\n", test->name);
            passed++;
        } else {
            failed++;
        }
    }
    printf("TEST end %u %u 0\n", passed, failed);
    return failed != 0;
}

#endif
