/*
 * Served files lie in the bundle, mapped read-only, and are sent from there: nothing is copied. The header of each is
 * written once, at the end of the page before it.
 */
#include "files.h"

#include "print.h"
#include "protocol/network.h"
#include "string.h"

enum { HEADER_MAX = 256 };

static const char header[] =
    "HTTP/1.1 200 OK\r\nServer: Septum\r\nContent-Type: application/octet-stream\r\n"
    "X-Content-Type-Options: nosniff\r\nConnection: close\r\n"
    "Content-Length: %lu\r\n\r\n";

static const struct network_start *start;
static uint32_t header_bytes[PLAN_SERVED_MAX];

void files_init(const struct network_start *what)
{
    start = what;
    for (uint32_t i = 0; i < start->file_count; i++) {
        const struct network_file *file = &start->files[i];
        char text[HEADER_MAX];
        print_buffer(text, sizeof text, header, (unsigned long)file->size_bytes);
        header_bytes[i] = (uint32_t)strlen(text);
        memcpy((char *)file->address - header_bytes[i], text, header_bytes[i]);
    }
}

bool files_find(uint32_t network, const char *path, const char **data, size_t *size_bytes)
{
    if (strncmp(path, FILES_PATH, sizeof FILES_PATH - 1) != 0)
        return false;
    for (uint32_t i = 0; i < start->file_count; i++) {
        const struct network_file *file = &start->files[i];
        if (file->network != network || strcmp(file->name, path + sizeof FILES_PATH - 1) != 0)
            continue;
        *data = (const char *)file->address - header_bytes[i];
        *size_bytes = header_bytes[i] + file->size_bytes;
        return true;
    }
    return false;
}
