/* Where the block server keeps what it is given. */
#ifndef BLOCK_SERVER_SLOTS_H
#define BLOCK_SERVER_SLOTS_H

#include "protocol/block.h"

#define SLOT_CLIENT   (TASK_SLOT_FREE)                       /* + n: client n's notification */
#define SLOT_REPLY    (TASK_SLOT_FREE + SERVICE_CLIENTS_MAX) /* + n: a SERVICE_DETACH that waits */
#define CHANNELS_BASE 0x0000002000000000ull                  /* + n * SERVICE_CHANNEL_BYTES */

#endif
