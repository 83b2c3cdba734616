/*
 * Devices behind an IOMMU, with QEMU's `edu` device: it copies up to 4 KiB between a buffer of its own and any address
 * that it is told, and raises an interrupt when told so.
 */
#include "kit.h"
#include "pci.h"

#define EDU         0x11e81234u
#define EDU_RAISE   0x60
#define EDU_LOWER   0x64
#define EDU_FROM    0x80
#define EDU_TO      0x88
#define EDU_COUNT   0x90
#define EDU_COMMAND 0x98
#define EDU_BUFFER  0x40000ull
#define EDU_START   1u
#define EDU_WRITES  2u /* memory, not its buffer */
#define FAULT_WRITE (1u << 24)
#define DEVICE_AT   0x7000000ull /* where a device sees a page: not its physical address */
#define OLD         0x1111111111111111ull
#define NEW         0x2222222222222222ull
#define LARGE       512ull /* pages in 2 MiB */

static volatile uint32_t *edu; /* its registers */
static uint32_t edu_at;        /* its place: what its requests name */

/* Finds the device, maps its registers and lets it reach memory. */
static void edu_begin(void)
{
    struct pci_function functions[16];
    struct pci_bar bars[PCI_BARS];
    unsigned count = pci_scan(&pci_ports, functions, 16), n = 0;
    while (n < count && ((uint32_t)functions[n].device << 16 | functions[n].vendor) != EDU)
        n++;
    if (n == count)
        test_skip("there is no edu device");
    edu_at = functions[n].location;
    pci_bars(&pci_ports, edu_at, bars);
    edu = (uint32_t *)addresses_new(1, 1);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, (uint64_t)edu, bars[0].base, 1,
                            MAP_READ | MAP_WRITE));
    pci_command(&pci_ports, edu_at, PCI_MASTER | PCI_DECODES_MEMORY, 0);
    while (sys_inspect(INSPECT_DMA_FAULT, BOOT_SLOT_TASK, 0, 0).w[0])
        ;
}

static void edu_set(unsigned at, uint64_t value)
{
    edu[at / 4] = (uint32_t)value;
    edu[at / 4 + 1] = (uint32_t)(value >> 32);
}

static void edu_copy(uint64_t from, uint64_t to, uint32_t bytes, uint32_t command)
{
    edu_set(EDU_FROM, from);
    edu_set(EDU_TO, to);
    edu_set(EDU_COUNT, bytes);
    edu_set(EDU_COMMAND, EDU_START | command);
    for (uint64_t limit = ticks() + boot->tsc_khz * 10000; edu[EDU_COMMAND / 4] & EDU_START;) {
        CHECK(ticks() < limit);
        sleep_ticks(boot->tsc_khz * 10);
    }
}

/* The device writes 8 bytes of its buffer. */
static void edu_write(uint64_t address)
{
    edu_copy(EDU_BUFFER, address, 8, EDU_WRITES);
}

/* ... which are these: read by the device itself from a page that only this is for. */
static void edu_fill(cap_slot_t task, uint64_t value)
{
    uint64_t physical, *page = pages_new(1, 1, &physical);
    *page = value;
    EXPECT_OK(memory_map_at(task, SPACE_DMA, 0x1000, physical, 1, MAP_READ));
    edu_copy(0x1000, EDU_BUFFER, 8, 0);
    EXPECT_OK(sys_unmap(task, SPACE_DMA | UNMAP_SELF, 0x1000, 1));
}

static cap_slot_t device_new(cap_slot_t task)
{
    cap_slot_t device;
    EXPECT_OK(create_status(&device, OBJECT_DEVICE, task, edu_at, 0, 0));
    return device;
}

static void expect_fault(uint64_t address, uint32_t write)
{
    struct message m = sys_inspect(INSPECT_DMA_FAULT, BOOT_SLOT_TASK, 0, 0);
    EXPECT_OK(m.status);
    EXPECT(m.w[0], 1);
    EXPECT(m.w[1] & 0xffff, edu_at);
    EXPECT(m.w[1] & FAULT_WRITE, write);
    EXPECT(m.w[2], address & ~0xfffull);
}

static void expect_no_fault(void)
{
    EXPECT(sys_inspect(INSPECT_DMA_FAULT, BOOT_SLOT_TASK, 0, 0).w[0], 0);
}

/* A child whose device it is, and the buffer of which holds NEW. */
static cap_slot_t confined(struct child_task *child)
{
    edu_begin();
    task_new(child);
    cap_slot_t device = device_new(child->task);
    edu_fill(child->task, NEW);
    expect_no_fault();
    return device;
}

static volatile uint64_t *page_new(uint64_t *physical)
{
    volatile uint64_t *page = pages_new(1, 1, physical);
    *page = OLD;
    return page;
}

#define TEST_DMA(identifier, sentence) TEST_WITH(identifier, TEST_NEEDS_IOMMU, sentence)

TEST_DMA(dma_denied, "a device of nobody reaches no memory, and the fault says who and where")
{
    uint64_t physical;
    edu_begin();
    volatile uint64_t *page = page_new(&physical);
    edu_write(physical);
    EXPECT(*page, OLD);
    expect_fault(physical, FAULT_WRITE);
    edu_copy(physical, EDU_BUFFER, 8, 0);
    expect_fault(physical, 0);
    expect_no_fault();
}

/* A confined task whose device finds a page of ours at DEVICE_AT. */
static volatile uint64_t *confined_page(struct child_task *child, uint64_t *physical)
{
    confined(child);
    volatile uint64_t *page = page_new(physical);
    EXPECT_OK(memory_map_at(child->task, SPACE_DMA, DEVICE_AT, *physical, 1, MAP_READ | MAP_WRITE));
    return page;
}

TEST_DMA(dma_mapped, "a device reaches what is mapped in its task's DMA space, where it is mapped")
{
    struct child_task child;
    uint64_t physical;
    volatile uint64_t *page = confined_page(&child, &physical);
    edu_write(DEVICE_AT + 8);
    EXPECT(page[0], OLD);
    EXPECT(page[1], NEW);
    expect_no_fault();
}

TEST_DMA(dma_foreign, "a device reaches nothing but its task's DMA space, not even the task's own "
                      "memory: the frame is unchanged, and a fault is reported")
{
    struct child_task child;
    uint64_t physical, own;
    confined(&child);
    volatile uint64_t *page = page_new(&physical);
    pages_new(1, 1, &own);
    EXPECT_OK(memory_map_at(child.task, SPACE_HOST, DEVICE_AT, physical, 1, MAP_READ | MAP_WRITE));
    EXPECT_OK(memory_map_at(child.task, SPACE_DMA, DEVICE_AT, own, 1, MAP_READ | MAP_WRITE));
    edu_write(physical);
    EXPECT(*page, OLD);
    expect_fault(physical, FAULT_WRITE);
    expect_no_fault();
}

TEST_DMA(dma_rights, "a device can't write what is mapped for reading only")
{
    struct child_task child;
    uint64_t physical;
    confined(&child);
    volatile uint64_t *page = page_new(&physical);
    EXPECT_OK(memory_map_at(child.task, SPACE_DMA, DEVICE_AT, physical, 1, MAP_READ));
    edu_write(DEVICE_AT);
    EXPECT(*page, OLD);
    expect_fault(DEVICE_AT, FAULT_WRITE);
    edu_copy(DEVICE_AT, EDU_BUFFER, 8, 0);
    expect_no_fault();
    EXPECT_STATUS(sys_map(child.task, MAP_HOW(SPACE_PHYSICAL, SPACE_DMA, MAP_WRITE, 0), physical,
                          DEVICE_AT + 4096, 1, 0),
                  STATUS_BAD_ARGUMENT);
}

TEST_DMA(dma_unmapped,
         "when unmap returns, the device that has just used a page reaches it no more")
{
    struct child_task child;
    uint64_t physical;
    volatile uint64_t *page = confined_page(&child, &physical);
    edu_write(DEVICE_AT);
    EXPECT(*page, NEW);
    *page = OLD;
    EXPECT_OK(sys_unmap(child.task, SPACE_DMA | UNMAP_SELF, DEVICE_AT, 1));
    edu_write(DEVICE_AT);
    EXPECT(*page, OLD);
    expect_fault(DEVICE_AT, FAULT_WRITE);
}

TEST_DMA(dma_revoked, "what is taken from a task is taken from the device that has it from there")
{
    struct child_task child;
    uint64_t physical, from;
    confined(&child);
    volatile uint64_t *page = page_new(&physical);
    from = addresses_new(1, 1);
    EXPECT_OK(memory_map_at(BOOT_SLOT_TASK, SPACE_HOST, from, physical, 1, MAP_READ | MAP_WRITE));
    EXPECT_OK(sys_map(child.task,
                      MAP_HOW(SPACE_HOST, SPACE_DMA, MAP_READ | MAP_WRITE, CACHE_INHERIT), from,
                      DEVICE_AT, 1, 0));
    edu_write(DEVICE_AT);
    EXPECT(*page, NEW);
    *page = OLD;
    EXPECT_OK(sys_unmap(BOOT_SLOT_TASK, SPACE_HOST | UNMAP_SELF, from, 1));
    EXPECT(table_rights(child.task, SPACE_DMA, DEVICE_AT, NULL), 0);
    edu_write(DEVICE_AT);
    EXPECT(*page, OLD);
    expect_fault(DEVICE_AT, FAULT_WRITE);
}

TEST_DMA(dma_large, "a device reaches all of a large page but the part that was taken")
{
    struct child_task child;
    uint64_t physical;
    confined(&child);
    volatile uint64_t *pages = pages_new(LARGE, LARGE, &physical);
    EXPECT_OK(
        memory_map_at(child.task, SPACE_DMA, LARGE * 4096, physical, LARGE, MAP_READ | MAP_WRITE));
    edu_write(LARGE * 4096 + 7 * 4096);
    EXPECT(pages[7 * 512], NEW);
    EXPECT_OK(sys_unmap(child.task, SPACE_DMA | UNMAP_SELF, LARGE * 4096 + 9 * 4096, 1));
    edu_write(LARGE * 4096 + 8 * 4096);
    EXPECT(pages[8 * 512], NEW);
    expect_no_fault();
    edu_write(LARGE * 4096 + 9 * 4096);
    EXPECT(pages[9 * 512], 0);
    expect_fault(LARGE * 4096 + 9 * 4096, FAULT_WRITE);
    edu_write(LARGE * 4096 + 511 * 4096);
    EXPECT(pages[511 * 512], NEW);
}

TEST_DMA(dma_device_ends, "a device whose object ends reaches nothing, until there is one again")
{
    struct child_task child;
    uint64_t physical;
    cap_slot_t device = confined(&child);
    volatile uint64_t *page = page_new(&physical);
    EXPECT_OK(memory_map_at(child.task, SPACE_DMA, DEVICE_AT, physical, 1, MAP_READ | MAP_WRITE));
    slot_clear(device);
    edu_write(DEVICE_AT);
    EXPECT(*page, OLD);
    expect_fault(DEVICE_AT, FAULT_WRITE);
    device_new(child.task);
    edu_write(DEVICE_AT);
    EXPECT(*page, NEW);
}

TEST_DMA(dma_task_ends, "a device whose task ends reaches nothing")
{
    struct child_task child;
    uint64_t physical;
    volatile uint64_t *page = confined_page(&child, &physical);
    edu_write(DEVICE_AT);
    *page = OLD;
    child_destroy(&child);
    edu_write(DEVICE_AT);
    EXPECT(*page, OLD);
    expect_fault(DEVICE_AT, FAULT_WRITE);
}

TEST_DMA(dma_other_task, "a device that changes its task reaches the memory of the new one alone")
{
    struct child_task child, other;
    uint64_t physical, others;
    cap_slot_t device = confined(&child);
    task_new(&other);
    volatile uint64_t *page = page_new(&physical), *page_of_other = page_new(&others);
    EXPECT_OK(memory_map_at(child.task, SPACE_DMA, DEVICE_AT, physical, 1, MAP_READ | MAP_WRITE));
    EXPECT_OK(memory_map_at(other.task, SPACE_DMA, DEVICE_AT, others, 1, MAP_READ | MAP_WRITE));
    edu_write(DEVICE_AT);
    EXPECT(*page, NEW);
    *page = OLD;
    slot_clear(device);
    device_new(other.task);
    edu_write(DEVICE_AT);
    EXPECT(*page, OLD);
    EXPECT(*page_of_other, NEW);
    expect_no_fault();
}

TEST_DMA(dma_fault_interrupt,
         "a fault raises the bits of the notification that is bound, each time")
{
    cap_slot_t notification = notification_new(0), interrupt;
    edu_begin();
    EXPECT_OK(
        create_status(&interrupt, OBJECT_INTERRUPT, BOOT_SLOT_TASK, INTERRUPT_DMA_FAULT, 0, 0));
    EXPECT_STATUS(create_status(NULL, OBJECT_INTERRUPT, BOOT_SLOT_TASK, INTERRUPT_DMA_FAULT, 0, 0),
                  STATUS_BUSY);
    EXPECT_OK(sys_control(interrupt, CONTROL_INTERRUPT_BIND, notification, 4, 0, 0).status);
    for (uint64_t i = 1; i < 4; i++) {
        EXPECT_STATUS(message_wait(notification, DEADLINE_POLL).status, STATUS_TIMEOUT);
        edu_write(i * 0x100000);
        struct message m = message_wait(notification, far_deadline());
        EXPECT_OK(m.status);
        EXPECT(m.w[0], 4);
        EXPECT_OK(sys_control(interrupt, CONTROL_INTERRUPT_ACK, 0, 0, 0, 0).status);
        expect_fault(i * 0x100000, FAULT_WRITE);
        expect_no_fault();
    }
}

/* VT-d 3.4, 7.1.3: reasons of faults of interrupt messages. */
#define FAULT_ABSENT           0x22u
#define FAULT_FOREIGN          0x26u
#define MESSAGE_INDEX(address) ((address) >> 5 & 0x7fff)

/* An interrupt by a message, of that source, and what raises it. */
struct message_interrupt {
    cap_slot_t notification, interrupt;
    uint64_t address, data;
};

static struct message_interrupt message_interrupt(uint64_t source)
{
    struct message_interrupt new = {.notification = notification_new(0)};
    EXPECT_OK(create_status(&new.interrupt, OBJECT_INTERRUPT, BOOT_SLOT_TASK, source, 0, 0));
    EXPECT_OK(sys_control(new.interrupt, CONTROL_INTERRUPT_BIND, new.notification, 4, 0, 0).status);
    struct message how = sys_control(new.interrupt, CONTROL_INTERRUPT_MSI_INFO, 0, 0, 0, 0);
    EXPECT_OK(how.status);
    new.address = how.w[0], new.data = how.w[1];
    return new;
}

/* The device sends this message. */
static void edu_send(uint64_t address, uint64_t data)
{
    unsigned msi = pci_capability(&pci_ports, edu_at, PCI_CAPABILITY_MSI, 0);
    CHECK(msi);
    pci_msi_set(&pci_ports, edu_at, msi, address, (uint32_t)data);
    edu[EDU_RAISE / 4] = 1;
    edu[EDU_LOWER / 4] = 1;
    pci_interrupts_off(&pci_ports, edu_at);
}

static void expect_no_interrupt(cap_slot_t notification)
{
    EXPECT_STATUS(message_wait(notification, ticks() + boot->tsc_khz).status, STATUS_TIMEOUT);
}

/* QEMU 7.2, whose processors have no RDSEED, refuses a message and notes no fault. */
static void expect_message_fault(uint64_t address, uint64_t reason)
{
    uint32_t a = 7, b, c = 0, d;
    struct message m = sys_inspect(INSPECT_DMA_FAULT, BOOT_SLOT_TASK, 0, 0);
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    EXPECT(m.w[0], b >> 18 & 1);
    if (!m.w[0])
        return;
    EXPECT(m.w[1] & 0xffff, edu_at);
    EXPECT(m.w[1] >> 16 & 0xff, reason);
    EXPECT(m.w[2] >> 48, MESSAGE_INDEX(address));
}

static void begin_messages(void)
{
    edu_begin();
    if (!boot->interrupts_remapped)
        test_skip("interrupts are not remapped");
}

TEST_DMA(dma_message, "a device sends the message that was made for it, or for any")
{
    begin_messages();
    const uint64_t sources[] = {INTERRUPT_MSI_OF(edu_at), INTERRUPT_MSI};
    for (unsigned i = 0; i < 2; i++) {
        struct message_interrupt made = message_interrupt(sources[i]);
        edu_send(made.address, made.data);
        EXPECT_OK(message_wait(made.notification, far_deadline()).status);
        expect_no_fault();
    }
}

TEST_DMA(dma_message_foreign, "a device that sends another's message raises nothing")
{
    begin_messages();
    struct message_interrupt made = message_interrupt(INTERRUPT_MSI_OF(edu_at ^ 8));
    edu_send(made.address, made.data);
    expect_no_interrupt(made.notification);
    expect_message_fault(made.address, FAULT_FOREIGN);
}

TEST_DMA(dma_message_gone, "a message whose interrupt has ended raises nothing")
{
    begin_messages();
    struct message_interrupt made = message_interrupt(INTERRUPT_MSI_OF(edu_at));
    slot_clear(made.interrupt);
    uint64_t before = counter(0, COUNTER_spurious_interrupts);
    edu_send(made.address, made.data);
    sleep_ticks(boot->tsc_khz);
    EXPECT(counter(0, COUNTER_spurious_interrupts), before);
    expect_message_fault(made.address, FAULT_ABSENT);
}

TEST_DMA(dma_refusals, "making a device checks the right, the number, and that it is nobody's")
{
    struct child_task child;
    confined(&child);
    cap_slot_t weak = capability_copy(child.task, RIGHTS_ALL & ~RIGHT_MACHINE, 0);
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, weak, edu_at + 8, 0, 0), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, 0, edu_at + 8, 0, 0), STATUS_BAD_RIGHTS);
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, child.task, 0x10000, 0, 0),
                  STATUS_BAD_ARGUMENT);
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, child.task, 0xfe00, 0, 0),
                  STATUS_NOT_SUPPORTED);
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, BOOT_SLOT_TASK, edu_at, 0, 0), STATUS_BUSY);
    EXPECT_STATUS(sys_inspect(INSPECT_DMA_FAULT, weak, 0, 0).status, STATUS_BAD_RIGHTS);
    cap_slot_t poor;
    EXPECT_OK(create_status(&poor, OBJECT_TASK, BOOT_SLOT_TASK, 2, 64, 0));
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, poor, edu_at, 0, 0), STATUS_NO_QUOTA);
}

TEST_DMA(dma_many_tasks,
         "there are as many DMA spaces as the units tell apart, and again after that")
{
    enum { ALL = 62, QUOTA = 16 }; /* 64 but none, and the first task's */
    cap_slot_t tasks[ALL + 1];
    uint64_t physical;
    pages_new(1, 1, &physical);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i <= ALL; i++) {
            EXPECT_OK(create_status(&tasks[i], OBJECT_TASK, BOOT_SLOT_TASK, QUOTA, 64, 0));
            EXPECT_STATUS(memory_map_at(tasks[i], SPACE_DMA, 0x1000, physical, 1, MAP_READ),
                          i < ALL ? STATUS_OK : STATUS_NOT_SUPPORTED);
        }
        for (unsigned i = 0; i <= ALL; i++)
            slot_clear(tasks[i]);
    }
}

TEST(dma_absent, "without an IOMMU there are no devices, no faults, and no interrupt for them")
{
    if (boot->dma_confined)
        return;
    EXPECT_STATUS(create_status(NULL, OBJECT_DEVICE, BOOT_SLOT_TASK, 0, 0, 0),
                  STATUS_NOT_SUPPORTED);
    EXPECT_STATUS(create_status(NULL, OBJECT_INTERRUPT, BOOT_SLOT_TASK, INTERRUPT_DMA_FAULT, 0, 0),
                  STATUS_NOT_SUPPORTED);
    EXPECT(sys_inspect(INSPECT_DMA_FAULT, BOOT_SLOT_TASK, 0, 0).w[0], 0);
}
