/* The far end of a guest's console: the rings to the console server (protocol/console.h). */
#ifndef VMM_CONSOLE_H
#define VMM_CONSOLE_H

#include "devices/character.h"
#include "ring.h"

struct console {
    struct character_backend backend; /* first: the backend is the console */
    struct ring output, input;
    unsigned channel;
    bool open;
};

/* Joins the rings of the task's console channel; without one, what is written is dropped and nothing comes in. */
void console_init(struct console *console);

#endif
