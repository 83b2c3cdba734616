/* What the partition file's volumes are on this machine. */
#include "server.h"
#include "table.h"

struct disk_reader {
    struct table_reader reader;
    struct disk *disk;
    bool (*read)(struct disk *disk, uint64_t sector, void *data);
};

static bool read_sector(struct table_reader *reader, uint64_t sector, void *data)
{
    const struct disk_reader *of = (const struct disk_reader *)reader;
    return sector < of->disk->sectors && of->read(of->disk, sector, data);
}

static void find_part(struct volume *volume, const struct table *table)
{
    uint32_t part = volume->plan->part;
    if (table->problem)
        volume->problem = table->problem;
    else if (part > TABLE_PARTITIONS_MAX || table->parts[part].sectors == 0)
        volume->problem = "the disk has no partition of this number";
    volume->first = volume->problem ? 0 : table->parts[part].first;
    volume->sectors = volume->problem ? 0 : table->parts[part].sectors;
}

/* It is known now: says so, and lets its clients begin. */
static void settle(struct server *server, struct volume *volume)
{
    const char *name = volume->plan->name;
    volume->pending = false;
    if (volume->problem) {
        server_log("there is no volume \"%s\": %s\n", name, volume->problem);
        return;
    }
    server_log("volume \"%s\": %lu sectors%s%s\n", name, volume->sectors,
               volume->disk ? " of " : "", volume->disk ? volume->disk->name : "");
    clients_begin(server, volume);
}

static bool wants_table(const struct server *server, unsigned disk)
{
    for (unsigned i = 0; i < server->volume_count; i++)
        if (server->volumes[i].plan->disk == disk && server->volumes[i].plan->part)
            return true;
    return false;
}

void volumes_begin(struct server *server, const struct block_start *start)
{
    server->volume_count =
        start->volume_count < PLAN_VOLUMES_MAX ? start->volume_count : PLAN_VOLUMES_MAX;
    for (unsigned i = 0; i < server->volume_count; i++) {
        struct volume *volume = &server->volumes[i];
        *volume = (struct volume){
            .plan = &start->volumes[i],
            .pending = true,
            .file = (const uint8_t *)start->files[i].address,
            .sectors = start->files[i].size_bytes / BLOCK_SECTOR_BYTES,
        };
        if (volume->plan->disk != PLAN_DISK_NONE)
            continue;
        if (!volume->file || volume->sectors == 0)
            volume->problem = "its image is not in the bundle, or has no sector";
        settle(server, volume);
    }
}

void volumes_of_disk(struct server *server, unsigned number,
                     bool (*read)(struct disk *disk, uint64_t sector, void *data))
{
    static struct table table; /* of one disk after the other */
    struct disk *disk = server->disks[number];
    struct disk_reader reader = {{read_sector}, disk, read};
    if (wants_table(server, number)) {
        table_read(&table, &reader.reader, disk->sectors);
        if (table.remark)
            server_log("disk %u (%s): %s\n", number, disk->name, table.remark);
    }
    for (unsigned i = 0; i < server->volume_count; i++) {
        struct volume *volume = &server->volumes[i];
        if (volume->plan->disk != number)
            continue;
        volume->disk = disk;
        volume->sectors = disk->sectors;
        if (volume->plan->part)
            find_part(volume, &table);
        if (!volume->problem && volume->plan->access == PLAN_ACCESS_READ_WRITE && disk->read_only)
            volume->problem = "its disk can only be read: give it `access read-only` or `private`";
        settle(server, volume);
    }
}

void volumes_end(struct server *server)
{
    for (unsigned i = 0; i < server->volume_count; i++) {
        struct volume *volume = &server->volumes[i];
        if (!volume->pending)
            continue;
        volume->problem = "the machine has no such disk, or no driver for it";
        settle(server, volume);
    }
}

bool volumes_pending(const struct server *server)
{
    for (unsigned i = 0; i < server->volume_count; i++)
        if (server->volumes[i].pending)
            return true;
    return false;
}
