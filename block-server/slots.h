/* Where the block server keeps what it is given. */
#ifndef BLOCK_SERVER_SLOTS_H
#define BLOCK_SERVER_SLOTS_H

#include "protocol/block.h"

#define SLOT_REPLY \
    (SERVICE_SLOT_CLIENT + SERVICE_CLIENTS_MAX) /* + n: a SERVICE_DETACH that waits */

#endif
