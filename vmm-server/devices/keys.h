/* What is typed on a terminal, as the scancodes of a PC's keyboard. */
#ifndef VMM_DEVICES_KEYS_H
#define VMM_DEVICES_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#define KEYS_SEQUENCE_MAX 8u
/* What one character can become, at most. */
#define KEYS_EVENTS_MAX 8u

/* Scancodes of set 1 (make codes); KEY_EXTENDED: with 0xe0 before it. */
#define KEY_EXTENDED 0xe000u

struct keys {
    /* A key goes down or up. */
    void (*event)(struct keys *keys, uint16_t code, bool down);
    void *context;
    char sequence[KEYS_SEQUENCE_MAX]; /* of an escape sequence that has begun */
    unsigned length;
};

/* A character came in. UTF-8 beyond ASCII is on no US keyboard: it is dropped. */
void keys_input(struct keys *keys, char character);
/* Nothing has followed for a while: an escape that came alone was the Escape key. */
void keys_settle(struct keys *keys);

#endif
