/*
 * Device interrupts. A level-triggered line stays masked from its interrupt to the acknowledgement. An
 * edge-triggered one may come again before: it only raises bits that are raised already, and one that
 * does so too often is masked until it is acknowledged.
 */
#include "core/interrupt.h"

#include "x86/processor.h"

#define STORM_LIMIT 64u /* edges without an acknowledgement */
#define NO_GSI UINT32_MAX

static struct interrupt *lines[GSI_MAX + 1]; /* by GSI, and GSI_DMA_FAULT: one owner each; changed atomically */

static void set_mask(struct interrupt *interrupt, bool masked)
{
    interrupt->masked = masked;
    if (interrupt->gsi != NO_GSI)
        processor_gsi_mask(interrupt->gsi, masked);
}

static enum septum_status create(struct object *object, const struct create_request *request)
{
    struct interrupt *interrupt = (struct interrupt *)object, *nobody = NULL;
    uint64_t source = request->a0;

    interrupt->gsi = interrupt->source = NO_GSI;
    list_init(&interrupt->link);
    if (source == INTERRUPT_DMA_FAULT) {
        if (!dma_confined)
            return STATUS_NOT_SUPPORTED;
        source = GSI_DMA_FAULT;
    } else if (source - INTERRUPT_MSI_OF(0) <= UINT16_MAX) {
        interrupt->source = (uint16_t)source;
        source = INTERRUPT_MSI;
    } else if (source != INTERRUPT_MSI && !processor_gsi_exists(source)) {
        return STATUS_BAD_ARGUMENT;
    }
    if (source != INTERRUPT_MSI) {
        if (!__atomic_compare_exchange_n(&lines[source], &nobody, interrupt, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            return STATUS_BUSY;
        interrupt->gsi = (uint32_t)source;
    }
    interrupt->vector = processor_vector_alloc(object->home);
    return interrupt->vector ? STATUS_OK : STATUS_NOT_SUPPORTED;
}

enum septum_status interrupt_bind(struct interrupt *interrupt, struct notification *notification,
                                  uint64_t bits, uint32_t mode)
{
    if (interrupt->notification)
        return STATUS_BUSY;
    interrupt->notification = notification;
    interrupt->bits = bits;
    interrupt->mode = mode;
    interrupt->unacknowledged = 0;
    list_append(&notification->sources, &interrupt->link);
    this_cpu()->devices[interrupt->vector - VECTOR_DEVICE_FIRST] = interrupt;
    if (interrupt->gsi != NO_GSI)
        processor_gsi_route(interrupt->gsi, interrupt->object.home, interrupt->vector, mode);
    set_mask(interrupt, false);
    return STATUS_OK;
}

void interrupt_unbind(struct interrupt *interrupt)
{
    if (!interrupt->notification)
        return;
    set_mask(interrupt, true);
    list_remove(&interrupt->link);
    this_cpu()->devices[interrupt->vector - VECTOR_DEVICE_FIRST] = NULL;
    interrupt->notification = NULL;
}

void interrupt_ack(struct interrupt *interrupt)
{
    interrupt->unacknowledged = 0;
    if (interrupt->masked && interrupt->notification)
        set_mask(interrupt, false);
}

/* One edge more. True: it is one too many; an MSI can't be masked, so it is dropped. */
static __attribute__((noinline)) bool storms(struct interrupt *interrupt)
{
    if (++interrupt->unacknowledged < STORM_LIMIT)
        return false;
    if (interrupt->unacknowledged == STORM_LIMIT)
        COUNT(interrupt_storms);
    set_mask(interrupt, true);
    return interrupt->unacknowledged > STORM_LIMIT;
}

void interrupt_dispatch(unsigned vector)
{
    struct cpu *cpu = this_cpu();
    struct interrupt *interrupt = cpu->devices[vector - VECTOR_DEVICE_FIRST];

    if (unlikely(!interrupt)) {
        cpu->counters[COUNTER_spurious_interrupts]++;
        apic_eoi();
        return;
    }
    cpu->counters[COUNTER_interrupts]++;
    if (likely(interrupt->mode & INTERRUPT_LEVEL)) {
        set_mask(interrupt, true);
    } else if (storms(interrupt)) {
        apic_eoi();
        return;
    }
    apic_eoi();
    notification_raise(interrupt->notification, interrupt->bits);
}

static bool end(struct object *object)
{
    interrupt_unbind((struct interrupt *)object);
    return true;
}

static void release(struct object *object)
{
    struct interrupt *interrupt = (struct interrupt *)object;
    if (interrupt->vector)
        processor_vector_free(object->home, interrupt->vector);
    if (interrupt->gsi != NO_GSI)
        __atomic_store_n(&lines[interrupt->gsi], NULL, __ATOMIC_RELEASE);
}

const struct object_kind interrupt_kind = OBJECT_KIND(interrupt, create, end, release);
