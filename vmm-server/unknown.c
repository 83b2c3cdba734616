#include "unknown.h"

#include "task.h"

static const char *const kinds[] = {"port", "MSR", "address"};
static const char *const answers[] = {"ignored", "the guest is stopped", "the guest gets #GP"};

enum plan_unknown unknown_note(struct unknown *unknown, enum unknown_kind kind, uint64_t what,
                               bool write, uint64_t rip)
{
    for (unsigned i = 0; i < unknown->count; i++)
        if (unknown->seen[i].what == what && unknown->seen[i].kind == kind &&
            unknown->seen[i].write == write)
            return unknown->policy;
    if (unknown->count == UNKNOWN_SEEN_MAX)
        return unknown->policy;
    unknown->seen[unknown->count].what = what;
    unknown->seen[unknown->count].kind = kind;
    unknown->seen[unknown->count].write = write;
    task_print("unknown %s 0x%lx is %s at RIP 0x%lx: %s%s\n", kinds[kind], what,
               write ? "written" : "read", rip, answers[unknown->policy],
               ++unknown->count == UNKNOWN_SEEN_MAX ? "; no further ones are logged" : "");
    return unknown->policy;
}
