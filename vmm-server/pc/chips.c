#include "pc/chips.h"
#include "firmware/table_loader.h"

#include "boot/bios.h"
#include "layout.h"
#include "machine.h"
#include "pc/pc.h"
#include "task.h"

#define IRQ_TIMER           0u
#define IRQ_KEYBOARD        1u
#define IRQ_UART_2          3u
#define IRQ_UART            4u
#define IRQ_PARALLEL        7u
#define IRQ_CLOCK           8u
#define IRQ_POWER           9u
#define IRQ_MOUSE           12u
#define IOAPIC_PIN_PIC      0u

#define PORT_UART_2         0x2f8u
#define PORT_PARALLEL       0x378u

#define APIC_OFFSET_SVR     0x0f0u
#define APIC_OFFSET_LINT0   0x350u
#define APIC_OFFSET_LINT1   0x360u
#define APIC_SVR_AS_AT_BOOT 0x1ffu /* on; vector 0xff */
#define APIC_LVT_EXTINT     0x700u
#define APIC_LVT_NMI        0x400u

static struct chips *chips_of(struct machine *machine)
{
    return &machine->pc->chips;
}

/* ---- interrupts --------------------------------------------------------------------------------------- */

/* The 8259s' output goes to LINT0 of the first processor, and to the IOAPIC's first pin. */
static void pic_interrupts(struct pic *pic, bool high)
{
    struct machine *machine = pic->machine;
    struct interrupt_line *pin = ioapic_input(&machine->ioapic, IOAPIC_PIN_PIC);
    local_apic_set_pin(&machine->vcpus[0].apic, APIC_LINT0, high);
    pin->set(pin, high);
}

static void line_changes(void *pics, unsigned irq, bool high)
{
    pic_set(pics, irq, high);
}

uint8_t chips_acknowledge(struct machine *machine)
{
    lock_take(&machine->lock);
    uint8_t vector = pic_acknowledge(&chips_of(machine)->pic);
    lock_give(&machine->lock);
    return vector;
}

static bool tick_waits(struct pit *pit)
{
    return pic_waits(&chips_of(pit->machine)->pic, IRQ_TIMER);
}

/* ---- A20 and reset --------------------------------------------------------------------------------------- */

/* With the line held low, what lies above 1 MiB is what lies 1 MiB below: as far as there is RAM below. Where the screen and the
 * firmware are, and in other odd megabytes, addresses do not wrap. */
static void set_a20(struct machine *machine, bool on)
{
    struct chips *chips = chips_of(machine);
    uint64_t size_bytes = LAYOUT_BASE_END;
    uint64_t above = machine->memory.regions[0].size_bytes - LAYOUT_KERNEL;
    gpa_t from = on ? LAYOUT_KERNEL : 0;
    size_bytes = above < size_bytes ? above : size_bytes;
    if (chips->a20_is_off != on)
        return;
    chips->a20_is_off = !on;
    machine->host.map(&machine->host, LAYOUT_KERNEL, size_bytes,
                      guest_memory_ram(&machine->memory, from, size_bytes), true);
}

/* Firmware's codes for what to do after a processor's reset (IBM PC AT Technical Reference, 1985, "Shutdown status"; SeaBIOS,
 * src/resume.c): jumps by the vector at 40:67, and the return of a block move. Any other is the machine's reset. */
static bool is_return(uint8_t status)
{
    return status == 0x05 || status == 0x09 || (status >= 0x0a && status <= 0x0c);
}

bool chips_reset_processors(struct machine *machine)
{
    if (!bios_wanted(machine->start) ||
        !is_return(rtc_byte(&chips_of(machine)->rtc, RTC_SHUTDOWN_STATUS)))
        return false;
    for (unsigned n = 0; n < machine->vcpu_count; n++)
        local_apic_signal(&machine->vcpus[n].apic,
                          &(struct apic_message){.delivery = APIC_INIT, .assert = true});
    return true;
}

static void reset(struct machine *machine)
{
    machine->firmware_ports.reset(&machine->firmware_ports, false);
}

static void keyboard_a20(struct i8042 *i8042, bool on)
{
    system_control_show_a20(&chips_of(i8042->machine)->system_control, on);
    set_a20(i8042->machine, on);
}

static void keyboard_resets(struct i8042 *i8042)
{
    reset(i8042->machine);
}

static void port_a20(struct system_control *control, bool on)
{
    i8042_show_a20(&chips_of(control->machine)->i8042, on);
    set_a20(control->machine, on);
}

static void port_resets(struct system_control *control)
{
    reset(control->machine);
}

/* ---- power ------------------------------------------------------------------------------------------------ */

static void powers_off(struct pm *pm)
{
    struct machine *machine = pm->machine;
    machine->firmware_ports.power_off(&machine->firmware_ports);
}

/* The PIIX4's function of PCI has been told where its registers are. */
static void power_moved(struct piix3 *piix3, uint16_t port, bool on)
{
    struct machine *machine = piix3->machine;
    pm_move(&chips_of(machine)->pm, &machine->ports, port, on);
    if (on && machine->table_loader)
        table_loader_move_power(machine->table_loader, port);
}

static void ends_test(struct debug_ports *ports, uint32_t value)
{
    task_print("the guest ends by its debug-exit port, with %u\n", value);
    machine_end(ports->machine, ROOT_GUEST_POWER_OFF);
}

void chips_press_button(struct machine *machine)
{
    lock_take(&machine->lock);
    pm_press(&chips_of(machine)->pm);
    lock_give(&machine->lock);
}

/* ---- lines that the HPET can take ------------------------------------------------------------------------ */

static void set_line(struct interrupt_line *line, bool high)
{
    const struct chips_line *from = (const struct chips_line *)line;
    if (!hpet_replaces(from->hpet))
        from->to->set(from->to, high);
}

static struct interrupt_line *make_line(struct chips_line *line, const struct hpet *hpet,
                                        struct interrupt_line *to)
{
    *line = (struct chips_line){{set_line}, to, hpet};
    return &line->line;
}

/* ---- the second UART: its far end is the log ---------------------------------------------------------------- */

static size_t log_write(struct character_backend *backend, const void *data, size_t size_bytes)
{
    struct chips_log *to = (struct chips_log *)backend;
    for (size_t i = 0; i < size_bytes; i++)
        line_log_put(&to->log, ((const uint8_t *)data)[i]);
    return size_bytes;
}

static size_t log_read(struct character_backend *backend, void *data, size_t size_bytes)
{
    (void)backend, (void)data, (void)size_bytes;
    return 0;
}

/* ---- putting them together ------------------------------------------------------------------------------ */

/* What firmware does before it starts a system (MP specification 1.4, 3.6.2.2: virtual wire mode by the local APIC). */
static void wire_local_apic(struct machine *machine)
{
    struct local_apic *apic = &machine->vcpus[0].apic;
    if (bios_wanted(machine->start))
        return; /* it does so itself */
    local_apic_write(apic, APIC_OFFSET_SVR, APIC_SVR_AS_AT_BOOT, ticks());
    local_apic_write(apic, APIC_OFFSET_LINT0, APIC_LVT_EXTINT, ticks());
    local_apic_write(apic, APIC_OFFSET_LINT1, APIC_LVT_NMI, ticks());
}

static uint64_t date(const struct machine *machine)
{
    const struct vmm_start *start = machine->start;
    return start->calendar_seconds + (ticks() - start->calendar_ticks) / (task->tsc_khz * 1000);
}

#define EQUIPMENT_FPU   0x02u
#define EQUIPMENT_MOUSE 0x04u

static void init_cmos(struct machine *machine)
{
    struct rtc *rtc = &chips_of(machine)->rtc;
    uint64_t low = machine->memory.regions[0].size_bytes; /* up to PCI's hole */
    rtc_set_memory(rtc, low, machine->start->memory_bytes - low);
    rtc_set_byte(rtc, RTC_EQUIPMENT, EQUIPMENT_FPU | EQUIPMENT_MOUSE);
    rtc_set_byte(rtc, RTC_CPU_COUNT, (uint8_t)(machine->vcpu_count - 1));
}

/* The chips that were there in 1984. */
static void init_old(struct machine *machine)
{
    struct chips *chips = chips_of(machine);
    struct isa_lines *lines = &machine->pc->lines;
    struct device_host *host = &machine->host;
    pic_init(&chips->pic, pic_interrupts, machine);
    lines->pic = line_changes;
    lines->pics = &chips->pic;
    pit_init(&chips->pit, host,
             make_line(&chips->timer_line, &chips->hpet, isa_line(lines, IRQ_TIMER)), tick_waits,
             machine);
    rtc_init(&chips->rtc, host,
             make_line(&chips->clock_line, &chips->hpet, isa_line(lines, IRQ_CLOCK)),
             date(machine));
    dma_init(&chips->dma, host->memory);
    i8042_init(&chips->i8042, isa_line(lines, IRQ_KEYBOARD), isa_line(lines, IRQ_MOUSE), machine);
    chips->i8042.a20 = keyboard_a20;
    chips->i8042.reset = keyboard_resets;
    system_control_init(&chips->system_control, &chips->pit, machine);
    chips->system_control.a20 = port_a20;
    chips->system_control.reset = port_resets;
    parallel_init(&chips->parallel, isa_line(lines, IRQ_PARALLEL), host->log);
    chips->uart_log.backend = (struct character_backend){log_write, log_read};
    line_log_init(&chips->uart_log.log, host->log, "second serial port");
    uart_init(&chips->uart, &chips->uart_log.backend, isa_line(lines, IRQ_UART_2));
}

static void init_new(struct machine *machine)
{
    struct chips *chips = chips_of(machine);
    struct isa_lines *lines = &machine->pc->lines;
    hpet_init(&chips->hpet, &machine->host);
    for (unsigned pin = 0; pin < HPET_PINS; pin++)
        chips->hpet.pins[pin] = ioapic_input(&machine->ioapic, pin);
    chips->hpet.legacy[0] = isa_line(lines, IRQ_TIMER);
    chips->hpet.legacy[1] = isa_line(lines, IRQ_CLOCK);
    pm_init(&chips->pm, &machine->host, isa_line(lines, IRQ_POWER), machine);
    chips->pm.power_off = powers_off;
    debug_ports_init(&chips->debug_ports, machine->host.log, machine);
    chips->debug_ports.exited = ends_test;
}

static bool attach(struct machine *machine)
{
    struct chips *chips = chips_of(machine);
    struct bus *ports = &machine->ports;
    bus_remove(ports, LAYOUT_PORT_SLEEP_CONTROL); /* in their place are the PIIX4's */
    machine->pc->pci.piix3.power_moved = power_moved;
    return pic_attach(&chips->pic, ports) && pit_attach(&chips->pit, ports) &&
           rtc_attach(&chips->rtc, ports) && dma_attach(&chips->dma, ports) &&
           i8042_attach(&chips->i8042, ports) &&
           system_control_attach(&chips->system_control, ports) &&
           parallel_attach(&chips->parallel, ports, PORT_PARALLEL) &&
           uart_attach(&chips->uart, ports, PORT_UART_2) && pm_attach(&chips->pm, ports) &&
           hpet_attach(&chips->hpet, &machine->addresses) &&
           debug_ports_attach(&chips->debug_ports, ports,
                              machine->start->partition.test_device != 0);
}

bool chips_init(struct machine *machine)
{
    if (machine->start->partition.console == PLAN_CONSOLE_UART)
        machine->uart.line = isa_line(&machine->pc->lines, IRQ_UART);
    init_old(machine);
    init_new(machine);
    init_cmos(machine);
    wire_local_apic(machine);
    return attach(machine);
}

void chips_dump(struct machine *machine, struct sink *sink)
{
    struct chips *chips = chips_of(machine);
    pic_dump(&chips->pic, sink);
    pit_dump(&chips->pit, sink);
    rtc_dump(&chips->rtc, sink);
    i8042_dump(&chips->i8042, sink);
    dma_dump(&chips->dma, sink);
    pm_dump(&chips->pm, sink);
    hpet_dump(&chips->hpet, sink);
}
