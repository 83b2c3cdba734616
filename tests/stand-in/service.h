/* The stand-in as a server that partitions share: see service.c. */
#ifndef STAND_IN_SERVICE_H
#define STAND_IN_SERVICE_H

/* For ever. */
_Noreturn void service_run(void);

#endif
