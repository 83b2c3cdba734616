/*
 * Quotas, and the small objects that are charged to them. A slab is a frame of equal objects behind
 * a header; slabs with room are on the quota's lists. A slab that becomes empty goes back at once,
 * so `used` depends on what exists now, not on what existed before.
 */
#include "core/quota.h"

#define OBJECT_MIN 64u

struct slab {
    struct list link;     /* quota.partial */
    void *free;           /* objects given back, linked through their first word */
    uint16_t left, fresh; /* fresh: those before it have been handed out once */
};
_Static_assert(sizeof(struct slab) <= OBJECT_MIN, "the header takes the place of one small object");

void quota_init(struct quota *quota, uint32_t pages)
{
    *quota = (struct quota){.granted = pages};
    for (unsigned class = 0; class < QUOTA_CLASSES; class ++)
        list_init(&quota->partial[class]);
}

uint32_t quota_left(const struct quota *quota)
{
    return quota->granted - quota->used - quota->given;
}

bool quota_move(struct quota *from, struct quota *to, uint32_t pages)
{
    spinlock_acquire(&from->lock);
    bool enough = quota_left(from) >= pages;
    if (enough)
        from->given += pages;
    spinlock_release(&from->lock);
    if (!enough)
        return false;
    spinlock_acquire(&to->lock);
    to->granted += pages;
    spinlock_release(&to->lock);
    return true;
}

void quota_return(struct quota *from, struct quota *to)
{
    ASSERT(!from->used && !from->given);
    spinlock_acquire(&to->lock);
    to->given -= from->granted;
    spinlock_release(&to->lock);
    from->granted = 0;
}

/* quota->lock held. */
static void *charge_pages(struct quota *quota, unsigned order)
{
    if (quota_left(quota) < 1u << order)
        return NULL;
    void *pages = frames_alloc_raw(order);
    if (pages)
        quota->used += 1u << order;
    return pages;
}

static void uncharge_pages(struct quota *quota, void *pages, unsigned order)
{
    quota->used -= 1u << order;
    frames_free(pages, order);
}

void *quota_alloc_pages(struct quota *quota, unsigned order)
{
    spinlock_acquire(&quota->lock);
    void *pages = charge_pages(quota, order);
    spinlock_release(&quota->lock);
    return pages ? memset(pages, 0, PAGE_SIZE << order) : NULL;
}

void quota_free_pages(struct quota *quota, void *pages, unsigned order)
{
    spinlock_acquire(&quota->lock);
    uncharge_pages(quota, pages, order);
    spinlock_release(&quota->lock);
}

/* ---- small objects --------------------------------------------------------------------------- */

static unsigned objects_per_slab(unsigned class)
{
    return (unsigned)((PAGE_SIZE - OBJECT_MIN) / OBJECT_MIN) >> class;
}

/* A slab with nothing in it; quota->lock held. */
static __attribute__((noinline)) struct slab *add_slab(struct quota *quota, unsigned class)
{
    struct slab *slab = charge_pages(quota, 0);
    if (slab) {
        *slab = (struct slab){.left = (uint16_t)objects_per_slab(class)};
        list_prepend(&quota->partial[class], &slab->link);
    }
    return slab;
}

void *quota_alloc_class(struct quota *quota, unsigned class)
{
    void *object = NULL;
    ASSERT(class < QUOTA_CLASSES);
    spinlock_acquire(&quota->lock);
    struct slab *slab = list_first(&quota->partial[class], struct slab, link);
    if (unlikely(list_empty(&quota->partial[class])))
        slab = add_slab(quota, class);
    if (likely(slab != NULL)) {
        object = slab->free;
        if (object)
            slab->free = *(void **)object;
        else
            object = (uint8_t *)slab + OBJECT_MIN + ((size_t)slab->fresh++ << class) * OBJECT_MIN;
        if (unlikely(!--slab->left))
            list_remove(&slab->link);
    }
    spinlock_release(&quota->lock);
    return object;
}

void *quota_alloc(struct quota *quota, size_t size_bytes)
{
    void *object = quota_alloc_raw(quota, size_bytes);
    return object ? memset(object, 0, size_bytes) : NULL;
}

void quota_free(struct quota *quota, void *object, size_t size_bytes)
{
    unsigned class = quota_class(size_bytes);
    struct slab *slab = (struct slab *)((uintptr_t)object & ~PAGE_MASK);
    spinlock_acquire(&quota->lock);
    *(void **)object = slab->free;
    slab->free = object;
    if (!slab->left++)
        list_prepend(&quota->partial[class], &slab->link);
    if (slab->left == objects_per_slab(class)) {
        list_remove(&slab->link);
        uncharge_pages(quota, slab, 0);
    }
    spinlock_release(&quota->lock);
}
