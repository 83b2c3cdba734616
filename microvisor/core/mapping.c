/*
 * The mapping database: ranges, their tree and their children, what lies behind each kind of space; and
 * delegation, which is all that makes ranges: the `map` system call, and the typed items of messages.
 */
#include "core/mapping.h"

#include "core/syscall.h"
#include "virt/vcpu.h"
#include "x86/processor.h"

struct spinlock mapping_lock;

void range_link(struct range *range)
{
    struct range_tree *tree = &range->task->ranges[range->space];
    tree_insert(&tree->root, &range->place);
    tree->below = NULL;
    list_init(&range->children);
    if (range->parent)
        list_prepend(&range->parent->children, &range->sibling);
    else
        list_init(&range->sibling);
}

void range_end(struct range *range)
{
    struct range_tree *tree = &range->task->ranges[range->space];
    tree_remove(&tree->root, &range->place);
    if (tree->source == range)
        tree->source = NULL;
    if (tree->below == range)
        tree->below = NULL;
    list_remove(&range->sibling);
    quota_free(&range->task->quota, range, sizeof(*range));
}

#define MEMORY            (1u << SPACE_PHYSICAL | 1u << SPACE_HOST | 1u << SPACE_GUEST | 1u << SPACE_DMA)
#define PORTS             (1u << SPACE_PORT | 1u << SPACE_GUEST_PORT)
#define PORTS_END         (PORT_BITMAP_BYTES * 8)

#define MEMORY_ATTRIBUTES PAGE_MASK, PAGE_SHIFT, MEMORY, MAP_READ, MAP_RIGHTS, CACHE_WRITE_COMBINING

/* Guests' tables have four levels. No processor tells reading a port from writing it. */
const struct space spaces[SPACE_KIND_COUNT] = {
    [SPACE_PHYSICAL] = {1ull << 52, MEMORY_ATTRIBUTES},
    [SPACE_HOST] = {SEPTUM_USER_END, MEMORY_ATTRIBUTES},
    [SPACE_GUEST] = {1ull << 48, MEMORY_ATTRIBUTES},
    [SPACE_DMA] = {1ull << 48, MEMORY_ATTRIBUTES},
    [SPACE_PORT] = {PORTS_END, 0, 0, PORTS, MAP_READ | MAP_WRITE, MAP_RIGHTS,
                    CACHE_WRITE_COMBINING},
    [SPACE_GUEST_PORT] = {.end = PORTS_END},
    [SPACE_CAPABILITY] = {CAP_SLOTS_MAX, 0, 0, 1u << SPACE_CAPABILITY, 0, RIGHTS_ALL, UINT8_MAX},
};

void ports_set(struct task *task, enum space_kind space, uint64_t first, uint64_t count, bool allow)
{
    uint8_t *bitmap = space == SPACE_PORT ? task->ports : task->guest_ports;
    for (uint64_t port = first, end = first + count; port < end; port++) {
        uint8_t bit = (uint8_t)(1u << port % 8);
        bitmap[port / 8] = allow ? bitmap[port / 8] & (uint8_t)~bit : bitmap[port / 8] | bit;
        if (bit == 0x80 && end - port > 8) { /* then by bytes */
            memset(&bitmap[port / 8 + 1], allow ? 0 : 0xff, (end - port - 1) / 8);
            port += (end - port - 1) / 8 * 8;
        }
    }
}

void space_flush(struct task *task, enum space_kind space)
{
    struct flush flush = {0};
    flush_add(&flush, task, space);
    flush_commit(&flush);
    table_free_garbage();
}

/* Where there is no table yet, or never is, or it is not a processor's. */
static enum septum_status space_begin(struct task *task, enum space_kind space, uint64_t address,
                                      uint64_t *size, const struct table_leaf *leaf,
                                      unsigned leaves)
{
    enum septum_status status = task_make_space(task, space);
    struct table *table = space_table(task, space);
    if (status != STATUS_OK || space == SPACE_PHYSICAL)
        return status;
    if (table) {
        status = table_map(table, address, size, leaf, leaves);
        if (space == SPACE_DMA)
            dma_flush(); /* some units see neither the processor's cache nor what was absent before */
        return status;
    }
    ports_set(task, space, address, *size, true);
    space_flush(task, space); /* processors have copies */
    return STATUS_OK;
}

inline __attribute__((always_inline)) enum septum_status
space_map(struct task *task, enum space_kind space, uint64_t address, uint64_t *size,
          const struct table_leaf *leaf, unsigned leaves)
{
    struct table *table = space == SPACE_DMA ? NULL : space_table(task, space);
    enum septum_status status;
    if (likely(table && table->root))
        status = table_map(table, address, size, leaf, leaves);
    else
        status = space_begin(task, space, address, size, leaf, leaves);
    if (unlikely(status != STATUS_OK))
        space_flush(task, space);
    return status;
}

bool mapping_grant(struct task *task, enum space_kind space, uint64_t base, uint64_t size_bytes,
                   uint64_t frame, unsigned rights, bool device)
{
    struct table_leaf leaf = {frame, rights, CACHE_INHERIT, device};
    struct range *range = quota_alloc(&task->quota, sizeof(*range));
    if (!range)
        return false;
    *range = (struct range){.place = {.start = base, .last = base + size_bytes - 1},
                            .frame = frame,
                            .task = task,
                            .space = (uint8_t)space,
                            .rights = rights & MAP_RIGHTS,
                            .device = device};
    spinlock_acquire(&mapping_lock);
    range_link(range);
    bool granted = space_map(task, space, base, &size_bytes, &leaf, UINT32_MAX) == STATUS_OK;
    spinlock_release(&mapping_lock);
    return granted;
}

/* A request to delegate, after decoding; see sys_map and message items. */
struct map_request {
    struct task *from, *to;
    union {
        uint32_t how; /* as in the ABI: */
        struct {
            uint8_t source_space, target_space; /* enum space_kind */
            uint8_t rights;                     /* map rights or capability rights */
            uint8_t cache;                      /* enum map_cache */
        };
    };
    uint64_t source, target; /* address, port or slot */
    uint64_t count;          /* pages, ports or slots */
    uint64_t badge;          /* capabilities: 0: the source's */
};

/* ---- checking without the lock --------------------------------------------------------------- */

/* Spaces that need what not every machine has. */
static bool supported(enum space_kind source, enum space_kind target)
{
    if (source == SPACE_DMA || target == SPACE_DMA)
        return dma_confined;
    return vcpu_ops || (target != SPACE_GUEST && target != SPACE_GUEST_PORT);
}

/* Spaces that fit each other, alignment, ends, rights within what the kinds allow. */
static inline enum septum_status check(const struct map_request *request)
{
    const unsigned special = 1u << SPACE_DMA | 1u << SPACE_GUEST | 1u << SPACE_GUEST_PORT;
    enum space_kind source = request->source_space, target = request->target_space;
    if (source >= SPACE_KIND_COUNT || target >= SPACE_KIND_COUNT ||
        !(spaces[source].targets & 1u << target))
        return STATUS_BAD_ARGUMENT;
    if (unlikely((1u << source | 1u << target) & special) && !supported(source, target))
        return STATUS_NOT_SUPPORTED;
    if (!space_holds(source, request->source, request->count))
        return STATUS_BAD_ARGUMENT;
    if (!space_holds(target, request->target, request->count))
        return target == SPACE_CAPABILITY ? STATUS_BAD_SLOT : STATUS_BAD_ARGUMENT;
    if (target == SPACE_HOST && !request->target)
        return STATUS_BAD_ARGUMENT; /* a null pointer stays one */
    if (request->rights & ~spaces[source].rights || ~request->rights & spaces[source].needed ||
        request->cache > spaces[source].cache)
        return STATUS_BAD_ARGUMENT;
    return STATUS_OK;
}

/* ---- memory and ports ------------------------------------------------------------------------ */

/* The range that covers `place`, most often the same as the last time; NULL if none. */
static inline struct range *range_covering(struct range_tree *tree, uint64_t place)
{
    struct range *range = tree->source;
    if (range && place >= range->place.start && place <= range->place.last)
        return range;
    range = range_find(tree, place);
    return range && range->place.start <= place ? tree->source = range : NULL;
}

/* Is there nothing from `start` to `last`? Then *below is what comes before, NULL if nothing does. What
 * is mapped most often follows what was mapped last. */
static inline bool range_free(struct range_tree *tree, uint64_t start, uint64_t last,
                              struct range **below)
{
    struct range *range = tree->below;
    if (!range || start <= range->place.last || last > tree->free_last) {
        struct tree_node *above, *node = tree_last(tree->root, last, &above);
        if (node && node->last >= start)
            return false;
        range = node ? container_of(node, struct range, place) : NULL;
        tree->below = range;
        tree->free_last = above ? above->start - 1 : UINT64_MAX;
    }
    *below = range;
    return true;
}

/* Does what lies in one source range, or less. */
static inline enum septum_status map_range(const struct map_request *request, uint64_t *done)
{
    struct task *to = request->to;
    unsigned shift = spaces[request->source_space].shift;
    struct range_tree *sources = &request->from->ranges[request->source_space];
    uint64_t size = request->count << shift, place = request->source, target = request->target;
    struct range *source = range_covering(sources, place);

    if (!source)
        return STATUS_NO_MAPPING;
    if (request->rights & ~(unsigned)source->rights)
        return STATUS_BAD_RIGHTS;
    if (request->cache && !source->device && request->cache != source->cache)
        return STATUS_BAD_ARGUMENT; /* memory stays cached for all, or for none */
    struct table_leaf leaf = {source->frame + (place - source->place.start), request->rights,
                              request->cache ? request->cache : (enum map_cache)source->cache,
                              source->device};
    if (size > source->place.last - place + 1)
        size = source->place.last - place + 1;
    if (source->cut && leaf.frame <= source->cut_last && leaf.frame + size > source->cut_start)
        return STATUS_NO_MAPPING; /* it is being taken away */
    if (!space_table(to, request->target_space) && leaf.frame != target)
        return STATUS_BAD_ARGUMENT; /* frames and ports have one number everywhere */

    struct range_tree *targets = &to->ranges[request->target_space];
    struct range *range;
    if (!range_free(targets, target, target + size - 1, &range))
        return STATUS_BAD_ARGUMENT;
    /* A range that ends where this begins grows if both would be one. */
    bool grows = range && range->place.last + 1 == target && range->parent == source &&
                 range_last_frame(range) + 1 == leaf.frame && !range->cut &&
                 range->rights == leaf.rights && range->cache == leaf.cache;
    if (!grows && !(range = quota_alloc_raw(&to->quota, sizeof(*range))))
        return STATUS_NO_QUOTA;
    enum septum_status status =
        space_map(to, request->target_space, target, &size, &leaf, MAP_STEP);
    if (status != STATUS_OK) {
        if (!grows)
            quota_free(&to->quota, range, sizeof(*range));
        return status;
    }
    if (grows) {
        range->place.last += size;
    } else {
        range->place.start = target;
        range->place.last = target + size - 1;
        range->frame = leaf.frame;
        range->task = to;
        range->parent = source;
        range->space = (uint8_t)request->target_space;
        range->rights = (uint8_t)leaf.rights;
        range->cache = (uint8_t)leaf.cache;
        range->cut = false;
        range->device = leaf.device;
        range_link(range);
    }
    targets->below = range;
    *done = size >> shift;
    return STATUS_OK;
}

/* ---- capabilities ---------------------------------------------------------------------------- */

/* A scheduling context's badge holds its limits: they can only fall. */
static enum septum_status check_badge(const struct map_request *request,
                                      const struct capability *source)
{
    uint64_t limits = source->badge, badge = request->badge;
    if (!badge)
        return STATUS_OK;
    switch (source->type) {
    case OBJECT_SCHED:
        return (uint32_t)badge <= (uint32_t)limits && badge >> 32 <= limits >> 32
                   ? STATUS_OK
                   : STATUS_BAD_RIGHTS;
    case OBJECT_ENDPOINT:
    case OBJECT_NOTIFICATION: return source->rights & RIGHT_BADGE ? STATUS_OK : STATUS_BAD_RIGHTS;
    default: return STATUS_BAD_ARGUMENT;
    }
}

static enum septum_status check_source(const struct map_request *request,
                                       const struct capability *source)
{
    if (source->type == OBJECT_NONE)
        return STATUS_NO_MAPPING;
    if (source->type == OBJECT_REPLY)
        return STATUS_BAD_CAPABILITY; /* the right to answer has one holder */
    if (request->rights & ~(unsigned)source->rights)
        return STATUS_BAD_RIGHTS;
    return check_badge(request, source);
}

static enum septum_status map_capabilities(const struct map_request *request, uint64_t *done,
                                           bool *again)
{
    uint64_t count = request->count < MAP_STEP ? request->count : MAP_STEP;
    const struct capability_space *from = &request->from->capabilities;
    const struct capability_space *to = &request->to->capabilities;
    enum septum_status status;

    for (uint64_t i = 0; i < count; i++) {
        struct capability *source = capability_lookup(from, request->source + i);
        status = check_source(request, source);
        if (status != STATUS_OK)
            return status;
        if (revoke_in_progress(source)) {
            *again = true;
            return STATUS_OK; /* none done */
        }
        if (!capability_reserve(request->to, request->target + i, &status))
            return status;
    }
    for (uint64_t i = 0; i < count; i++) {
        struct capability *source = capability_lookup(from, request->source + i);
        capability_fill(capability_lookup(to, request->target + i), source->object, source->type,
                        (uint8_t)request->rights, request->badge ? request->badge : source->badge,
                        source);
    }
    *done = count;
    return STATUS_OK;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* Takes the first `count` units of what was just mapped back from the receiver. */
static void undo(const struct map_request *request, uint64_t count)
{
    enum space_kind space = request->target_space;
    uint64_t base = request->target, end = base + (count << spaces[space].shift);
    while (!revoke_step(request->to, space, &base, end, true))
        continue;
}

/*
 * Does some of a request, atomically: a step ends after MAP_STEP leaves or slots, and where the source range
 * ends. *done is the number of units done, 0 on an error, or if a revocation of the same object had to go
 * first. Takes mapping_lock.
 */
static __attribute__((noinline)) enum septum_status map_step(const struct map_request *request,
                                                             uint64_t *done)
{
    enum septum_status status = check(request);
    bool again = false;
    *done = 0;
    if (status != STATUS_OK)
        return status;
    spinlock_acquire(&mapping_lock);
    if (unlikely(request->to->stopping))
        status = STATUS_BAD_CAPABILITY;
    else if (request->source_space == SPACE_CAPABILITY)
        status = map_capabilities(request, done, &again);
    else
        status = map_range(request, done);
    spinlock_release(&mapping_lock);
    if (unlikely(again))
        revoke_step(request->to, SPACE_CAPABILITY, done, 0, false); /* goes on with that one */
    return status;
}

/* Does all of a request of at most MAP_STEP units, or on an error nothing. */
static enum septum_status map_whole(const struct map_request *request, uint64_t *done)
{
    enum septum_status status;
    struct map_request rest = *request;
    uint64_t part;
    *done = 0;
    while ((status = map_step(&rest, &part)) == STATUS_OK && (*done += part) < request->count) {
        rest.source += part << spaces[rest.source_space].shift;
        rest.target += part << spaces[rest.target_space].shift;
        rest.count -= part;
    }
    if (status != STATUS_OK && *done) {
        undo(request, *done);
        *done = 0;
    }
    return status;
}

/* ---- messages' items ------------------------------------------------------------------------- */

/* The target, which was an offset, becomes its place in the receiver's window; false if that is too small. */
static inline bool window_place(const struct thread *to, struct map_request *request)
{
    struct receive_window window = {0, SEPTUM_USER_END};
    unsigned shift = spaces[request->target_space].shift;

    if (to->fault ==
        ORIGIN_PAGE_FAULT) { /* its answer may map anywhere: there is no window to open */
        if (request->target_space != SPACE_HOST)
            return false;
    } else {
        window = *(volatile struct receive_window *)&to->buffer->windows[request->target_space];
        if (window.count > UINT64_MAX >> shift)
            return false;
        window.count <<= shift;
    }
    uint64_t size = request->count << shift, offset = request->target;
    request->target += window.base;
    return size <= window.count && offset <= window.count - size && request->target >= offset;
}

/* One item, each word of which is read once, becomes a request, and is done. */
static inline enum septum_status transfer_item(const struct thread *from, const struct thread *to,
                                               const volatile struct map_item *item,
                                               struct map_request *request)
{
    enum septum_status status;
    uint64_t done;

    request->from = from->task;
    request->to = to->task;
    request->how = (uint32_t)item->how;
    request->source = item->source;
    request->target = item->offset;
    request->count = item->count;
    request->badge = item->badge;
    if (request->target_space >= SPACE_KIND_COUNT || request->count > MAP_STEP ||
        !window_place(to, request))
        return STATUS_BAD_ARGUMENT;
    if (unlikely(request->count != 1))
        return map_whole(request, &done);
    do {
        status = map_step(request, &done);
    } while (unlikely(status == STATUS_OK && !done));
    return status;
}

enum septum_status map_items(struct thread *from, struct thread *to, unsigned count)
{
    struct map_request requests[MESSAGE_ITEMS_MAX], *r = requests;
    const volatile struct map_item *item = from->buffer->items;
    struct map_item *received = to->buffer->received;

    if (count > MESSAGE_ITEMS_MAX)
        return STATUS_BAD_ARGUMENT;
    for (const struct map_request *end = requests + count; r < end; r++) {
        enum septum_status status = transfer_item(from, to, item++, r);
        if (status == STATUS_OK)
            continue;
        while (r-- > requests)
            undo(r, r->count);
        return status;
    }
    if (to->fault)
        return STATUS_OK; /* it is in the middle of something */
    for (const struct map_request *end = r, *q = requests; q < end; q++)
        *received++ = (struct map_item){q->how, 0, q->target, q->count, q->badge};
    return STATUS_OK;
}

/* ---- the system call ------------------------------------------------------------------------- */

/* In the upper half of `how`: units done before the call was preempted. */
#define HOW_DONE_SHIFT 32

/* Small requests are done as a whole; others step by step, and rdx tells how many units were done.
 * */
enum septum_status sys_map(struct thread *caller)
{
    struct registers *registers = &caller->registers;
    for (;;) {
        uint64_t done = 0, before = registers->rsi >> HOW_DONE_SHIFT;
        enum septum_status status = STATUS_OK;
        const struct map_request request = {
            .from = caller->task,
            .to = capability_task(caller->task, registers->rdi, RIGHT_MAP, &status),
            .how = (uint32_t)registers->rsi,
            .source = registers->rdx,
            .target = registers->r10,
            .count = registers->r8,
            .badge = registers->r9,
        };

        if (status == STATUS_OK)
            status = (request.count > MAP_STEP ? map_step : map_whole)(&request, &done);
        if (status != STATUS_OK || done == request.count) {
            registers->rdx = before + done;
            return status;
        }
        registers->rsi += done << HOW_DONE_SHIFT;
        registers->rdx += done << spaces[request.source_space].shift;
        registers->r10 += done << spaces[request.target_space].shift;
        registers->r8 -= done;
        if (syscall_preempted())
            return SYSCALL_RESTART;
    }
}
