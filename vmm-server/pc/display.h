/* The screen and the keyboard of a `pc`, and how its console shows them (`console vga`). */
#ifndef VMM_PC_DISPLAY_H
#define VMM_PC_DISPLAY_H

#include "devices/keys.h"
#include "devices/pci.h"
#include "devices/vga.h"
#include "devices/vga_text.h"

/* The VGA BIOS, as SeaBIOS looks for it: by vendor and device. */
#define DISPLAY_ROM_FILE "pci1234,1111.rom"

struct machine;

struct display {
    struct machine *machine;
    struct pci_function function;
    struct vga vga;
    struct vga_text text;
    struct keys keys;
    struct device_timer timer; /* of the next look at the screen */
    unsigned quiet;            /* so many looks have found nothing new */
    bool typed;                /* there may be input that the keyboard has no room for */
    bool escape;               /* an escape sequence was not complete at the last look */
};

/* Makes the screen; it is shown on the console if the partition says so. NULL: there is no memory, or the devices do not fit
 * together. Called by pc_init. */
struct display *display_init(struct machine *machine);
/* The console's far end has input or room. */
void display_attend(struct display *display);

#endif
