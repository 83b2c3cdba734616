/*
 * The status page's texts: JSON and Prometheus' format, whatever the names and the log are.
 * links: net-server/status_text.c
 */
#include "unit_test.h"

#include "net-server/status_text.h"

enum { ROOM = 49152 };
static struct system_status system_;
static struct network networks[2];
static struct plan_network plans[2];
static struct port port;
static struct status_facts facts;
static char *memory;
static struct text text;

static void start(void)
{
    memset(&system_, 0, sizeof system_);
    memset(networks, 0, sizeof networks);
    for (unsigned i = 0; i < 2; i++)
        networks[i].plan = &plans[i];
    strcpy(plans[0].name, "inside");
    port = (struct port){.name = "web", .one_address = true, .mac = {2, 0, 0, 0xab, 0xcd, 0xef}};
    networks[0].ports[0] = &port;
    networks[0].port_count = 1;
    facts = (struct status_facts){.system = &system_, .networks = networks, .network_count = 2};
    strcpy(facts.addresses[0], "10.0.0.1");
    system_.tsc_khz = 1000;
    system_.task_count = 2;
    strcpy(system_.tasks[0].name, "web");
    system_.tasks[0].vcpus = 2;
    system_.tasks[0].cpu_ticks = 5000;
    system_.tasks[0].exits[EXIT_HLT] = 33;
    strcpy(system_.reasons[EXIT_HLT], "hlt");
    strcpy(system_.tasks[1].name, "net-server");
    system_.tasks[1].kind = STATUS_SERVER;
    system_.disk_count = 1;
    system_.disks[0] =
        (struct status_disk){.task = "web", .volume = "data", .reads = 5, .errors = 2};
    strcpy(system_.counter_names[0], "interrupts");
    system_.counters[0] = 77;
}

static void make(void (*write)(struct text *, const struct status_facts *), size_t room)
{
    free(memory);
    memory = calloc(1, room + 1);
    text = (struct text){.begin = memory, .size_bytes = room};
    write(&text, &facts);
    /* The last byte is the terminator of the tests, not the text's. */
    CHECK(text.used <= room);
}

/* A reader of JSON: the place behind a value, or NULL. */
static const char *skip_value(const char *at);

static const char *skip_string(const char *at)
{
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        if ((unsigned char)*at < ' ' || (unsigned char)*at >= 0x7f)
            return NULL;
        if (*at == '\\' && !strchr("\"\\n", *++at))
            return NULL;
    }
    return at + 1;
}

static const char *skip_list(const char *at, char end, bool names)
{
    if (*at == end)
        return at + 1;
    for (;;) {
        if (names && (!(at = skip_string(at)) || *at++ != ':'))
            return NULL;
        if (!(at = skip_value(at)))
            return NULL;
        if (*at == end)
            return at + 1;
        if (*at++ != ',')
            return NULL;
    }
}

static const char *skip_value(const char *at)
{
    if (*at == '{')
        return skip_list(at + 1, '}', true);
    if (*at == '[')
        return skip_list(at + 1, ']', false);
    if (*at == '"')
        return skip_string(at);
    const char *begin = at;
    while (*at >= '0' && *at <= '9')
        at++;
    return at > begin ? at : NULL;
}

static bool is_json(const char *words)
{
    const char *end = skip_value(words);
    return end && strcmp(end, "\n") == 0;
}

TEST(net_status_json, "the JSON text can be read, and says what root and the switch say")
{
    start();
    make(status_json, ROOM);
    CHECK(is_json(memory) && !text.full);
    CHECK(strstr(memory, "\"name\":\"web\",\"state\":\"\",\"running\":0,\"cpu_ms\":5,"));
    CHECK(strstr(memory, "\"exits\":{\"hlt\":33}"));
    CHECK(strstr(memory, "{\"kind\":\"server\",\"name\":\"net-server\""));
    CHECK(strstr(memory, "\"address\":\"10.0.0.1\",\"ports\":[{\"own_address\":1,\"name\":\"web\","
                         "\"mac\":\"02:00:00:ab:cd:ef\""));
    CHECK(strstr(memory, "\"counters\":{\"interrupts\":77}"));
    CHECK(strstr(memory,
                 "\"disks\":[{\"reads\":5,\"writes\":0,\"flushes\":0,\"read_bytes\":0,"
                 "\"written_bytes\":0,\"errors\":2,\"task\":\"web\",\"volume\":\"data\"}]"));
}

TEST(net_status_metrics, "every line of the metrics is a comment or a name, labels and a number")
{
    start();
    make(status_metrics, ROOM);
    CHECK(strstr(memory, "\nseptum_task_cpu_milliseconds_total{task=\"web\"} 5\n"));
    CHECK(strstr(memory, "\nseptum_guest_exits_total{task=\"web\",reason=\"hlt\"} 33\n"));
    CHECK(strstr(memory, "\nseptum_port_sent_bytes_total{network=\"inside\",port=\"web\"} 0\n"));
    CHECK(strstr(memory, "\nseptum_disk_reads_total{task=\"web\",volume=\"data\"} 5\n"));
    CHECK(strstr(memory, "\nseptum_disk_errors_total{task=\"web\",volume=\"data\"} 2\n"));
    for (char *line = strtok(memory, "\n"); line; line = strtok(NULL, "\n")) {
        char name[64];
        unsigned long long number;
        int end = 0;
        if (line[0] == '#')
            continue;
        char *brace = strchr(line, '}');
        CHECK(sscanf(line, "%63[a-z_]", name) == 1);
        CHECK(sscanf(brace ? brace + 1 : line + strlen(name), " %llu%n", &number, &end) == 1);
    }
}

TEST(net_status_log,
     "of the log the newest whole lines are shown, also after its memory has gone round")
{
    start();
    memcpy(system_.log, "one\ntwo\n", 8);
    system_.log_written = 8;
    make(status_json, ROOM);
    CHECK(strstr(memory, "\"log\":\"one\\ntwo\\n\"}"));
    uint64_t written = 0;
    for (unsigned line = 0; line < 1000; line++) {
        char words[32];
        int n = snprintf(words, sizeof words, "line %u\n", line);
        for (int i = 0; i < n; i++)
            system_.log[written++ % STATUS_LOG_BYTES] = words[i];
    }
    system_.log_written = written;
    make(status_json, ROOM);
    CHECK(is_json(memory));
    CHECK(strstr(memory, "\"log\":\"line ") && strstr(memory, "line 998\\nline 999\\n\"}"));
}

TEST(net_status_hostile_names, "names, states and logs with quotes, control characters or without "
                               "an end leave the texts whole")
{
    for (unsigned round = 0; round < 500; round++) {
        start();
        for (size_t i = 0; i < sizeof system_; i++)
            if (unit_random() % 8 == 0)
                ((uint8_t *)&system_)[i] = (uint8_t)unit_random();
        system_.log_written = unit_random() >> (unit_random() % 64);
        make(status_json, 1 << 18);
        CHECK(!text.full && is_json(memory));
        make(status_metrics, 1 << 18);
        CHECK(!text.full);
    }
}

TEST(net_status_full, "a text that does not fit says so, and writes nothing behind its place")
{
    start();
    for (size_t room = 0; room < 3000; room++) {
        make(status_json, room);
        CHECK(text.full || is_json(memory));
        make(status_metrics, room);
    }
    make(status_json, 300);
    CHECK(text.full);
}
