/* Pictures of guests' screens: a VMM makes one when it is told to (protocol/vmm.h), one at a time. */
#ifndef ROOT_PICTURE_H
#define ROOT_PICTURE_H

#include "root.h"

/* Asks for a picture, to be shown on the monitor when it is there. NULL; or why there will be none. */
const char *picture_show(struct partition *partition);
/* Carries on with what was asked for. Returns when it wants to be called again. */
uint64_t picture_clock(void);

/* Memory for the network server to show pictures from, if the plan has screens and a status page. Called by status_make. */
void picture_make(void);
/* Physical address of the picture that the network server sees; 0: there is none. */
extern uint64_t picture_shared;
/* What the server wants to show: request `number` is for partition `index`. Called once a second. */
void picture_want(uint32_t number, uint32_t index);

#endif
