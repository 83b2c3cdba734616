/* A picture of a `pc`'s screen, for root (protocol/vmm.h, VMM_COMMAND_SCREENSHOT). */
#ifndef VMM_PC_PICTURE_H
#define VMM_PC_PICTURE_H

#include "devices/vga.h"

#include "protocol/vmm.h"

/* Fills in the picture and its file behind it, VMM_PICTURE_BYTES. With the machine's lock. */
void picture_take(struct vga *vga, struct vmm_picture *picture);

#endif
