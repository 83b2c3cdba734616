/* Where the network server keeps what it is given. */
#ifndef NET_SERVER_SLOTS_H
#define NET_SERVER_SLOTS_H

#include "protocol/network.h"

#define SLOT_CLIENT   (TASK_SLOT_FREE)      /* + n: client n's notification */
#define CHANNELS_BASE 0x0000002000000000ull /* + n * SERVICE_CHANNEL_BYTES */

#endif
