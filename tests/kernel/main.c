/* The first task that tests the kernel: all tests are in the other files of this folder. */
#include "kit.h"

void program_start(const void *boot_info)
{
    testing_run(boot_info);
}
