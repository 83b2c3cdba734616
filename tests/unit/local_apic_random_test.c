/* The local APIC against a model, under garbage, and raised by several threads.
 * links: vmm-server/devices/local_apic.c vmm-server/devices/local_apic_registers.c lib/print.c */
#include "local_apic_machine.h"

#include <pthread.h>
#include <sched.h>

/* ---- Against a model of sets ----------------------------------------------------------------- */

/* Vectors as three arrays of booleans; every rule is the sentence of the manual. */
static struct {
    bool requested[256], in_service[256], level[256];
    unsigned tpr;
} model;

static int model_highest(const bool set_[256])
{
    for (int vector = 255; vector >= 0; vector--) {
        if (set_[vector])
            return vector;
    }
    return -1;
}

static int model_pending(void)
{
    int in_service = model_highest(model.in_service), requested = model_highest(model.requested);
    int priority = in_service / 16 > (int)model.tpr / 16 && in_service >= 0 ? in_service / 16
                                                                            : (int)model.tpr / 16;
    return requested / 16 > priority ? requested : -1;
}

static void model_step(uint64_t random, uint32_t *word, bool pv)
{
    uint8_t vector = (uint8_t)(random >> 8);
    int in_service = model_highest(model.in_service);
    bool by_word = pv && (*word & 1) && (random >> 40 & 1);
    unsigned told = ended_count;
    switch (random & 7) {
    case 0:
    case 1:
    case 2:
        if (vector < 16)
            break;
        local_apic_raise(apic, vector, random >> 16 & 1);
        model.requested[vector] = true;
        model.level[vector] = random >> 16 & 1;
        break;
    case 3:
        set(TPR, vector);
        model.tpr = vector;
        break;
    case 4:
    case 5:
        if (by_word)
            *word &= ~1u;
        else
            set(EOI, 0);
        if (in_service < 0)
            break;
        model.in_service[in_service] = false;
        EXPECT(ended_count - told, by_word ? 0 : model.level[in_service]);
        break;
    default:
        EXPECT(local_apic_pending(apic), model_pending());
        if (model_pending() < 0)
            break;
        vector = (uint8_t)model_pending();
        local_apic_accept(apic, vector);
        model.requested[vector] = false;
        model.in_service[vector] = true;
    }
}

TEST(apic_model, "over random requests, priorities and ends it agrees with a model of sets")
{
    for (unsigned round = 0; round < 100; round++) {
        uint32_t word = 0;
        start();
        memset(&model, 0, sizeof model);
        if (round & 1)
            local_apic_set_pv_eoi(apic, &word);
        for (unsigned i = 0; i < 2000; i++) {
            model_step(unit_random(), &word, round & 1);
            EXPECT(local_apic_pending(apic), model_pending());
            if (i % 16 == 0) {
                for (unsigned v = 0; v < 256; v++) {
                    EXPECT(get(ISR + v / 32 * 16) >> v % 32 & 1, model.in_service[v]);
                    EXPECT(get(IRR + v / 32 * 16) >> v % 32 & 1, model.requested[v]);
                }
            }
        }
    }
}

TEST(apic_garbage,
     "random register accesses in every mode: nothing outside its state, and INIT always helps")
{
    for (unsigned round = 0; round < 300; round++) {
        start();
        for (unsigned i = 0; i < 500; i++) {
            uint64_t random = unit_random(), value64;
            uint32_t value;
            now += random >> 48;
            switch (random & 7) {
            case 0:
                local_apic_write(apic, random >> 8 & 0xff0, (uint32_t)(random >> 32), now);
                break;
            case 1: local_apic_read(apic, random >> 8 & 0xfff, &value, now); break;
            case 2:
                local_apic_write_msr(apic, 0x800 + (random >> 8 & 0x3f), random >> 32, now);
                break;
            case 3: local_apic_read_msr(apic, 0x800 + (random >> 8 & 0x3f), &value64, now); break;
            case 4: local_apic_write_msr(apic, 0x6e0, now + (random >> 40), now); break;
            case 5:
                if ((random >> 8 & 15) == 0)
                    local_apic_write_msr(apic, 0x1b, 0xfee00100 | (random >> 16 & 3) << 10, now);
                break;
            case 6: local_apic_timer(apic, now); break;
            default: local_apic_raise(apic, (uint8_t)(random >> 8), random >> 16 & 1);
            }
            CHECK(apic->deadline_tsc > now || apic->deadline_tsc == DEADLINE_NEVER ||
                  (random & 7) != 6);
            int pending = local_apic_pending(apic);
            CHECK(pending == -1 || (pending >= 16 && pending < 256));
            if (pending >= 0 && (random >> 24 & 1))
                local_apic_accept(apic, (uint8_t)pending);
        }
        local_apic_reset(apic, true);
        EXPECT(local_apic_pending(apic), -1);
        EXPECT(apic->deadline_tsc, DEADLINE_NEVER);
        for (unsigned i = 0; i < APICS; i++)
            local_apic_events(&apics[i]);
    }
}

/* ---- Other threads --------------------------------------------------------------------------- */

#define RAISES 20000u

static uint32_t kicked, raisers_left;

static void kick_atomically(struct local_apic *to)
{
    (void)to;
    __atomic_fetch_add(&kicked, 1, __ATOMIC_SEQ_CST);
}

/* Each thread raises the sixteen vectors of its class in turn, each when its last was taken. */
static void *raiser(void *argument)
{
    uint8_t first = (uint8_t)(uintptr_t)argument;
    for (unsigned i = 0; i < RAISES; i++) {
        uint8_t vector = first + i % 16;
        while (__atomic_load_n(&apic->irr[vector / 32], __ATOMIC_ACQUIRE) >> vector % 32 & 1)
            sched_yield();
        local_apic_raise(apic, vector, false);
    }
    __atomic_fetch_sub(&raisers_left, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

TEST(apic_raised_by_threads, "what other threads raise is taken once each, and each has kicked")
{
    static const struct local_apic_operations atomic_operations = {send, end, kick_atomically};
    pthread_t threads[3];
    unsigned taken = 0;
    start();
    apic->operations = &atomic_operations;
    kicked = 0;
    raisers_left = 3;
    for (uintptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, raiser, (void *)((i + 3) << 4)) == 0);
    for (;;) {
        uint32_t left = __atomic_load_n(&raisers_left, __ATOMIC_SEQ_CST);
        int vector = local_apic_pending(apic);
        if (vector >= 0) {
            local_apic_accept(apic, (uint8_t)vector);
            set(EOI, 0);
            taken++;
        } else if (left == 0) {
            break;
        } else {
            sched_yield();
        }
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    EXPECT(taken, 3 * RAISES);
    EXPECT(kicked, 3 * RAISES);
}
