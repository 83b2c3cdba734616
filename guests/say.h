/* What our own small guests say, on the first serial port. */
#ifndef GUESTS_SAY_H
#define GUESTS_SAY_H

#include <stdint.h>

void say(const char *text);
void say_number(uint64_t number);
void say_hex(uint64_t number); /* with 0x */

#endif
