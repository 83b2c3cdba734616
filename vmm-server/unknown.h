/*
 * What a guest asks for and nobody models: logged once each, with where the guest was; then the partition's `unknown`
 * policy decides (lib/partition/plan.h).
 */
#ifndef VMM_UNKNOWN_H
#define VMM_UNKNOWN_H

#include "lib/partition/plan.h"

#include <stdbool.h>
#include <stdint.h>

#define UNKNOWN_SEEN_MAX 64u

enum unknown_kind { UNKNOWN_PORT, UNKNOWN_MSR, UNKNOWN_ADDRESS };

struct unknown {
    enum plan_unknown policy;
    unsigned count; /* of the different ones seen */
    struct {
        uint64_t what;
        enum unknown_kind kind;
        bool write;
    } seen[UNKNOWN_SEEN_MAX];
};

/* Notes an access at rip, and says what is to be done. Under the machine's lock. */
enum plan_unknown unknown_note(struct unknown *unknown, enum unknown_kind kind, uint64_t what,
                               bool write, uint64_t rip);

#endif
