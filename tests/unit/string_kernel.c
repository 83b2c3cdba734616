/* x86/string.c with its functions renamed, for string_test.c. */
#define memset kernel_memset
#define memcpy kernel_memcpy
#define memcmp kernel_memcmp
#include "x86/string.c"
