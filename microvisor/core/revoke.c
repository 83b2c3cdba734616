/*
 * Revocation.
 *
 * One subtree is taken back at a time, by whoever calls: the job below. It can stop after any
 * micro-step and be continued by anyone, and nobody begins another before it is finished; so a
 * caller that was preempted, or died, leaves nothing half done.
 *
 * Ranges: depth first along parent pointers, what is deepest goes first. A range of which only a
 * part goes is prepared on the way down: large pages are split, and what lies behind the part becomes
 * a range of its own, paid by its holder. If he cannot pay, the part is widened until nothing needs
 * to be paid. So nothing can fail on the way up. Ranges on the way are marked: from the marked part
 * nobody can delegate any more, so children come only before the one that is looked at next, and only
 * the job takes any away.
 *
 * Capabilities: the same, what has no children goes. Nobody can derive capabilities to that object
 * meanwhile.
 */
#include "check/check.h"
#include "core/ipc.h"
#include "core/syscall.h"
#include "x86/processor.h"

static struct {
    struct range *top, *cursor;    /* a range's subtree: cursor is set */
    struct list *next;             /* which of cursor's children comes next */
    struct capability *capability; /* or a capability's, */
    struct capability *leaf;       /* and how deep in it the job is */
    bool self;                     /* the top goes too */
} job;

/* What one hold of the lock may do, and has done. */
struct step {
    unsigned budget;
    struct flush flush;
};

static struct list dying = {&dying, &dying}; /* objects that no capability names any more */

/* ---- ranges ---------------------------------------------------------------------------------- */

/* Where the frame with that number is in the range's space. */
static uint64_t place_of(const struct range *range, uint64_t frame)
{
    return range->place.start + (frame - range->frame);
}

/* Makes what lies behind the part a range of its own; its children follow one by one. */
static void split_range(struct range *range)
{
    struct range *second = quota_alloc_raw(&range->task->quota, sizeof(*second));
    if (!second) {
        if (range->cut_start - range->frame < range_last_frame(range) - range->cut_last)
            range->cut_start = range->frame;
        else
            range->cut_last = range_last_frame(range);
        return;
    }
    *second = *range;
    second->cut = 0;
    second->frame = range->cut_last + 1;
    second->place.start = place_of(range, second->frame);
    second->parent = range == job.top ? range->parent : range->parent->after;
    range->place.last = second->place.start - 1;
    range->after = second;
    range_link(second);
}

/* Makes sure that the part can go without any further allocation; widens it if need be. */
static void prepare_cut(struct range *range)
{
    struct table *table = space_table(range->task, range->space);
    uint64_t start, end, shift = range->place.start - range->frame;

    if (table && range->cut_start > range->frame &&
        !table_split(table, range->cut_start + shift, &start, &end))
        range->cut_start = start - shift;
    if (table && range->cut_last < range_last_frame(range) &&
        !table_split(table, range->cut_last + 1 + shift, &start, &end))
        range->cut_last = end - 1 - shift;
    if (range->cut_start > range->frame && range->cut_last < range_last_frame(range))
        split_range(range);
}

/* Goes down to a range of which (at least) the frames [start, last] have to go. */
static void enter(struct range *range, uint64_t start, uint64_t last, bool taken)
{
    uint64_t end = range_last_frame(range);
    range->cut_start = start > range->frame ? start : range->frame;
    range->cut_last = last < end ? last : end;
    range->cut = 1;
    range->after = range;
    if (taken)
        prepare_cut(range);
    job.cursor = range;
    job.next = range->children.next;
}

/* Takes the marked part, which is at an end, from a range, none of whose children has any of it.
 * False: not yet done. */
static bool cut_range(struct range *range, struct step *step)
{
    struct task *task = range->task;
    struct table *table = space_table(task, range->space);
    uint64_t place = place_of(range, range->cut_start);
    uint64_t size = range->cut_last - range->cut_start + 1;

    bool cleared = !table || table_clear(table, place, size, &step->budget);
    if (range->space > SPACE_DMA) /* ports: no table */
        ports_set(task, range->space, place, size, false);
    if (range->space !=
        SPACE_PHYSICAL) /* not before: another CPU could flush what is still mapped */
        flush_add(&step->flush, task, range->space);
    if (!cleared)
        return false;

    range->cut = 0;
    job.next = &range->sibling; /* what is left of it is looked at once more */
    if (size == range_size(range)) {
        job.next = range->sibling.next;
        range_end(range);
    } else if (range->cut_start == range->frame) {
        range->frame += size;
        range->place.start += size;
    } else {
        range->place.last -= size;
    }
    return true;
}

/* Looks at the cursor's next child: goes down to it if it has any of the part. */
static void next_child(struct range *range)
{
    struct range *child = list_entry(job.next, struct range, sibling);
    if (child->frame <= range->cut_last && range_last_frame(child) >= range->cut_start) {
        enter(child, range->cut_start, range->cut_last, true);
        return;
    }
    job.next = job.next->next;
    if (child->frame > range->cut_last && range->after != range) {
        list_remove(&child->sibling);
        child->parent = range->after;
        list_prepend(&child->parent->children, &child->sibling);
    }
}

static void run_range_job(struct step *step)
{
    while (job.cursor && step->budget) {
        struct range *range = job.cursor, *parent = range == job.top ? NULL : range->parent;
        step->budget--;
        if (job.next != &range->children) {
            next_child(range);
            continue;
        }
        if (range == job.top && !job.self)
            range->cut = 0;
        else if (!cut_range(range, step))
            return;
        job.cursor = parent;
    }
}

/* ---- capabilities ---------------------------------------------------------------------------- */

/* The first that was delegated from it; NULL if there is none. */
static struct capability *first_child(const struct capability *capability)
{
    struct capability *next = list_first(&capability->kin, struct capability, kin);
    return next->parent == capability ? next : NULL;
}

/* The object pointer stays: whoever has just seen the type may still follow it, until he has passed
 * a quiescent point; only then is the slot filled again, or the object taken apart. */
static void empty_slot(struct capability *capability, struct step *step)
{
    struct object *object = capability->object;
    list_remove(&capability->kin);
    capability->parent = NULL;
    __atomic_store_n(&capability->type, OBJECT_NONE, __ATOMIC_RELEASE);
    capability->fast = 0;
    capability->rights = 0;
    step->flush.quiesce = true;
    ledger_slot_emptied(object);
    if (object->root == capability) {
        object->root = NULL;
        list_remove(&object->link);
        /* Threads first, or the end of what they wait for would let them run once more. */
        if (object->type == OBJECT_THREAD)
            list_prepend(&dying, &object->link);
        else
            list_append(&dying, &object->link);
    }
}

static void run_capability_job(struct step *step)
{
    struct capability *top = job.capability;
    while (first_child(top)) {
        struct capability *leaf = job.leaf, *child = first_child(leaf);
        if (!step->budget)
            return;
        step->budget--;
        job.leaf = child ? child : leaf->parent;
        if (!child)
            empty_slot(leaf, step);
    }
    if (job.self)
        empty_slot(top, step);
    job.capability = NULL;
}

bool revoke_in_progress(const struct capability *capability)
{
    return job.capability && job.capability->object == capability->object;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* What is to be taken back. `base` moves on as jobs are begun. */
struct request {
    struct object *object; /* all capabilities to it; NULL: */
    struct task *task;
    enum space_kind space;
    uint64_t base, end; /* bytes, ports or slots */
    bool self;
    struct capability *reply; /* a saved reply that has to be dropped without the lock */
};

/* Begins the next job; false if there is none. */
static bool begin_range(struct request *request)
{
    struct range *range = range_find(&request->task->ranges[request->space], request->base);
    if (request->base >= request->end || !range || range->place.start >= request->end)
        return false;
    uint64_t first = request->base > range->place.start ? request->base : range->place.start;
    uint64_t last = request->end - 1 < range->place.last ? request->end - 1 : range->place.last;
    uint64_t offset = range->frame - range->place.start;
    job.top = range;
    job.self = request->self;
    request->base = last + 1;
    enter(range, first + offset, last + offset, request->self);
    return true;
}

static bool begin_capability(struct request *request, struct step *step)
{
    const struct capability_space *space = &request->task->capabilities;
    uint64_t end = request->end < space->slots ? request->end : space->slots;
    while (request->base < end && step->budget) {
        struct capability *capability = capability_lookup(space, request->base);
        step->budget--;
        if (capability >= empty_capabilities &&
            capability < empty_capabilities + CAPABILITIES_PER_PAGE) {
            request->base = (request->base | (CAPABILITIES_PER_PAGE - 1)) + 1;
            continue;
        }
        if (capability->type == OBJECT_REPLY && request->self) {
            request->reply = capability;
            return false;
        }
        request->base++;
        if (capability->type != OBJECT_NONE && (request->self || first_child(capability))) {
            job.capability = job.leaf = capability;
            job.self = request->self;
            return true;
        }
    }
    return request->base < end;
}

static bool begin_object(const struct object *object)
{
    job.capability = job.leaf = object->root;
    job.self = true;
    return object->root != NULL;
}

/* One step towards the request; true when nothing of it is left. */
static bool take(struct request *request)
{
    struct step step = {.budget = MAP_STEP};
    bool more = true;

    request->reply = NULL;
    spinlock_acquire(&mapping_lock);
    while (step.budget && (more || job.cursor || job.capability)) {
        if (job.cursor)
            run_range_job(&step);
        else if (job.capability)
            run_capability_job(&step);
        else
            more = request->object                      ? begin_object(request->object)
                   : request->space == SPACE_CAPABILITY ? begin_capability(request, &step)
                                                        : begin_range(request);
    }
    flush_commit(&step.flush);
    table_free_garbage();
    spinlock_release(&mapping_lock);
    if (request->reply) {
        reply_capability_dropped(request->reply);
        return false;
    }
    return !more;
}

bool revoke_step(struct task *task, enum space_kind space, uint64_t *base, uint64_t end, bool self)
{
    struct request request = {
        .task = task, .space = space, .base = *base, .end = end, .self = self};
    bool done = take(&request);
    *base = request.base;
    return done;
}

bool revoke_object(struct object *object)
{
    struct request request = {.object = object};
    return take(&request);
}

/* ---- the end of objects ---------------------------------------------------------------------- */

static struct list ready = {&ready, &ready}; /* dying objects that nobody can be using */
static uint32_t reaping;                     /* one CPU at a time */

/* The oldest object that is ready to be taken apart; NULL if there is none. */
static struct object *next_ready(void)
{
    struct object *object = NULL;
    bool fresh;

    spinlock_acquire(&mapping_lock);
    fresh = !list_empty(&dying);
    if (fresh) {
        dying.prev->next = &ready;
        dying.next->prev = ready.prev;
        ready.prev->next = dying.next;
        ready.prev = dying.prev;
        list_init(&dying);
    }
    if (!list_empty(&ready)) {
        object = list_first(&ready, struct object, link);
        list_remove(&object->link);
    }
    spinlock_release(&mapping_lock);
    if (fresh)
        cross_quiesce();
    return object;
}

bool revoke_reap_step(void)
{
    if (__atomic_exchange_n(&reaping, 1, __ATOMIC_ACQUIRE))
        return true;
    struct object *object = next_ready();
    bool more = object != NULL;
    if (object) {
        struct task *owner = object->owner;
        ledger_object_ends(object);
        bool done = object_destroy(object);
        spinlock_acquire(&mapping_lock);
        if (!done)
            list_append(&ready, &object->link);
        else if (owner)
            owner->charged--;
        more = !list_empty(&ready) || !list_empty(&dying);
        spinlock_release(&mapping_lock);
    }
    __atomic_store_n(&reaping, 0, __ATOMIC_RELEASE);
    return more;
}

/* ---- the system call ------------------------------------------------------------------------- */

static enum septum_status unmap_decode(struct thread *caller, struct request *request)
{
    const struct registers *in = &caller->registers;
    enum septum_status status = STATUS_OK;
    uint64_t space = in->rsi & 0xff;

    if (in->rsi & ~(uint64_t)(UNMAP_SELF | 0xff) || space >= SPACE_KIND_COUNT)
        return STATUS_BAD_ARGUMENT;
    if (!space_holds((enum space_kind)space, in->rdx, in->r10))
        return STATUS_BAD_ARGUMENT;
    *request = (struct request){.task = capability_task(caller->task, in->rdi, RIGHT_MAP, &status),
                                .space = (enum space_kind)space,
                                .base = in->rdx,
                                .end = in->rdx + (in->r10 << spaces[space].shift),
                                .self = in->rsi & UNMAP_SELF};
    return status;
}

enum septum_status sys_unmap(struct thread *caller)
{
    struct registers *registers = &caller->registers;
    for (;;) {
        struct request request;
        enum septum_status status = unmap_decode(caller, &request);
        if (status != STATUS_OK)
            return status;
        unsigned shift = spaces[request.space].shift;
        if (take(&request))
            break;
        /* What is left; the last unit stays until the job that takes it is finished. */
        if (request.base >= request.end)
            request.base = request.end - (1ull << shift);
        registers->rdx = request.base;
        registers->r10 = (request.end - request.base) >> shift;
        if (syscall_preempted())
            return SYSCALL_RESTART;
    }
    /* From here on the arguments name an empty slot: a restart only goes on with what is below. */
    registers->rdi = 0;
    registers->rsi = SPACE_CAPABILITY;
    registers->rdx = 0;
    registers->r10 = 1;
    while (revoke_reap_step()) {
        /* A caller that took itself apart cannot come back: what it began is finished here. */
        if (syscall_preempted() && current_thread() == caller)
            return SYSCALL_RESTART;
    }
    return STATUS_OK;
}
