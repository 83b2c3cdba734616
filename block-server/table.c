#include "table.h"

#include "string.h"

#define SECTOR_BYTES 512u

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static uint32_t get32(const uint8_t *at)
{
    return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static uint64_t get64(const uint8_t *at)
{
    return get32(at) | (uint64_t)get32(at + 4) << 32;
}

uint32_t table_crc32(uint32_t crc, const void *data, size_t size_bytes)
{
    const uint8_t *bytes = data;
    crc = ~crc;
    for (size_t i = 0; i < size_bytes; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Part `number` of the table; false: it lies outside [first, end), or over one that is there already. */
static bool add(struct table *table, unsigned number, uint64_t first, uint64_t sectors,
                uint64_t least, uint64_t end)
{
    if (first < least || first >= end || sectors == 0 || sectors > end - first) {
        table->problem = "a partition lies outside the disk";
        return false;
    }
    for (unsigned i = 1; i <= TABLE_PARTITIONS_MAX; i++) {
        if (table->parts[i].sectors && first < table->parts[i].first + table->parts[i].sectors &&
            table->parts[i].first < first + sectors) {
            table->problem = "two partitions overlap";
            return false;
        }
    }
    table->parts[number].first = first;
    table->parts[number].sectors = sectors;
    return true;
}

/* ---- GPT: header at LBA 1, its copy at the last (UEFI 2.10, tables 5.5 and 5.6) ---------------------------------- */

enum {
    GPT_REVISION = 8,
    GPT_HEADER_BYTES = 12,
    GPT_HEADER_CRC = 16,
    GPT_MY_LBA = 24,
    GPT_FIRST_USABLE = 40,
    GPT_LAST_USABLE = 48,
    GPT_ENTRIES_LBA = 72,
    GPT_ENTRY_COUNT = 80,
    GPT_ENTRY_BYTES = 84,
    GPT_ENTRIES_CRC = 88,
    GPT_HEADER_LEAST = 92
};
enum { GPT_ENTRY_FIRST = 32, GPT_ENTRY_LAST = 40, GPT_ENTRY_LEAST = 128 };
#define GPT_ENTRIES_MOST 1024u

struct gpt {
    uint64_t first_usable, last_usable, entries_lba;
    uint32_t entry_count, entry_bytes, entries_crc;
};

static bool gpt_header(struct gpt *gpt, struct table_reader *reader, uint64_t lba, uint64_t sectors)
{
    uint8_t header[SECTOR_BYTES];
    if (!reader->read(reader, lba, header) || memcmp(header, "EFI PART", 8) != 0)
        return false;
    uint32_t header_bytes = get32(header + GPT_HEADER_BYTES), crc = get32(header + GPT_HEADER_CRC);
    if (header_bytes < GPT_HEADER_LEAST || header_bytes > SECTOR_BYTES)
        return false;
    memset(header + GPT_HEADER_CRC, 0, 4);
    if (table_crc32(0, header, header_bytes) != crc || get64(header + GPT_MY_LBA) != lba ||
        get32(header + GPT_REVISION) >> 16 != 1)
        return false;
    *gpt = (struct gpt){
        .first_usable = get64(header + GPT_FIRST_USABLE),
        .last_usable = get64(header + GPT_LAST_USABLE),
        .entries_lba = get64(header + GPT_ENTRIES_LBA),
        .entry_count = get32(header + GPT_ENTRY_COUNT),
        .entry_bytes = get32(header + GPT_ENTRY_BYTES),
        .entries_crc = get32(header + GPT_ENTRIES_CRC),
    };
    /* An entry is 128 * 2^n bytes, so none is cut by a sector unless it is larger than one. */
    uint32_t each = gpt->entry_bytes;
    if (each < GPT_ENTRY_LEAST || each > SECTOR_BYTES || each & (each - 1) ||
        gpt->entry_count == 0 || gpt->entry_count > GPT_ENTRIES_MOST)
        return false;
    uint64_t entries_sectors =
        ((uint64_t)gpt->entry_count * each + SECTOR_BYTES - 1) / SECTOR_BYTES;
    return gpt->last_usable < sectors && gpt->first_usable <= gpt->last_usable &&
           gpt->entries_lba > 1 && gpt->entries_lba < sectors &&
           entries_sectors <= sectors - gpt->entries_lba;
}

static bool is_used(const uint8_t *entry)
{
    for (unsigned i = 0; i < 16; i++)
        if (entry[i])
            return true;
    return false;
}

/* Header and entries at `lba`. False: they are damaged, and nothing of them is taken. */
static bool gpt_read(struct table *table, struct table_reader *reader, uint64_t lba,
                     uint64_t sectors)
{
    struct gpt gpt;
    uint32_t crc = 0;
    uint8_t data[SECTOR_BYTES];
    if (!gpt_header(&gpt, reader, lba, sectors))
        return false;
    memset(table->parts, 0, sizeof table->parts);
    for (uint32_t i = 0, left = gpt.entry_count * gpt.entry_bytes; left; i++) {
        uint32_t n = left < SECTOR_BYTES ? left : SECTOR_BYTES;
        if (!reader->read(reader, gpt.entries_lba + i, data))
            return false;
        crc = table_crc32(crc, data, n);
        left -= n;
    }
    if (crc != gpt.entries_crc)
        return false;
    uint32_t in_sector = SECTOR_BYTES / gpt.entry_bytes;
    for (uint32_t i = 0; i < gpt.entry_count; i++) {
        const uint8_t *entry = data + i % in_sector * gpt.entry_bytes;
        if (i % in_sector == 0 && !reader->read(reader, gpt.entries_lba + i / in_sector, data))
            return false;
        if (!is_used(entry) || i >= TABLE_PARTITIONS_MAX)
            continue;
        uint64_t first = get64(entry + GPT_ENTRY_FIRST), last = get64(entry + GPT_ENTRY_LAST);
        uint64_t count = last >= first && last < sectors ? last - first + 1 : 0;
        if (!add(table, i + 1, first, count, gpt.first_usable, gpt.last_usable + 1))
            return true;
    }
    return true;
}

static void gpt(struct table *table, struct table_reader *reader, uint64_t sectors)
{
    if (sectors > 2 && gpt_read(table, reader, 1, sectors))
        return;
    if (sectors > 2 && gpt_read(table, reader, sectors - 1, sectors)) {
        table->remark = "its GPT is damaged: the copy at the end of the disk is used";
        return;
    }
    memset(table->parts, 0, sizeof table->parts);
    table->problem = "its GPT is damaged, and the copy at the end of the disk too";
}

/* ---- MBR ---------------------------------------------------------------------------------------------------- */

enum { MBR_ENTRIES = 446, MBR_ENTRY_BYTES = 16, MBR_SIGNATURE = 510 };
enum { MBR_TYPE = 4, MBR_FIRST = 8, MBR_SECTORS = 12 };
enum {
    TYPE_GPT = 0xee,
    TYPE_EXTENDED = 0x05,
    TYPE_EXTENDED_LBA = 0x0f,
    TYPE_EXTENDED_LINUX = 0x85
};
enum { FIRST_LOGICAL = 5 };

struct mbr_entry {
    uint8_t type;
    uint64_t first, sectors;
};

static bool mbr_sector(struct table_reader *reader, uint64_t lba, struct mbr_entry entries[4])
{
    uint8_t data[SECTOR_BYTES];
    if (!reader->read(reader, lba, data) || get16(data + MBR_SIGNATURE) != 0xaa55)
        return false;
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *entry = data + MBR_ENTRIES + i * MBR_ENTRY_BYTES;
        entries[i] = (struct mbr_entry){entry[MBR_TYPE], get32(entry + MBR_FIRST),
                                        get32(entry + MBR_SECTORS)};
    }
    return true;
}

static bool is_extended(const struct mbr_entry *entry)
{
    return entry->type == TYPE_EXTENDED || entry->type == TYPE_EXTENDED_LBA ||
           entry->type == TYPE_EXTENDED_LINUX;
}

/* The chain of logical partitions: each has a sector of its own that names the next. */
static void logical(struct table *table, struct table_reader *reader,
                    const struct mbr_entry *extended, uint64_t sectors)
{
    uint64_t at = extended->first, end = extended->first + extended->sectors;
    struct mbr_entry entries[4];
    if (at == 0 || at >= sectors || extended->sectors > sectors - at) {
        table->problem = "its extended partition lies outside the disk";
        return;
    }
    for (unsigned number = FIRST_LOGICAL; number <= TABLE_PARTITIONS_MAX; number++) {
        if (!mbr_sector(reader, at, entries)) {
            table->problem = "its chain of logical partitions is damaged";
            return;
        }
        if (entries[0].type &&
            !add(table, number, at + entries[0].first, entries[0].sectors, at + 1, end))
            return;
        if (!is_extended(&entries[1]))
            return;
        if (entries[1].first == 0 || entries[1].first >= extended->sectors)
            break;
        at = extended->first + entries[1].first;
    }
    table->problem = "its chain of logical partitions has no end";
}

void table_read(struct table *table, struct table_reader *reader, uint64_t disk_sectors)
{
    struct mbr_entry entries[4];
    memset(table, 0, sizeof *table);
    if (!mbr_sector(reader, 0, entries)) {
        table->problem = "it has no partition table";
        return;
    }
    for (unsigned i = 0; i < 4; i++) {
        if (entries[i].type == TYPE_GPT) {
            gpt(table, reader, disk_sectors);
            return;
        }
    }
    for (unsigned i = 0; i < 4 && !table->problem; i++) {
        if (is_extended(&entries[i]))
            logical(table, reader, &entries[i], disk_sectors);
        else if (entries[i].type)
            add(table, i + 1, entries[i].first, entries[i].sectors, 1, disk_sectors);
    }
}
