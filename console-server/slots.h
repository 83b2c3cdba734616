/* Where the console server keeps what it is given. */
#ifndef CONSOLE_SERVER_SLOTS_H
#define CONSOLE_SERVER_SLOTS_H

#include "protocol/console.h"

#define SLOT_CLIENT      (TASK_SLOT_FREE)                       /* + n: client n's notification */
#define SLOT_FLUSH_REPLY (TASK_SLOT_FREE + CONSOLE_CLIENTS_MAX) /* a CONSOLE_FLUSH that waits */
#define CHANNELS_BASE    0x0000002000000000ull                  /* + n * CONSOLE_CHANNEL_BYTES */

#endif
