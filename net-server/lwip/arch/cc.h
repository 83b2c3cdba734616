/* What lwIP wants to know of compiler and machine. */
#ifndef NET_SERVER_LWIP_CC_H
#define NET_SERVER_LWIP_CC_H

#include <stdint.h>

#define BYTE_ORDER LITTLE_ENDIAN

/* No C library is here. */
#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_CTYPE_H    1
#define LWIP_NO_UNISTD_H   1
#define SSIZE_MAX          INT64_MAX
typedef int64_t ssize_t;
#define LWIP_ERRNO_STDINCLUDE 0

char *strchr(const char *text, int letter);

/* host.c: an assertion of lwIP's fails: the server ends, and root starts it anew. */
_Noreturn void lwip_failed(const char *message, const char *file, int line);
uint32_t lwip_random(void);
#define LWIP_PLATFORM_DIAG(message)
#define LWIP_PLATFORM_ASSERT(message) lwip_failed(message, __FILE__, __LINE__)
#define LWIP_RAND()                   lwip_random()

#endif
