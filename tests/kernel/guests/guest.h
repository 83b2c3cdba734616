/*
 * Guests of the vCPU tests: position-dependent only where they say so, a few instructions each.
 *
 *     #include "guest.h"
 *     GUEST(guest_hello)
 *         .code16
 *         hlt
 *     GUEST_END(guest_hello)
 *
 * A test copies the blob into guest memory with VM_LOAD(&vm, address, guest_hello).
 */
/* clang-format off: these are assembly */
#define GUEST(name)              \
    .section .rodata, "a"       ;\
    .balign 16                  ;\
    .globl name, name##_end     ;\
name:

#define GUEST_END(name) \
name##_end:             \
    .code64
/* clang-format on */
