/*
 * Partition tables of disks: GPT (UEFI 2.10, 5.3) and MBR with logical partitions. Disks come from anywhere:
 * every number is checked, and a table with partitions that overlap or lie outside the disk is refused as a whole.
 */
#ifndef BLOCK_SERVER_TABLE_H
#define BLOCK_SERVER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_PARTITIONS_MAX 128u

/* How the disk is read; an instance embeds it. */
struct table_reader {
    /* One sector into `data`; false: the disk says no. */
    bool (*read)(struct table_reader *reader, uint64_t sector, void *data);
};

struct table {
    const char *problem; /* NULL, or why it can't be used: for the log */
    const char *remark;  /* NULL, or what is wrong though it can be used */
    struct {
        uint64_t first, sectors; /* 0 sectors: there is no partition of this number */
    } parts[TABLE_PARTITIONS_MAX + 1];
};

/* Reads the table of a disk of so many sectors. */
void table_read(struct table *table, struct table_reader *reader, uint64_t disk_sectors);

/* CRC-32 as in GPT and Ethernet; begin with crc 0, go on with what it returned. */
uint32_t table_crc32(uint32_t crc, const void *data, size_t size_bytes);

#endif
