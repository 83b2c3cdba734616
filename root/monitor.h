/* The monitor on the system console: a line is typed, a command is carried out. */
#ifndef ROOT_MONITOR_H
#define ROOT_MONITOR_H

#include "root.h"

/* "running", "off" and such. */
const char *partition_state_word(const struct partition *partition);

/* Takes what was typed. */
void monitor_input(void);
/* Tells what became of commands to VMMs. Returns when it wants to be called again. */
uint64_t monitor_clock(void);

/* ---- servers.c: words about the servers that partitions share ------------------------------------------ */

struct service;
const char *server_state_word(const struct service *service);
/* Their rows of `list`. */
void servers_list(struct sink *sink);
/* `info` of one, but for its memory and threads. */
void server_show(struct sink *sink, const struct service *service);

/* ---- usage.c: who used which CPU -------------------------------------------------------------------- */

/* Reads the kernel's account, if the last time is a second ago. True: it has. */
bool usage_sample(void);
/* Ticks that all lives of this task have used, as far as they were sampled. */
uint64_t usage_total(const struct resident *task);
void usage_show(struct sink *sink);

/* ---- status.c: how the system fares, for the network server ---------------------------------------------- */

/* Makes the page, if there is a network server; before it is started. */
void status_make(void);
void status_write(void);
/* Picture `number` for the network server is made; 0 bytes: there was none to be had. */
void status_picture(uint32_t number, uint32_t size_bytes);

/* ---- trace.c: the kernel's trace ---------------------------------------------------------------------- */

/* Carries out `trace WORDS`. False: these words mean nothing to it. */
bool trace_command(struct sink *sink, unsigned count, char *const *words);
/* An exit's reason in words. */
const char *exit_name(unsigned reason);

#endif
