/* The files of the boot bundle that networks serve by HTTP (`serve` in the partition file). */
#ifndef NET_SERVER_FILES_H
#define NET_SERVER_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct network_start;

#define FILES_PATH "/files/" /* before the name, in a URL */

/* Once, before the others. */
void files_init(const struct network_start *start);
/* The file of a path ("/files/NAME"), with its header before it, for who asks in this network. False: it serves no
 * such file. Called by the page server for a request. */
bool files_find(uint32_t network, const char *path, const char **data, size_t *size_bytes);

#endif
