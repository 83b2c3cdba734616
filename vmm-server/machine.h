/*
 * The machine that a guest runs on: its vCPUs, memory, buses and devices, and what its parts share.
 *
 * Locks: `lock` is held while a device model runs, and for everything here that is not one vCPU's own. A vCPU's
 * fields belong to its thread, but for those marked "any thread".
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include "bus.h"
#include "console.h"
#include "cpu/cpuid.h"
#include "cpu/execute.h"
#include "cpu/mtrr.h"
#include "device.h"
#include "devices/firmware_ports.h"
#include "devices/ioapic.h"
#include "devices/local_apic.h"
#include "devices/pvpanic.h"
#include "devices/uart.h"
#include "devices/virtio_block.h"
#include "devices/virtio_console.h"
#include "devices/virtio_net.h"
#include "devices/virtio_random.h"
#include "firmware/acpi.h"
#include "lock.h"
#include "unknown.h"

#include "protocol/root.h"
#include "protocol/vmm.h"

struct machine;
struct pc;
struct table_loader;

enum vcpu_phase {
    VCPU_WAITS_FOR_STARTUP, /* after INIT, but on the first vCPU */
    VCPU_RUNS,
    VCPU_HALTED, /* waits for an interrupt that wakes it */
};

struct vcpu {
    struct machine *machine;
    unsigned number;
    cap_slot_t slot, notification;
    struct vcpu_state *state;
    struct local_apic apic;
    struct execute_world world;
    enum vcpu_phase phase;
    /* For the next call of the vCPU. */
    uint64_t event;       /* to be injected; stays until the guest has it */
    uint64_t waiting;     /* handed out by its APIC to wait for the guest during this call */
    uint32_t dirty;       /* groups of the state page */
    bool set_rip;         /* go on at `rip` */
    uint64_t rip;         /* of the instruction that exited, or the next one */
    bool event_in_flight; /* one that an exit cut is in the kernel: give no other */
    bool nmi_pending, extint_pending;
    uint32_t interruptibility; /* enum vcpu_interruptibility of the last exit */
    /* A control register that the kernel may still refuse: then the guest gets #GP at `rip`. */
    struct {
        bool valid;
        uint64_t cr0, cr3, cr4, efer, xcr0, rip;
    } undo;
    enum vcpu_exit reason; /* of the exit that is handled */
    uint64_t msr_direct;   /* what the kernel lets through of enum vcpu_msr_direct */
    uint64_t clock_msr, wall_clock_msr, pv_eoi_msr;
    uint64_t misc_enable;
    struct mtrr mtrr; /* of a `pc` */
    uint64_t tsc_offset;
    /* machine_memory_settles: the last access that was tried again, and how often windows had changed then. */
    struct {
        gpa_t gpa;
        uint32_t changes;
        bool valid;
    } settled;
    bool told_halted;
    uint32_t parked; /* any thread: it stays out of the guest while another one steps */
    bool yields;     /* it has sent an interrupt to one that may be on its CPU */
};

struct machine {
    const struct vmm_start *start;
    struct vmm_status *status;
    const struct vmm_command *command;
    struct lock lock;
    struct bus ports, addresses;
    struct guest_memory memory;
    struct device_host host;
    struct device_timer *timers;
    uint64_t first_timer; /* none expires before; perhaps later */
    struct ioapic ioapic;
    struct uart uart;                     /* console uart */
    struct virtio_console virtio_console; /* console virtio */
    struct virtio_random random;
    struct virtio_block *disks[PLAN_CARDS_MAX];
    struct virtio_net *cards[PLAN_CARDS_MAX];
    unsigned card_slots[PLAN_CARDS_MAX]; /* of the partition's network cards, on a `pc` */
    uint64_t disk_places
        [PLAN_CARDS_MAX]; /* of the partition's virtio disks: address, or slot on a `pc` */
    unsigned disk_count, card_count;
    struct console console;
    struct firmware_ports firmware_ports;
    struct pvpanic pvpanic;
    struct table_loader *table_loader; /* of firmware; NULL: none runs */
    struct pc *pc;                     /* the board of a `pc`; NULL: the machine is `lean` */
    struct unknown unknown;
    struct cpuid_policy cpuid;
    uint64_t early_bits; /* rang while the machine was put together */
    uint32_t paused;     /* any thread */
    uint32_t held;       /* any thread: so many devices want no vCPU to go on now */
    uint32_t
        stepping; /* any thread: 1 + the vCPU that steps (vcpu_step.c), which also holds; 0: none */
    struct execute_step step; /* that vCPU's */
    uint32_t ended;           /* any thread: the guest has ended; no vCPU runs any more */
    uint64_t die_at_reason;   /* VMM_COMMAND_DIE; EXIT_COUNT: not */
    unsigned vcpu_count;
    bool shares_cpu; /* some of its vCPUs: one that waits for another must let it run */
    struct vcpu vcpus[PLAN_VCPUS_MAX];
};

/* Bits of a vCPU thread's notification beside those of protocol/task.h. */
#define MACHINE_BIT_KICK (1ull << 62)
/* Those of channels. */
#define MACHINE_CHANNEL_BITS (TASK_BIT_CHANNEL(TASK_CHANNELS_MAX) - 1)

/* Puts the machine together: memory into the guest's space, devices onto the buses. False: `why` says what is wrong.
 * Called by main before any vCPU runs. */
bool machine_init(struct machine *machine, const struct vmm_start *start, char *why,
                  size_t why_bytes);
/* The local APICs begin in x2APIC mode, as much firmware leaves them: a 64-bit kernel then needs no page in memory for them.
 * Else they begin as a processor's do, which every system knows. Before any vCPU runs. */
void machine_begin_x2apic(struct machine *machine);
/* What kernel and processor let guests have, which the first vCPU is told: CPUID shows the rest accordingly, and
 * instruction execution does no more than CPUID shows. Before any vCPU runs. */
void machine_know_processor(struct machine *machine, uint64_t xcr0_allowed, bool speculation);
/* Parts of machine_init and machine_attend: the devices (machine_devices.c). machine_devices_init is false if they do not
 * fit together, and fills in what ACPI tells of them. */
bool machine_devices_init(struct machine *machine, struct acpi_machine *acpi);
void machine_devices_attend(struct machine *machine, uint64_t bits);
/* Part of machine_init: RAM (machine_memory.c). False: it can't be mapped. */
bool machine_memory_init(struct machine *machine);
/* device_host.map. */
bool machine_memory_map(struct device_host *host, gpa_t gpa, uint64_t size_bytes, uint8_t *memory,
                        bool writable);
/* device_host.show: on `lean`, above all RAM. */
bool machine_memory_show(struct device_host *host, gpa_t gpa, const uint8_t *page);
/* A page of this task stands at gpa, where nothing is mapped, until it is taken back. False: something is, or there
 * is no room in the kernel. */
bool machine_memory_lend(gpa_t gpa, const uint8_t *page, bool writable);
void machine_memory_take_back(gpa_t gpa);
/* An access to gpa has faulted. True: there is memory for it, because a window has changed meanwhile: try again. False:
 * it is for the bus, or, where there is RAM, its fault should not have been. Locks. */
bool machine_memory_settles(struct vcpu *vcpu, gpa_t gpa, bool write);
/* The channel of the partition's n-th disk; waits a while for its server. False: root has made none. */
bool machine_disk_peer(struct machine *machine, unsigned n, struct device_peer *peer);
/* The IOAPIC's messages go to the local APICs. */
void machine_ioapic_sends(struct ioapic *ioapic, const struct apic_message *message);
/* An interrupt message, as PCI devices write it into memory. Any thread. */
void machine_message(struct machine *machine, uint64_t address, uint32_t data);
/* The first vCPU's thread: what its notification said, and the devices' timers. */
void machine_attend(struct machine *machine, uint64_t bits);
/* When the next device timer is due (DEADLINE_NEVER: never). Locks. */
uint64_t machine_timers(struct machine *machine, uint64_t now);
/* Wakes the thread of a vCPU: it looks at everything again. Any thread. */
void machine_kick(struct machine *machine, unsigned vcpu);
/* The guest has ended: root is told, no vCPU runs any more. Any thread; only the first end counts. */
void machine_end(struct machine *machine, enum root_guest_end end);

/* Port and memory accesses of a guest; false: the guest has ended, or an exception is to be injected (`unknown`
 * policy). They lock. */
bool machine_port_read(struct vcpu *vcpu, uint16_t port, unsigned size_bytes, uint32_t *value);
bool machine_port_write(struct vcpu *vcpu, uint16_t port, unsigned size_bytes, uint32_t value);
/* The same for elements of a repeated string, all from or to one port: how many were done; 0: as above, false. */
unsigned machine_port_read_string(struct vcpu *vcpu, uint16_t port, unsigned size_bytes, void *data,
                                  unsigned count);
unsigned machine_port_write_string(struct vcpu *vcpu, uint16_t port, unsigned size_bytes,
                                   const void *data, unsigned count);
bool machine_memory_read(struct vcpu *vcpu, gpa_t gpa, unsigned size_bytes, uint64_t *value);
bool machine_memory_write(struct vcpu *vcpu, gpa_t gpa, unsigned size_bytes, uint64_t value);

#endif
