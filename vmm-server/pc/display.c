/*
 * The screen of a `pc` on its console. A timer looks at it 20 times a second while it changes. After a second without a
 * change the timer stops, and the screen's memory is taken from the guest: its next access, or the next write to a
 * register, starts both again. So a screen that stands still costs nothing.
 */
#include "pc/display.h"

#include "machine.h"
#include "pc/pc.h"
#include "pc/rom.h"
#include "string.h"
#include "task.h"
#include "thread.h"

#define LOOK_MS   50u
#define QUIET_MAX 20u
/* Presses that a character takes at most: Alt, Shift, and its key. */
#define PRESSES                          3u
#define REDRAW_KEY                       0x0c /* Ctrl+L: the terminal has forgotten what it shows */

#define CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

static bool is_shown(const struct display *display)
{
    return display->machine->start->partition.console == PLAN_CONSOLE_VGA;
}

/* ---- keys ------------------------------------------------------------------------------------------------- */

static void key_event(struct keys *keys, uint16_t code, bool down)
{
    struct display *display = CONTAINER(keys, struct display, keys);
    i8042_key(&display->machine->pc->chips.i8042, (uint8_t)code, code & KEY_EXTENDED, down);
}

/* As much of what was typed as the keyboard has room for. */
static void take_input(struct display *display)
{
    struct character_backend *console = &display->machine->console.backend;
    char character;
    while (i8042_room(&display->machine->pc->chips.i8042) >= PRESSES) {
        if (!console->read(console, &character, 1)) {
            display->typed = false;
            return;
        }
        if (character == REDRAW_KEY)
            vga_text_forget(&display->text);
        keys_input(&display->keys, character);
    }
    display->typed = true;
}

/* An escape after which nothing comes is one. */
static void settle_keys(struct display *display)
{
    if (display->typed)
        take_input(display);
    if (display->escape)
        keys_settle(&display->keys);
    display->escape = display->keys.length > 0;
}

/* ---- looking ---------------------------------------------------------------------------------------------- */

static void look_again(struct display *display)
{
    display->quiet = 0;
    if (display->timer.deadline_tsc != DEADLINE_NEVER)
        return;
    device_timer_set(&display->timer, ticks() + (uint64_t)LOOK_MS * task->tsc_khz);
    machine_kick(display->machine, 0);
}

static void screen_changed(struct vga *vga)
{
    look_again(vga->display);
}

static void look(struct device_timer *timer)
{
    struct display *display = CONTAINER(timer, struct display, timer);
    bool last = display->quiet == QUIET_MAX;
    if (last)
        vga_watch(&display->vga); /* first: what comes after this look is told */
    device_timer_set(timer, ticks() + (uint64_t)LOOK_MS * task->tsc_khz);
    settle_keys(display);
    if (vga_text_refresh(&display->text) || display->typed || display->escape)
        display->quiet = 0;
    else if (last)
        device_timer_set(timer, DEADLINE_NEVER);
    else
        display->quiet++;
}

/* ---- the far end --------------------------------------------------------------------------------------------- */

void display_attend(struct display *display)
{
    display->escape = false;
    take_input(display);
    look_again(display);
}

/* ---- putting it together ---------------------------------------------------------------------------------------- */

/* A BIOS brings the font when it sets a mode. For what starts without one it is taken from the VGA BIOS: 256 characters of 16
 * lines, found by their second, a face. */
static void load_font(struct vga *vga, const struct vmm_file *video)
{
    static const uint8_t face[16] = {0x00, 0x00, 0x7e, 0x81, 0xa5, 0x81, 0x81, 0xbd,
                                     0x99, 0x81, 0x81, 0x7e, 0x00, 0x00, 0x00, 0x00};
    const uint8_t *rom = (const uint8_t *)video->address;
    if (!rom || video->size_bytes < 256 * sizeof face)
        return;
    for (uint64_t i = 0; i <= video->size_bytes - 256 * sizeof face; i++)
        if (memcmp(rom + i + sizeof face, face, sizeof face) == 0) {
            vga_load_font(vga, rom + i);
            return;
        }
}

static void show(struct display *display)
{
    display->keys = (struct keys){.event = key_event};
    vga_text_init(&display->text, &display->vga, &display->machine->console.backend);
    display->timer = (struct device_timer){.deadline_tsc = DEADLINE_NEVER, .expired = look};
    display->vga.display = display;
    display->vga.changed = screen_changed;
    display->machine->host.add_timer(&display->machine->host, &display->timer);
    look_again(display);
}

/* ---- the PCI function (QEMU, docs/specs/standard-vga) ----------------------------------------------------------- */

#define BAR_FRAME     0u
#define BAR_REGISTERS 2u

static void frame_moved(struct pci_function *function, unsigned bar, uint64_t address, bool mapped)
{
    struct display *display = function->device;
    (void)bar;
    vga_move_frame(&display->vga, mapped ? address : 0);
}

/*
 * A ROM image of its own gets no range of registers, as QEMU's card has none with mmio=off. The VGA BIOS looks for EDID in it
 * from real mode, by an address above the segment's limit: SeaBIOS calls it with limits of 4 GiB, others (U-Boot) as a
 * processor in real mode has them, and then it dies of a protection fault.
 */
static bool add_function(struct display *display)
{
    static const struct pci_identity identity = {.vendor = 0x1234,
                                                 .device = 0x1111,
                                                 .subsystem_vendor = 0x1af4,
                                                 .subsystem = 0x1100,
                                                 .class_code = 0x030000,
                                                 .revision = 2};
    struct pci_function *function = &display->function;
    struct pci_bar rom;
    pci_function_init(function, &identity, display);
    pci_function_add_bar(function, BAR_FRAME,
                         &(struct pci_bar){.kind = PCI_BAR_MEMORY,
                                           .size_bytes = VMM_VIDEO_LINEAR_BYTES,
                                           .prefetchable = true,
                                           .name = "screen memory",
                                           .moved = frame_moved});
    if (display->machine->start->partition.boot != PLAN_BOOT_ROM)
        pci_function_add_bar(function, BAR_REGISTERS,
                             &(struct pci_bar){.kind = PCI_BAR_MEMORY,
                                               .size_bytes = VGA_REGISTERS_BYTES,
                                               .operations = &vga_registers,
                                               .device = &display->vga,
                                               .name = "VGA registers"});
    /* SeaBIOS finds it by fw_cfg first, which is cheaper. */
    rom = pc_rom_bar(&display->machine->start->video, "VGA BIOS");
    pci_function_add_bar(function, PCI_ROM, &rom);
    return pci_bus_add(&display->machine->pc->pci.bus, function, PC_PCI_SLOT_DISPLAY, 0);
}

struct display *display_init(struct machine *machine)
{
    struct display *display = task_allocate(sizeof *display, _Alignof(struct display));
    uint8_t *memory = (uint8_t *)machine->start->video_memory;
    if (!display || !memory)
        return NULL;
    display->machine = machine;
    vga_init(&display->vga, &machine->host, memory + VMM_VIDEO_LINEAR_BYTES, memory,
             VMM_VIDEO_LINEAR_BYTES);
    load_font(&display->vga, &machine->start->video);
    if (!vga_attach(&display->vga) || !add_function(display))
        return NULL;
    if (is_shown(display))
        show(display);
    return display;
}
