/* lwIP's web server has no files of its own: pages.c makes them. */
#include "lwip/apps/fs.h"
#include "fsdata.h"
#define FS_ROOT ((const struct fsdata_file *)0)
