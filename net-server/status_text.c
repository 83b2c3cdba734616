#include "status_text.h"

#include "string.h"

void text_put(struct text *text, const char *words)
{
    size_t size_bytes = strlen(words);
    if (size_bytes > text->size_bytes - text->used) {
        text->full = true;
        return;
    }
    memcpy(text->begin + text->used, words, size_bytes);
    text->used += size_bytes;
}

static void put_letter(struct text *text, char letter)
{
    if (text->used < text->size_bytes)
        text->begin[text->used++] = letter;
    else
        text->full = true;
}

static void put_number(struct text *text, uint64_t value)
{
    char digits[21], *at = digits + sizeof digits - 1;
    *at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    text_put(text, at);
}

/* What others wrote, and may be anything: inside quotes, in JSON and as a label of Prometheus. */
static void put_escaped(struct text *text, const char *words, size_t size_max)
{
    for (size_t i = 0; i < size_max && words[i]; i++) {
        char letter = words[i];
        if (letter == '"' || letter == '\\')
            put_letter(text, '\\');
        if (letter == '\n')
            text_put(text, "\\n");
        else
            put_letter(text, letter >= ' ' && letter < 0x7f ? letter : '?');
    }
}

/* Where an exit reason or a counter has no name, it has its number. */
static void put_name(struct text *text, const char *name, uint32_t number)
{
    if (name[0])
        put_escaped(text, name, STATUS_REASON_MAX);
    else
        put_number(text, number);
}

static void field(struct text *text, const char *name, uint64_t value)
{
    put_letter(text, '"');
    text_put(text, name);
    text_put(text, "\":");
    put_number(text, value);
}

static void next_field(struct text *text, const char *name, uint64_t value)
{
    put_letter(text, ',');
    field(text, name, value);
}

static void next_string(struct text *text, const char *name, const char *value, size_t size_max)
{
    text_put(text, ",\"");
    text_put(text, name);
    text_put(text, "\":\"");
    put_escaped(text, value, size_max);
    put_letter(text, '"');
}

static uint64_t milliseconds(const struct system_status *system, uint64_t ticks)
{
    return system->tsc_khz ? ticks / system->tsc_khz : 0;
}

static uint32_t task_count(const struct system_status *system)
{
    uint32_t most = sizeof system->tasks / sizeof system->tasks[0];
    return system->task_count < most ? system->task_count : most;
}

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

static void json_exits(struct text *text, const struct system_status *system,
                       const struct status_task *task)
{
    bool first = true;
    text_put(text, ",\"exits\":{");
    for (uint32_t i = 0; i < STATUS_REASONS; i++) {
        if (task->exits[i] == 0)
            continue;
        text_put(text, first ? "\"" : ",\"");
        put_name(text, system->reasons[i], i);
        text_put(text, "\":");
        put_number(text, task->exits[i]);
        first = false;
    }
    put_letter(text, '}');
}

static void json_task(struct text *text, const struct system_status *system,
                      const struct status_task *task)
{
    text_put(text, task->kind == STATUS_PARTITION ? "{\"kind\":\"partition\""
                   : task->kind == STATUS_TASK    ? "{\"kind\":\"task\""
                                                  : "{\"kind\":\"server\"");
    next_string(text, "name", task->name, sizeof task->name);
    next_string(text, "state", task->state, sizeof task->state);
    next_field(text, "running", task->running != 0);
    next_field(text, "cpu_ms", milliseconds(system, task->cpu_ticks));
    next_field(text, "cpu_mask", task->cpu_mask);
    next_field(text, "vcpus", task->vcpus);
    next_field(text, "memory_bytes", task->memory_bytes);
    next_field(text, "restarts", task->restarts);
    next_field(text, "uptime_ms", task->uptime_ms);
    if (task->screen)
        next_field(text, "screen", 1);
    if (task->kind == STATUS_PARTITION)
        json_exits(text, system, task);
    put_letter(text, '}');
}

static uint32_t disk_count(const struct system_status *system)
{
    uint32_t most = sizeof system->disks / sizeof system->disks[0];
    return system->disk_count < most ? (uint32_t)system->disk_count : most;
}

static void json_disks(struct text *text, const struct system_status *system)
{
    text_put(text, ",\"disks\":[");
    for (uint32_t i = 0; i < disk_count(system); i++) {
        const struct status_disk *disk = &system->disks[i];
        text_put(text, i ? ",{" : "{");
        field(text, "reads", disk->reads);
        next_field(text, "writes", disk->writes);
        next_field(text, "flushes", disk->flushes);
        next_field(text, "read_bytes", disk->read_bytes);
        next_field(text, "written_bytes", disk->written_bytes);
        next_field(text, "errors", disk->errors);
        next_string(text, "task", disk->task, sizeof disk->task);
        next_string(text, "volume", disk->volume, sizeof disk->volume);
        put_letter(text, '}');
    }
    put_letter(text, ']');
}

static void json_counts(struct text *text, const struct port_counts *counts)
{
    next_field(text, "frames_sent", counts->frames_sent);
    next_field(text, "bytes_sent", counts->bytes_sent);
    next_field(text, "frames_received", counts->frames_received);
    next_field(text, "bytes_received", counts->bytes_received);
    next_field(text, "dropped", counts->dropped);
}

static void json_port(struct text *text, const struct port *port)
{
    static const char digits[] = "0123456789abcdef";
    char mac[3 * ETHERNET_ADDRESS_BYTES];
    for (unsigned i = 0; i < ETHERNET_ADDRESS_BYTES; i++) {
        mac[3 * i] = digits[port->mac[i] >> 4];
        mac[3 * i + 1] = digits[port->mac[i] & 15];
        mac[3 * i + 2] = i + 1 < ETHERNET_ADDRESS_BYTES ? ':' : 0;
    }
    field(text, "own_address", port->one_address);
    next_string(text, "name", port->name, TASK_NAME_MAX);
    if (port->one_address)
        next_string(text, "mac", mac, sizeof mac);
    json_counts(text, &port->counts);
}

static void json_networks(struct text *text, const struct status_facts *facts)
{
    text_put(text, ",\"networks\":[");
    for (uint32_t i = 0; i < facts->network_count; i++) {
        const struct network *network = &facts->networks[i];
        text_put(text, i ? ",{" : "{");
        field(text, "number", i);
        next_string(text, "name", network->plan->name, PLAN_NAME_MAX);
        next_string(text, "address", facts->addresses[i], ADDRESS_TEXT_MAX);
        text_put(text, ",\"ports\":[");
        for (uint32_t n = 0; n < network->port_count; n++) {
            text_put(text, n ? ",{" : "{");
            json_port(text, network->ports[n]);
            put_letter(text, '}');
        }
        text_put(text, "]}");
    }
    put_letter(text, ']');
}

static void json_counters(struct text *text, const struct system_status *system)
{
    text_put(text, ",\"counters\":{");
    for (uint32_t i = 0; i < STATUS_COUNTERS_MAX && system->counter_names[i][0]; i++) {
        text_put(text, i ? ",\"" : "\"");
        put_name(text, system->counter_names[i], i);
        text_put(text, "\":");
        put_number(text, system->counters[i]);
    }
    put_letter(text, '}');
}

/* From the first whole line that is still there. */
static void json_log(struct text *text, const struct system_status *system)
{
    uint64_t end = system->log_written;
    uint64_t begin = 0;
    if (end > STATUS_LOG_BYTES) {
        begin = end - STATUS_LOG_BYTES + 1; /* of the byte before, nothing is known any more */
        while (begin < end && system->log[(begin - 1) % STATUS_LOG_BYTES] != '\n')
            begin++;
    }
    text_put(text, ",\"log\":\"");
    for (; begin < end; begin++)
        put_escaped(text, &system->log[begin % STATUS_LOG_BYTES], 1);
    put_letter(text, '"');
}

void status_json(struct text *text, const struct status_facts *facts)
{
    const struct system_status *system = facts->system;
    put_letter(text, '{');
    field(text, "uptime_ms", system->uptime_ms);
    next_field(text, "sequence", system->sequence);
    next_string(text, "virtualization", system->virtualization, sizeof system->virtualization);
    next_field(text, "cpus", system->cpu_count);
    next_field(text, "memory_bytes", system->memory_bytes);
    next_field(text, "memory_free_bytes", system->memory_free_bytes);
    next_field(text, "audit_done", system->audit_done);
    next_field(text, "audit_findings", system->audit_findings);
    next_string(text, "audit", system->audit, sizeof system->audit);
    json_counters(text, system);
    text_put(text, ",\"tasks\":[");
    for (uint32_t i = 0; i < task_count(system); i++) {
        if (i)
            put_letter(text, ',');
        json_task(text, system, &system->tasks[i]);
    }
    put_letter(text, ']');
    json_disks(text, system);
    json_networks(text, facts);
    json_log(text, system);
    text_put(text, "}\n");
}

/* ---- Prometheus ------------------------------------------------------------------------------------------------ */

static void family(struct text *text, const char *name, const char *type, const char *help)
{
    text_put(text, "# HELP ");
    text_put(text, name);
    put_letter(text, ' ');
    text_put(text, help);
    text_put(text, "\n# TYPE ");
    text_put(text, name);
    put_letter(text, ' ');
    text_put(text, type);
    put_letter(text, '\n');
}

static void value(struct text *text, uint64_t number)
{
    put_letter(text, ' ');
    put_number(text, number);
    put_letter(text, '\n');
}

/* NAME{label="words"} or, for the next label, ,label="words" */
static void label(struct text *text, const char *name, const char *words, size_t size_max)
{
    text_put(text, name);
    text_put(text, "=\"");
    put_escaped(text, words, size_max);
    put_letter(text, '"');
}

static void single(struct text *text, const char *name, const char *type, const char *help,
                   uint64_t number)
{
    family(text, name, type, help);
    text_put(text, name);
    value(text, number);
}

enum task_figure { FIGURE_UP, FIGURE_CPU, FIGURE_MEMORY, FIGURE_RESTARTS };

static uint64_t figure_of(const struct system_status *system, const struct status_task *task,
                          enum task_figure figure)
{
    switch (figure) {
    case FIGURE_UP: return task->running != 0;
    case FIGURE_CPU: return milliseconds(system, task->cpu_ticks);
    case FIGURE_MEMORY: return task->memory_bytes;
    default: return task->restarts;
    }
}

static void task_figures(struct text *text, const struct system_status *system, const char *name,
                         const char *type, const char *help, enum task_figure figure)
{
    family(text, name, type, help);
    for (uint32_t i = 0; i < task_count(system); i++) {
        text_put(text, name);
        label(text, "{task", system->tasks[i].name, TASK_NAME_MAX);
        put_letter(text, '}');
        value(text, figure_of(system, &system->tasks[i], figure));
    }
}

static void exits(struct text *text, const struct system_status *system)
{
    family(text, "septum_guest_exits_total", "counter", "exits of guests to their monitors");
    for (uint32_t i = 0; i < task_count(system); i++)
        for (uint32_t reason = 0; reason < STATUS_REASONS; reason++) {
            if (system->tasks[i].exits[reason] == 0)
                continue;
            text_put(text, "septum_guest_exits_total");
            label(text, "{task", system->tasks[i].name, TASK_NAME_MAX);
            text_put(text, ",reason=\"");
            put_name(text, system->reasons[reason], reason);
            text_put(text, "\"}");
            value(text, system->tasks[i].exits[reason]);
        }
}

static void counters(struct text *text, const struct system_status *system)
{
    family(text, "septum_kernel_events_total", "counter", "events counted by the microvisor");
    for (uint32_t i = 0; i < STATUS_COUNTERS_MAX && system->counter_names[i][0]; i++) {
        text_put(text, "septum_kernel_events_total");
        label(text, "{event", system->counter_names[i], STATUS_REASON_MAX);
        put_letter(text, '}');
        value(text, system->counters[i]);
    }
}

static void disk_figures(struct text *text, const struct system_status *system, const char *name,
                         const char *help, size_t place)
{
    family(text, name, "counter", help);
    for (uint32_t i = 0; i < disk_count(system); i++) {
        const struct status_disk *disk = &system->disks[i];
        text_put(text, name);
        label(text, "{task", disk->task, sizeof disk->task);
        label(text, ",volume", disk->volume, sizeof disk->volume);
        put_letter(text, '}');
        value(text, *(const uint64_t *)((const char *)disk + place));
    }
}

static void disks(struct text *text, const struct system_status *system)
{
    disk_figures(text, system, "septum_disk_reads_total", "reads that the block server did",
                 offsetof(struct status_disk, reads));
    disk_figures(text, system, "septum_disk_writes_total", "writes that the block server did",
                 offsetof(struct status_disk, writes));
    disk_figures(text, system, "septum_disk_flushes_total", "flushes that the block server did",
                 offsetof(struct status_disk, flushes));
    disk_figures(text, system, "septum_disk_read_bytes_total", "bytes read",
                 offsetof(struct status_disk, read_bytes));
    disk_figures(text, system, "septum_disk_written_bytes_total", "bytes written",
                 offsetof(struct status_disk, written_bytes));
    disk_figures(text, system, "septum_disk_errors_total", "requests that ended with an error",
                 offsetof(struct status_disk, errors));
}

enum port_figure { PORT_SENT, PORT_RECEIVED, PORT_DROPPED };

static void port_figures(struct text *text, const struct status_facts *facts, const char *name,
                         const char *help, enum port_figure figure)
{
    family(text, name, "counter", help);
    for (uint32_t i = 0; i < facts->network_count; i++)
        for (uint32_t n = 0; n < facts->networks[i].port_count; n++) {
            const struct port *port = facts->networks[i].ports[n];
            text_put(text, name);
            label(text, "{network", facts->networks[i].plan->name, PLAN_NAME_MAX);
            label(text, ",port", port->name, TASK_NAME_MAX);
            put_letter(text, '}');
            value(text, figure == PORT_SENT       ? port->counts.bytes_sent
                        : figure == PORT_RECEIVED ? port->counts.bytes_received
                                                  : port->counts.dropped);
        }
}

void status_metrics(struct text *text, const struct status_facts *facts)
{
    const struct system_status *system = facts->system;
    single(text, "septum_uptime_milliseconds", "counter", "since the microvisor began",
           system->uptime_ms);
    single(text, "septum_memory_bytes", "gauge", "memory of the machine", system->memory_bytes);
    single(text, "septum_memory_free_bytes", "gauge", "memory that no task has",
           system->memory_free_bytes);
    single(text, "septum_cpus", "gauge", "CPUs", system->cpu_count);
    single(text, "septum_audit_findings", "gauge", "findings of the last audit",
           system->audit_findings);
    task_figures(text, system, "septum_task_up", "gauge", "1: it runs", FIGURE_UP);
    task_figures(text, system, "septum_task_cpu_milliseconds_total", "counter",
                 "CPU time of all its threads", FIGURE_CPU);
    task_figures(text, system, "septum_task_memory_bytes", "gauge",
                 "of a partition its guest's memory, else all", FIGURE_MEMORY);
    task_figures(text, system, "septum_task_restarts_total", "counter", "lives after the first",
                 FIGURE_RESTARTS);
    exits(text, system);
    counters(text, system);
    disks(text, system);
    port_figures(text, facts, "septum_port_sent_bytes_total", "sent by this port", PORT_SENT);
    port_figures(text, facts, "septum_port_received_bytes_total", "delivered to this port",
                 PORT_RECEIVED);
    port_figures(text, facts, "septum_port_dropped_frames_total",
                 "frames from or to this port that were dropped", PORT_DROPPED);
}
