/* The one function of <stdlib.h> that lwIP calls. */
#ifndef NET_SERVER_LWIP_STDLIB_H
#define NET_SERVER_LWIP_STDLIB_H

static inline int atoi(const char *text)
{
    int value = 0;
    while (*text >= '0' && *text <= '9' && value < 100000000)
        value = value * 10 + (*text++ - '0');
    return value;
}

#endif
