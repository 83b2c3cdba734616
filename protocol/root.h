/*
 * What tasks say to root, on TASK_SLOT_ROOT. The badge tells root who speaks. All are sends or calls
 * in registers; the label is the message.
 */
#ifndef PROTOCOL_ROOT_H
#define PROTOCOL_ROOT_H

#include <stdint.h>

enum root_message {
    ROOT_READY = 1, /* send: the task is set up; a VMM: its guest is about to run */
    ROOT_GUEST_ENDED =
        2, /* send, by a VMM: w0 = enum root_guest_end. The VMM then waits for its end. By a native task: that
              it has ended (POWER_OFF), or can't go on (REFUSED) */
};

enum root_guest_end {
    ROOT_GUEST_POWER_OFF = 1, /* policy `on power-off` */
    ROOT_GUEST_REBOOT =
        2, /* policy `on reboot`; a triple fault that the guest uses to reboot is one too */
    ROOT_GUEST_PANIC = 3, /* policy `on panic`: the guest said that it panicked, or can't go on */
    ROOT_GUEST_REFUSED =
        4, /* policy `on failure`: it can't be started: bad kernel, too little memory */
};

/* How root ends an emulator (option debug-exit): the value at its debug-exit port. */
enum root_end {
    ROOT_END_GOOD = 0x10,    /* all partitions have ended as their guests wished */
    ROOT_END_FAILED = 0x11,  /* they have ended, one of them badly */
    ROOT_END_REFUSED = 0x12, /* nothing could be started: root has said why */
};

#endif
